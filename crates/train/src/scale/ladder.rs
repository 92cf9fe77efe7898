//! Which models a ladder has, and for how many tokens each is trained.
//!
//! All are of one family, so that N says everything about a model: width 16 k, k layers, k heads of width 16. With a
//! model twice as wide and twice as deep comes eight times the parameters. Heads are this narrow so that the models are
//! small: what makes a law hold at a desk is many tokens for each parameter. The held-out run is the largest for which
//! the time suffices with [`TOKENS_PER_PARAMETER`]; the ladder's models have half its parameters, a quarter and so on,
//! as near as the family comes, and its tokens a half, a quarter and so on.
//!
//! N counts every parameter. The token embedding is the head's matrix too and so takes part in every token's
//! computation: 6 N D is what training costs, at every size. Leaving it out, as Kaplan et al. (2020) did, makes small
//! models look smaller than they are; that, beside schedules that did not fit the runs' lengths, is where their
//! exponents and those of Hoffmann et al. (2022), who count all, come apart (Pearce and Song 2024; Porian et al. 2024).
//! The report fits the other count too.

use luban_model::Spec;
use luban_tensor::Precision;
use serde::{Deserialize, Serialize};

use super::ScaleOptions;
use super::law::OPERATIONS;
use crate::choose::{self, Speedometer, Task, WARMUP_SHARE, learning_rate};
use crate::error::{Error, Result};
use crate::schedule::{COOLDOWN_SHARE, Decay};
use crate::settings::{Plan, PretrainOptions};

/// Width of a head, and width that comes with a layer.
pub const UNIT: usize = 16;
/// Smallest and largest member of the family that a ladder has. One layer alone cannot do what two can (Olsson et al.
/// 2022), so it would not stand on the others' line.
const MEMBERS: std::ops::RangeInclusive<usize> = 2..=64;
/// How many times the parameters, and the tokens, of the ladder's largest run the held-out one has, about.
pub const FACTOR: f64 = 2.0;
/// Tokens of the held-out run for each of its parameters, at least: about what Hoffmann et al. find best. With one or two
/// the ladder's runs end while models still learn which tokens there are: their losses bend where the law has a straight
/// line (docs/scale.md).
pub const TOKENS_PER_PARAMETER: f64 = 20.0;
/// Share of the minutes that goes to steps; the rest is for measuring speed, reading and validation.
const STEPS_SHARE: f64 = 0.85;
/// Steps of the shortest runs are a multiple of this, so that cooldowns of a fifth come out even.
const STEPS_MULTIPLE: u64 = 5;
/// Fewest steps of the shortest runs.
const STEPS_MIN: u64 = 20;
/// The member whose speed stands for all before each is measured.
const PROBE: usize = 4;

/// A model of the ladder, and how long it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rung {
    /// Width of the model; it has as many layers, and heads, as this has units.
    pub width: usize,
    /// Its layers.
    pub layers: usize,
    /// All of its parameters.
    pub parameters: usize,
    /// Those of them that are the token embedding.
    pub embedding: usize,
    /// Its highest learning rate.
    pub learning_rate: f64,
    /// Steps of each of its runs, ascending.
    pub steps: Vec<u64>,
}

/// Everything that is to be trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ladder {
    /// What the law is fitted to.
    pub rungs: Vec<Rung>,
    /// The run that it predicts.
    pub held_out: Rung,
    /// Tokens of a step, in every run.
    pub batch: usize,
    /// Steps over which the learning rate rises, in every run.
    pub warmup: u64,
    /// Passes of the loader's epoch: the shortest run reads at least one, a fair sample of the whole corpus.
    pub strata: usize,
    /// What matrix products round their factors to.
    pub precision: Precision,
    /// Seconds that all steps should take, as measured; nothing where the steps were given.
    pub seconds: Option<f64>,
}

impl Rung {
    /// Steps that are done for all of its runs, as they share what they have in common.
    pub fn steps_done(&self) -> f64 {
        let longest = self.steps.last().copied().unwrap_or(0) as f64;
        let all = self.steps.iter().sum::<u64>() as f64;
        (1.0 - COOLDOWN_SHARE) * longest + COOLDOWN_SHARE * all
    }
}

/// Plans a ladder for the time that there is, or for the held-out run that is asked for.
///
/// # Errors
/// If no ladder fits, or a measurement fails.
pub fn plan(options: &ScaleOptions, task: Task, machine: &mut dyn Speedometer) -> Result<Ladder> {
    let precision = options.precision.unwrap_or_else(Precision::of_this_machine);
    let family = Family { options, vocab: task.vocab, precision };
    let largest = match options.width {
        Some(width) => width / UNIT,
        None => {
            let probe = family.spec(PROBE);
            family.largest(options.minutes * 60.0 * STEPS_SHARE * machine.flops_per_second(&probe, precision)?)
        }
    };
    let members = family.members(largest)?;
    let mut ladder = family.ladder(largest, &members, task)?;
    let (steps, seconds) = match options.steps {
        Some(steps) => (steps, None),
        None => {
            let (steps, seconds) = fitting(options, &ladder, task, machine)?;
            (steps, Some(seconds))
        }
    };
    set_steps(&mut ladder, options.lengths, steps);
    ladder.strata = choose::strata((ladder.rungs[0].steps[0] * ladder.batch as u64) as f64, task.corpus_bytes);
    ladder.seconds = seconds;
    Ok(ladder)
}

