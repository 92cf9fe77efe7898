//! A corpus and a tokenizer become a model.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, Kind};
use luban_train::guards::Keep;
use luban_train::optimizer::{Kind as Optimizer, States};
use luban_train::schedule::Decay;
use luban_train::{Materials, Outcome, Precision, PretrainOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{Input, Place, Share, Stage};
use crate::{Context, Error, Result, models};

/// Options of pre-training. What is not given follows from the minutes and this machine's measured speed.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Pretrain {
    /// The corpus to learn from
    #[arg(long, value_name = "DIR")]
    pub corpus: Place,
    /// A further corpus, and the share of the sequences that come from it; may be given several times
    #[arg(long, value_name = "DIR=SHARE")]
    pub mix: Vec<Share>,
    /// Its tokenizer
    #[arg(long, value_name = "DIR")]
    pub tokenizer: Place,
    /// How long the run should take on this machine
    #[arg(long, value_name = "N", default_value_t = Self::default().minutes)]
    pub minutes: f64,
    /// Optimizer steps; overrules --minutes
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// What training minimises: causal, masked, both of these in one model, or fim, which is causal and learns to fill
    /// in the middle of a text
    #[arg(long, value_name = "NAME", default_value_t = Self::default().objective)]
    pub objective: String,
    /// Share of the sequences that the objective `both` masks; half of them when not given
    #[arg(long, value_name = "X")]
    pub masked_share: Option<f64>,
    /// Mask whole words
    #[arg(long)]
    pub whole_word: bool,
    /// Share of the documents whose middle moves to their end, so that the model learns to fill it in: of the objective
    /// `fim`, half of them when not given, and of the causal sequences of `both`, none when not given
    #[arg(long, value_name = "X")]
    pub fim_rate: Option<f64>,
    /// What matrix products round their factors to: f32, bf16, fp16, fp8, fp8-tensor or int8; by default bf16 where the
    /// machine is made for it, else f32; `fastest` is int8 where the machine is made for that
    #[arg(long, value_name = "NAME")]
    pub precision: Option<Numbers>,
    /// The model to train from scratch: a Hugging Face config.json, a folder with one, or a name that `luban plan`
    /// lists; in the place of --width, --layers and --heads
    #[arg(long, value_name = "FILE|NAME")]
    pub config: Option<String>,
    /// Width of the model
    #[arg(long, value_name = "N")]
    pub width: Option<usize>,
    /// Layers of the model
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,
    /// Attention heads
    #[arg(long, value_name = "N")]
    pub heads: Option<usize>,
    /// Tokens of a sequence
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Tokens of a step
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// What changes the matrices inside blocks: adamw, or muon (the rest is AdamW's then too)
    #[arg(long, value_name = "NAME", default_value = "adamw", value_parser = super::word::<Optimizer>)]
    pub optimizer: Optimizer,
    /// Highest learning rate of Muon [default: 0.02]
    #[arg(long, value_name = "X")]
    pub muon_learning_rate: Option<f64>,
    /// What the optimizer's states are kept in: f32, or 8bit, a quarter of the memory
    #[arg(long, value_name = "NAME", default_value = "f32", value_parser = super::word::<States>)]
    pub optimizer_states: States,
    /// Highest learning rate
    #[arg(long, value_name = "X")]
    pub learning_rate: Option<f64>,
    /// Steps over which the learning rate rises
    #[arg(long, value_name = "N")]
    pub warmup: Option<u64>,
    /// How the learning rate falls: cosine, linear, or wsd, which keeps it until the last fifth of the steps
    #[arg(long, value_name = "NAME", default_value = "cosine", value_parser = super::word::<Decay>)]
    pub decay: Decay,
    /// How long AdamW remembers squared gradients: 0.99 suits small batches, 0.95 large ones [default: 0.95]
    #[arg(long, value_name = "X")]
    pub beta2: Option<f64>,
    /// Weight decay of AdamW
    #[arg(long, value_name = "X")]
    pub weight_decay: Option<f64>,
    /// Probability with which elements of the embedding and of the residual branches fall out in training
    #[arg(long, value_name = "P", default_value_t = Self::default().dropout)]
    pub dropout: f64,
    /// Keep attention within each document, and count positions from its beginning
    #[arg(long)]
    pub document_mask: bool,
    /// Decides the first weights and the order of the data
    #[arg(long, value_name = "N", default_value_t = Self::default().seed)]
    pub seed: u64,
    /// Which weights to leave: last, or best by the validation loss
    #[arg(long, value_name = "NAME", default_value = "last", value_parser = super::word::<Keep>)]
    pub keep: Keep,
    /// Measure loss, perplexity and accuracy on held-out text so many times on the way
    #[arg(long, value_name = "N", default_value_t = Self::default().validations)]
    pub validations: u64,
    /// Stop after so many validations without a better loss
    #[arg(long, value_name = "N")]
    pub patience: Option<u64>,
    /// Fail after so many steps with a loss far above the usual; 0 for never
    #[arg(long, value_name = "N", default_value_t = Self::default().spike_steps)]
    pub spike_steps: u64,
    /// Sequences that go through the model at once: fewer need less memory and change the result by rounding only
    #[arg(long, value_name = "N")]
    pub at_once: Option<usize>,
    /// Compute each layer again in the backward pass instead of keeping what it computed: less memory, the same result
    #[arg(long)]
    pub recompute: bool,
    /// Steps between checkpoints; about a minute's worth when not given
    #[arg(long, value_name = "N")]
    pub checkpoint_every: Option<u64>,
    /// Remove the checkpoints of an earlier run and start anew
    #[arg(long)]
    pub fresh: bool,
}

