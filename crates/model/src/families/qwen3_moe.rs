//! Qwen 3 with experts: Qwen 3 whose layers, all or some, have several feed-forward parts, of which each token takes a
//! few.

use serde_json::{Value, json};

use super::config::Config;
use super::{Family, llama, rotary};
use crate::error::Error;
use crate::spec::{Experts, Spec};

/// See [`super::FAMILIES`].
pub const FAMILY: Family = Family { name: "qwen3_moe", spec, config, names: llama::NAMES, body_prefix: "model." };

fn spec(config: &Config<'_>) -> Result<Spec, Error> {
    config.refuse_unless("use_sliding_window", |v| v == false, "near sight is not supported in this family")?;
    let spec = llama::spec(config)?;
    // What older files and the table of programs call `num_experts` is `num_local_experts` in the newest files.
    let count = ["num_experts", "num_local_experts"].into_iter().find(|field| config.get(field).is_some());
    let count = config.size(count.unwrap_or("num_experts"))?;
    let layers = layers(config, spec.layers)?;
    let experts = Experts {
        count,
        per_token: config.size("num_experts_per_tok")?,
        width: config.size("moe_intermediate_size")?,
        normalize: config.flag_or("norm_topk_prob", false)?,
        layers,
    };
    let any = count > 0 && experts.layers.contains(&true);
    Ok(Spec { qk_norm: true, experts: any.then_some(experts), ..spec })
}

/// Which layers have experts: every so many, but for some.
fn layers(config: &Config<'_>, layers: usize) -> Result<Vec<bool>, Error> {
    let step = config.size_or("decoder_sparse_step", 1)?;
    if step == 0 {
        return Err(Error::Config("decoder_sparse_step is 0; it must be from 1 up".into()));
    }
    let dense = match config.get("mlp_only_layers") {
        None => Some(Vec::new()),
        Some(Value::Array(layers)) => layers.iter().map(Value::as_u64).collect::<Option<Vec<u64>>>(),
        Some(_) => None,
    };
    let dense = dense.ok_or_else(|| Error::Config("mlp_only_layers must be a list of layers".into()))?;
    let has_experts = |layer: usize| (layer + 1).is_multiple_of(step) && !dense.contains(&(layer as u64));
    Ok((0..layers).map(has_experts).collect())
}

fn config(spec: &Spec) -> Value {
    let dense: Vec<usize> = (0..spec.layers).filter(|&layer| spec.experts_of(layer).is_none()).collect();
    let experts = spec.experts.as_ref();
    let fields = json!({
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "num_experts": experts.map_or(0, |experts| experts.count),
        "num_experts_per_tok": experts.map_or(0, |experts| experts.per_token),
        "moe_intermediate_size": experts.map_or(0, |experts| experts.width),
        "norm_topk_prob": experts.is_some_and(|experts| experts.normalize),
        "decoder_sparse_step": 1,
        "mlp_only_layers": dense,
        "use_sliding_window": false,
    });
    rotary::with(llama::config(spec), fields)
}
