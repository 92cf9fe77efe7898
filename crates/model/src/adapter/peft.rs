//! Adapters as PEFT writes them.

use std::collections::{BTreeMap, BTreeSet};

use luban_artifact::ModelFiles;
use luban_artifact::safetensors::Weights;

use super::config::Settings;
use super::{Adapter, Half, WEIGHTS, adaptable, fail, joined};
use crate::error::Error;
use crate::families::{Family, Layout};
use crate::spec::Spec;
use crate::weights::Slot;

/// What PEFT puts before the names of the model's own modules.
const WRAPPER: &str = "base_model.model.";
/// What stands behind a module's name for the two halves.
const HALVES: [&str; 2] = ["lora_A.weight", "lora_B.weight"];

/// Reads a folder.
pub(super) fn read(files: &ModelFiles, family: &Family, spec: &Spec) -> Result<Adapter, Error> {
    let settings = Settings::read(files)?;
    if !files.exists(WEIGHTS) {
        let what = format!("there is no {WEIGHTS}; weights in other files (adapter_model.bin) are not read");
        return Err(fail(files.dir(), what));
    }
    let weights = Weights::open_named(files.map(WEIGHTS)?, &files.dir().join(WEIGHTS))?;
    let (mut used, mut maps) = (BTreeSet::new(), BTreeMap::new());
    for slot in adaptable(spec) {
        let place = family.place(&slot);
        let module = place.name.strip_suffix(".weight").unwrap_or(&place.name);
        let Some(found) = located(&weights, module, family.body_prefix) else { continue };
        let [a, b] = HALVES.map(|half| format!("{found}.{half}"));
        let low_rank = {
            let scale = |rank| settings.scale(module, rank);
            joined(&slot, &half(&weights, &a, &slot)?, &half(&weights, &b, &slot)?, part(place.layout), scale)?
        };
        used.extend([a, b]);
        maps.insert(slot.name, low_rank);
    }
    match weights.names().find(|&name| !used.contains(name)) {
        Some(name) => Err(fail(&files.dir().join(WEIGHTS), format!("{name}: {}", why_not(name)))),
        None => Ok(Adapter { maps }),
    }
}

/// What the names of a module's tensors begin with, if there are any.
fn located(weights: &Weights, module: &str, body_prefix: &str) -> Option<String> {
    // Adapters of the bare body leave the prefix out.
    let modules = [Some(module), module.strip_prefix(body_prefix)];
    let names = modules.into_iter().flatten().map(|module| format!("{WRAPPER}{module}"));
    names.into_iter().find(|name| HALVES.iter().any(|half| weights.contains(&format!("{name}.{half}"))))
}

fn half<'w>(weights: &'w Weights, name: &str, slot: &Slot) -> Result<Half<'w>, Error> {
    if !weights.contains(name) {
        let expected = format!("it beside its other half, for {}", slot.name);
        return Err(Error::Weight { name: name.to_owned(), expected, found: "no such tensor".into() });
    }
    Ok(Half { name: name.to_owned(), shape: weights.tensor(name)?.shape, values: weights.to_f32(name)? })
}

/// Which of the outputs of a file's matrix are a slot's.
fn part(layout: Layout) -> (usize, usize) {
    match layout {
        Layout::TransposedThird { part } => (part, 3),
        Layout::Part { part, of } => (part, of),
        Layout::Same | Layout::Transposed | Layout::OneLess => (0, 1),
    }
}

/// Why a tensor is none that can be used.
fn why_not(name: &str) -> &'static str {
    match name {
        _ if name.contains("lora_magnitude_vector") => "weights by size and direction (DoRA) are not supported",
        _ if name.contains("lora_embedding_") => "adapters of tables are not supported",
        _ if name.contains(".experts.") => "adapters of experts are not supported",
        _ if name.ends_with(".bias") => "biases are not supported",
        _ if name.ends_with(".lora_A.weight") || name.ends_with(".lora_B.weight") => {
            "no linear map of this model's blocks has this name"
        }
        _ => "whole weights beside low-rank ones are not supported",
    }
}
