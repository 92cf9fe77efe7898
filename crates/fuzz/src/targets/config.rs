//! `config.json` of a model.

use luban_model::Spec;
use luban_model::families::{FAMILIES, read_config};
use luban_model::spec::Head;
use luban_model::weights::slots;

use super::{said, specs};
use crate::{Target, Verdict};

/// The configuration alone.
pub(crate) const TARGET: Target = Target { name: "config", run, seeds, words: WORDS };

pub(crate) const WORDS: &[&str] = &[
    "\"model_type\":",
    "\"hidden_size\":",
    "\"num_hidden_layers\":",
    "\"num_attention_heads\":",
    "\"num_key_value_heads\":",
    "\"head_dim\":",
    "\"rope_parameters\":{",
    "\"rope_scaling\":{",
    "\"rope_type\":\"yarn\"",
    "\"factor\":",
    "\"layer_types\":[",
    "\"sliding_attention\"",
    "\"tie_word_embeddings\":",
    "\"architectures\":[",
    "18446744073709551615",
    "-1",
    "1e300",
    "null",
    "true",
    "llama",
    "qwen3",
    "gemma3_text",
    "modernbert",
];
/// Layers of which the weights are counted.
const LAYERS_MAX: usize = 64;

fn run(input: &[u8]) -> Verdict {
    let (_, spec, _) = read_config(input).map_err(said)?;
    // What is accepted can be described, and its parameters counted, whatever they are.
    let _ = spec.parameters();
    if spec.layers <= LAYERS_MAX {
        assert!(!slots(&spec).is_empty());
    }
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    let mut specs = specs();
    specs.push(Spec { head: Head::MaskedToken, ..Spec::bert(8, 1, 2, 12) });
    let mut seeds = Vec::new();
    for family in FAMILIES {
        for config in specs.iter().filter(|spec| family.holds(spec)).map(|spec| (family.config)(spec)) {
            seeds.push(serde_json::to_vec(&config).expect("JSON is written"));
        }
    }
    seeds
}
