//! How loss falls with the size of a model and the text that it reads, measured, fitted, and held against a larger run.
//!
//! - [`ladder`]: which models, for how many tokens each.
//! - `runs`: training them; runs of one model share what they have in common.
//! - [`law`], [`fit`]: `L = E + A / N^α + B / D^β`, its constants and how sure they are.
//! - [`measure`]: sharp and smooth measures of the same models.
//! - [`report`]: what came of it.
//!
//! The law is fitted to the ladder alone, and its prediction of the held-out run is on disk before that run begins.

pub mod fit;
pub mod ladder;
pub mod law;
pub mod measure;
mod minimise;
mod page;
pub mod report;
mod runs;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use luban_artifact::{Artifact, ArtifactWriter, Kind};
use luban_base::progress::Event;
use luban_tensor::Precision;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::plot::short;
use crate::pretrain::Context;
use crate::settings::MINUTES_MAX;
use fit::{Fit, Observation};
use ladder::UNIT;
pub use report::Report;
use report::{Count, Fitted, Prediction, RunFigures, Size};
use runs::Ground;

/// The files of the report: its figures, and its page.
pub const REPORT: &str = "report.json";
/// See [`REPORT`].
pub const PAGE: &str = "report.html";
/// How near a prediction has to come.
pub const NEAR: f64 = 0.02;
/// The share of resamplings that intervals hold.
pub const SURE: f64 = 0.95;

/// What is asked of the demonstration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ScaleOptions {
    /// How long all of it should take on this machine.
    pub minutes: f64,
    /// Models of the ladder, at most.
    pub sizes: usize,
    /// Numbers of tokens that each is trained for, each twice the one before.
    pub lengths: usize,
    /// Width of the held-out model, a multiple of 16; overrules the minutes.
    pub width: Option<usize>,
    /// Optimizer steps of the held-out run; overrules the minutes.
    pub steps: Option<u64>,
    /// Tokens of a sequence.
    pub context: usize,
    /// Tokens of a step.
    pub batch: Option<usize>,
    /// Highest learning rate of a model of width 128; it falls with the root of the width.
    pub learning_rate: Option<f64>,
    /// What matrix products round their factors to.
    pub precision: Option<Precision>,
    /// Decides the first weights, the order of the text, and what is drawn again.
    pub seed: u64,
    /// How many times the law is fitted to runs drawn again.
    pub resamplings: u64,
    /// Held-out text that every run is measured on, bytes at most.
    pub validation_bytes: u64,
    /// Steps between checkpoints; about a minute's worth when not given. Changes no result.
    #[serde(skip)]
    pub checkpoint_every: Option<u64>,
    /// Begin anew.
    #[serde(skip)]
    pub fresh: bool,
}

impl Default for ScaleOptions {
    fn default() -> Self {
        Self {
            minutes: 30.0,
            sizes: 5,
            lengths: 4,
            width: None,
            steps: None,
            context: 256,
            batch: None,
            learning_rate: None,
            precision: None,
            seed: 0,
            resamplings: 1000,
            validation_bytes: 512 << 10,
            checkpoint_every: None,
            fresh: false,
        }
    }
}

impl ScaleOptions {
    /// Checks every number against its bounds.
    ///
    /// # Errors
    /// Names the first option that is out of them.
    pub fn validate(&self) -> Result<()> {
        let fail = |name, found: String, expected: String| Err(Error::Setting { name, found, expected });
        let whole = |name, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => fail(name, value.to_string(), format!("{least} to {most}")),
        };
        if !(self.minutes > 0.0 && self.minutes <= MINUTES_MAX) {
            return fail("minutes", self.minutes.to_string(), format!("a number above 0 and up to {MINUTES_MAX}"));
        }
        whole("sizes", self.sizes as u64, 2, 64)?;
        whole("lengths", self.lengths as u64, 3, 16)?;
        whole("steps", self.steps.unwrap_or(1), 1, 1 << 40)?;
        whole("context", self.context as u64, 2, 1 << 20)?;
        whole("resamplings", self.resamplings, 20, 1_000_000)?;
        whole("validation-bytes", self.validation_bytes, 1, 1 << 40)?;
        match self.width {
            Some(width) if !width.is_multiple_of(UNIT) || !(1..=64).contains(&(width / UNIT)) => {
                fail("width", width.to_string(), format!("a multiple of {UNIT} up to {}", 64 * UNIT))
            }
            _ => Ok(()),
        }
    }
}

