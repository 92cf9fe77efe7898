//! What is asked of a run, and what follows from it.

use luban_data::loader::STRATA_MAX;
use luban_model::Spec;
use luban_model::plan::Flops;
use luban_tensor::Precision;
use serde::{Deserialize, Serialize};

use crate::blueprint::Blueprint;
use crate::error::{Error, Result};
use crate::guards::Keep;
use crate::objective::{self, MASKED_SHARE, ObjectiveSettings};
use crate::optimizer::{AdamWSettings, Kind, MuonSettings, Settings, States};
use crate::schedule::{Decay, Schedule};
use crate::step::flops_per_token;

/// Longest run that may be asked for, in minutes: a year.
pub const MINUTES_MAX: f64 = 366.0 * 24.0 * 60.0;
/// Most steps of a run.
pub const STEPS_MAX: u64 = 1 << 40;
/// Most tokens of one step.
pub const BATCH_TOKENS_MAX: usize = 1 << 24;
/// Highest decay of a mean.
pub const BETA_MAX: f64 = 0.999_999;
/// Highest probability of dropout.
pub const DROPOUT_MAX: f64 = 0.95;

/// What is asked of a run. Whatever is `None` follows from `minutes` and the machine's measured speed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct PretrainOptions {
    /// How long the run should take on this machine.
    pub minutes: f64,
    /// Optimizer steps; overrules `minutes`.
    pub steps: Option<u64>,
    /// Share of the sequences that each further corpus gives; the first one gives the rest.
    pub mix: Vec<f64>,
    /// What training minimises; see [`crate::objective::registry`].
    pub objective: String,
    /// Share of the sequences that are masked where the others are causal: of the objective `both`.
    pub masked_share: Option<f64>,
    /// Whether whole words are masked.
    pub whole_word: bool,
    /// Share of the documents whose middle moves to their end, of the objectives `fim` and `both`.
    pub fim_rate: Option<f64>,
    /// What matrix products round their factors to; where it is not given, bf16 on a machine that has instructions for
    /// it and f32 elsewhere.
    pub precision: Option<Precision>,
    /// The whole model, in the place of width, layers and heads.
    pub config: Option<Blueprint>,
    /// Width of the residual stream.
    pub width: Option<usize>,
    /// Blocks.
    pub layers: Option<usize>,
    /// Query heads.
    pub heads: Option<usize>,
    /// Tokens of one sequence.
    pub context: Option<usize>,
    /// Tokens of one step.
    pub batch: Option<usize>,
    /// What changes the matrices inside blocks.
    pub optimizer: Kind,
    /// Highest learning rate of Muon.
    pub muon_learning_rate: Option<f64>,
    /// What the optimizer's states are kept in.
    pub optimizer_states: States,
    /// Highest learning rate.
    pub learning_rate: Option<f64>,
    /// Steps over which the learning rate rises.
    pub warmup: Option<u64>,
    /// How the learning rate falls.
    pub decay: Decay,
    /// Decay of AdamW's mean of squared gradients.
    pub beta2: Option<f64>,
    /// Share of itself that a matrix loses in a step of learning rate 1.
    pub weight_decay: Option<f64>,
    /// Probability with which elements of the embedding, and of what each part of a block adds to the residual stream,
    /// fall out in training.
    pub dropout: f64,
    /// Whether attention stays within a document, and positions begin with it.
    pub document_mask: bool,
    /// Decides the initial weights and the order of the data.
    pub seed: u64,
    /// Passes that make the loader's epoch, in the place of what follows from the run's length: runs of different
    /// lengths that are to read the same text in the same order need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strata: Option<usize>,
    /// Which weights the run leaves.
    pub keep: Keep,
    /// Times that the model is measured on held-out text on the way, about evenly.
    pub validations: u64,
    /// Validations in succession without a better loss after which the run stops.
    pub patience: Option<u64>,
    /// Steps in succession with a loss far above the usual one after which the run fails; 0 for never. Does not change
    /// the result.
    #[serde(skip)]
    pub spike_steps: u64,
    /// Sequences that go through the model at once, at most; the gradients of a step's parts are added up. Changes the
    /// result by rounding only, so a resume may ask for another number.
    #[serde(skip)]
    pub at_once: Option<usize>,
    /// Whether backward passes compute each block again instead of keeping what it computed. Does not change the
    /// result.
    #[serde(skip)]
    pub recompute: bool,
    /// Held-out text that the end scores, bytes at most. Does not change the weights.
    #[serde(skip)]
    pub validation_bytes: u64,
    /// Steps between checkpoints; about a minute's worth when not given. Does not change the result.
    #[serde(skip)]
    pub checkpoint_every: Option<u64>,
    /// Removes the checkpoints of an earlier run first.
    #[serde(skip)]
    pub fresh: bool,
}

