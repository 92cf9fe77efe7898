//! The small files that stand beside `tokenizer.json` in a folder of Hugging Face.

use serde_json::{Map, Value, json};

use crate::train::UNKNOWN;
use crate::{Error, Result, Tokenizer};

/// Largest `tokenizer_config.json`: honest ones hold a chat template and some hundred tokens.
const CONFIG_BYTES_MAX: usize = 4 << 20;
/// Names of the token that ends a text, the most telling first.
const USUAL_EOS: [&str; 6] = ["<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]"];

/// The end-of-text token of a file that does not name it.
pub(crate) fn usual_eos(id: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    USUAL_EOS.iter().find_map(|token| id(token))
}

/// What `tokenizer_config.json` names as `eos_token`: a string, or an object with a `content`.
pub(crate) fn eos_of_config(config: &[u8]) -> Result<Option<String>> {
    if config.len() > CONFIG_BYTES_MAX {
        return Err(Error::Config(format!("it has {} bytes; at most {CONFIG_BYTES_MAX} are read", config.len())));
    }
    let config: Map<String, Value> =
        serde_json::from_slice(config).map_err(|error| Error::Config(error.to_string()))?;
    match config.get("eos_token") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(Value::Object(token)) => match token.get("content") {
            Some(Value::String(token)) => Ok(Some(token.clone())),
            _ => Err(Error::Config("eos_token is an object without a string \"content\"".into())),
        },
        Some(other) => Err(Error::Config(format!("eos_token is {other}; expected a string or an object"))),
    }
}

pub(crate) fn files(tokenizer: &Tokenizer, length: Option<usize>) -> Vec<(&'static str, Vec<u8>)> {
    let eos = tokenizer.eos().and_then(|id| tokenizer.token(id));
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "add_prefix_space": false,
    });
    let mut special = json!({});
    if let Some(eos) = eos {
        for role in ["bos_token", "eos_token", "pad_token"] {
            config[role] = Value::from(eos.as_str());
            special[role] = Value::from(eos.as_str());
        }
    }
    if tokenizer.id(UNKNOWN).is_some() {
        config["unk_token"] = Value::from(UNKNOWN);
        special["unk_token"] = Value::from(UNKNOWN);
    }
    if let Some(length) = length {
        config["model_max_length"] = Value::from(length);
    }
    vec![
        ("tokenizer.json", tokenizer.to_json().to_vec()),
        ("tokenizer_config.json", pretty(&config)),
        ("special_tokens_map.json", pretty(&special)),
    ]
}

fn pretty(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("a JSON value is always written");
    (text + "\n").into_bytes()
}
