//! A model and a text become figures: how well the one tells hidden tokens of the other.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, Kind};
use luban_eval::{MaskedOptions, masked};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evaluation::{self, Evaluation};
use crate::stage::{Input, Place, Stage, settings_without};
use crate::{Context, Result};

/// Options of measuring the masked loss.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct EvalMasked {
    /// The model, trained with the objective masked or both
    #[arg(value_name = "MODEL")]
    pub model: Place,
    /// The text: the validation split of a corpus, or a text file
    #[arg(long, value_name = "PATH")]
    pub data: Place,
    /// Tokens of a window; the model's whole context when not given
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Begin no document after so many bytes of text
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
    /// Hide whole words
    #[arg(long)]
    pub whole_word: bool,
}

impl Evaluation for EvalMasked {
    const REPORT: &'static str = "masked.json";

    fn model(&mut self) -> &mut Place {
        &mut self.model
    }

    fn figures(&self, context: &Context<'_>) -> Result<Value> {
        let (files, text) = evaluation::open(&self.model, &self.data)?;
        let options = MaskedOptions { context: self.context, bytes_max: self.max_bytes, whole_word: self.whole_word };
        evaluation::json_of::<Self>(masked::evaluate(&files, &text, &options, context.observer)?)
    }
}

impl Stage for EvalMasked {
    const NAME: &'static str = "eval.masked";
    const ABOUT: &'static str = "measure the loss of hidden tokens";
    const MAKES: Option<Kind> = Some(Kind::Report);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        evaluation::inputs(&mut self.model, &mut self.data)
    }

    fn settings(&self) -> Result<Value> {
        settings_without(self, &["model", "data"])
    }

    fn fingerprint(&self, _: &Context<'_>) -> Result<Option<Value>> {
        evaluation::fingerprint(&self.model, &self.data)
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        evaluation::report(self, [("model", &self.model), ("data", &self.data)], target, context)
    }
}
