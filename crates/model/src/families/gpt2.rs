//! GPT-2.

use serde_json::{Value, json};

use super::config::{Config, activation_name};
use super::llama::epsilon;
use super::{Family, Layout, Name};
use crate::error::Error;
use crate::spec::{Biases, Head, Norm, NormKind, NormPlace, Position, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "gpt2", spec, holds, config, names: NAMES, body_prefix: "transformer." };

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
        vocab: config.size("vocab_size")?,
        width,
        layers: config.size("n_layer")?,
        heads,
        kv_heads: heads,
        head_width: width.checked_div(heads).unwrap_or(0),
        ffn_width: config.size_or("n_inner", 4 * width)?,
        context: config.size("n_positions")?,
        norm: Norm {
            kind: NormKind::Layer,
            place: NormPlace::Pre,
            epsilon: config.number_or("layer_norm_epsilon", 1e-5)? as f32,
        },
        position: Position::Learned,
        activation: config.activation("activation_function")?,
        gated: false,
        biases: Biases::ALL,
        causal: true,
        token_types: 0,
        embedding_norm: false,
        head: Head::Vocabulary { tied: true },
    })
}

fn holds(spec: &Spec) -> bool {
    spec.causal
        && !spec.gated
        && spec.norm.kind == NormKind::Layer
        && spec.norm.place == NormPlace::Pre
        && spec.position == Position::Learned
        && spec.head == Head::Vocabulary { tied: true }
        && spec.biases == Biases::ALL
        && spec.kv_heads == spec.heads
        && spec.query_width() == spec.width
        && spec.token_types == 0
        && !spec.embedding_norm
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
        "layer_norm_epsilon": epsilon(spec.norm.epsilon),
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
    })
}
