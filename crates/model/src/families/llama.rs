//! Llama and the models that are laid out like it (SmolLM2 among them).

use serde_json::{Value, json};

use super::config::{Config, activation_name};
use super::{Family, Layout, Name};
use crate::error::Error;
use crate::spec::{Biases, Head, Norm, NormKind, NormPlace, Position, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "llama", spec, holds, config, names: NAMES, body_prefix: "model." };

const NAMES: &[Name] = &[
    same("embedding.tokens", "model.embed_tokens.weight"),
    same("layers.#.attention_norm", "model.layers.#.input_layernorm"),
    same("layers.#.q", "model.layers.#.self_attn.q_proj"),
    same("layers.#.k", "model.layers.#.self_attn.k_proj"),
    same("layers.#.v", "model.layers.#.self_attn.v_proj"),
    same("layers.#.out", "model.layers.#.self_attn.o_proj"),
    same("layers.#.ffn_norm", "model.layers.#.post_attention_layernorm"),
    same("layers.#.gate", "model.layers.#.mlp.gate_proj"),
    same("layers.#.up", "model.layers.#.mlp.up_proj"),
    same("layers.#.down", "model.layers.#.mlp.down_proj"),
    same("final_norm", "model.norm"),
    same("head", "lm_head"),
];

const fn same(canonical: &'static str, file: &'static str) -> Name {
    Name { canonical, file, layout: Layout::Same }
}

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    let attention_bias = config.flag_or("attention_bias", false)?;
    Ok(Spec {
        vocab: config.size("vocab_size")?,
        width,
        layers: config.size("num_hidden_layers")?,
        heads,
        kv_heads: config.size_or("num_key_value_heads", heads)?,
        head_width: config.size_or("head_dim", width.checked_div(heads).unwrap_or(0))?,
        ffn_width: config.size("intermediate_size")?,
        context: config.size_or("max_position_embeddings", 2048)?,
        norm: Norm {
            kind: NormKind::Rms,
            place: NormPlace::Pre,
            epsilon: config.number_or("rms_norm_eps", 1e-6)? as f32,
        },
        position: Position::Rotary { theta: rotary_theta(config)? },
        activation: config.activation("hidden_act")?,
        gated: true,
        biases: Biases { qkv: attention_bias, out: attention_bias, ffn: config.flag_or("mlp_bias", false)? },
        causal: true,
        token_types: 0,
        embedding_norm: false,
        head: Head::Vocabulary { tied: config.flag_or("tie_word_embeddings", false)? },
    })
}

/// The base of the rotation, where older and newer configurations keep it. Scaled rotations are refused.
fn rotary_theta(config: &Config<'_>) -> Result<f64, Error> {
    for field in ["rope_parameters", "rope_scaling"] {
        let Some(rotary) = config.object(field)? else { continue };
        for kind in ["rope_type", "type"] {
            rotary.refuse_unless(
                kind,
                |value| value == "default",
                "this program does not scale rotary positions yet",
            )?;
        }
        if rotary.get("rope_theta").is_some() {
            return rotary.number_or("rope_theta", 0.0);
        }
    }
    config.number_or("rope_theta", 10_000.0)
}

fn holds(spec: &Spec) -> bool {
    spec.causal
        && spec.gated
        && spec.norm.kind == NormKind::Rms
        && spec.norm.place == NormPlace::Pre
        && matches!(spec.position, Position::Rotary { .. })
        && matches!(spec.head, Head::Vocabulary { .. })
        && spec.biases.qkv == spec.biases.out
        && spec.token_types == 0
        && !spec.embedding_norm
}

fn config(spec: &Spec) -> Value {
    let theta = match spec.position {
        Position::Rotary { theta } => theta,
        Position::Learned => 0.0,
    };
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
        "rms_norm_eps": epsilon(spec.norm.epsilon),
        "rope_theta": theta,
        "attention_bias": spec.biases.qkv,
        "mlp_bias": spec.biases.ffn,
        "tie_word_embeddings": spec.head == Head::Vocabulary { tied: true },
        "torch_dtype": "float32",
    })
}

/// An f32 as the shortest decimal that reads back the same, so that 1e-5 is not written as 0.000009999999747.
pub(super) fn epsilon(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
