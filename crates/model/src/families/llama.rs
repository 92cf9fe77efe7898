//! Llama and the models that are laid out like it (SmolLM2 among them).

use serde_json::{Value, json};

use super::config::{Config, activation_name};
use super::rotary::Base;
use super::{Family, Name, decimal, rotary, same};
use crate::error::Error;
use crate::spec::{Biases, Head, Norm, NormKind, NormPlace, Position, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "llama", spec, config, names: NAMES, body_prefix: "model." };

/// The names of Llama and of models that are laid out like it, with all that some of them have beside.
pub(super) const NAMES: &[Name] = &[
    same("embedding.tokens", "model.embed_tokens.weight"),
    same("layers.#.attention_norm", "model.layers.#.input_layernorm"),
    same("layers.#.q", "model.layers.#.self_attn.q_proj"),
    same("layers.#.k", "model.layers.#.self_attn.k_proj"),
    same("layers.#.v", "model.layers.#.self_attn.v_proj"),
    same("layers.#.q_norm", "model.layers.#.self_attn.q_norm"),
    same("layers.#.k_norm", "model.layers.#.self_attn.k_norm"),
    same("layers.#.out", "model.layers.#.self_attn.o_proj"),
    same("layers.#.ffn_norm", "model.layers.#.post_attention_layernorm"),
    same("layers.#.gate", "model.layers.#.mlp.gate_proj"),
    same("layers.#.up", "model.layers.#.mlp.up_proj"),
    same("layers.#.down", "model.layers.#.mlp.down_proj"),
    same("layers.#.router", "model.layers.#.mlp.gate"),
    same("layers.#.experts.@.gate", "model.layers.#.mlp.experts.@.gate_proj"),
    same("layers.#.experts.@.up", "model.layers.#.mlp.experts.@.up_proj"),
    same("layers.#.experts.@.down", "model.layers.#.mlp.experts.@.down_proj"),
    same("final_norm", "model.norm"),
    same("head", "lm_head"),
];

/// The spec of a model that is laid out like Llama.
pub(super) fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    let attention_bias = config.flag_or("attention_bias", false)?;
    let rotation = rotary::read(config, Base::USUAL)?;
    Ok(Spec {
        layers: config.layers("num_hidden_layers")?,
        kv_heads: config.size_or("num_key_value_heads", heads)?,
        head_width: config.size_or("head_dim", width.checked_div(heads).unwrap_or(0))?,
        ffn_width: config.size("intermediate_size")?,
        context: config.size_or("max_position_embeddings", 2048)?,
        norm: Norm {
            kind: NormKind::Rms,
            place: NormPlace::Pre,
            epsilon: config.number_or("rms_norm_eps", 1e-6)? as f32,
        },
        position: Position::Rotary { theta: rotation.theta },
        rotary_scaling: rotation.scaling,
        activation: config.activation("hidden_act")?,
        biases: Biases {
            qkv: attention_bias,
            out: attention_bias,
            ffn: config.flag_or("mlp_bias", false)?,
            ..Biases::NONE
        },
        head: Head::Vocabulary { tied: config.flag_or("tie_word_embeddings", false)? },
        ..Spec::llama(width, 0, heads, config.size("vocab_size")?)
    })
}

/// The configuration of a spec, as that of a Llama.
pub(super) fn config(spec: &Spec) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": spec.vocab,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_width,
        "intermediate_size": spec.ffn_width,
        "max_position_embeddings": spec.context,
        "hidden_act": activation_name(spec.activation),
        "rms_norm_eps": decimal(spec.norm.epsilon),
        "rope_theta": rotary::theta(spec),
        "rope_scaling": rotary::write_scaling(spec),
        "attention_bias": spec.biases.qkv,
        "mlp_bias": spec.biases.ffn,
        "tie_word_embeddings": spec.head == Head::Vocabulary { tied: true },
        "torch_dtype": "float32",
    })
}
