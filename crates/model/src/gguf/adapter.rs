//! Adapters in GGUF files.

use std::collections::{BTreeMap, BTreeSet};

use luban_artifact::gguf::Gguf;

use super::architecture::{Architecture, Layout};
use super::separated;
use crate::adapter::{Adapter, Half, adaptable, joined};
use crate::error::Error;
use crate::families::Family;
use crate::spec::Spec;

/// What stands behind a tensor's name for the two halves.
const HALVES: [&str; 2] = ["lora_a", "lora_b"];
/// Families that go by the architecture of another one.
const ALSO: &[(&str, &str)] = &[("mistral", "llama")];

/// Reads an adapter of a model.
pub(crate) fn read_adapter(gguf: &Gguf, family: &Family, spec: &Spec) -> Result<Adapter, Error> {
    let architecture = check(gguf, family)?;
    let alpha = gguf.number("adapter.lora.alpha")? as f32;
    if !alpha.is_finite() {
        return Err(gguf.wrong("adapter.lora.alpha", "a finite number").into());
    }
    // Without an alpha, products are added as they are.
    let scale = |rank: usize| Ok(if alpha == 0.0 { 1.0 } else { alpha / rank as f32 });
    let (mut used, mut maps) = (BTreeSet::new(), BTreeMap::new());
    for slot in adaptable(spec) {
        let place = architecture.place(&slot);
        let names = HALVES.map(|half| format!("{}.{half}", place.name));
        if !names.iter().any(|name| gguf.contains(name)) {
            continue;
        }
        let [a, b] = [half(gguf, &names[0])?, half(gguf, &names[1])?];
        let part = if let Layout::Part { part, of } = place.layout { (part, of) } else { (0, 1) };
        let mut low_rank = joined(&slot, &a, &b, part, scale)?;
        if place.layout == Layout::Interleaved {
            low_rank.b = separated(&low_rank.b, low_rank.rank, spec.head_width);
        }
        used.extend(names);
        maps.insert(slot.name, low_rank);
    }
    match gguf.names().find(|&name| !used.contains(name)) {
        Some(name) => Err(fail(gguf, format!("{name} is for no linear map of this model's blocks"))),
        None => Ok(Adapter { maps }),
    }
}

/// Checks that a file is an adapter for models of the family.
fn check(gguf: &Gguf, family: &Family) -> Result<&'static Architecture, Error> {
    for (key, expected) in [("general.type", "adapter"), ("adapter.type", "lora")] {
        if gguf.text(key)? != expected {
            return Err(gguf.wrong(key, format!("{expected:?}")).into());
        }
    }
    if let Some(key) = gguf.keys().find(|key| key.starts_with("adapter.alora.")) {
        return Err(fail(gguf, format!("it has {key}; adapters that begin at some tokens are not supported")));
    }
    let architecture = Architecture::of(gguf)?;
    let own = architecture.family().name;
    let also = ALSO.contains(&(family.name, architecture.name));
    match own == family.name || also {
        true => Ok(architecture),
        false => {
            let what = format!("it is an adapter of {} models; the model is one of {}", architecture.name, family.name);
            Err(fail(gguf, what))
        }
    }
}

fn half<'g>(gguf: &'g Gguf, name: &str) -> Result<Half<'g>, Error> {
    if !gguf.contains(name) {
        let expected = "it beside its other half".into();
        return Err(Error::Weight { name: name.to_owned(), expected, found: "no such tensor".into() });
    }
    let view = gguf.tensor(name)?;
    Ok(Half { name: name.to_owned(), shape: view.shape, values: view.to_f32() })
}

fn fail(gguf: &Gguf, what: String) -> Error {
    Error::Gguf { path: gguf.path().to_owned(), what }
}
