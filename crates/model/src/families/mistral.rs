//! Mistral: Llama with near sight in every layer, in its first version.

use serde_json::{Value, json};

use super::config::Config;
use super::{Family, llama, rotary};
use crate::error::Error;
use crate::spec::{Biases, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "mistral", spec, config, names: llama::NAMES, body_prefix: "model." };

/// The window where a configuration does not name one; later versions say that there is none.
const WINDOW: usize = 4096;

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    let spec = llama::spec(config)?;
    let window = if config.is_null("sliding_window") { None } else { Some(config.size_or("sliding_window", WINDOW)?) };
    let local = window.and_then(|window| rotary::local(window.saturating_sub(1), None, vec![true; spec.layers]));
    Ok(Spec { biases: Biases::NONE, local, ..spec })
}

fn config(spec: &Spec) -> Value {
    let window = spec.local.as_ref().map(|local| local.reach.saturating_add(1));
    let fields = json!({ "architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": window });
    rotary::with(llama::config(spec), fields)
}
