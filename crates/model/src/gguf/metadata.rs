//! From metadata to the configuration of a family, and back.

use luban_artifact::gguf::{Array, Entry, Gguf, Value};
use serde_json::{Map, Value as Json};

use super::{Architecture, rotation};
use crate::error::Error;
use crate::families::Config;
use crate::spec::{Biases, Head, LAYERS_MAX, Spec};

/// An entry of the metadata that stands for a field of a configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    config: &'static str,
    /// Behind the architecture's name and a point.
    key: &'static str,
    kind: Kind,
    required: bool,
}

/// What an entry is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A whole number.
    Count,
    /// A number.
    Number,
}

impl Field {
    /// One that is always there.
    pub const fn new(config: &'static str, key: &'static str, kind: Kind) -> Self {
        Self { config, key, kind, required: true }
    }

    /// One that may be missing.
    pub const fn optional(config: &'static str, key: &'static str, kind: Kind) -> Self {
        Self { config, key, kind, required: false }
    }
}

/// The table whose rows say how large the vocabulary is.
const TOKENS: &str = "token_embd.weight";
const TOKEN_TYPES: &str = "token_types.weight";
/// What follows [`Architecture::key`] for the width of a value head.
const VALUE_WIDTH: &str = "attention.value_length";
const WINDOW_PATTERN: &str = "attention.sliding_window_pattern";
/// Every so many layers of Gemma one sees everything, where a file does not say which.
const GEMMA_PATTERN: u64 = 6;
/// The layers of the one Gemma whose scores are not divided by the root of the head width, but by that of the width
/// over the heads.
const GEMMA_LARGEST_LAYERS: usize = 62;

/// The spec and the configuration that the metadata, and which tensors there are, stand for.
pub(super) fn read(architecture: &Architecture, gguf: &Gguf) -> Result<(Spec, Json), Error> {
    let mut config = Map::new();
    config.insert("model_type".into(), architecture.family().name.into());
    for &(field, value) in architecture.constants {
        config.insert(field.into(), value.into());
    }
    for field in architecture.fields {
        if let Some(value) = field_value(field, &architecture.key(field.key), gguf)? {
            config.insert(field.config.into(), value);
        }
    }
    config.insert("vocab_size".into(), rows(gguf, TOKENS)?.into());
    if gguf.contains(TOKEN_TYPES) {
        config.insert("type_vocab_size".into(), rows(gguf, TOKEN_TYPES)?.into());
    }
    if architecture.name == "gemma3" {
        gemma(architecture, gguf, &mut config)?;
    }
    if architecture.name == "qwen3moe" {
        config.insert("norm_topk_prob".into(), true.into());
    }
    let config = Json::Object(config);
    let spec = Config::new(&config).and_then(|config| (architecture.family().spec)(&config));
    let mut spec = spec.map_err(|error| match error {
        // What the family reads as its configuration comes from this file.
        Error::Config(what) => wrong(gguf, what),
        other => other,
    })?;
    complete(architecture, gguf, &mut spec)?;
    spec.validate()?;
    Ok((spec, config))
}

/// How many rows a table has.
fn rows(gguf: &Gguf, name: &str) -> Result<usize, Error> {
    if !gguf.contains(name) {
        return Err(wrong(gguf, format!("it has no tensor {name:?}, whose rows say how many tokens there are")));
    }
    let shape = gguf.tensor(name)?.shape;
    let rows = shape.first().copied();
    rows.ok_or_else(|| wrong(gguf, format!("{name} has the shape {shape:?}; expected rows and columns")))
}

fn wrong(gguf: &Gguf, what: String) -> Error {
    Error::Gguf { path: gguf.path().to_owned(), what }
}

/// What the tensors, and the entries that no configuration has, say of a model.
fn complete(architecture: &Architecture, gguf: &Gguf, spec: &mut Spec) -> Result<(), Error> {
    let biased = |names: &[&str]| names.iter().any(|name| gguf.contains(&format!("blk.0.{name}.bias")));
    spec.biases = Biases {
        qkv: biased(&["attn_q", "attn_qkv"]),
        out: biased(&["attn_output"]),
        ffn: biased(&["ffn_up"]),
        ..spec.biases
    };
    if matches!(spec.head, Head::Vocabulary { .. }) {
        spec.head = Head::Vocabulary { tied: !gguf.contains("output.weight") };
    }
    let key = architecture.key(VALUE_WIDTH);
    if gguf.get(&key).is_some_and(|found| found.as_u64() != Some(spec.head_width as u64)) {
        return Err(gguf.wrong(&key, format!("{}, as the width of keys", spec.head_width)).into());
    }
    rotation::read(architecture, gguf, spec)
}

