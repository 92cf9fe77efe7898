//! How Hugging Face folders map to specs: one file a family, one line in [`FAMILIES`].
//!
//! A family says how to read and write its `config.json`, and gives a table from the canonical names of
//! [`crate::weights`] to the names in its files. Blocks are shared by all; a family's quirks are fields of the spec.

mod bert;
mod config;
mod gemma3;
mod gpt2;
mod llama;
mod mistral;
mod modernbert;
mod qwen2;
mod qwen3;
mod qwen3_moe;
mod roberta;
mod rotary;

use serde_json::Value;

pub use config::Config;

use crate::error::Error;
use crate::spec::Spec;
use crate::weights::Slot;

/// Every family that this program reads and writes.
pub const FAMILIES: &[Family] = &[
    llama::FAMILY,
    gpt2::FAMILY,
    bert::FAMILY,
    mistral::FAMILY,
    qwen2::FAMILY,
    qwen3::FAMILY,
    qwen3_moe::FAMILY,
    gemma3::FAMILY,
    roberta::FAMILY,
    roberta::MULTILINGUAL,
    modernbert::FAMILY,
];

/// A family of models: its configuration and its names.
#[derive(Debug)]
pub struct Family {
    /// The `model_type` of its configurations.
    pub name: &'static str,
    /// Reads a configuration.
    pub spec: fn(&Config<'_>) -> Result<Spec, Error>,
    /// Writes a configuration that [`Family::spec`] reads back, where the family can hold the spec.
    pub config: fn(&Spec) -> Value,
    /// From canonical names to those in the files; `#` stands for the layer, `@` for the expert.
    pub names: &'static [Name],
    /// What files of the bare body leave out at the start of their names.
    pub body_prefix: &'static str,
}

/// One row of a family's table of names.
#[derive(Debug)]
pub struct Name {
    /// The canonical name, without `.weight` or `.bias` where both exist.
    pub canonical: &'static str,
    /// The name in the files.
    pub file: &'static str,
    /// How the values lie there.
    pub layout: Layout,
}

/// How a weight lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As the canonical weight does.
    Same,
    /// Matrices are inputs × outputs.
    Transposed,
    /// Matrices are inputs × outputs, with several maps side by side; this one is the `part`-th of three.
    TransposedThird {
        /// From 0.
        part: usize,
    },
    /// Several weights lie one after another, rows below rows; this one is the `part`-th.
    Part {
        /// From 0.
        part: usize,
        /// How many they are.
        of: usize,
    },
    /// The values are one less: norms that scale by one plus the weight.
    OneLess,
}

/// Where a weight stands in a family's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The name in a whole model's files; those of the bare body may leave out [`Family::body_prefix`].
    pub name: String,
    /// How the values lie there.
    pub layout: Layout,
}

impl Family {
    /// The family with the given `model_type`.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }

    /// The first family that can hold the spec.
    pub fn for_spec(spec: &Spec) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.holds(spec))
    }

    /// Whether the family can hold a spec: what it writes of it says all, so that the same is read back.
    pub fn holds(&self, spec: &Spec) -> bool {
        let config = (self.config)(spec);
        let read = Config::new(&config).and_then(|config| (self.spec)(&config));
        read.is_ok_and(|read| read == *spec)
    }

    /// Where the family's files keep a weight.
    ///
    /// # Panics
    /// If the family's table lacks a slot of a spec that the family holds; a test walks every family.
    pub fn place(&self, slot: &Slot) -> Place {
        let Numbered { pattern, layer, expert } = numbered(&slot.name);
        let found = self.names.iter().find_map(|row| {
            let rest = pattern.strip_prefix(row.canonical)?;
            (rest.is_empty() || rest.starts_with('.')).then_some((row, rest))
        });
        let (row, rest) = found.unwrap_or_else(|| panic!("family {} has no name for {}", self.name, slot.name));
        let name = row.file.replace('#', layer).replace('@', expert);
        let layout = match slot.shape.len() {
            2 => row.layout,
            // A bias has nothing to transpose, but may be a part of a longer one.
            _ => match row.layout {
                Layout::Transposed => Layout::Same,
                other => other,
            },
        };
        Place { name: format!("{name}{rest}"), layout }
    }
}

/// A canonical name without its numbers: `layers.3.q.weight` is `layers.#.q.weight` of layer `3`, and
/// `layers.3.experts.5.up.weight` is `layers.#.experts.@.up.weight`.
pub(crate) struct Numbered<'n> {
    pub pattern: String,
    pub layer: &'n str,
    pub expert: &'n str,
}

/// Takes the numbers out of a canonical name.
pub(crate) fn numbered(name: &str) -> Numbered<'_> {
    let Some((layer, rest)) = name.strip_prefix("layers.").and_then(|rest| rest.split_once('.')) else {
        return Numbered { pattern: name.to_owned(), layer: "", expert: "" };
    };
    match rest.strip_prefix("experts.").and_then(|rest| rest.split_once('.')) {
        Some((expert, rest)) => Numbered { pattern: format!("layers.#.experts.@.{rest}"), layer, expert },
        None => Numbered { pattern: format!("layers.#.{rest}"), layer, expert: "" },
    }
}

