//! What came of the demonstration, for machines and on a page.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::trial::{Measure, Point, Trial};
use super::{GrokOptions, LEARNED, RATIO_MIN};
use crate::plot::{self, Axis, Mark, Plot, Series, Spacing};

/// Milestones of a run, beside its first step.
const MILESTONES: u32 = 15;

/// The whole demonstration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// What was asked.
    pub options: GrokOptions,
    /// The share of right answers that counts as learned.
    pub learned: f32,
    /// The least ratio of steps that counts as grokking.
    pub ratio_min: f64,
    /// Whether every seed showed it with weight decay, and none without.
    pub holds: bool,
    /// What each seed showed.
    pub findings: Vec<Finding>,
    /// Seconds of all steps together.
    pub seconds: f64,
    /// Every run, with everything that was measured.
    pub trials: Vec<Trial>,
}

/// What a seed showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// The seed.
    pub seed: u64,
    /// With weight decay: the step by which the training side was learned.
    pub train_step: Option<u64>,
    /// The step by which the test side was known.
    pub test_step: Option<u64>,
    /// How many times as many steps that took.
    pub ratio: Option<f64>,
    /// The test side's accuracy at the last step: what was known can be lost again for a while, where a training loss
    /// of almost nothing makes AdamW's steps coarse.
    pub end_accuracy: f32,
    /// Without weight decay: the step by which the training side was learned.
    pub without_train_step: Option<u64>,
    /// The step by which the test side was known.
    pub without_test_step: Option<u64>,
    /// Steps in all.
    pub without_steps: u64,
    /// The test side's best accuracy.
    pub without_accuracy: f32,
}

impl Finding {
    /// Whether the seed showed grokking, and none without weight decay.
    pub fn holds(&self) -> bool {
        self.ratio.is_some_and(|ratio| ratio >= RATIO_MIN) && self.without_test_step.is_none()
    }

    fn of(seed: u64, trials: &[Trial]) -> Option<Self> {
        let of_seed = |decays: bool| move |trial: &&Trial| trial.seed == seed && (trial.weight_decay > 0.0) == decays;
        let with = trials.iter().find(of_seed(true))?;
        let without = trials.iter().find(of_seed(false))?;
        Some(Self {
            seed,
            train_step: with.train_step(),
            test_step: with.test_step(),
            ratio: with.ratio(),
            end_accuracy: with.points.last().map_or(0.0, |point| point.test.accuracy),
            without_train_step: without.train_step(),
            without_test_step: without.test_step(),
            without_steps: without.steps(),
            without_accuracy: without.points.iter().map(|point| point.test.accuracy).fold(0.0, f32::max),
        })
    }
}

impl Report {
    /// Draws the conclusions from all runs.
    pub(super) fn of(options: &GrokOptions, trials: Vec<Trial>) -> Self {
        let seeds = options.seed..options.seed + options.seeds;
        let findings: Vec<Finding> = seeds.filter_map(|seed| Finding::of(seed, &trials)).collect();
        Self {
            options: options.clone(),
            learned: LEARNED,
            ratio_min: RATIO_MIN,
            holds: findings.iter().all(Finding::holds),
            findings,
            seconds: trials.iter().map(|trial| trial.seconds).sum(),
            trials,
        }
    }

