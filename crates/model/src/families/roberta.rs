//! RoBERTa and its multilingual sister: BERT whose positions count from behind the padding token, with names of its
//! own for the masked-token head.
//!
//! A padding token within a text would shift the positions of what follows it in `transformers`. Here sequences are
//! never padded, and the padding token is a token like any other.

use serde_json::{Value, json};

use super::config::Config;
use super::{Family, Name, bert, rotary, same};
use crate::error::Error;
use crate::spec::{Activation, Head, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "roberta", spec, config, names: NAMES, body_prefix: "roberta." };

/// See [`super::FAMILIES`].
pub const MULTILINGUAL: Family = Family { name: "xlm-roberta", config: multilingual_config, ..FAMILY };

const NAMES: &[Name] = &[
    same("embedding.tokens", "roberta.embeddings.word_embeddings.weight"),
    same("embedding.positions", "roberta.embeddings.position_embeddings.weight"),
    same("embedding.token_types", "roberta.embeddings.token_type_embeddings.weight"),
    same("embedding.norm", "roberta.embeddings.LayerNorm"),
    same("layers.#.attention_norm", "roberta.encoder.layer.#.attention.output.LayerNorm"),
    same("layers.#.q", "roberta.encoder.layer.#.attention.self.query"),
    same("layers.#.k", "roberta.encoder.layer.#.attention.self.key"),
    same("layers.#.v", "roberta.encoder.layer.#.attention.self.value"),
    same("layers.#.out", "roberta.encoder.layer.#.attention.output.dense"),
    same("layers.#.ffn_norm", "roberta.encoder.layer.#.output.LayerNorm"),
    same("layers.#.up", "roberta.encoder.layer.#.intermediate.dense"),
    same("layers.#.down", "roberta.encoder.layer.#.output.dense"),
    same("head.transform", "lm_head.dense"),
    same("head.norm", "lm_head.layer_norm"),
    same("head.bias", "lm_head.bias"),
];

/// The padding token where a configuration does not name it.
const PADDING: usize = 1;

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    let spec = bert::spec(config)?;
    if spec.head == Head::MaskedToken && spec.activation != Activation::GeluErf {
        return Err(Error::Config("hidden_act must be \"gelu\", which is that of the masked-token head".into()));
    }
    // Rows up to that of the padding token are never looked up.
    let position_offset = config.size_or("pad_token_id", PADDING)?.saturating_add(1);
    Ok(Spec { position_offset, context: spec.context.saturating_sub(position_offset), ..spec })
}

fn config(spec: &Spec) -> Value {
    written(spec, "roberta", "Roberta")
}

fn multilingual_config(spec: &Spec) -> Value {
    written(spec, "xlm-roberta", "XLMRoberta")
}

fn written(spec: &Spec, model_type: &str, class: &str) -> Value {
    let kind = if spec.head == Head::MaskedToken { "ForMaskedLM" } else { "Model" };
    let fields = json!({
        "architectures": [format!("{class}{kind}")],
        "model_type": model_type,
        "max_position_embeddings": spec.context.saturating_add(spec.position_offset),
        "pad_token_id": spec.position_offset.saturating_sub(1),
    });
    rotary::with(bert::config(spec), fields)
}