fn field_value(field: &Field, key: &str, gguf: &Gguf) -> Result<Option<Json>, Error> {
    let expected = match field.kind {
        Kind::Count => "a whole number, the same for all layers",
        Kind::Number => "a number, the same for all layers",
    };
    let Some(found) = gguf.get(key) else {
        return if field.required { Err(gguf.wrong(key, expected).into()) } else { Ok(None) };
    };
    // Some entries may be a list with a value for each layer.
    let found = match found {
        Value::Array(array) => same_of_all(array),
        one => Some(one),
    };
    let value = match field.kind {
        Kind::Count => found.and_then(Value::as_u64).map(Json::from),
        Kind::Number => found.and_then(Value::as_f64).map(Json::from),
    };
    value.map(Some).ok_or_else(|| gguf.wrong(key, expected).into())
}

/// The value of every item, if it is one.
fn same_of_all(array: Array<'_>) -> Option<Value<'_>> {
    let first = array.iter().next().filter(|_| array.len() <= LAYERS_MAX)?;
    array.iter().all(|item| item == first).then_some(first)
}

/// What Gemma's programs know without being told.
fn gemma(architecture: &Architecture, gguf: &Gguf, config: &mut Map<String, Json>) -> Result<(), Error> {
    let count = |field: &str| config.get(field).and_then(Json::as_u64).and_then(|n| usize::try_from(n).ok());
    let layers = count("num_hidden_layers").unwrap_or(0);
    if layers > LAYERS_MAX {
        return Err(gguf.wrong(&architecture.key("block_count"), format!("at most {LAYERS_MAX} layers")).into());
    }
    let sizes = ["hidden_size", "num_attention_heads", "head_dim"].map(|field| count(field).unwrap_or(0));
    let scalar = scalar_of(layers, sizes);
    let key = architecture.key(WINDOW_PATTERN);
    let near: Vec<bool> = match gguf.get(&key) {
        Some(Value::Array(array)) if array.len() == layers => {
            let near = array.iter().map(Value::as_bool).collect::<Option<_>>();
            near.ok_or_else(|| gguf.wrong(&key, "a truth for each layer"))?
        }
        other => {
            let pattern = other.map_or(Some(GEMMA_PATTERN), Value::as_u64).filter(|&pattern| pattern > 0);
            let pattern = pattern.ok_or_else(|| gguf.wrong(&key, "a number from 1 up, or a truth for each layer"))?;
            (1..=layers as u64).map(|layer| !layer.is_multiple_of(pattern)).collect()
        }
    };
    let names = near.iter().map(|&near| if near { "sliding_attention" } else { "full_attention" });
    config.insert("layer_types".into(), names.collect());
    config.insert("query_pre_attn_scalar".into(), scalar.into());
    Ok(())
}

fn scalar_of(layers: usize, [width, heads, head_width]: [usize; 3]) -> usize {
    if layers == GEMMA_LARGEST_LAYERS && heads > 0 { width / heads } else { head_width }
}

/// What scores of a Gemma are divided by the root of.
pub(super) fn gemma_scalar(spec: &Spec) -> f64 {
    scalar_of(spec.layers, [spec.width, spec.heads, spec.head_width]) as f64
}

/// The metadata that says what a model is, without its names, its tokenizer and its licence.
pub(super) fn write(architecture: &Architecture, spec: &Spec) -> Vec<Entry> {
    let config = (architecture.family().config)(spec);
    let mut entries = vec![Entry::text("general.architecture", architecture.name)];
    for field in architecture.fields {
        let key = architecture.key(field.key);
        match (field.kind, &config[field.config]) {
            (Kind::Count, value) => entries.extend(value.as_u64().map(|count| Entry::u32(key, count as u32))),
            (Kind::Number, value) => entries.extend(value.as_f64().map(|number| Entry::f32(key, number as f32))),
        }
    }
    if spec.causal {
        entries.push(Entry::u32(architecture.key(VALUE_WIDTH), spec.head_width as u32));
    } else {
        entries.push(Entry::bool(architecture.key("attention.causal"), false));
    }
    if architecture.name == "gemma3" {
        let near: Vec<bool> = (0..spec.layers).map(|layer| spec.is_local(layer)).collect();
        entries.push(Entry::bools(architecture.key(WINDOW_PATTERN), &near));
    }
    entries.push(Entry::u32(architecture.key("vocab_size"), spec.vocab as u32));
    entries.extend(rotation::write(architecture, spec));
    entries
}