impl Default for Pretrain {
    fn default() -> Self {
        let options = PretrainOptions::default();
        Self {
            corpus: Place::default(),
            mix: Vec::new(),
            tokenizer: Place::default(),
            minutes: options.minutes,
            steps: options.steps,
            objective: options.objective,
            masked_share: options.masked_share,
            whole_word: options.whole_word,
            fim_rate: options.fim_rate,
            precision: options.precision.map(Numbers::Of),
            config: None,
            width: options.width,
            layers: options.layers,
            heads: options.heads,
            context: options.context,
            batch: options.batch,
            optimizer: options.optimizer,
            muon_learning_rate: options.muon_learning_rate,
            optimizer_states: options.optimizer_states,
            learning_rate: options.learning_rate,
            warmup: options.warmup,
            decay: options.decay,
            beta2: options.beta2,
            weight_decay: options.weight_decay,
            dropout: options.dropout,
            document_mask: options.document_mask,
            seed: options.seed,
            keep: options.keep,
            validations: options.validations,
            patience: options.patience,
            spike_steps: options.spike_steps,
            at_once: options.at_once,
            recompute: options.recompute,
            checkpoint_every: options.checkpoint_every,
            fresh: options.fresh,
        }
    }
}

impl Pretrain {
    fn options(&self) -> Result<PretrainOptions> {
        Ok(PretrainOptions {
            minutes: self.minutes,
            steps: self.steps,
            mix: self.mix.iter().map(|mixed| mixed.share).collect(),
            objective: self.objective.clone(),
            masked_share: self.masked_share,
            whole_word: self.whole_word,
            fim_rate: self.fim_rate,
            precision: self.precision.map(Numbers::precision),
            config: self.config.as_deref().map(models::blueprint).transpose()?,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            context: self.context,
            batch: self.batch,
            optimizer: self.optimizer,
            muon_learning_rate: self.muon_learning_rate,
            optimizer_states: self.optimizer_states,
            learning_rate: self.learning_rate,
            warmup: self.warmup,
            decay: self.decay,
            beta2: self.beta2,
            weight_decay: self.weight_decay,
            dropout: self.dropout,
            document_mask: self.document_mask,
            seed: self.seed,
            keep: self.keep,
            validations: self.validations,
            patience: self.patience,
            spike_steps: self.spike_steps,
            at_once: self.at_once,
            recompute: self.recompute,
            checkpoint_every: self.checkpoint_every,
            fresh: self.fresh,
            ..PretrainOptions::default()
        })
    }
}

impl Stage for Pretrain {
    const NAME: &'static str = "pretrain";
    const ABOUT: &'static str = "train a model from scratch";
    const MAKES: Option<Kind> = Some(Kind::Model);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        let mut inputs = vec![
            Input::required("corpus", &[Kind::Corpus], &mut self.corpus),
            Input::required("tokenizer", &[Kind::Tokenizer], &mut self.tokenizer),
        ];
        inputs.extend(self.mix.iter_mut().map(|mixed| Input::required("mix", &[Kind::Corpus], &mut mixed.place)));
        inputs
    }

    fn settings(&self) -> Result<Value> {
        serde_json::to_value(self.options()?).map_err(|source| Error::Settings { stage: Self::NAME, source })
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let corpus = |place: &Place| Ok::<_, Error>(Artifact::open(place.path())?.expect_kind(Kind::Corpus)?);
        let mix = self.mix.iter().map(|mixed| corpus(&mixed.place)).collect::<Result<Vec<_>>>()?;
        let corpus = corpus(&self.corpus)?;
        let tokenizer = Artifact::open(self.tokenizer.path())?.expect_kind(Kind::Tokenizer)?;
        let surroundings = luban_train::Context {
            keys: context.keys,
            observer: context.observer,
            cancel: context.cancel,
            clock: context.clock,
        };
        let materials = Materials { corpus: &corpus, mix: &mix, tokenizer: &tokenizer };
        match luban_train::pretrain(&self.options()?, materials, target, surroundings)? {
            Outcome::Finished(artifact) => Ok(Some(*artifact)),
            Outcome::Interrupted { step: 0 } => Err(Error::Interrupted { kept: None }),
            Outcome::Interrupted { step } => {
                let dir = luban_train::pretrain::checkpoints_dir(target);
                Err(Error::Interrupted { kept: Some(format!("step {step} is saved in {}", dir.display())) })
            }
        }
    }
}

/// A precision by name, or the fastest of the machine that trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Numbers {
    /// This one.
    Of(Precision),
    /// The one of [`Precision::fastest`].
    Fastest,
}

const FASTEST: &str = "fastest";

impl Numbers {
    fn precision(self) -> Precision {
        match self {
            Self::Of(precision) => precision,
            Self::Fastest => Precision::fastest(),
        }
    }
}

impl std::str::FromStr for Numbers {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            FASTEST => Ok(Self::Fastest),
            _ => name.parse().map(Self::Of).map_err(|error| format!("{error}, and {FASTEST}")),
        }
    }
}

impl TryFrom<String> for Numbers {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Numbers> for String {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::Of(precision) => precision.name().to_owned(),
            Numbers::Fastest => FASTEST.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precisions_are_named_alike_in_recipes_and_options() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(Numbers::Of(precision)));
        }
        assert_eq!(serde_json::from_str::<Numbers>("\"fastest\"").unwrap().precision(), Precision::fastest());
        assert_eq!(serde_json::to_string(&Numbers::Of(Precision::Fp8Tensor)).unwrap(), "\"fp8-tensor\"");
        let error = "f64".parse::<Numbers>().unwrap_err();
        assert!(error.contains("\"f64\"") && error.contains("int8") && error.ends_with("and fastest"), "{error}");
    }
}
