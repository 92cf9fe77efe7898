//! Gemma 3, the text models: norms before and after each part and on each head, near sight in most layers with a
//! rotation of its own, embeddings scaled by the root of the width.

use serde_json::{Value, json};

use super::config::{Config, activation_name};
use super::rotary::{Base, FULL, SLIDING};
use super::{Family, Layout, Name, decimal, rotary, same};
use crate::error::Error;
use crate::spec::{Activation, Biases, Head, Norm, NormKind, NormPlace, Position, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "gemma3_text", spec, config, names: NAMES, body_prefix: "model." };

const NAMES: &[Name] = &[
    same("embedding.tokens", "model.embed_tokens.weight"),
    norm("layers.#.attention_norm", "model.layers.#.input_layernorm"),
    same("layers.#.q", "model.layers.#.self_attn.q_proj"),
    same("layers.#.k", "model.layers.#.self_attn.k_proj"),
    same("layers.#.v", "model.layers.#.self_attn.v_proj"),
    norm("layers.#.q_norm", "model.layers.#.self_attn.q_norm"),
    norm("layers.#.k_norm", "model.layers.#.self_attn.k_norm"),
    same("layers.#.out", "model.layers.#.self_attn.o_proj"),
    norm("layers.#.attention_out_norm", "model.layers.#.post_attention_layernorm"),
    norm("layers.#.ffn_norm", "model.layers.#.pre_feedforward_layernorm"),
    same("layers.#.gate", "model.layers.#.mlp.gate_proj"),
    same("layers.#.up", "model.layers.#.mlp.up_proj"),
    same("layers.#.down", "model.layers.#.mlp.down_proj"),
    norm("layers.#.ffn_out_norm", "model.layers.#.post_feedforward_layernorm"),
    norm("final_norm", "model.norm"),
    same("head", "lm_head"),
];

/// Norms scale by one plus what stands in the file.
const fn norm(canonical: &'static str, file: &'static str) -> Name {
    Name { canonical, file, layout: Layout::OneLess }
}

/// The bases of the rotations of full and of near sight.
const GLOBAL: Base = Base { field: "rope_theta", theta: 1e6 };
const LOCAL: Base = Base { field: "rope_local_base_freq", theta: 1e4 };
/// Every so many layers one sees everything, where a configuration does not say which.
const PATTERN: usize = 6;

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    for field in ["attn_logit_softcapping", "final_logit_softcapping"] {
        config.refuse_unless(field, |_| false, "this program does not cap logits")?;
    }
    config.refuse_unless("use_bidirectional_attention", |v| v == false, "this program reads Gemma as a decoder")?;
    let (width, heads) = (config.size("hidden_size")?, config.size("num_attention_heads")?);
    let layers = config.layers("num_hidden_layers")?;
    let (global, near) =
        (rotary::read_of_layers(config, FULL, GLOBAL)?, rotary::read_of_layers(config, SLIDING, LOCAL)?);
    if near.scaling.is_some() {
        return Err(Error::Config("the rotation of layers with near sight is scaled; that is not supported".into()));
    }
    let pattern = config.size_or("sliding_window_pattern", PATTERN)?;
    let local_layers = rotary::local_layers(config, layers, |layer| (layer + 1).checked_rem(pattern) != Some(0))?;
    let reach = config.size_or("sliding_window", 4096)?.saturating_sub(1);
    let attention_bias = config.flag_or("attention_bias", false)?;
    let head_width = config.size_or("head_dim", 256)?;
    Ok(Spec {
        layers,
        kv_heads: config.size_or("num_key_value_heads", 4)?,
        head_width,
        ffn_width: config.size("intermediate_size")?,
        context: config.size_or("max_position_embeddings", 131_072)?,
        norm: Norm {
            kind: NormKind::Rms,
            place: NormPlace::Sandwich,
            epsilon: config.number_or("rms_norm_eps", 1e-6)? as f32,
        },
        position: Position::Rotary { theta: global.theta },
        rotary_scaling: global.scaling,
        local: rotary::local(reach, Some(near.theta), local_layers),
        attention_scalar: Some(config.number_or("query_pre_attn_scalar", 256.0)?),
        qk_norm: true,
        activation: config.activation("hidden_activation")?,
        biases: Biases { qkv: attention_bias, out: attention_bias, ..Biases::NONE },
        embedding_scale: embedding_scale(width),
        head: Head::Vocabulary { tied: config.flag_or("tie_word_embeddings", true)? },
        ..Spec::llama(width, 0, heads, config.size("vocab_size")?)
    })
}

fn embedding_scale(width: usize) -> f32 {
    (width as f64).sqrt() as f32
}

fn config(spec: &Spec) -> Value {
    let activation = match spec.activation {
        Activation::GeluTanh => "gelu_pytorch_tanh",
        other => activation_name(other),
    };
    let follows = |&pattern: &usize| (0..spec.layers).all(|layer| spec.is_local(layer) != ((layer + 1) % pattern == 0));
    json!({
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "vocab_size": spec.vocab,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "head_dim": spec.head_width,
        "intermediate_size": spec.ffn_width,
        "max_position_embeddings": spec.context,
        "hidden_activation": activation,
        "rms_norm_eps": decimal(spec.norm.epsilon),
        "rope_theta": rotary::theta(spec),
        "rope_scaling": rotary::write_scaling(spec),
        "rope_local_base_freq": spec.local.as_ref().and_then(|local| local.theta).unwrap_or(LOCAL.theta),
        "sliding_window": spec.local.as_ref().map(|local| local.reach.saturating_add(1)),
        "sliding_window_pattern": (1..=spec.layers + 1).find(follows),
        "layer_types": rotary::write_layer_types(spec),
        "query_pre_attn_scalar": spec.attention_scalar.map(rotary::whole),
        "attention_bias": spec.biases.qkv,
        "attn_logit_softcapping": null,
        "final_logit_softcapping": null,
        "tie_word_embeddings": spec.head == Head::Vocabulary { tied: true },
        "torch_dtype": "float32",
    })
}