impl Default for PretrainOptions {
    fn default() -> Self {
        Self {
            minutes: 3.0,
            steps: None,
            mix: Vec::new(),
            objective: "causal".to_owned(),
            masked_share: None,
            whole_word: false,
            fim_rate: None,
            precision: None,
            config: None,
            width: None,
            layers: None,
            heads: None,
            context: None,
            batch: None,
            optimizer: Kind::Adamw,
            muon_learning_rate: None,
            optimizer_states: States::F32,
            learning_rate: None,
            warmup: None,
            decay: Decay::Cosine,
            beta2: None,
            weight_decay: None,
            dropout: 0.0,
            document_mask: false,
            seed: 0,
            strata: None,
            keep: Keep::Last,
            validations: 10,
            patience: None,
            spike_steps: 20,
            at_once: None,
            recompute: false,
            validation_bytes: 4 << 20,
            checkpoint_every: None,
            fresh: false,
        }
    }
}

impl PretrainOptions {
    /// What is asked of the objective.
    pub fn objective_settings(&self) -> ObjectiveSettings {
        ObjectiveSettings { masked_share: self.masked_share, whole_word: self.whole_word, fim_rate: self.fim_rate }
    }

    /// Share of the sequences that the first corpus gives.
    pub fn first_share(&self) -> f64 {
        1.0 - self.mix.iter().sum::<f64>()
    }

    /// Checks every number that was given against its bounds.
    ///
    /// # Errors
    /// Names the first option that is out of them.
    pub fn validate(&self) -> Result<()> {
        let whole = |name, value: Option<u64>, least: u64, most: u64| match value {
            Some(value) if !(least..=most).contains(&value) => fail(name, value, format!("{least} to {most}")),
            _ => Ok(()),
        };
        let real = |name, value: Option<f64>, most: f64, zero_too: bool| match value {
            Some(value) if !(value <= most && (value > 0.0 || (zero_too && value == 0.0))) => {
                fail(name, value, format!("a number from {}0 to {most}", if zero_too { "" } else { "above " }))
            }
            _ => Ok(()),
        };
        let size = |value: Option<usize>| value.map(|value| value as u64);
        real("minutes", Some(self.minutes), MINUTES_MAX, false)?;
        real("learning-rate", self.learning_rate, 10.0, false)?;
        real("muon-learning-rate", self.muon_learning_rate, 10.0, false)?;
        if let (Some(given), Kind::Adamw) = (self.muon_learning_rate, self.optimizer) {
            return fail("muon-learning-rate", given, "no such option without the optimizer muon".to_owned());
        }
        real("weight-decay", self.weight_decay, 10.0, true)?;
        real("beta2", self.beta2, BETA_MAX, true)?;
        real("dropout", Some(self.dropout), DROPOUT_MAX, true)?;
        whole("steps", self.steps, 1, STEPS_MAX)?;
        whole("warmup", self.warmup, 0, STEPS_MAX)?;
        whole("validations", Some(self.validations), 1, STEPS_MAX)?;
        whole("patience", self.patience, 1, STEPS_MAX)?;
        whole("spike-steps", Some(self.spike_steps), 0, STEPS_MAX)?;
        whole("at-once", size(self.at_once), 1, BATCH_TOKENS_MAX as u64)?;
        whole("strata", size(self.strata), 1, STRATA_MAX as u64)?;
        whole("checkpoint-every", self.checkpoint_every, 1, STEPS_MAX)?;
        whole("width", size(self.width), 2, 1 << 16)?;
        whole("layers", size(self.layers), 1, 1 << 10)?;
        whole("heads", size(self.heads), 1, 1 << 12)?;
        whole("context", size(self.context), 2, 1 << 20)?;
        whole("batch", size(self.batch), 2, BATCH_TOKENS_MAX as u64)?;
        self.validate_mix()?;
        self.validate_config()
    }

    fn validate_mix(&self) -> Result<()> {
        let wrong = self.mix.iter().find(|share| !(**share > 0.0 && **share < 1.0));
        if let Some(share) = wrong {
            return fail("mix", share, "a share above 0 and below 1".to_owned());
        }
        match self.first_share() > 0.0 {
            true => Ok(()),
            false => fail("mix", self.mix.iter().sum::<f64>(), "shares of less than 1 in all".to_owned()),
        }
    }

    fn validate_config(&self) -> Result<()> {
        if self.config.is_none() {
            return Ok(());
        }
        let shape = [("width", self.width), ("layers", self.layers), ("heads", self.heads)];
        let given = shape.into_iter().find_map(|(name, value)| Some((name, value?)));
        given.map_or(Ok(()), |(name, value)| fail(name, value, "no such option beside config, which decides it".into()))
    }
}

fn fail<T>(name: &'static str, found: impl ToString, expected: String) -> Result<T> {
    Err(Error::Setting { name, found: found.to_string(), expected })
}

/// A further corpus of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mixed {
    /// What its losses are called.
    pub name: String,
    /// Share of the sequences that come from it.
    pub share: f64,
    /// See [`Plan::strata`].
    pub strata: usize,
}

