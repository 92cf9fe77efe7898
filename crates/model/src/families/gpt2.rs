//! GPT-2.

use serde_json::{Value, json};

use super::config::{Config, activation_name};
use super::{Family, Layout, Name, decimal};
use crate::error::Error;
use crate::spec::{Norm, NormKind, NormPlace, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "gpt2", spec, config, names: NAMES, body_prefix: "transformer." };

const NAMES: &[Name] = &[
    name("embedding.tokens", "transformer.wte.weight", Layout::Same),
    name("embedding.positions", "transformer.wpe.weight", Layout::Same),
    name("layers.#.attention_norm", "transformer.h.#.ln_1", Layout::Same),
    name("layers.#.q", "transformer.h.#.attn.c_attn", Layout::TransposedThird { part: 0 }),
    name("layers.#.k", "transformer.h.#.attn.c_attn", Layout::TransposedThird { part: 1 }),
    name("layers.#.v", "transformer.h.#.attn.c_attn", Layout::TransposedThird { part: 2 }),
    name("layers.#.out", "transformer.h.#.attn.c_proj", Layout::Transposed),
    name("layers.#.ffn_norm", "transformer.h.#.ln_2", Layout::Same),
    name("layers.#.up", "transformer.h.#.mlp.c_fc", Layout::Transposed),
    name("layers.#.down", "transformer.h.#.mlp.c_proj", Layout::Transposed),
    name("final_norm", "transformer.ln_f", Layout::Same),
];

const fn name(canonical: &'static str, file: &'static str, layout: Layout) -> Name {
    Name { canonical, file, layout }
}

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    let (width, heads) = (config.size("n_embd")?, config.size("n_head")?);
    config.refuse_unless("scale_attn_weights", |v| v == true, "this program scales attention by the head width")?;
    config.refuse_unless("scale_attn_by_inverse_layer_idx", |v| v == false, "this program does not do that")?;
    config.refuse_unless("add_cross_attention", |v| v == false, "this program has no cross attention")?;
    config.refuse_unless("tie_word_embeddings", |v| v == true, "GPT-2's head is its token embedding")?;
    Ok(Spec {
        layers: config.layers("n_layer")?,
        ffn_width: config.size_or("n_inner", width.saturating_mul(4))?,
        context: config.size("n_positions")?,
        norm: Norm {
            kind: NormKind::Layer,
            place: NormPlace::Pre,
            epsilon: config.number_or("layer_norm_epsilon", 1e-5)? as f32,
        },
        activation: config.activation("activation_function")?,
        ..Spec::gpt2(width, 0, heads, config.size("vocab_size")?)
    })
}

fn config(spec: &Spec) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": spec.vocab,
        "n_embd": spec.width,
        "n_layer": spec.layers,
        "n_head": spec.heads,
        "n_inner": spec.ffn_width,
        "n_positions": spec.context,
        "activation_function": activation_name(spec.activation),
        "layer_norm_epsilon": decimal(spec.norm.epsilon),
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
    })
}
