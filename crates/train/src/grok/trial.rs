//! One run: a model learns one side of the table and is asked for both.

use std::path::Path;
use std::time::Duration;

use luban_artifact::checkpoints::CheckpointStore;
use luban_artifact::{Artifact, ArtifactWriter};
use luban_base::digest;
use luban_base::progress::{Event, StepEvent};
use luban_data::loader::Positions;
use luban_kernels::loss;
use luban_model::Spec;
use luban_model::spec::Head;
use luban_model::training::TrainableModel;
use serde::{Deserialize, Serialize};

use super::task::{LENGTH, Table, vocabulary};
use super::{GrokOptions, LEARNED};
use crate::error::{Error, Result};
use crate::objective::{Assembled, Example, ObjectiveSettings};
use crate::optimizer::{AdamWSettings, States};
use crate::pretrain::Context;
use crate::schedule::{Decay, Schedule};
use crate::settings::{Plan, PretrainOptions};
use crate::state::{Identity, TrainState};
use crate::step::{StepInput, train_step};

/// The file of a checkpoint that holds what was measured so far.
const HISTORY: &str = "history.json";
/// Steps over which the learning rate rises; then it stays.
const WARMUP_STEPS: u64 = 10;
/// Decay of the mean of squared gradients, as Power et al. have it.
const BETA2: f64 = 0.98;
/// Factor of the embeddings where they enter the model: weights that begin small find the rule sooner, and more smoothly
/// (Liu et al. 2023).
const EMBEDDING_SCALE: f32 = 0.3;
/// Both sides are measured at each of the first steps, and then at multiples of a number of steps.
const MEASURED_FIRST: u64 = 20;
const MEASURED_EVERY: u64 = 10;
/// How much further a run goes once it knows the answers, as a share of its steps: to show whether it keeps them.
const FURTHER: u64 = 10;
/// Time between checkpoints, unless a number of steps is given.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
const CHECKPOINTS_KEPT: usize = 2;
/// Sums whose activations are alive at once, at most, so that memory stays bounded.
const AT_ONCE_MAX: usize = 8192;

/// How well a model answers. The values are f32, which JSON gives back to the bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Share of the sums whose likeliest answer is right: the sharp measure.
    pub accuracy: f32,
    /// Mean negative logarithm of the right answer's probability, nats: the smooth one.
    pub loss: f32,
    /// Mean probability of the right answer.
    pub probability: f32,
}

/// What was measured after a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Steps done.
    pub step: u64,
    /// On what is learned.
    pub train: Measure,
    /// On what is asked for.
    pub test: Measure,
}

/// A run and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Trial {
    /// Decides the division of the sums and the first weights.
    pub seed: u64,
    /// Weight decay; 0 for none.
    pub weight_decay: f64,
    /// Parameters of the model.
    pub parameters: usize,
    /// Sums that are learned, and that are asked for.
    pub sums: (usize, usize),
    /// Seconds that its steps took.
    pub seconds: f64,
    /// Everything that was measured.
    pub points: Vec<Point>,
}

impl Trial {
    /// The first step after which `LEARNED` of the training side was answered rightly.
    pub fn train_step(&self) -> Option<u64> {
        self.first(|point| point.train)
    }

    /// The same of the test side.
    pub fn test_step(&self) -> Option<u64> {
        self.first(|point| point.test)
    }

    fn first(&self, side: impl Fn(&Point) -> Measure) -> Option<u64> {
        self.points.iter().find(|point| side(point).accuracy >= LEARNED).map(|point| point.step)
    }

    /// How many times as many steps the test side took.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.test_step()? as f64 / self.train_step()? as f64)
    }

    /// Steps done when it was last measured.
    pub fn steps(&self) -> u64 {
        self.points.last().map_or(0, |point| point.step)
    }
}

/// How a run came to its end for now.
pub(super) enum Ended {
    Done(Trial),
    Interrupted,
}

/// What all runs stand on.
pub(super) struct Ground<'a> {
    pub options: &'a GrokOptions,
    /// Where checkpoints go, a folder for each run.
    pub runs: &'a Path,
    pub context: Context<'a>,
}

