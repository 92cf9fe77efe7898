//! Qwen 2 and 2.5: Llama with biases for queries, keys and values.

use serde_json::{Value, json};

use super::config::Config;
use super::{Family, llama, rotary};
use crate::error::Error;
use crate::spec::{Biases, Local, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "qwen2", spec, config, names: llama::NAMES, body_prefix: "model." };

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    let spec = llama::spec(config)?;
    let local = local(config, spec.layers)?;
    Ok(Spec { biases: Biases { qkv: true, ..Biases::NONE }, local, ..spec })
}

/// The upper layers' near sight, which most models have switched off.
pub(super) fn local(config: &Config<'_>, layers: usize) -> Result<Option<Local>, Error> {
    if !config.flag_or("use_sliding_window", false)? || config.is_null("sliding_window") {
        return Ok(None);
    }
    let window = config.size_or("sliding_window", 4096)?;
    let first = config.size_or("max_window_layers", 28)?;
    let layers = rotary::local_layers(config, layers, |layer| layer >= first)?;
    Ok(rotary::local(window.saturating_sub(1), None, layers))
}

fn config(spec: &Spec) -> Value {
    let fields = json!({ "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2" });
    rotary::with(rotary::with(llama::config(spec), fields), window(spec))
}

/// The fields of near sight.
pub(super) fn window(spec: &Spec) -> Value {
    json!({
        "use_sliding_window": spec.local.is_some(),
        "sliding_window": spec.local.as_ref().map(|local| local.reach.saturating_add(1)),
        "max_window_layers": (0..spec.layers).take_while(|&layer| !spec.is_local(layer)).count(),
        "layer_types": rotary::write_layer_types(spec),
    })
}
