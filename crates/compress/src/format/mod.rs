//! How weights are written with fewer bits. One file a format, one line in [`registry`].

mod int8;

use luban_model::io::WeightData;
use luban_model::weights::Slot;
use serde_json::Value;

use crate::error::{Error, Result};

pub use int8::Int8;

/// A way to write weights with fewer bits.
pub trait Format: Send + Sync {
    /// The name that options and recipes use.
    fn name(&self) -> &'static str;

    /// The weight in this format, or `None` for one that stays as it is. All values are finite.
    fn quantize(&self, slot: &Slot, values: &[f32]) -> Option<WeightData>;

    /// The `quantization_config` of the model's `config.json`, by which other programs know the format.
    fn config(&self) -> Value;
}

/// Every format that there is.
pub fn registry() -> &'static [&'static dyn Format] {
    &[&Int8]
}

/// The format of a name.
///
/// # Errors
/// If there is none.
pub fn by_name(name: &str) -> Result<&'static dyn Format> {
    let known = || registry().iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
    registry().iter().copied().find(|format| format.name() == name).ok_or_else(|| Error::Setting {
        name: "format",
        found: name.to_owned(),
        expected: format!("one of {}", known()),
    })
}
