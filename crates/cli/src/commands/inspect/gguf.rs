//! What a GGUF file says.

use std::collections::BTreeMap;

use luban_artifact::gguf::Gguf;
use serde_json::{Value, json};

use crate::format::{bytes, grouped};

/// What the tensors of one type come to.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    tensors: u64,
    weights: u64,
    bytes: u64,
}

/// The tensors by their types.
fn sums(gguf: &Gguf) -> BTreeMap<&'static str, Sum> {
    let mut sums: BTreeMap<&str, Sum> = BTreeMap::new();
    for view in gguf.names().filter_map(|name| gguf.tensor(name).ok()) {
        let sum = sums.entry(view.format.name()).or_default();
        sum.tensors += 1;
        sum.weights += view.elements() as u64;
        sum.bytes += view.data.len() as u64;
    }
    sums
}

fn bits_per_weight(gguf: &Gguf) -> f64 {
    let weights: u64 = sums(gguf).values().map(|sum| sum.weights).sum();
    8.0 * gguf.tensor_bytes() as f64 / weights.max(1) as f64
}

/// For machines.
pub(super) fn json(gguf: &Gguf) -> Value {
    let tensors: serde_json::Map<String, Value> = sums(gguf)
        .into_iter()
        .map(|(name, sum)| {
            (name.to_owned(), json!({ "tensors": sum.tensors, "weights": sum.weights, "bytes": sum.bytes }))
        })
        .collect();
    let shown = |key: &str| (key.to_owned(), Value::from(gguf.get(key).map_or_else(String::new, |v| v.to_string())));
    let metadata: serde_json::Map<String, Value> = gguf.keys().map(shown).collect();
    json!({
        "version": gguf.version(),
        "types": tensors,
        "bits_per_weight": bits_per_weight(gguf),
        "metadata": metadata,
    })
}

/// For people.
pub(super) fn text(gguf: &Gguf) -> String {
    let mut text = format!(
        "format       GGUF version {}, {} tensors, {}, {:.2} bits per weight\n",
        gguf.version(),
        grouped(gguf.len() as u64),
        bytes(gguf.tensor_bytes() as f64),
        bits_per_weight(gguf),
    );
    text += "tensors\n";
    for (name, sum) in sums(gguf) {
        let Sum { tensors, weights, bytes: size } = sum;
        text += &format!("  {name}: {tensors}, {} weights, {}\n", grouped(weights), bytes(size as f64));
    }
    text += "metadata\n";
    for key in gguf.keys() {
        let value = gguf.get(key).map_or_else(String::new, |value| value.to_string());
        text += &format!("  {key}: {value}\n");
    }
    text
}
