//! Grokking: a small model learns sums modulo a number by heart long before it understands them (Power et al. 2022).
//!
//! Each seed divides the table of sums anew and trains two models on one side of it, with the training path of every
//! other model here: one with weight decay, which is asked for the other side and suddenly knows it, and one without,
//! for as many steps as the slowest of the first kind took, which does not. Weight decay prefers the weights of a rule
//! to those of a list, as they are smaller (Liu et al. 2023; Nanda et al. 2023).
//!
//! Accuracy is a sharp measure: an answer counts once it is the likeliest. The mean negative logarithm of the right
//! answer's probability and that probability itself are smooth ones, and show what comes before the jump; Schaeffer et
//! al. (2023) trace most of what was called emergence back to that difference. So all three are recorded side by side.

mod report;
mod task;
mod trial;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use luban_artifact::{Artifact, ArtifactWriter, Kind};
use luban_tensor::Precision;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::pretrain::Context;

pub use report::{Finding, Report};
pub use task::Table;
use trial::{Ended, Ground};
pub use trial::{Measure, Point, Trial};

/// The share of right answers that counts as having learned.
pub const LEARNED: f32 = 0.99;
/// How many times as many steps as the training side the test side takes, at least, where grokking is to be seen.
pub const RATIO_MIN: f64 = 5.0;
/// Greatest first seed: JSON gives whole numbers up to here back as they were, everywhere.
const SEED_MAX: u64 = 1 << 53;
/// The files of the report: its figures, and its page.
pub const REPORT: &str = "report.json";
/// See [`REPORT`].
pub const PAGE: &str = "report.html";

/// What is asked of the demonstration. The defaults take about half an hour of CPU time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct GrokOptions {
    /// Sums are taken modulo this number.
    pub modulus: u32,
    /// Share of the sums that is learned; the others are asked for.
    pub train_share: f64,
    /// How many times to show it.
    pub seeds: u64,
    /// The first seed; it decides the division of the sums and the first weights.
    pub seed: u64,
    /// Most steps of a run.
    pub steps: u64,
    /// Width of the model.
    pub width: usize,
    /// Its layers.
    pub layers: usize,
    /// Its attention heads.
    pub heads: usize,
    /// Learning rate, after a short warm-up.
    pub learning_rate: f64,
    /// Weight decay of the runs that have it.
    pub weight_decay: f64,
    /// What matrix products round their factors to.
    pub precision: Precision,
    /// Steps between checkpoints; about a minute's worth when not given. Changes no result.
    #[serde(skip)]
    pub checkpoint_every: Option<u64>,
    /// Begin anew.
    #[serde(skip)]
    pub fresh: bool,
}

impl Default for GrokOptions {
    fn default() -> Self {
        Self {
            modulus: 59,
            train_share: 0.5,
            seeds: 5,
            seed: 0,
            steps: 4000,
            width: 128,
            layers: 1,
            heads: 4,
            learning_rate: 3e-3,
            weight_decay: 1.0,
            precision: Precision::F32,
            checkpoint_every: None,
            fresh: false,
        }
    }
}

impl GrokOptions {
    /// Checks every number against its bounds.
    ///
    /// # Errors
    /// Names the first option that is out of them.
    pub fn validate(&self) -> Result<()> {
        let whole = |name, value: u64, least: u64, most: u64| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(Error::Setting { name, found: value.to_string(), expected: format!("{least} to {most}") }),
        };
        let real = |name, value: f64, most: f64| match value > 0.0 && value <= most {
            true => Ok(()),
            false => {
                let expected = format!("a number above 0 and up to {most}");
                Err(Error::Setting { name, found: value.to_string(), expected })
            }
        };
        whole("modulus", self.modulus.into(), 3, 997)?;
        real("train-share", self.train_share, 0.99)?;
        whole("seeds", self.seeds, 1, 1000)?;
        whole("seed", self.seed, 0, SEED_MAX)?;
        whole("steps", self.steps, 1, 1 << 30)?;
        whole("width", self.width as u64, 2, 1 << 14)?;
        whole("layers", self.layers as u64, 1, 1 << 8)?;
        whole("heads", self.heads as u64, 1, 1 << 10)?;
        if !self.width.is_multiple_of(self.heads) || !(self.width / self.heads).is_multiple_of(2) {
            let expected = format!("a number that divides the width, {}, into even parts", self.width);
            return Err(Error::Setting { name: "heads", found: self.heads.to_string(), expected });
        }
        real("learning-rate", self.learning_rate, 10.0)?;
        real("weight-decay", self.weight_decay, 10.0)
    }
}

/// How the demonstration ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The report stands at its target.
    Finished(Box<Artifact>),
    /// It was cancelled; the same call goes on from there.
    Interrupted,
}

/// Where the runs of a demonstration lie while it lasts: beside its report, as `<target>.runs`.
pub fn runs_dir(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(|| OsString::from("grok"), OsString::from);
    name.push(".runs");
    target.with_file_name(name)
}

/// Shows grokking and leaves a report at `target`. What was interrupted, killed included, goes on from its newest
/// checkpoints and ends with the very figures of an unbroken demonstration.
///
/// # Errors
/// An option out of bounds, checkpoints of other options, a loss that is no number, or a disk that refuses.
pub fn grok(options: &GrokOptions, target: &Path, context: Context<'_>) -> Result<Outcome> {
    options.validate()?;
    let mut writer = ArtifactWriter::create(target, Kind::Report)?;
    let runs = runs_dir(target);
    if options.fresh {
        remove(&runs)?;
    }
    let ground = Ground { options, runs: &runs, context };
    let Some(trials) = run_all(&ground)? else { return Ok(Outcome::Interrupted) };
    let report = Report::of(options, trials);
    let json = serde_json::to_vec_pretty(&report).expect("a report of plain values is always written");
    writer.write(REPORT, &json)?;
    writer.write(PAGE, report.page().as_bytes())?;
    writer.stage("grok").settings(serde_json::to_value(options).unwrap_or(Value::Null));
    for (name, value) in report.metrics() {
        writer.metric(&name, value);
    }
    let artifact = writer.commit(context.keys)?;
    remove(&runs)?;
    Ok(Outcome::Finished(Box::new(artifact)))
}

/// Every run: those with weight decay, then those without; nothing if one was interrupted.
fn run_all(ground: &Ground<'_>) -> Result<Option<Vec<Trial>>> {
    let GrokOptions { seeds, seed, weight_decay, steps, .. } = *ground.options;
    let mut trials = Vec::new();
    for seed in seed..seed + seeds {
        match ground.run(seed, weight_decay, steps)? {
            Ended::Done(trial) => trials.push(trial),
            Ended::Interrupted => return Ok(None),
        }
    }
    // Those without weight decay have as much time as the slowest of those with.
    let longest = trials.iter().map(Trial::steps).max().unwrap_or(steps);
    for seed in seed..seed + seeds {
        match ground.run(seed, 0.0, longest)? {
            Ended::Done(trial) => trials.push(trial),
            Ended::Interrupted => return Ok(None),
        }
    }
    Ok(Some(trials))
}

fn remove(runs: &Path) -> Result<()> {
    match fs::remove_dir_all(runs) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(luban_artifact::Error::Io { what: "remove", path: runs.to_owned(), source }.into())
        }
        _ => Ok(()),
    }
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
            expected: "one of grokking".to_owned(),
            found: error.to_string(),
        };
        corrupt.into()
    })
}
