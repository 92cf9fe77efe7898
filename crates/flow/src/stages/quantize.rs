//! A model becomes a smaller one, with a report of what it lost.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, Kind, ModelFiles};
use luban_compress::{QuantizeOptions, Work};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{Input, Place, Stage};
use crate::{Context, Error, Result};

/// Options of quantization.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Quantize {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: Place,
    /// The corpus on whose validation split both models are measured; without one, nothing is
    #[arg(long, value_name = "DIR", default_value = "", hide_default_value = true)]
    pub corpus: Place,
    /// How weights are written: int8
    #[arg(long, value_name = "NAME", default_value_t = Self::default().format)]
    pub format: String,
}

impl Default for Quantize {
    fn default() -> Self {
        Self { model: Place::default(), corpus: Place::default(), format: QuantizeOptions::default().format }
    }
}

impl Quantize {
    fn options(&self) -> QuantizeOptions {
        QuantizeOptions { format: self.format.clone() }
    }
}

impl Stage for Quantize {
    const NAME: &'static str = "quantize";
    const ABOUT: &'static str = "make a model smaller, with a quality report";
    const MAKES: Option<Kind> = Some(Kind::Model);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        vec![
            Input::required("model", &[Kind::Model], &mut self.model),
            Input::optional("corpus", &[Kind::Corpus], &mut self.corpus),
        ]
    }

    fn settings(&self) -> Result<Value> {
        serde_json::to_value(self.options()).map_err(|source| Error::Settings { stage: Self::NAME, source })
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let model = ModelFiles::open(self.model.path())?;
        let corpus = match self.corpus.is_empty() {
            true => None,
            false => Some(Artifact::open(self.corpus.path())?.expect_kind(Kind::Corpus)?),
        };
        let work =
            Work { model: &model, corpus: corpus.as_ref(), target, keys: context.keys, observer: context.observer };
        Ok(Some(luban_compress::quantize(&self.options(), work)?))
    }
}
