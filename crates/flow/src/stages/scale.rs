//! A corpus and a tokenizer become a ladder of models, a law that their losses follow, and a prediction held to account.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, Kind};
use luban_train::Precision;
use luban_train::scale::{self, Outcome, ScaleOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{Input, Place, Stage};
use crate::{Context, Error, Result};

/// Options of the demonstration of scaling. What is not given follows from the minutes and this machine's speed.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Scale {
    /// The corpus to learn from
    #[arg(long, value_name = "DIR", visible_alias = "data")]
    pub corpus: Place,
    /// Its tokenizer
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Place,
    /// How long all of it should take on this machine
    #[arg(long, value_name = "N", default_value_t = Self::default().minutes)]
    pub minutes: f64,
    /// Models of the ladder, at most
    #[arg(long, value_name = "N", default_value_t = Self::default().sizes)]
    pub sizes: usize,
    /// Numbers of tokens that each is trained for, each twice the one before
    #[arg(long, value_name = "N", default_value_t = Self::default().lengths)]
    pub lengths: usize,
    /// Width of the held-out model, a multiple of 16; overrules --minutes
    #[arg(long, value_name = "N")]
    pub width: Option<usize>,
    /// Optimizer steps of the held-out run; overrules --minutes
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Tokens of a sequence
    #[arg(long, value_name = "N", default_value_t = Self::default().context)]
    pub context: usize,
    /// Tokens of a step
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Highest learning rate of a model of width 128; it falls with the root of the width
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// What matrix products round their factors to: f32, bf16, fp16, fp8, fp8-tensor or int8; by default bf16 where the
    /// machine is made for it, else f32
    #[arg(long, value_name = "NAME", value_parser = super::word::<Precision>)]
    pub precision: Option<Precision>,
    /// Decides the first weights, the order of the text, and which runs are drawn again
    #[arg(long, value_name = "N", default_value_t = Self::default().seed)]
    pub seed: u64,
    /// How many times the law is fitted to runs drawn again, for the intervals
    #[arg(long, value_name = "N", default_value_t = Self::default().resamplings)]
    pub resamplings: u64,
    /// Held-out text that every run is measured on, bytes at most
    #[arg(long, value_name = "N", default_value_t = Self::default().validation_bytes)]
    pub validation_bytes: u64,
    /// Steps between checkpoints; about a minute's worth when not given
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    /// Remove the runs of an earlier demonstration and start anew
    #[arg(long)]
    pub fresh: bool,
}

impl Default for Scale {
    fn default() -> Self {
        let options = ScaleOptions::default();
        Self {
            corpus: Place::default(),
            tokenizer: Place::default(),
            minutes: options.minutes,
            sizes: options.sizes,
            lengths: options.lengths,
            width: options.width,
            steps: options.steps,
            context: options.context,
            batch: options.batch,
            learning_rate: options.learning_rate,
            precision: options.precision,
            seed: options.seed,
            resamplings: options.resamplings,
            validation_bytes: options.validation_bytes,
            checkpoint_every: options.checkpoint_every,
            fresh: options.fresh,
        }
    }
}

impl Scale {
    fn options(&self) -> ScaleOptions {
        ScaleOptions {
            minutes: self.minutes,
            sizes: self.sizes,
            lengths: self.lengths,
            width: self.width,
            steps: self.steps,
            context: self.context,
            batch: self.batch,
            learning_rate: self.learning_rate,
            precision: self.precision,
            seed: self.seed,
            resamplings: self.resamplings,
            validation_bytes: self.validation_bytes,
            checkpoint_every: self.checkpoint_every,
            fresh: self.fresh,
        }
    }
}

impl Stage for Scale {
    const NAME: &'static str = "scale";
    const ABOUT: &'static str = "train a ladder of models, fit a law to their losses, predict a larger one";
    const MAKES: Option<Kind> = Some(Kind::Report);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        vec![
            Input::required("corpus", &[Kind::Corpus], &mut self.corpus),
            Input::required("tokenizer", &[Kind::Tokenizer], &mut self.tokenizer),
        ]
    }

    fn settings(&self) -> Result<Value> {
        serde_json::to_value(self.options()).map_err(|source| Error::Settings { stage: Self::NAME, source })
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let corpus = Artifact::open(self.corpus.path())?.expect_kind(Kind::Corpus)?;
        let tokenizer = Artifact::open(self.tokenizer.path())?.expect_kind(Kind::Tokenizer)?;
        let surroundings = luban_train::Context {
            keys: context.keys,
            observer: context.observer,
            cancel: context.cancel,
            clock: context.clock,
        };
        match scale::scale(&self.options(), &corpus, &tokenizer, target, surroundings)? {
            Outcome::Finished(artifact) => Ok(Some(*artifact)),
            Outcome::Interrupted => {
                let runs = scale::runs_dir(target);
                Err(Error::Interrupted { kept: Some(format!("the runs so far are saved in {}", runs.display())) })
            }
        }
    }
}
