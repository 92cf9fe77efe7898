//! A demonstration: models that learn sums by heart, and understand them many times later. It needs no inputs.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, Kind};
use luban_train::Precision;
use luban_train::grok::{self, GrokOptions, Outcome};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{Input, Stage};
use crate::{Context, Error, Result};

/// Options of the demonstration of grokking.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Grok {
    /// Sums are taken modulo this number
    #[arg(long, value_name = "N", default_value_t = Self::default().modulus)]
    pub modulus: u32,
    /// Share of the sums that is learned; the others are asked for
    #[arg(long, value_name = "X", default_value_t = Self::default().train_share)]
    pub train_share: f64,
    /// How many times to show it, each time with another division of the sums and other first weights
    #[arg(long, value_name = "N", default_value_t = Self::default().seeds)]
    pub seeds: u64,
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = Self::default().seed)]
    pub seed: u64,
    /// Most steps of a run
    #[arg(long, value_name = "N", default_value_t = Self::default().steps)]
    pub steps: u64,
    /// Width of the model
    #[arg(long, value_name = "N", default_value_t = Self::default().width)]
    pub width: usize,
    /// Layers of the model
    #[arg(long, value_name = "N", default_value_t = Self::default().layers)]
    pub layers: usize,
    /// Attention heads
    #[arg(long, value_name = "N", default_value_t = Self::default().heads)]
    pub heads: usize,
    /// Learning rate
    #[arg(long, value_name = "X", default_value_t = Self::default().learning_rate)]
    pub learning_rate: f64,
    /// Weight decay of AdamW, in the runs that have it
    #[arg(long, value_name = "X", default_value_t = Self::default().weight_decay)]
    pub weight_decay: f64,
    /// What matrix products round their factors to: f32, bf16, fp16, fp8, fp8-tensor or int8
    #[arg(long, value_name = "NAME", default_value = "f32", value_parser = super::word::<Precision>)]
    pub precision: Precision,
    /// Steps between checkpoints; about a minute's worth when not given
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    /// Remove the checkpoints of an interrupted demonstration and start anew
    #[arg(long)]
    pub fresh: bool,
}

impl Default for Grok {
    fn default() -> Self {
        let options = GrokOptions::default();
        Self {
            modulus: options.modulus,
            train_share: options.train_share,
            seeds: options.seeds,
            seed: options.seed,
            steps: options.steps,
            width: options.width,
            layers: options.layers,
            heads: options.heads,
            learning_rate: options.learning_rate,
            weight_decay: options.weight_decay,
            precision: options.precision,
            checkpoint_every: options.checkpoint_every,
            fresh: options.fresh,
        }
    }
}

impl Grok {
    fn options(&self) -> GrokOptions {
        GrokOptions {
            modulus: self.modulus,
            train_share: self.train_share,
            seeds: self.seeds,
            seed: self.seed,
            steps: self.steps,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            learning_rate: self.learning_rate,
            weight_decay: self.weight_decay,
            precision: self.precision,
            checkpoint_every: self.checkpoint_every,
            fresh: self.fresh,
        }
    }
}

impl Stage for Grok {
    const NAME: &'static str = "grok";
    const ABOUT: &'static str = "show grokking: models that understand long after they learned by heart";
    const MAKES: Option<Kind> = Some(Kind::Report);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn settings(&self) -> Result<Value> {
        serde_json::to_value(self.options()).map_err(|source| Error::Settings { stage: Self::NAME, source })
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let surroundings = luban_train::Context {
            keys: context.keys,
            observer: context.observer,
            cancel: context.cancel,
            clock: context.clock,
        };
        match grok::grok(&self.options(), target, surroundings)? {
            Outcome::Finished(artifact) => Ok(Some(*artifact)),
            Outcome::Interrupted => {
                let runs = grok::runs_dir(target);
                Err(Error::Interrupted { kept: Some(format!("the runs so far are saved in {}", runs.display())) })
            }
        }
    }
}