/// Gives every run its steps, from those that the held-out one should have.
fn set_steps(ladder: &mut Ladder, lengths: usize, held_out: u64) {
    let shortest = (held_out >> lengths).next_multiple_of(STEPS_MULTIPLE).max(STEPS_MIN);
    let steps: Vec<u64> = (0..lengths).map(|length| shortest << length).collect();
    ladder.rungs.iter_mut().for_each(|rung| rung.steps.clone_from(&steps));
    ladder.held_out.steps = vec![shortest << lengths];
    ladder.warmup = ((shortest as f64 * 2.0 * WARMUP_SHARE).ceil() as u64).max(1);
}

/// The steps of the held-out run with which everything takes the time that there is, and the seconds of that.
fn fitting(options: &ScaleOptions, ladder: &Ladder, task: Task, machine: &mut dyn Speedometer) -> Result<(u64, f64)> {
    // What a held-out run of a step would cost with its ladder, in steps of each rung.
    let mut unit = ladder.clone();
    let many = 1 << 20;
    set_steps(&mut unit, options.lengths, many);
    let mut seconds = 0.0;
    for rung in unit.rungs.iter().chain([&unit.held_out]) {
        let run = run_options(options, &unit, rung, unit.held_out.steps[0]);
        let plan: Plan = choose::choose(&run, task, machine)?.plan;
        seconds += machine.step_seconds(&plan)? * rung.steps_done() / many as f64;
    }
    let steps = (options.minutes * 60.0 * STEPS_SHARE / seconds) as u64;
    Ok((steps, steps as f64 * seconds))
}

/// What is asked of pre-training for one of the runs.
pub fn run_options(options: &ScaleOptions, ladder: &Ladder, rung: &Rung, steps: u64) -> PretrainOptions {
    PretrainOptions {
        steps: Some(steps),
        precision: Some(ladder.precision),
        width: Some(rung.width),
        layers: Some(rung.layers),
        heads: Some(rung.layers),
        context: Some(options.context),
        batch: Some(ladder.batch),
        learning_rate: Some(rung.learning_rate),
        warmup: Some(ladder.warmup),
        decay: Decay::Wsd,
        seed: options.seed,
        strata: Some(ladder.strata),
        validation_bytes: options.validation_bytes,
        checkpoint_every: options.checkpoint_every,
        ..PretrainOptions::default()
    }
}

/// The models that a ladder may have.
struct Family<'a> {
    options: &'a ScaleOptions,
    vocab: usize,
    precision: Precision,
}

impl Family<'_> {
    fn spec(&self, member: usize) -> Spec {
        Spec { context: self.options.context, ..Spec::llama(UNIT * member, member, member, self.vocab) }
    }

    fn parameters(&self, member: usize) -> f64 {
        self.spec(member).parameters() as f64
    }

    /// The largest member that so many operations suffice for, with all of its ladder.
    fn largest(&self, operations: f64) -> usize {
        let fits = |member: &usize| {
            let Ok(members) = self.members(*member) else { return false };
            let parameters = self.parameters(*member);
            let tokens = TOKENS_PER_PARAMETER * parameters;
            let lengths =
                Rung { steps: (0..self.options.lengths).map(|length| 1 << length).collect(), ..Rung::empty() };
            let share = lengths.steps_done() / f64::from(1 << self.options.lengths as u32);
            let ladder: f64 = members.iter().map(|member| self.parameters(*member)).sum();
            OPERATIONS * tokens * (parameters + share * ladder) <= operations
        };
        let (least, most) = (*MEMBERS.start() + 2, *MEMBERS.end());
        (least..=most).take_while(fits).last().unwrap_or(least)
    }

    /// The members below a largest one, ascending: each has about half the parameters of the next.
    fn members(&self, largest: usize) -> Result<Vec<usize>> {
        let mut members = Vec::new();
        let mut above = largest;
        while members.len() < self.options.sizes && above > *MEMBERS.start() {
            let wanted = self.parameters(above) / FACTOR;
            let distance = |member: &usize| (self.parameters(*member) / wanted).ln().abs();
            let near = (*MEMBERS.start()..above).min_by(|a, b| distance(a).total_cmp(&distance(b)));
            let Some(near) = near else { break };
            members.insert(0, near);
            above = near;
        }
        match members.len() < 2 {
            false => Ok(members),
            true => {
                let least = (*MEMBERS.start() + 2) * UNIT;
                let expected = format!("a multiple of {UNIT} from {least} on, so that there are smaller models");
                Err(Error::Setting { name: "width", found: (largest * UNIT).to_string(), expected })
            }
        }
    }

    /// The ladder without its steps.
    fn ladder(&self, largest: usize, members: &[usize], task: Task) -> Result<Ladder> {
        let options = self.options;
        let mut ladder = Ladder {
            rungs: members.iter().map(|member| self.rung(*member)).collect(),
            held_out: self.rung(largest),
            batch: options.batch.unwrap_or(0),
            warmup: 1,
            strata: 1,
            precision: self.precision,
            seconds: None,
        };
        if options.batch.is_none() {
            // As for the held-out model by itself.
            let mut asked = run_options(options, &ladder, &ladder.held_out, 1);
            asked.batch = None;
            ladder.batch = choose::choose(&asked, task, &mut Unmeasured)?.plan.batch_tokens();
        }
        Ok(ladder)
    }

    fn rung(&self, member: usize) -> Rung {
        let width = UNIT * member;
        let at_128 = self.options.learning_rate.map(|rate| rate * (128.0 / width as f64).sqrt());
        // Four figures, which files give back as they were.
        let rate = at_128.unwrap_or_else(|| learning_rate(width));
        let learning_rate = format!("{rate:.3e}").parse().unwrap_or(rate);
        Rung {
            width,
            layers: member,
            parameters: self.spec(member).parameters(),
            embedding: self.vocab * width,
            learning_rate,
            steps: Vec::new(),
        }
    }
}