    /// The figures for the manifest.
    pub(super) fn metrics(&self) -> Vec<(String, Value)> {
        let ratios = self.findings.iter().filter_map(|finding| finding.ratio);
        let least = ratios.fold(f64::INFINITY, f64::min);
        let without = self.findings.iter().map(|finding| finding.without_accuracy).fold(0.0, f32::max);
        let parameters = self.trials.first().map_or(0, |trial| trial.parameters);
        let metrics = [
            ("holds", json!(self.holds)),
            ("parameters", json!(parameters)),
            ("ratio_least", if least.is_finite() { json!(least) } else { Value::Null }),
            ("accuracy_without_decay", json!(without)),
            ("seconds", json!(self.seconds)),
        ];
        metrics.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// The findings as rows of words, the first of them the head.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let step = |step: Option<u64>| step.map_or_else(|| "never".to_owned(), |step| step.to_string());
        let head = [
            "seed",
            "train 99 %",
            "test 99 %",
            "ratio",
            "test at the end",
            "no decay: train",
            "test",
            "best test accuracy",
        ];
        let row = |finding: &Finding| {
            vec![
                finding.seed.to_string(),
                step(finding.train_step),
                step(finding.test_step),
                finding.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.1}")),
                percent(finding.end_accuracy),
                step(finding.without_train_step),
                format!("{} in {}", step(finding.without_test_step), finding.without_steps),
                format!("{:.1} %", 100.0 * finding.without_accuracy),
            ]
        };
        let head = head.map(str::to_owned).to_vec();
        std::iter::once(head).chain(self.findings.iter().map(row)).collect()
    }

    /// The page with its charts.
    pub(super) fn page(&self) -> String {
        let GrokOptions { modulus, weight_decay, .. } = self.options;
        let sums = self.trials.first().map_or((0, 0), |trial| trial.sums);
        let about = format!(
            "A model of {} parameters learns {} of the {} sums (a + b) mod {modulus}, all of them at every step, and is \
             asked for the others. With weight decay {weight_decay} it knows the first within a few steps, by heart, and \
             the others many times later, all at once; without weight decay it never knows them. Accuracy counts an \
             answer once it is the likeliest, and jumps; the right answer's loss and probability, of the same runs beside \
             it, have been on their way for long before.",
            self.trials.first().map_or(0, |trial| trial.parameters),
            sums.0,
            sums.0 + sums.1,
        );
        let tiles: String = self.tiles().iter().map(|(figure, what)| plot::tile(figure, what)).collect();
        let plots = self.findings.iter().flat_map(|finding| self.plots(finding.seed));
        let charts: String = plots.map(|plot| plot.card()).collect();
        let seed = self.options.seed;
        let body = format!(
            "<p>{}</p>\n<div class=\"tiles\">{tiles}</div>\n<section class=\"card\">{}</section>\n\
             <section class=\"charts\">{charts}</section>\n\
             <section class=\"card\"><h2>Seed {seed}: the same in figures</h2>{}</section>\n",
            plot::escape(&about),
            plot::table(&self.rows()),
            plot::table(&self.along(seed))
        );
        let verdict = if self.holds { "holds for every seed" } else { "does not hold for every seed" };
        plot::page("grokking", verdict, &body)
    }

    /// What was measured of a seed on its way, as rows of words, the first of them the head: the sharp measure
    /// and the smooth ones side by side.
    pub fn along(&self, seed: u64) -> Vec<Vec<String>> {
        let head = [
            "step",
            "learned: accuracy",
            "loss",
            "asked for: accuracy",
            "loss",
            "probability",
            "no decay: accuracy",
            "loss",
        ];
        let points = |decays| self.trial(seed, decays).map_or(&[][..], |trial| &trial.points);
        let without = points(false);
        let row = |point: &Point| {
            let beside = without.iter().find(|other| other.step == point.step).map(|other| other.test);
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
            vec![
                point.step.to_string(),
                percent(point.train.accuracy),
                nats(point.train.loss),
                percent(point.test.accuracy),
                nats(point.test.loss),
                format!("{:.3}", point.test.probability),
                or_dash(beside.map(|measure| percent(measure.accuracy))),
                or_dash(beside.map(|measure| nats(measure.loss))),
            ]
        };
        let head = head.map(str::to_owned).to_vec();
        std::iter::once(head).chain(milestones(points(true)).into_iter().map(row)).collect()
    }

    fn trial(&self, seed: u64, decays: bool) -> Option<&Trial> {
        self.trials.iter().find(|trial| trial.seed == seed && (trial.weight_decay > 0.0) == decays)
    }

    fn tiles(&self) -> Vec<(String, &'static str)> {
        let ratios = self.findings.iter().filter_map(|finding| finding.ratio);
        let least = ratios.clone().fold(f64::INFINITY, f64::min);
        let most = ratios.fold(0.0, f64::max);
        let grokked = self.findings.iter().filter(|finding| finding.ratio.is_some_and(|ratio| ratio >= RATIO_MIN));
        let without = self.findings.iter().filter(|finding| finding.without_test_step.is_some()).count();
        let seeds = self.findings.len();
        let range = if least.is_finite() { format!("{least:.1} to {most:.1}") } else { "–".to_owned() };
        vec![
            (format!("{} of {seeds}", grokked.count()), "seeds that grokked with weight decay"),
            (format!("{without} of {seeds}"), "without"),
            (range, "times as many steps for the test side"),
            (format!("{:.1} min", self.seconds / 60.0), "of training, all runs"),
        ]
    }

    /// The charts of a seed: accuracy, and beside it the right answer's loss and probability.
    pub fn plots(&self, seed: u64) -> [Plot; 3] {
        let chart = |what: &str, spacing, value: fn(Measure) -> f32| {
            let axis = |label: &str, spacing| Axis { label: label.to_owned(), spacing };
            Plot {
                title: format!("Seed {seed}: {what}"),
                x: axis("step", Spacing::Log),
                y: axis(what, spacing),
                series: self.series(seed, value),
            }
        };
        [
            chart("accuracy", Spacing::Linear, |measure| measure.accuracy),
            chart("loss of the right answer, nats", Spacing::Log, |measure| measure.loss),
            chart("probability of the right answer", Spacing::Linear, |measure| measure.probability),
        ]
    }

    fn series(&self, seed: u64, value: fn(Measure) -> f32) -> Vec<Series> {
        let of_seed = self.trials.iter().filter(|trial| trial.seed == seed);
        let lines = of_seed.flat_map(|trial| {
            let decays = trial.weight_decay > 0.0;
            let (kind, mark) = if decays { ("", Mark::Line) } else { (", no weight decay", Mark::Dashes) };
            let line = |name: &str, colour, side: fn(&Point) -> Measure| Series {
                name: format!("{name}{kind}"),
                colour,
                mark,
                points: trial.points.iter().map(|point| (point.step as f64, value(side(point)).into())).collect(),
            };
            [line("learned", 0, |point| point.train), line("asked for", 1, |point| point.test)]
        });
        lines.collect()
    }
}

