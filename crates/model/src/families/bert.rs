//! BERT and the sentence encoders that are laid out like it (MiniLM among them).

use serde_json::{Value, json};

use super::config::{Config, activation_name};
use super::{Family, Name, decimal, same};
use crate::error::Error;
use crate::spec::{Head, Norm, NormKind, NormPlace, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "bert", spec, config, names: NAMES, body_prefix: "bert." };

const NAMES: &[Name] = &[
    same("embedding.tokens", "bert.embeddings.word_embeddings.weight"),
    same("embedding.positions", "bert.embeddings.position_embeddings.weight"),
    same("embedding.token_types", "bert.embeddings.token_type_embeddings.weight"),
    same("embedding.norm", "bert.embeddings.LayerNorm"),
    same("layers.#.attention_norm", "bert.encoder.layer.#.attention.output.LayerNorm"),
    same("layers.#.q", "bert.encoder.layer.#.attention.self.query"),
    same("layers.#.k", "bert.encoder.layer.#.attention.self.key"),
    same("layers.#.v", "bert.encoder.layer.#.attention.self.value"),
    same("layers.#.out", "bert.encoder.layer.#.attention.output.dense"),
    same("layers.#.ffn_norm", "bert.encoder.layer.#.output.LayerNorm"),
    same("layers.#.up", "bert.encoder.layer.#.intermediate.dense"),
    same("layers.#.down", "bert.encoder.layer.#.output.dense"),
    same("head.transform", "cls.predictions.transform.dense"),
    same("head.norm", "cls.predictions.transform.LayerNorm"),
    same("head.bias", "cls.predictions.bias"),
];

/// The spec of a model that is laid out like BERT.
pub(super) fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    config.refuse_unless("position_embedding_type", |v| v == "absolute", "this program reads absolute positions")?;
    config.refuse_unless("is_decoder", |v| v == false, "this program reads BERT as an encoder")?;
    Ok(Spec {
        layers: config.layers("num_hidden_layers")?,
        ffn_width: config.size("intermediate_size")?,
        context: config.size("max_position_embeddings")?,
        norm: Norm {
            kind: NormKind::Layer,
            place: NormPlace::Post,
            epsilon: config.number_or("layer_norm_eps", 1e-12)? as f32,
        },
        activation: config.activation("hidden_act")?,
        token_types: config.size_or("type_vocab_size", 2)?,
        head: head(config),
        ..Spec::bert(width, 0, heads, config.size("vocab_size")?)
    })
}

/// Which head a checkpoint has follows from its architecture; the hidden states are what encoders are read for.
pub(super) fn head(config: &Config<'_>) -> Head {
    let architectures = config.get("architectures").and_then(Value::as_array);
    let masked = |name: &Value| {
        name.as_str().is_some_and(|name| name.ends_with("ForMaskedLM") || name.ends_with("ForPreTraining"))
    };
    match architectures.is_some_and(|names| names.iter().any(masked)) {
        true => Head::MaskedToken,
        false => Head::None,
    }
}

/// The configuration of a spec, as that of a BERT.
pub(super) fn config(spec: &Spec) -> Value {
    json!({
        "architectures": [if spec.head == Head::MaskedToken { "BertForMaskedLM" } else { "BertModel" }],
        "model_type": "bert",
        "vocab_size": spec.vocab,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn_width,
        "max_position_embeddings": spec.context,
        "type_vocab_size": spec.token_types,
        "hidden_act": activation_name(spec.activation),
        "layer_norm_eps": decimal(spec.norm.epsilon),
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
    })
}