impl Ground<'_> {
    /// Does a run, or what is left of it.
    pub fn run(&self, seed: u64, weight_decay: f64, steps: u64) -> Result<Ended> {
        let kind = if weight_decay > 0.0 { "decay" } else { "none" };
        let dir = self.runs.join(format!("{kind}-{seed}"));
        let store = CheckpointStore::open(&dir)?;
        let table = Table::new(self.options.modulus, self.options.train_share, seed);
        let identity = self.identity(&table, seed, weight_decay, steps);
        let mut run = match store.latest(self.context.observer)? {
            Some(checkpoint) => Run::read(&checkpoint, &identity, &dir)?,
            None => Run::start(identity, &table)?,
        };
        if run.is_done() {
            return Ok(Ended::Done(run.trial));
        }
        self.context.observer.event(&Event::Note(&run.introduction()));
        match self.work(&mut run, &table, &store)? {
            true => {
                self.context.observer.event(&Event::Note(&run.conclusion()));
                Ok(Ended::Done(run.trial))
            }
            false => Ok(Ended::Interrupted),
        }
    }

    /// Does the steps that are left; says whether all are done.
    fn work(&self, run: &mut Run, table: &Table, store: &CheckpointStore) -> Result<bool> {
        let Context { clock, cancel, .. } = self.context;
        let mut saved = (run.state.progress.step, clock.elapsed());
        while !run.is_done() {
            if cancel.is_raised() {
                self.save(run, store)?;
                return Ok(false);
            }
            self.step(run, table)?;
            let (step, now) = (run.state.progress.step, clock.elapsed());
            let due = match self.options.checkpoint_every {
                Some(steps) => step - saved.0 >= steps,
                None => now - saved.1 >= CHECKPOINT_EVERY,
            };
            if due {
                self.save(run, store)?;
                saved = (step, now);
            }
        }
        self.save(run, store)?;
        Ok(true)
    }

    fn save(&self, run: &Run, store: &CheckpointStore) -> Result<()> {
        store.save(run.state.progress.step, self.context.keys, |writer| run.write(writer))?;
        Ok(store.prune(CHECKPOINTS_KEPT)?)
    }

    fn step(&self, run: &mut Run, table: &Table) -> Result<()> {
        let clock = self.context.clock;
        let before = clock.elapsed();
        let TrainState { plan, progress, model, optimizer, .. } = &mut run.state;
        let (at_once, learning_rate) = (plan.sequences_at_once, plan.schedule.at(progress.step));
        let input = StepInput { examples: &table.train, at_once, learning_rate, dropout: None };
        let report = train_step(model, optimizer, input)?;
        let step = progress.step + 1;
        if !report.is_finite() && !report.skipped {
            let (loss, gradient_norm) = (report.loss, report.gradient_norm);
            let advice = "start anew with --fresh and a lower --learning-rate".to_owned();
            return Err(Error::Diverged { step, loss, gradient_norm, advice });
        }
        if step <= MEASURED_FIRST || step.is_multiple_of(MEASURED_EVERY) {
            let (train, test) = (measure(model, &table.train)?, measure(model, &table.test)?);
            run.trial.points.push(Point { step, train, test });
        }
        let seconds = (clock.elapsed() - before).as_secs_f64();
        progress.advance(report.loss, report.tokens, seconds, Positions::default());
        run.trial.seconds = progress.seconds;
        self.context.observer.event(&Event::Step(StepEvent {
            step,
            steps_total: run.steps_total(),
            loss: report.loss,
            learning_rate,
            gradient_norm: report.gradient_norm,
            tokens: report.tokens,
            seconds,
        }));
        Ok(())
    }

    /// What decides a run, in the words of pre-training.
    fn identity(&self, table: &Table, seed: u64, weight_decay: f64, steps: u64) -> Identity {
        let GrokOptions { width, layers, heads, learning_rate, precision, .. } = *self.options;
        let options = PretrainOptions {
            steps: Some(steps),
            objective: format!("addition modulo {}", self.options.modulus),
            precision: Some(precision),
            width: Some(width),
            layers: Some(layers),
            heads: Some(heads),
            context: Some(LENGTH),
            batch: Some(table.train.len() * LENGTH),
            learning_rate: Some(learning_rate),
            warmup: Some(WARMUP_STEPS),
            beta2: Some(BETA2),
            weight_decay: Some(weight_decay),
            seed,
            ..PretrainOptions::default()
        };
        let tokenizer = digest::of_bytes(&self.options.modulus.to_le_bytes());
        Identity { options, corpus: table.digest(), mix: Vec::new(), tokenizer }
    }
}

/// A run on its way.
struct Run {
    state: TrainState,
    trial: Trial,
}

impl Run {
    fn start(identity: Identity, table: &Table) -> Result<Self> {
        let trial = Trial {
            seed: identity.options.seed,
            weight_decay: identity.options.weight_decay.unwrap_or(0.0),
            parameters: 0,
            sums: (table.train.len(), table.test.len()),
            seconds: 0.0,
            points: Vec::new(),
        };
        let plan = plan(&identity.options, table);
        let parameters = plan.spec.parameters();
        let state = TrainState::start(identity, plan, Positions::default())?;
        Ok(Self { state, trial: Trial { parameters, ..trial } })
    }

    fn read(checkpoint: &Artifact, identity: &Identity, dir: &Path) -> Result<Self> {
        let state = TrainState::read(checkpoint)?;
        if let Some((what, found, expected)) = state.identity.difference(identity) {
            return Err(Error::OtherRun { path: dir.to_owned(), what, found, expected });
        }
        let bytes = checkpoint.read(HISTORY)?;
        let trial = serde_json::from_slice(&bytes).map_err(|error| Error::Checkpoint {
            path: checkpoint.dir().to_owned(),
            why: format!("{HISTORY}: {error}"),
        })?;
        Ok(Self { state, trial })
    }