/// A row of a table of names whose values lie as canonical ones do.
const fn same(canonical: &'static str, file: &'static str) -> Name {
    Name { canonical, file, layout: Layout::Same }
}

/// An f32 as the shortest decimal that reads back the same, so that 1e-5 is not written as 0.000009999999747.
fn decimal(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Reads a `config.json`: the family and the spec.
pub fn read_config(json: &[u8]) -> Result<(&'static Family, Spec, Value), Error> {
    let value: Value = serde_json::from_slice(json).map_err(|error| Error::Config(error.to_string()))?;
    let config = Config::new(&value)?;
    let name = config.text("model_type")?;
    let family = Family::named(name).ok_or_else(|| {
        let known = FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", ");
        Error::Config(format!("model_type is \"{name}\"; this program reads {known}"))
    })?;
    let spec = (family.spec)(&config)?;
    spec.validate()?;
    Ok((family, spec, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Activation, Biases, Experts, Head, Local, Norm, NormPlace, Position, RotaryScaling};
    use crate::weights::slots;

    fn example(family: &str) -> Spec {
        let llama = Spec { kv_heads: 2, ..Spec::llama(32, 2, 4, 100) };
        let bert = Spec { head: Head::MaskedToken, ..Spec::bert(32, 2, 4, 100) };
        match family {
            "llama" => llama,
            "gpt2" => Spec::gpt2(32, 2, 4, 100),
            "mistral" => Spec { local: Some(Local { reach: 7, theta: None, layers: vec![true; 2] }), ..llama },
            "qwen2" => Spec { biases: Biases { qkv: true, ..Biases::NONE }, ..llama },
            "qwen3" => Spec { qk_norm: true, head_width: 16, ..llama },
            "qwen3_moe" => {
                let layers = vec![false, true];
                let experts = Experts { count: 6, per_token: 2, width: 24, normalize: true, layers };
                Spec { qk_norm: true, experts: Some(experts), ..llama }
            }
            "bert" => bert,
            "roberta" | "xlm-roberta" => Spec { position_offset: 2, ..bert },
            "gemma3_text" => Spec {
                norm: Norm { place: NormPlace::Sandwich, ..llama.norm },
                rotary_scaling: Some(RotaryScaling::Linear { factor: 8.0 }),
                local: Some(Local { reach: 3, theta: Some(100.0), layers: vec![true, false] }),
                attention_scalar: Some(30.0),
                qk_norm: true,
                activation: Activation::GeluTanh,
                embedding_scale: 32f32.sqrt(),
                ..llama
            },
            "modernbert" => Spec {
                norm: Norm { place: NormPlace::Pre, epsilon: 1e-5, ..bert.norm },
                position: Position::Rotary { theta: 1e5 },
                local: Some(Local { reach: 4, theta: Some(100.0), layers: vec![false, true] }),
                gated: true,
                biases: Biases::NONE,
                token_types: 0,
                first_norm: false,
                ..bert
            },
            other => panic!("give family {other} an example here"),
        }
    }

    #[test]
    fn every_family_reads_back_what_it_writes() {
        for family in FAMILIES {
            let spec = example(family.name);
            assert!(family.holds(&spec), "{}", family.name);
            let json = serde_json::to_vec(&(family.config)(&spec)).unwrap();
            let (read_family, read, _) = read_config(&json).unwrap();
            assert_eq!((read_family.name, read), (family.name, spec));
        }
    }

    #[test]
    fn a_spec_goes_to_the_first_family_that_holds_it_whole() {
        // Both RoBERTas hold the same.
        for family in FAMILIES.iter().filter(|family| family.name != "xlm-roberta") {
            assert_eq!(Family::for_spec(&example(family.name)).unwrap().name, family.name);
        }
        let scaling = RotaryScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, context: 64 };
        let scaled = Spec { rotary_scaling: Some(scaling), ..example("llama") };
        assert_eq!(Family::for_spec(&scaled).unwrap().name, "llama");
        assert!(!Family::named("gpt2").unwrap().holds(&example("llama")));
        let unheard_of = Spec { qk_norm: true, causal: false, ..example("llama") };
        assert!(Family::for_spec(&unheard_of).is_none());
    }

    #[test]
    fn every_slot_of_every_family_has_its_own_place() {
        for family in FAMILIES {
            let mut places: Vec<_> = slots(&example(family.name))
                .iter()
                .map(|slot| {
                    let place = family.place(slot);
                    format!("{} {:?}", place.name, place.layout)
                })
                .collect();
            places.sort();
            let all = places.len();
            places.dedup();
            assert_eq!(places.len(), all, "{}: two slots share a place", family.name);
        }
    }
}
