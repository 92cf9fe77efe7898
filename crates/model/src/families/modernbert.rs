//! ModernBERT (Warner et al. 2024): an encoder with norms that come first, rotary positions, gates, and near sight in
//! two layers of three.

use serde_json::{Value, json};

use super::config::{Config, activation_name};
use super::rotary::{Base, FULL, SLIDING};
use super::{Family, Layout, Name, bert, decimal, rotary, same};
use crate::error::Error;
use crate::spec::{Biases, Head, Norm, NormKind, NormPlace, Position, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "modernbert", spec, config, names: NAMES, body_prefix: "model." };

const NAMES: &[Name] = &[
    same("embedding.tokens", "model.embeddings.tok_embeddings.weight"),
    same("embedding.norm", "model.embeddings.norm"),
    same("layers.#.attention_norm", "model.layers.#.attn_norm"),
    part("layers.#.q", "model.layers.#.attn.Wqkv", 0, 3),
    part("layers.#.k", "model.layers.#.attn.Wqkv", 1, 3),
    part("layers.#.v", "model.layers.#.attn.Wqkv", 2, 3),
    same("layers.#.out", "model.layers.#.attn.Wo"),
    same("layers.#.ffn_norm", "model.layers.#.mlp_norm"),
    part("layers.#.gate", "model.layers.#.mlp.Wi", 0, 2),
    part("layers.#.up", "model.layers.#.mlp.Wi", 1, 2),
    same("layers.#.down", "model.layers.#.mlp.Wo"),
    same("final_norm", "model.final_norm"),
    same("head.transform", "head.dense"),
    same("head.norm", "head.norm"),
    same("head.bias", "decoder.bias"),
];

const fn part(canonical: &'static str, file: &'static str, part: usize, of: usize) -> Name {
    Name { canonical, file, layout: Layout::Part { part, of } }
}

/// The bases of the rotations of full and of near sight.
const GLOBAL: Base = Base { field: "global_rope_theta", theta: 160_000.0 };
const LOCAL: Base = Base { field: "local_rope_theta", theta: 10_000.0 };
/// The first of so many layers sees everything, where a configuration does not say which.
const PATTERN: usize = 3;

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    config.refuse_unless("decoder_bias", |v| v == true, "this program's masked-token head has a bias a token")?;
    config.refuse_unless("tie_word_embeddings", |v| v == true, "this program's masked-token head is the embedding")?;
    let activation = config.activation("hidden_activation")?;
    let of_head = |name: &Value| name == activation_name(activation);
    config.refuse_unless("classifier_activation", of_head, "it must be that of the blocks")?;
    let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    let layers = config.layers("num_hidden_layers")?;
    let (global, near) =
        (rotary::read_of_layers(config, FULL, GLOBAL)?, rotary::read_of_layers(config, SLIDING, LOCAL)?);
    if global.scaling.is_some() || near.scaling.is_some() {
        return Err(Error::Config("the rotations are scaled; that is not supported in this family".into()));
    }
    let pattern = config.size_or("global_attn_every_n_layers", PATTERN)?;
    let local_layers = rotary::local_layers(config, layers, |layer| layer.checked_rem(pattern) != Some(0))?;
    let attention_bias = config.flag_or("attention_bias", false)?;
    Ok(Spec {
        layers,
        ffn_width: config.size("intermediate_size")?,
        context: config.size_or("max_position_embeddings", 8192)?,
        norm: Norm {
            kind: NormKind::Layer,
            place: NormPlace::Pre,
            epsilon: config.number_or("norm_eps", 1e-5)? as f32,
        },
        position: Position::Rotary { theta: global.theta },
        local: rotary::local(config.size_or("local_attention", 128)? / 2, Some(near.theta), local_layers),
        activation,
        gated: true,
        biases: Biases {
            qkv: attention_bias,
            out: attention_bias,
            ffn: config.flag_or("mlp_bias", false)?,
            head: config.flag_or("classifier_bias", false)?,
            norm: config.flag_or("norm_bias", false)?,
        },
        token_types: 0,
        first_norm: false,
        head: bert::head(config),
        ..Spec::bert(width, 0, heads, config.size("vocab_size")?)
    })
}

fn config(spec: &Spec) -> Value {
    let follows = |&pattern: &usize| (0..spec.layers).all(|layer| spec.is_local(layer) != (layer % pattern == 0));
    json!({
        "architectures": [if spec.head == Head::MaskedToken { "ModernBertForMaskedLM" } else { "ModernBertModel" }],
        "model_type": "modernbert",
        "vocab_size": spec.vocab,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "intermediate_size": spec.ffn_width,
        "max_position_embeddings": spec.context,
        "hidden_activation": activation_name(spec.activation),
        "classifier_activation": activation_name(spec.activation),
        "norm_eps": decimal(spec.norm.epsilon),
        "norm_bias": spec.biases.norm,
        "attention_bias": spec.biases.qkv,
        "mlp_bias": spec.biases.ffn,
        "classifier_bias": spec.biases.head,
        "decoder_bias": true,
        "tie_word_embeddings": true,
        "global_rope_theta": rotary::theta(spec),
        "local_rope_theta": spec.local.as_ref().and_then(|local| local.theta).unwrap_or(LOCAL.theta),
        "local_attention": spec.local.as_ref().map_or(128, |local| local.reach.saturating_mul(2)),
        "global_attn_every_n_layers": (1..=spec.layers + 1).find(follows),
        "layer_types": rotary::write_layer_types(spec),
        "torch_dtype": "float32",
    })
}
