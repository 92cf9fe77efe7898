//! The settings of an adapter, as PEFT writes them.

use luban_artifact::ModelFiles;
use serde_json::{Map, Value};

use super::{CONFIG, RANK_MAX, fail};
use crate::error::Error;

/// Longest file of settings that is read, bytes.
const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Most entries of a pattern.
const PATTERNS_MAX: usize = 1 << 16;
/// Fields that say nothing of how an adapter computes, or that its tensors say too.
const WITHOUT_EFFECT: &[&str] = &[
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
];
/// Ways of beginning that leave the model's own weights as they are.
const BEGINNINGS: &[&str] = &["gaussian", "eva", "orthogonal"];

/// By what an adapter's products are multiplied.
#[derive(Debug)]
pub(super) struct Settings {
    rank: usize,
    alpha: f64,
    /// Whether the scale is over the root of the rank (Kalajdzievski 2023).
    by_root: bool,
    rank_pattern: Vec<(String, usize)>,
    alpha_pattern: Vec<(String, f64)>,
}

impl Settings {
    /// Reads the file.
    pub(super) fn read(files: &ModelFiles) -> Result<Self, Error> {
        let path = files.dir().join(CONFIG);
        let bytes = files.read(CONFIG)?;
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(fail(&path, format!("it has {} bytes; at most {CONFIG_BYTES_MAX} are read", bytes.len())));
        }
        let fields: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|error| fail(&path, format!("it is no JSON object: {error}")))?;
        Self::of(&fields).map_err(|what| fail(&path, what))
    }

    fn of(fields: &Map<String, Value>) -> Result<Self, String> {
        fields.iter().try_for_each(|(name, value)| check(name, value))?;
        if fields.get("peft_type").is_none_or(|kind| kind != "LORA") {
            let found = fields.get("peft_type").unwrap_or(&Value::Null);
            return Err(format!("peft_type is {found}; only \"LORA\" is supported"));
        }
        Ok(Self {
            rank: fields.get("r").map_or(Ok(8), |value| rank("r", value))?,
            alpha: fields.get("lora_alpha").map_or(Ok(8.0), |value| alpha("lora_alpha", value))?,
            by_root: fields.get("use_rslora").is_some_and(|value| *value == true),
            rank_pattern: pattern(fields, "rank_pattern", rank)?,
            alpha_pattern: pattern(fields, "alpha_pattern", alpha)?,
        })
    }

    /// The factor of a module's product, whose halves have this rank.
    pub(super) fn scale(&self, module: &str, found: usize) -> Result<f32, Error> {
        let rank = of_module("rank_pattern", &self.rank_pattern, module)?.unwrap_or(self.rank);
        if rank != found {
            let (expected, found) = (format!("halves of rank {rank}, as {CONFIG} says"), format!("rank {found}"));
            return Err(Error::Weight { name: module.to_owned(), expected, found });
        }
        let alpha = of_module("alpha_pattern", &self.alpha_pattern, module)?.unwrap_or(self.alpha);
        let rank = rank as f64;
        Ok((alpha / if self.by_root { rank.sqrt() } else { rank }) as f32)
    }
}

/// Refuses fields that change what an adapter computes in a way that is not supported.
fn check(name: &str, value: &Value) -> Result<(), String> {
    let supported = match name {
        "peft_type" | "r" | "lora_alpha" | "rank_pattern" | "alpha_pattern" => true,
        "use_rslora" => value.is_boolean() || value.is_null(),
        "bias" => value.is_null() || value == "none",
        "init_lora_weights" => match value.as_str() {
            Some(beginning) => BEGINNINGS.contains(&beginning),
            None => value.is_boolean() || value.is_null(),
        },
        _ if WITHOUT_EFFECT.contains(&name) => true,
        // A way of adapting that is switched off does nothing, whatever it is.
        _ => is_off(value),
    };
    match supported {
        true => Ok(()),
        false => {
            let shown: String = value.to_string().chars().take(100).collect();
            Err(format!("{name} is {shown}; only plain low-rank adapters are supported"))
        }
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn rank(name: &str, value: &Value) -> Result<usize, String> {
    let rank = value.as_u64().and_then(|rank| usize::try_from(rank).ok()).filter(|rank| (1..=RANK_MAX).contains(rank));
    rank.ok_or_else(|| format!("{name} is {value}; a rank must be a whole number from 1 to {RANK_MAX}"))
}

fn alpha(name: &str, value: &Value) -> Result<f64, String> {
    let alpha = value.as_f64().filter(|alpha| (*alpha as f32).is_finite());
    alpha.ok_or_else(|| format!("{name} is {value}; it must be a number"))
}

/// The entries of a pattern: ends of modules' names, or whole names after `^`, with a value each.
fn pattern<T>(
    fields: &Map<String, Value>,
    name: &str,
    read: impl Fn(&str, &Value) -> Result<T, String>,
) -> Result<Vec<(String, T)>, String> {
    let entries = match fields.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(entries)) if entries.len() <= PATTERNS_MAX => entries,
        Some(_) => return Err(format!("{name} must be an object of at most {PATTERNS_MAX} entries")),
    };
    let plain = |key: &str| key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let entry = |(key, value): (&String, &Value)| match plain(key.strip_prefix('^').unwrap_or(key)) {
        true => Ok((key.clone(), read(&format!("{name}[{key:?}]"), value)?)),
        false => Err(format!("{name} has {key:?}; only names of modules, or their ends, are supported")),
    };
    entries.iter().map(entry).collect()
}

