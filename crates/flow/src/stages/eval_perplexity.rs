//! A model and a text become figures: how well the one predicts the other.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, Kind};
use luban_eval::{PerplexityOptions, perplexity};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::evaluation::{self, Evaluation};
use crate::stage::{Input, Place, Stage, settings_without};
use crate::{Context, Result};

/// Options of measuring perplexity.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct EvalPerplexity {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: Place,
    /// What to predict: the validation split of a corpus, or a text file
    #[arg(long, value_name = "PATH")]
    pub data: Place,
    /// Tokens of a window; the model's whole context when not given
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Begin no document after so many bytes of text
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
    /// Predict so many tokens at most
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
}

impl Evaluation for EvalPerplexity {
    const REPORT: &'static str = "perplexity.json";

    fn model(&mut self) -> &mut Place {
        &mut self.model
    }

    fn figures(&self, context: &Context<'_>) -> Result<Value> {
        let (files, text) = evaluation::open(&self.model, &self.data)?;
        let options =
            PerplexityOptions { context: self.context, bytes_max: self.max_bytes, tokens_max: self.max_tokens };
        evaluation::json_of::<Self>(perplexity::evaluate(&files, &text, &options, context.observer)?)
    }
}

impl Stage for EvalPerplexity {
    const NAME: &'static str = "eval.perplexity";
    const ABOUT: &'static str = "measure perplexity and bits a byte";
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