    fn write(&self, writer: &mut ArtifactWriter) -> luban_artifact::Result<()> {
        let json = serde_json::to_vec(&self.trial).expect("a record of plain values is always written");
        writer.write(HISTORY, &json)?;
        self.state.write(writer)
    }

    /// Steps in all, as far as is known: a run that knows the answers does some more, rounded to the next measure.
    fn steps_total(&self) -> u64 {
        let most = self.state.plan.schedule.steps;
        let further = |step: u64| (step + step / FURTHER).next_multiple_of(MEASURED_EVERY);
        self.trial.test_step().map_or(most, |step| further(step).min(most))
    }

    fn is_done(&self) -> bool {
        self.state.progress.step >= self.steps_total()
    }

    fn name(&self) -> String {
        let Trial { seed, weight_decay, .. } = self.trial;
        match weight_decay > 0.0 {
            true => format!("seed {seed}, weight decay {weight_decay}"),
            false => format!("seed {seed}, no weight decay"),
        }
    }

    fn introduction(&self) -> String {
        let Trial { parameters, sums: (train, test), .. } = self.trial;
        let steps = self.state.plan.schedule.steps;
        match self.state.progress.step {
            0 => format!(
                "{}: {parameters} parameters learn {train} sums of {}, up to {steps} steps",
                self.name(),
                train + test
            ),
            step => format!("{}: going on after step {step}", self.name()),
        }
    }

    fn conclusion(&self) -> String {
        let when = |step: Option<u64>| step.map_or_else(|| "never".to_owned(), |step| format!("at step {step}"));
        let ratio = self.trial.ratio().map(|ratio| format!(", {ratio:.0} times later")).unwrap_or_default();
        let (train, test) = (when(self.trial.train_step()), when(self.trial.test_step()));
        format!("{}: 99 % of the sums that it learned {train}, of the others {test}{ratio}", self.name())
    }
}

/// A plan for the whole table at each step.
fn plan(options: &PretrainOptions, table: &Table) -> Plan {
    let PretrainOptions { width, layers, heads, seed, .. } = *options;
    // All of these were given.
    let (width, layers, heads) = (width.unwrap_or(1), layers.unwrap_or(1), heads.unwrap_or(1));
    let modulus = table.train.first().map_or(0, |sum| sum.inputs[LENGTH - 1]);
    let spec = Spec {
        context: LENGTH,
        embedding_scale: EMBEDDING_SCALE,
        head: Head::Vocabulary { tied: false },
        ..Spec::llama(width, layers, heads, vocabulary(modulus))
    };
    let weight_decay = options.weight_decay.unwrap_or(0.0);
    Plan {
        objective: options.objective.clone(),
        objective_settings: ObjectiveSettings::default(),
        precision: options.precision.unwrap_or_default(),
        family: None,
        context: LENGTH,
        sequences: table.train.len(),
        sequences_at_once: table.train.len().min(AT_ONCE_MAX),
        schedule: Schedule {
            peak: options.learning_rate.unwrap_or(0.0),
            floor: 1.0,
            warmup_steps: WARMUP_STEPS,
            steps: options.steps.unwrap_or(0),
            decay: Decay::Linear,
        },
        optimizer: AdamWSettings { beta2: BETA2, weight_decay, ..AdamWSettings::default() },
        shuffle_sequences: 1,
        strata: 1,
        mix: Vec::new(),
        muon: None,
        optimizer_states: States::default(),
        dropout: 0.0,
        document_mask: false,
        seed,
        spec,
    }
}

/// Asks a model, which is not changed, for sums.
fn measure(model: &mut TrainableModel, sums: &[Example]) -> Result<Measure> {
    let (mut right, mut nats, mut probability) = (0, 0.0, 0.0);
    for part in sums.chunks(AT_ONCE_MAX) {
        let Assembled { batch, rows, targets, .. } = Assembled::of(part);
        let logits = model.logits(&batch, &rows)?;
        let mut losses = vec![0.0; targets.len()];
        loss::negative_log_likelihood(&logits, &targets, &mut losses);
        let answers = logits.chunks(model.spec().vocab).zip(&targets);
        right += answers.filter(|(row, target)| likeliest(row) == **target as usize).count();
        nats += losses.iter().map(|&nats| f64::from(nats)).sum::<f64>();
        probability += losses.iter().map(|&nats| f64::from(-nats).exp()).sum::<f64>();
    }
    let share = |sum: f64| (sum / sums.len() as f64) as f32;
    Ok(Measure { accuracy: share(right as f64), loss: share(nats), probability: share(probability) })
}

/// The place of the greatest value, the first of several.
fn likeliest(row: &[f32]) -> usize {
    let better =
        |best: (usize, f32), (place, &value): (usize, &f32)| if value > best.1 { (place, value) } else { best };
    row.iter().enumerate().fold((0, f32::NEG_INFINITY), better).0
}
