//! Qwen 3: Llama with a norm on each head's queries and keys.

use serde_json::{Value, json};

use super::config::Config;
use super::{Family, llama, qwen2, rotary};
use crate::error::Error;
use crate::spec::Spec;

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "qwen3", spec, config, names: llama::NAMES, body_prefix: "model." };

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
