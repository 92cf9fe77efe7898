//! The files beside a model's weights.

use std::path::Path;

use luban_artifact::ModelFiles;
use luban_text::Tokenizer;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::vocabulary;

const TOKENIZER: &str = "tokenizer.json";
pub(crate) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const CHAT_TEMPLATE: &str = "chat_template.jinja";
const GENERATION_CONFIG: &str = "generation_config.json";

/// The tokenizer of a model: that of its folder, or the one that its GGUF file carries.
///
/// # Errors
/// If there is none, or it is damaged.
pub fn tokenizer(files: &ModelFiles) -> Result<Tokenizer> {
    if let Some(gguf) = files.gguf()? {
        return Ok(Tokenizer::from_gguf(vocabulary::read(&gguf)?)?);
    }
    if !files.exists(TOKENIZER) {
        let why = format!("there is no {TOKENIZER}");
        return Err(Error::NoModel { path: files.dir().to_owned(), why });
    }
    let mut tokenizer = Tokenizer::from_json(&files.read(TOKENIZER)?)?;
    if files.exists(TOKENIZER_CONFIG) {
        tokenizer = tokenizer.with_config(&files.read(TOKENIZER_CONFIG)?)?;
    }
    if files.exists(CHAT_TEMPLATE) {
        let not_text =
            |error: std::string::FromUtf8Error| Error::File { file: CHAT_TEMPLATE.into(), what: error.to_string() };
        tokenizer = tokenizer.with_chat_template(String::from_utf8(files.read(CHAT_TEMPLATE)?).map_err(not_text)?);
    }
    Ok(tokenizer)
}

/// The tokens that end an answer, by `generation_config.json`: one or several.
pub(crate) fn end_tokens(files: &ModelFiles) -> Result<Vec<u32>> {
    let Some(config) = json(files, GENERATION_CONFIG)? else { return Ok(Vec::new()) };
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    Ok(match &config["eos_token_id"] {
        Value::Array(tokens) => tokens.iter().filter_map(token).collect(),
        one => token(one).into_iter().collect(),
    })
}

/// A JSON file of the folder, if it is there.
pub(crate) fn json(files: &ModelFiles, name: &str) -> Result<Option<Value>> {
    if !files.exists(name) {
        return Ok(None);
    }
    let read = serde_json::from_slice(&files.read(name)?);
    read.map(Some).map_err(|error| Error::File { file: name.to_string(), what: error.to_string() })
}

/// What to call the model of a folder or file.
pub(crate) fn name(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = if real.is_file() { real.file_stem() } else { real.file_name() };
    name.map_or("model".into(), |name| name.to_string_lossy().into_owned())
}
