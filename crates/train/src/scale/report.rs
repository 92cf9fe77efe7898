//! What came of a ladder, for machines.

use luban_artifact::Artifact;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fit::{Fit, Interval, Observation};
use super::ladder::{Ladder, Rung};
use super::law::{Law, OPERATIONS};
use super::measure::Grades;
use super::{NEAR, SURE, ScaleOptions};
use crate::error::{Error, Result};
use crate::plot::short;

/// What a law counts of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Size {
    /// All parameters.
    pub parameters: usize,
    /// Those of them that are the token embedding.
    pub embedding: usize,
    /// Tokens that it was trained on.
    pub tokens: f64,
}

/// A way to count parameters.
pub type Count = fn(&Size) -> f64;

impl Size {
    /// All of them.
    pub fn all(&self) -> f64 {
        self.parameters as f64
    }

    /// All but the embedding.
    pub fn without_embedding(&self) -> f64 {
        (self.parameters - self.embedding) as f64
    }

    /// Floating-point operations of training, about.
    pub fn operations(&self) -> f64 {
        OPERATIONS * self.all() * self.tokens
    }
}

/// A run and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunFigures {
    /// Width of the model.
    pub width: usize,
    /// Its layers.
    pub layers: usize,
    /// What the law counts.
    pub size: Size,
    /// Optimizer steps.
    pub steps: u64,
    /// Loss on held-out text, nats a token, as the run's own manifest has it.
    pub loss: f64,
    /// Bits a byte of that text.
    pub bits_per_byte: f64,
    /// Sharp and smooth measures on the same text.
    pub grades: Grades,
    /// Seconds that its steps took, with those that it shares with other runs.
    pub seconds: f64,
    /// The model's identity.
    pub digest: String,
}

impl RunFigures {
    pub(super) fn of(artifact: &Artifact, rung: &Rung, size: Size, grades: Grades) -> Result<Self> {
        let metrics = &artifact.manifest().metrics;
        let metric = |name: &str| {
            metrics.get(name).and_then(Value::as_f64).ok_or_else(|| {
                let (what, expected) = (format!("the metric {name}"), "a number".to_owned());
                let path = artifact.dir().to_owned();
                Error::from(luban_artifact::Error::Corrupt { path, what, expected, found: "none".to_owned() })
            })
        };
        Ok(Self {
            width: rung.width,
            layers: rung.layers,
            size,
            steps: metric("steps")? as u64,
            loss: metric("validation_loss")?,
            bits_per_byte: metric("bits_per_byte")?,
            grades,
            seconds: metric("seconds")?,
            digest: artifact.digest().to_string(),
        })
    }

    pub(super) fn observation(&self, count: Count) -> Observation {
        Observation { parameters: count(&self.size), tokens: self.size.tokens, loss: self.loss }
    }

    pub(super) fn line(&self) -> String {
        let Size { parameters, tokens, .. } = self.size;
        format!("{} parameters, {} tokens: loss {:.4}", short(parameters as f64), short(tokens), self.loss)
    }
}

/// What a law says of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Prediction {
    /// The loss, nats a token.
    pub loss: f64,
    /// Where it is to be expected: from here …
    pub low: f64,
    /// … to there.
    pub high: f64,
    /// When it was put on disk, in seconds since 1970; before the run that it predicts.
    pub registered_unix_s: Option<u64>,
}

/// A law with what is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Fitted {
    /// The constants.
    pub law: Law,
    /// Where resamplings have each: E, A, α, B, β.
    pub intervals: [Interval; 5],
    /// The exponent with which the best number of parameters grows with the operations, β / (α + β).
    pub exponent: f64,
    /// Where resamplings have it.
    pub exponent_interval: Interval,
    /// The root of the mean square of the residuals, as a share of the loss.
    pub deviation: f64,
    /// What it says of the held-out run.
    pub prediction: Prediction,
}

impl Fitted {
    pub(super) fn of(fit: &Fit, (parameters, tokens): (f64, f64), seed: u64) -> Self {
        let values: [fn(&Law) -> f64; 5] = [|law| law.e, |law| law.a, |law| law.alpha, |law| law.b, |law| law.beta];
        let exponent = |law: &Law| law.beta / (law.alpha + law.beta);
        let (low, high) = fit.expectation(SURE, (parameters, tokens), seed);
        Self {
            law: fit.law,
            intervals: values.map(|value| fit.interval(SURE, value)),
            exponent: exponent(&fit.law),
            exponent_interval: fit.interval(SURE, exponent),
            deviation: fit.deviation(),
            prediction: Prediction { loss: fit.law.loss(parameters, tokens), low, high, registered_unix_s: None },
        }
    }
}

