//! The stages: one file each. Each opens its inputs, calls one function of the crate that does the work, and answers
//! with the artifact.

mod data_build;
mod eval_masked;
mod eval_perplexity;
mod evaluation;
mod grok;
mod pretrain;
mod quantize;
mod scale;
mod serve;
mod tokenizer_train;

pub use data_build::DataBuild;
pub use eval_masked::EvalMasked;
pub use eval_perplexity::EvalPerplexity;
pub use evaluation::Evaluation;
pub use grok::Grok;
pub use pretrain::Pretrain;
pub use quantize::Quantize;
pub use scale::Scale;
pub use serve::Serve;
pub use tokenizer_train::TokenizerTrain;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Values that recipes and the command line spell alike, for `serde(with)`.
pub(crate) mod spelled {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr<Err = String>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(Error::custom)
    }
}

/// Reads a word of the command line as the recipe would read it.
///
/// # Errors
/// Says which words there are.
pub fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::from(text)).map_err(|error| error.to_string())
}