/// Points whose steps are about as squares, so that the beginning is seen and what comes late too; the first and the last
/// among them.
fn milestones(points: &[Point]) -> Vec<&Point> {
    let last = points.last().map_or(1, |point| point.step) as f64;
    let targets = (0..=MILESTONES).map(|place| last * (f64::from(place) / f64::from(MILESTONES)).powi(2));
    let at = |target: f64| points.iter().find(|point| point.step as f64 >= target - 0.5);
    let mut found: Vec<&Point> = targets.filter_map(at).collect();
    found.dedup_by_key(|point| point.step);
    found
}

fn percent(share: f32) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn nats(loss: f32) -> String {
    if loss < 0.01 { format!("{loss:.1e}") } else { format!("{loss:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(seed: u64, weight_decay: f64, test: [f32; 4]) -> Trial {
        let measure = |accuracy| Measure { accuracy, loss: 1.0 - 0.9 * accuracy, probability: accuracy };
        let point = |(place, &accuracy): (usize, &f32)| {
            let train = measure(if place == 0 { 0.2 } else { 1.0 });
            Point { step: 10u64.pow(place as u32), train, test: measure(accuracy) }
        };
        let points = test.iter().enumerate().map(point).collect();
        Trial { seed, weight_decay, parameters: 9, sums: (5, 4), seconds: 30.0, points }
    }

    fn report(without: [f32; 4]) -> Report {
        let options = GrokOptions { seeds: 2, ..GrokOptions::default() };
        let learns = [0.0, 0.1, 0.4, 1.0];
        let trials =
            vec![trial(0, 1.0, learns), trial(1, 1.0, learns), trial(0, 0.0, [0.0; 4]), trial(1, 0.0, without)];
        Report::of(&options, trials)
    }

    #[test]
    fn conclusions_follow_from_the_runs() {
        let found = report([0.0, 0.1, 0.2, 0.3]);
        assert!(found.holds);
        let Finding { train_step, test_step, ratio, without_test_step, without_accuracy, .. } = found.findings[1];
        assert_eq!((train_step, test_step, ratio), (Some(10), Some(1000), Some(100.0)));
        assert_eq!((without_test_step, without_accuracy), (None, 0.3));
        assert_eq!(found.rows()[2], ["1", "10", "1000", "100.0", "100.0 %", "10", "never in 1000", "30.0 %"]);
        let along = found.along(1);
        assert_eq!(along.len(), 5, "each of four points: {along:?}");
        assert_eq!(along[3], ["100", "100.0 %", "0.100", "40.0 %", "0.640", "0.400", "20.0 %", "0.820"]);
        assert!(!report([0.0, 0.1, 0.2, 1.0]).holds, "one without weight decay knew the answers too");
        let again: Report = serde_json::from_str(&serde_json::to_string(&found).unwrap()).unwrap();
        assert_eq!(again, found);
    }

    #[test]
    fn the_page_shows_every_seed() {
        let page = report([0.0; 4]).page();
        for words in ["holds for every seed", "Seed 0: accuracy", "Seed 1: loss", "2 of 2", "never in 1000"] {
            assert!(page.contains(words), "{words}");
        }
        assert!(!page.contains("NaN"));
    }
}