/// The whole demonstration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// What was asked.
    pub options: ScaleOptions,
    /// What was planned.
    pub ladder: Ladder,
    /// The ladder's runs.
    pub runs: Vec<RunFigures>,
    /// The law, N counting all parameters: the one that predicts.
    pub fit: Fitted,
    /// The same without the embedding, to compare.
    pub without_embedding: Fitted,
    /// The run that was predicted.
    pub held_out: RunFigures,
    /// By how much of it the prediction is off: positive where it said too much.
    pub error: f64,
    /// The same of the other count's.
    pub error_without_embedding: f64,
    /// By how much the ladder's best loss is off, which needs no law.
    pub error_of_best: f64,
    /// Whether the prediction is within the share that was asked for, [`NEAR`].
    pub holds: bool,
    /// Whether the loss is where it was to be expected.
    pub within_interval: bool,
    /// Seconds that all steps took.
    pub seconds: f64,
}

impl Report {
    /// Compares a law with the run that it predicted.
    pub(super) fn compare(self) -> Self {
        let measured = self.held_out.loss;
        let off = |loss: f64| loss / measured - 1.0;
        let best = self.runs.iter().map(|run| run.loss).fold(f64::INFINITY, f64::min);
        let Prediction { loss, low, high, .. } = self.fit.prediction;
        Self {
            error: off(loss),
            error_without_embedding: off(self.without_embedding.prediction.loss),
            error_of_best: off(best),
            holds: off(loss).abs() <= NEAR,
            within_interval: (low..=high).contains(&measured),
            ..self
        }
    }

    /// The figures for the manifest.
    pub(super) fn metrics(&self) -> Vec<(String, Value)> {
        let Law { e, a, alpha, b, beta } = self.fit.law;
        let metrics = [
            ("holds", json!(self.holds)),
            ("predicted_loss", json!(self.fit.prediction.loss)),
            ("measured_loss", json!(self.held_out.loss)),
            ("error", json!(self.error)),
            ("e", json!(e)),
            ("a", json!(a)),
            ("alpha", json!(alpha)),
            ("b", json!(b)),
            ("beta", json!(beta)),
            ("runs", json!(self.runs.len())),
            ("seconds", json!(self.seconds)),
        ];
        metrics.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    /// The runs as rows of words, the first of them the head.
    pub fn rows(&self) -> Vec<Vec<String>> {
        let head = ["parameters", "tokens", "loss", "law", "off", "bits/byte", "token right", "4 right", "16 right"];
        let share = |value: f64| format!("{:.2} %", 100.0 * value);
        let row = |run: &RunFigures| {
            let law = self.fit.law.loss(run.size.all(), run.size.tokens);
            let [four, _, sixteen] = run.grades.spans;
            vec![
                short(run.size.all()),
                short(run.size.tokens),
                format!("{:.4}", run.loss),
                format!("{law:.4}"),
                format!("{:+.2} %", 100.0 * (law / run.loss - 1.0)),
                format!("{:.4}", run.bits_per_byte),
                share(run.grades.accuracy),
                share(four),
                share(sixteen),
            ]
        };
        let head = head.map(str::to_owned).to_vec();
        std::iter::once(head).chain(self.runs.iter().chain([&self.held_out]).map(row)).collect()
    }

    /// The constants as rows of words, the first of them the head.
    pub fn constants(&self) -> Vec<Vec<String>> {
        let head = ["constant", "all parameters", "95 % of resamplings", "without embedding", "95 %"];
        let of = |fitted: &Fitted| {
            let Law { e, a, alpha, b, beta } = fitted.law;
            ([e, a, alpha, b, beta, fitted.exponent], [&fitted.intervals[..], &[fitted.exponent_interval]].concat())
        };
        let (all, without) = (of(&self.fit), of(&self.without_embedding));
        let names = ["E", "A", "α", "B", "β", "N grows as C to the"];
        let row = |(place, name): (usize, &str)| {
            let value = |(values, intervals): &([f64; 6], Vec<Interval>)| {
                let (low, high) = intervals[place];
                [Shown(values[place]).to_string(), format!("{} to {}", Shown(low), Shown(high))]
            };
            [vec![name.to_owned()], value(&all).to_vec(), value(&without).to_vec()].concat()
        };
        let head = head.map(str::to_owned).to_vec();
        std::iter::once(head).chain(names.into_iter().enumerate().map(row)).collect()
    }

    /// The verdict in sentences.
    pub fn verdict(&self) -> String {
        let Prediction { loss, low, high, .. } = self.fit.prediction;
        let share = |value: f64| format!("{:+.2} %", 100.0 * value);
        format!(
            "The law said {loss:.4} ({low:.4} to {high:.4}) for {} parameters and {} tokens; the run came to {:.4}: {} \
             off, so that it {} within {:.0} %. The ladder's best loss would have been {} off, the law without \
             embeddings {}.",
            short(self.held_out.size.all()),
            short(self.held_out.size.tokens),
            self.held_out.loss,
            share(self.error),
            if self.holds { "holds" } else { "does not hold" },
            100.0 * NEAR,
            share(self.error_of_best),
            share(self.error_without_embedding),
        )
    }
}

/// A constant in four figures, whatever its size.
struct Shown(f64);

impl std::fmt::Display for Shown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.abs() {
            size if size >= 1e4 => write!(formatter, "{:.3e}", self.0),
            size if size >= 100.0 => write!(formatter, "{:.1}", self.0),
            _ => write!(formatter, "{:.4}", self.0),
        }
    }
}
