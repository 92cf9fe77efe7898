//! A model with its own tokenizer.

use std::sync::Arc;

use luban_artifact::ModelFiles;
use luban_engine::serving::ServingModel;
use luban_text::Tokenizer;

use crate::error::{Error, Result};

/// A model as it is served, with its own tokenizer.
pub(crate) struct Subject {
    pub model: Arc<ServingModel>,
    pub tokenizer: Tokenizer,
}

impl Subject {
    /// Loads a model that predicts the next token.
    pub fn decoder(files: &ModelFiles) -> Result<Self> {
        let model = Arc::new(ServingModel::load(files)?);
        if !model.spec().causal {
            return Err(Error::Setting {
                name: "model",
                found: format!("{}, an encoder", files.dir().display()),
                expected: "a model that predicts the next token".to_owned(),
            });
        }
        Ok(Self { model, tokenizer: tokenizer(files)? })
    }
}

/// The tokenizer in a model's folder.
pub(crate) fn tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::from_json(&files.read("tokenizer.json")?)?;
    match files.exists("tokenizer_config.json") {
        true => Ok(tokenizer.with_config(&files.read("tokenizer_config.json")?)?),
        false => Ok(tokenizer),
    }
}