/// Everything that defines a run, given its corpus and tokenizer: the weights are a pure function of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// What training minimises.
    pub objective: String,
    /// And how.
    #[serde(default)]
    pub objective_settings: ObjectiveSettings,
    /// What matrix products round their factors to.
    #[serde(default)]
    pub precision: Precision,
    /// The model.
    pub spec: Spec,
    /// The family in whose layout it is written; the first that can hold it where none is given.
    #[serde(default)]
    pub family: Option<String>,
    /// Tokens of one sequence.
    pub context: usize,
    /// Sequences of one step.
    pub sequences: usize,
    /// Sequences that go through the model at once; the gradients of a step's parts are added up.
    pub sequences_at_once: usize,
    /// The learning rate of each step, and the number of steps.
    pub schedule: Schedule,
    /// How gradients become changes of weights.
    pub optimizer: AdamWSettings,
    /// How those of the matrices inside blocks do, where not as the others.
    #[serde(default)]
    pub muon: Option<MuonSettings>,
    /// What the optimizer's states are kept in.
    #[serde(default)]
    pub optimizer_states: States,
    /// Sequences within which the loader shuffles.
    pub shuffle_sequences: usize,
    /// Passes that make the loader's epoch; more than 1 where the run cannot read the whole corpus. See
    /// [`luban_data::loader::LoaderOptions::strata`].
    pub strata: usize,
    /// The corpora beside the first one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mix: Vec<Mixed>,
    /// Probability with which elements of activations fall out in training.
    #[serde(default)]
    pub dropout: f64,
    /// Whether attention stays within a document, or the piece of one that a stratum reads.
    pub document_mask: bool,
    /// Decides the initial weights and the order of the data.
    pub seed: u64,
}

impl Plan {
    /// Tokens of one step.
    pub fn batch_tokens(&self) -> usize {
        self.sequences * self.context
    }

    /// Share of the sequences that come from the first corpus.
    pub fn first_share(&self) -> f64 {
        1.0 - self.mix.iter().map(|mixed| mixed.share).sum::<f64>()
    }

    /// Share of the sequences that see both sides in a causal model.
    pub fn masked_sequences(&self) -> f64 {
        objective::masked_sequences(&self.objective, &self.objective_settings)
    }

    /// Floating-point operations of training on one token, as [`flops_per_token`] counts them for each kind of sequence.
    pub fn flops_per_token(&self) -> f64 {
        let share = self.masked_sequences();
        let open = Spec { causal: false, ..self.spec.clone() };
        let masked = Flops::with_head_share(&open, self.context, f64::from(MASKED_SHARE)).training();
        (1.0 - share) * flops_per_token(&self.spec, self.context) + share * masked
    }

    /// All constants of the optimizer.
    pub fn optimizer_settings(&self) -> Settings {
        Settings { adamw: self.optimizer, muon: self.muon, states: self.optimizer_states, seed: self.seed }
    }

    /// Tokens of the whole run.
    pub fn tokens(&self) -> u64 {
        self.schedule.steps * self.batch_tokens() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_out_of_bounds_are_named() {
        let bad = [
            ("minutes", PretrainOptions { minutes: f64::NAN, ..Default::default() }),
            ("minutes", PretrainOptions { minutes: 0.0, ..Default::default() }),
            ("steps", PretrainOptions { steps: Some(0), ..Default::default() }),
            ("learning-rate", PretrainOptions { learning_rate: Some(-1.0), ..Default::default() }),
            ("muon-learning-rate", PretrainOptions { muon_learning_rate: Some(0.1), ..Default::default() }),
            ("dropout", PretrainOptions { dropout: 1.0, ..Default::default() }),
            ("weight-decay", PretrainOptions { weight_decay: Some(f64::INFINITY), ..Default::default() }),
            ("batch", PretrainOptions { batch: Some(usize::MAX), ..Default::default() }),
            ("context", PretrainOptions { context: Some(1), ..Default::default() }),
            ("mix", PretrainOptions { mix: vec![0.0], ..Default::default() }),
            ("mix", PretrainOptions { mix: vec![f64::NAN], ..Default::default() }),
            ("mix", PretrainOptions { mix: vec![0.7, 0.3], ..Default::default() }),
        ];
        for (name, options) in bad {
            let message = options.validate().unwrap_err().to_string();
            assert!(message.starts_with(name), "{message}");
        }
        PretrainOptions { weight_decay: Some(0.0), warmup: Some(0), ..Default::default() }.validate().unwrap();
    }

    #[test]
    fn keys_are_the_words_of_the_options() {
        let text = serde_json::to_string(&PretrainOptions { learning_rate: Some(0.5), ..Default::default() }).unwrap();
        assert!(text.contains(r#""learning-rate":0.5"#) && text.contains(r#""width":null"#), "{text}");
        assert!(serde_json::from_str::<PretrainOptions>(r#"{"lerning-rate":1.0}"#).is_err());
    }
}
