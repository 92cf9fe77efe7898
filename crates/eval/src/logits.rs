//! A model's raw output for given prompts, in a file that other programs read.

use std::path::Path;
use std::sync::Arc;

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::{self, Dtype};
use luban_base::atomic;
use luban_engine::serving::{ServingExecutor, ServingModel};
use luban_model::spec::Head;
use luban_model::{Batch, forward};
use luban_text::Tokenizer;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a model is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Text, which the model's own tokenizer encodes; no special tokens are added.
    Text(String),
    /// Tokens.
    Tokens(Vec<u32>),
}

/// Runs a model on each prompt alone and writes, for prompt N, `tokens_N` (I64) and `logits_N` (tokens × vocabulary,
/// F32), or `hidden_N` (tokens × width) of a model without a head, as safetensors. A prompt that is longer than the
/// context is cut at its end.
///
/// # Errors
/// A model that cannot be loaded, a prompt with tokens that it does not know or without any, or a disk that refuses.
pub fn dump(files: &ModelFiles, prompts: &[Prompt], out: &Path) -> Result<()> {
    let model = Arc::new(ServingModel::load(files)?);
    let has_text = prompts.iter().any(|prompt| matches!(prompt, Prompt::Text(_)));
    let tokenizer = if has_text { Some(luban_engine::tokenizer(files)?) } else { None };
    let mut executor = ServingExecutor::new(Arc::clone(&model), None);
    let mut tensors = Vec::new();
    for (number, prompt) in prompts.iter().enumerate() {
        let mut tokens = encode(prompt, tokenizer.as_ref())?;
        tokens.truncate(model.spec().context);
        if tokens.is_empty() {
            return Err(Error::Setting {
                name: "prompt",
                found: format!("empty (number {number})"),
                expected: "at least one token".to_owned(),
            });
        }
        let (name, columns, values) = outputs(&model, &mut executor, &tokens)?;
        let ids = tokens.iter().flat_map(|&token| i64::from(token).to_le_bytes()).collect::<Vec<u8>>();
        let values = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        tensors.push((format!("tokens_{number}"), Dtype::I64, vec![tokens.len()], ids));
        tensors.push((format!("{name}_{number}"), Dtype::F32, vec![tokens.len(), columns], values));
    }
    let views: Vec<_> =
        tensors.iter().map(|(name, dtype, shape, bytes)| (name.clone(), *dtype, shape.clone(), &bytes[..])).collect();
    let mut file = Vec::new();
    safetensors::write(&mut file, &views, &[("format", "pt")])?;
    Ok(atomic::write_file(out, &file).map_err(luban_artifact::Error::from)?)
}

fn encode(prompt: &Prompt, tokenizer: Option<&Tokenizer>) -> Result<Vec<u32>> {
    match (prompt, tokenizer) {
        (Prompt::Tokens(tokens), _) => Ok(tokens.clone()),
        (Prompt::Text(text), Some(tokenizer)) => Ok(tokenizer.encode(text)?),
        (Prompt::Text(_), None) => unreachable!("a tokenizer was loaded because there is text"),
    }
}

/// What the model gives for every token: its name, columns and values.
fn outputs(
    model: &ServingModel,
    executor: &mut ServingExecutor,
    tokens: &[u32],
) -> Result<(&'static str, usize, Vec<f32>)> {
    let batch = Batch::of([tokens]);
    let hidden = forward(model.spec(), model.weights(), executor, &batch).map_err(luban_engine::Error::from)?;
    if model.spec().head == Head::None {
        return Ok(("hidden", hidden.width(), hidden.values().to_vec()));
    }
    let rows: Vec<usize> = (0..tokens.len()).collect();
    let logits = executor.logits(&hidden, &rows).map_err(luban_engine::Error::from)?;
    Ok(("logits", logits.width(), logits.values().to_vec()))
}
