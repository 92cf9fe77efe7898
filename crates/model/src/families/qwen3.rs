//! Qwen 3: Llama with a norm on each head's queries and keys.

use serde_json::{Value, json};

use super::config::Config;
use super::{Family, Name, llama, qwen2, rotary, same};
use crate::error::Error;
use crate::spec::Spec;

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "qwen3", spec, config, names: NAMES, body_prefix: "model." };

const NAMES: &[Name] = &[
    same("layers.#.q_norm", "model.layers.#.self_attn.q_norm"),
    same("layers.#.k_norm", "model.layers.#.self_attn.k_norm"),
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

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    // Heads are 128 wide in every size, whatever the width.
    let head_width = config.size_or("head_dim", 128)?;
    let spec = llama::spec(config)?;
    let local = qwen2::local(config, spec.layers)?;
    Ok(Spec { head_width, qk_norm: true, local, ..spec })
}

fn config(spec: &Spec) -> Value {
    let fields = json!({ "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3" });
    rotary::with(rotary::with(llama::config(spec), fields), qwen2::window(spec))
}
