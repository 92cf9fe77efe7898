//! The small files that stand beside `tokenizer.json` in a folder of Hugging Face.

use serde_json::{Map, Value, json};

use crate::train::{MASK, UNKNOWN};
use crate::{Error, Result, Tokenizer, template};

/// Largest `tokenizer_config.json`: honest ones hold a chat template and some hundred tokens.
const CONFIG_BYTES_MAX: usize = 4 << 20;
/// Names of the token that ends a text, the most telling first.
const USUAL_EOS: [&str; 6] = ["<|endoftext|>", "</s>", "<|end_of_text|>", "<eos>", "<|im_end|>", "[SEP]"];

/// The end-of-text token of a file that does not name it.
pub(crate) fn usual_eos(id: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    USUAL_EOS.iter().find_map(|token| id(token))
}

/// What `tokenizer_config.json` says of tokens and conversations.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// Tokens with a role, by the role's name, such as `eos_token`.
    pub(crate) roles: Vec<(&'static str, String)>,
    pub(crate) chat_template: Option<String>,
}

/// Roles that chat templates speak of.
pub(crate) const ROLES: [&str; 4] = ["eos_token", "bos_token", "unk_token", "pad_token"];

/// Reads the configuration. A role's token is a string, or an object with a `content`.
pub(crate) fn config(config: &[u8]) -> Result<Config> {
    if config.len() > CONFIG_BYTES_MAX {
        return Err(Error::Config(format!("it has {} bytes; at most {CONFIG_BYTES_MAX} are read", config.len())));
    }
    let config: Map<String, Value> =
        serde_json::from_slice(config).map_err(|error| Error::Config(error.to_string()))?;
    let mut roles = Vec::new();
    for role in ROLES {
        let token = match config.get(role) {
            None | Some(Value::Null) => continue,
            Some(Value::String(token)) => token,
            Some(Value::Object(token)) => match token.get("content") {
                Some(Value::String(token)) => token,
                _ => return Err(Error::Config(format!("{role} is an object without a string \"content\""))),
            },
            Some(other) => return Err(Error::Config(format!("{role} is {other}; expected a string or an object"))),
        };
        roles.push((role, token.clone()));
    }
    Ok(Config { roles, chat_template: template::of_config(&config) })
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
    if let Some(mask) = [MASK, "[MASK]", "<mask>"].into_iter().find(|token| tokenizer.id(token).is_some()) {
        config["mask_token"] = Value::from(mask);
        special["mask_token"] = Value::from(mask);
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
