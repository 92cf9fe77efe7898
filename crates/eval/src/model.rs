//! A model with its own tokenizer.

use std::sync::Arc;

use luban_artifact::ModelFiles;
use luban_engine::serving::ServingModel;
use luban_text::Tokenizer;

use crate::error::{Error, Result};

/// A model as it is served, with its own tokenizer.
pub(crate) struct Subject {
    pub model: Arc<ServingModel>,
    pub tokenizer: Arc<Tokenizer>,
}

impl Subject {
    /// Loads a model that predicts the next token.
    pub fn decoder(files: &ModelFiles) -> Result<Self> {
        let subject = Self::open(files)?;
        if !subject.model.spec().causal {
            return Err(Error::Setting {
                name: "model",
                found: format!("{}, an encoder", files.dir().display()),
                expected: "a model that predicts the next token".to_owned(),
            });
        }
        Ok(subject)
    }

    /// Loads any model.
    pub fn open(files: &ModelFiles) -> Result<Self> {
        Ok(Self { model: Arc::new(ServingModel::load(files)?), tokenizer: Arc::new(luban_engine::tokenizer(files)?) })
    }
}