impl Rung {
    fn empty() -> Self {
        Self { width: 0, layers: 0, parameters: 0, embedding: 0, learning_rate: 0.0, steps: Vec::new() }
    }
}

/// For plans of which everything is given.
struct Unmeasured;

impl Speedometer for Unmeasured {
    fn flops_per_second(&mut self, _: &Spec, _: Precision) -> Result<f64> {
        unreachable!("the shape was given")
    }

    fn step_seconds(&mut self, _: &Plan) -> Result<f64> {
        unreachable!("the steps were given")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::flops_per_token;

    const TASK: Task = Task { vocab: 2048, causal: true, corpus_bytes: 60_000_000 };

    /// A machine of so many operations a second.
    struct Steady(f64);

    impl Speedometer for Steady {
        fn flops_per_second(&mut self, _: &Spec, _: Precision) -> Result<f64> {
            Ok(self.0)
        }

        fn step_seconds(&mut self, plan: &Plan) -> Result<f64> {
            Ok(flops_per_token(&plan.spec, plan.context) * plan.batch_tokens() as f64 / self.0)
        }
    }

    #[test]
    fn a_ladder_takes_the_time_that_there_is() {
        for (minutes, sizes) in [(5.0, 2), (30.0, 3), (120.0, 4)] {
            let options = ScaleOptions { minutes, ..ScaleOptions::default() };
            let ladder = plan(&options, TASK, &mut Steady(2e11)).unwrap();
            let seconds = |rung: &Rung| {
                let spec = Spec { context: 256, ..Spec::llama(rung.width, rung.layers, rung.layers, 2048) };
                assert_eq!((spec.parameters(), spec.head_width), (rung.parameters, UNIT));
                flops_per_token(&spec, 256) * ladder.batch as f64 * rung.steps_done() / 2e11
            };
            let all: f64 = ladder.rungs.iter().chain([&ladder.held_out]).map(seconds).sum();
            assert!((all / (60.0 * minutes) - STEPS_SHARE).abs() < 0.05, "{all} {minutes}: {ladder:?}");
            assert!((ladder.seconds.unwrap() / all - 1.0).abs() < 0.05);
            assert_eq!(ladder.rungs.len(), sizes, "{ladder:?}");
            let largest = ladder.rungs.last().unwrap();
            let factor = ladder.held_out.parameters as f64 / largest.parameters as f64;
            assert!((1.4..2.9).contains(&factor), "{factor}: {ladder:?}");
            assert_eq!(ladder.held_out.steps[0], 2 * largest.steps.last().unwrap());
            assert!(largest.steps.windows(2).all(|pair| pair[1] == 2 * pair[0]));
            assert!(ladder.warmup < largest.steps[0] / 5);
            let tokens = ladder.held_out.steps[0] as f64 * ladder.batch as f64;
            assert!(tokens > ladder.held_out.parameters as f64, "{ladder:?}");
        }
    }

    #[test]
    fn what_is_given_is_not_measured() {
        let options = ScaleOptions { width: Some(96), steps: Some(800), batch: Some(512), ..ScaleOptions::default() };
        let ladder = plan(&options, TASK, &mut Unmeasured).unwrap();
        assert_eq!(ladder.rungs.iter().map(|rung| rung.layers).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!((ladder.held_out.layers, &*ladder.held_out.steps), (6, &[800][..]));
        assert_eq!(ladder.rungs[0].steps, [50, 100, 200, 400]);
        assert_eq!((ladder.batch, ladder.warmup, ladder.seconds), (512, 5, None));
        // 50 steps of 512 tokens read a part of each document.
        assert_eq!(ladder.strata, choose::strata(50.0 * 512.0, TASK.corpus_bytes));
        assert!((ladder.rungs[0].steps_done() - (320.0 + 0.2 * 750.0)).abs() < 1e-9);
        let error = plan(&ScaleOptions { width: Some(48), ..options }, TASK, &mut Unmeasured).unwrap_err();
        assert!(error.to_string().contains("width is 48"), "{error}");
    }
}