/// How it ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The report stands at its target.
    Finished(Box<Artifact>),
    /// It was cancelled; the same call goes on from there.
    Interrupted,
}

/// Where the runs lie: beside the report, as `<target>.runs`. They stay.
pub fn runs_dir(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(|| OsString::from("scale"), OsString::from);
    name.push(".runs");
    target.with_file_name(name)
}

/// Trains a ladder of models, fits the law to it, predicts a larger run, trains that, and leaves a report at `target`.
/// What was interrupted, killed included, goes on: finished runs are found again, the last one goes on from its newest
/// checkpoint, and all ends with the very weights of an unbroken demonstration.
///
/// # Errors
/// An option out of bounds, a corpus or tokenizer that cannot be read, runs of other options, a run that fails, or a
/// disk that refuses.
pub fn scale(
    options: &ScaleOptions,
    corpus: &Artifact,
    tokenizer: &Artifact,
    target: &Path,
    context: Context<'_>,
) -> Result<Outcome> {
    options.validate()?;
    let mut writer = ArtifactWriter::create(target, Kind::Report)?;
    let dir = runs_dir(target);
    let Some(ground) = Ground::open(options, [corpus, tokenizer], &dir, context)? else {
        return Ok(Outcome::Interrupted);
    };
    let Some(report) = carry_out(&ground)? else { return Ok(Outcome::Interrupted) };
    let json = serde_json::to_vec_pretty(&report).expect("a report of plain values is always written");
    writer.write(REPORT, &json)?;
    writer.write(PAGE, report.page().as_bytes())?;
    writer.stage("scale").input("corpus", corpus).input("tokenizer", tokenizer);
    writer.settings(serde_json::to_value(options).unwrap_or(Value::Null));
    for (name, value) in report.metrics() {
        writer.metric(&name, value);
    }
    Ok(Outcome::Finished(Box::new(writer.commit(context.keys)?)))
}

/// All runs, with the fit and the prediction before the last; nothing if one was interrupted.
fn carry_out(ground: &Ground<'_>) -> Result<Option<Report>> {
    let Some(runs) = ground.ladder_runs()? else { return Ok(None) };
    let mut fit = fitted(ground, &runs, Size::all)?;
    let without_embedding = fitted(ground, &runs, Size::without_embedding)?;
    fit.prediction = ground.register(fit.prediction)?;
    let (Prediction { loss, low, high, .. }, size) = (fit.prediction, ground.held_out_size());
    let text = format!(
        "the law says {loss:.4} ({low:.4} to {high:.4}) for {} parameters and {} tokens",
        short(size.all()),
        short(size.tokens)
    );
    ground.context.observer.event(&Event::Note(&text));
    let Some(held_out) = ground.held_out_run()? else { return Ok(None) };
    let seconds = ground.seconds(&runs)? + held_out.seconds;
    let report = Report {
        options: ground.options.clone(),
        ladder: ground.ladder.clone(),
        runs,
        fit,
        without_embedding,
        held_out,
        error: 0.0,
        error_without_embedding: 0.0,
        error_of_best: 0.0,
        holds: false,
        within_interval: false,
        seconds,
    };
    Ok(Some(report.compare()))
}

/// The law, with parameters counted in a way, and what it says of the held-out run.
fn fitted(ground: &Ground<'_>, runs: &[RunFigures], count: Count) -> Result<Fitted> {
    let ScaleOptions { resamplings, seed, .. } = *ground.options;
    let observations: Vec<Observation> = runs.iter().map(|run| run.observation(count)).collect();
    let fit = Fit::of(&observations, resamplings, seed).ok_or_else(|| Error::Setting {
        name: "sizes",
        found: format!("a ladder of {} runs", runs.len()),
        expected: format!("one of {} runs at least", fit::RUNS_MIN),
    })?;
    let size = ground.held_out_size();
    Ok(Fitted::of(&fit, (count(&size), size.tokens), seed))
}

/// Reads the report of a finished demonstration.
///
/// # Errors
/// If it cannot be read or is none.
pub fn read(artifact: &Artifact) -> Result<Report> {
    let bytes = artifact.read(REPORT)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let corrupt = luban_artifact::Error::Corrupt {
            path: artifact.dir().join(REPORT),
            what: "the report".to_owned(),
            expected: "one of scaling".to_owned(),
            found: error.to_string(),
        };
        corrupt.into()
    })
}