/// The value that a pattern has for a module, if it has one.
fn of_module<T: Copy + PartialEq>(name: &str, pattern: &[(String, T)], module: &str) -> Result<Option<T>, Error> {
    let matches = |key: &str| match key.strip_prefix('^') {
        Some(whole) => whole == module,
        None => module.strip_suffix(key).is_some_and(|before| before.is_empty() || before.ends_with('.')),
    };
    let mut values = pattern.iter().filter(|(key, _)| matches(key)).map(|&(_, value)| value);
    let first = values.next();
    match values.all(|value| Some(value) == first) {
        true => Ok(first),
        false => Err(Error::Weight {
            name: module.to_owned(),
            expected: format!("one value in {name} of {CONFIG}"),
            found: "several".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(more: Value) -> Result<Settings, String> {
        let mut fields = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 6, "bias": "none", "use_dora": false});
        more.as_object().unwrap().iter().for_each(|(name, value)| fields[name] = value.clone());
        Settings::of(fields.as_object().unwrap())
    }

    #[test]
    fn scales_follow_from_rank_and_alpha() {
        let scale = |more, module, rank| settings(more).unwrap().scale(module, rank);
        assert_eq!(scale(json!({}), "model.layers.0.mlp.up_proj", 4).unwrap(), 1.5);
        assert_eq!(scale(json!({"use_rslora": true}), "x", 4).unwrap(), 3.0);
        let patterns = json!({"rank_pattern": {"up_proj": 2, "^x": 3}, "alpha_pattern": {"0.mlp.up_proj": 5}});
        assert_eq!(scale(patterns.clone(), "model.layers.0.mlp.up_proj", 2).unwrap(), 2.5);
        assert_eq!(scale(patterns.clone(), "x", 3).unwrap(), 2.0);
        assert_eq!(scale(patterns.clone(), "a.x", 4).unwrap(), 1.5);
        assert_eq!(scale(patterns.clone(), "a.sup_proj", 4).unwrap(), 1.5);
        assert!(scale(patterns, "model.layers.0.mlp.up_proj", 4).unwrap_err().to_string().contains("rank 2"));
        let twice = json!({"alpha_pattern": {"up_proj": 1, "mlp.up_proj": 2}});
        assert!(scale(twice, "mlp.up_proj", 4).unwrap_err().to_string().contains("several"));
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (name, value) in [
            ("peft_type", json!("IA3")),
            ("use_dora", json!(true)),
            ("lora_bias", json!(true)),
            ("bias", json!("all")),
            ("modules_to_save", json!(["lm_head"])),
            ("layer_replication", json!([[0, 2]])),
            ("trainable_token_indices", json!([1])),
            ("target_parameters", json!(["experts"])),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("something_new", json!(1)),
            ("r", json!(0)),
            ("r", json!(1e9)),
            ("r", json!("8")),
            ("lora_alpha", json!("16")),
            ("lora_alpha", json!(1e300)),
            ("use_rslora", json!(1)),
            ("rank_pattern", json!([1])),
            ("rank_pattern", json!({".*proj": 4})),
            ("rank_pattern", json!({"up_proj": 1 << 20})),
            ("alpha_pattern", json!({"up_proj": null})),
        ] {
            let why = settings(json!({ name: value })).unwrap_err();
            assert!(why.contains(name), "{name}: {why}");
        }
        let harmless = json!({"modules_to_save": null, "eva_config": {"rho": 2.0}, "init_lora_weights": true,
            "target_modules": ["q_proj"], "something_new": [], "megatron_core": "megatron.core"});
        settings(harmless).unwrap();
    }
}
