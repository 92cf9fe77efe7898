//! Weights that take another precision when they are loaded.

use luban_kernels::blocks::{self, BlockFormat};
use luban_kernels::elementwise;
use luban_model::io::WeightData;
use luban_model::weights::{Role, Slot};

use crate::error::{Error, Result};

/// What the f32 weights of linear maps become when a model is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// What they are.
    #[default]
    Stored,
    /// bf16, and activations too.
    Bf16,
    /// Bytes with a scale for every 32 inputs, and activations too.
    Int8,
}

/// The weight as `precision` wants it; as it is where it is no linear map, or its rows are not whole blocks.
pub(super) fn convert(data: WeightData, slot: &Slot, precision: Precision) -> Result<WeightData> {
    let format = match precision {
        Precision::Stored => return Ok(data),
        Precision::Bf16 => BlockFormat::Bf16,
        Precision::Int8 => BlockFormat::Q8_0,
    };
    let WeightData::F32(values) = data else { return Ok(data) };
    let is_map = slot.shape.len() == 2 && slot.role != Role::Embedding;
    let bytes =
        slot.shape.last().and_then(|&inputs| format.bytes_of(inputs)).and_then(|_| format.bytes_of(values.len()));
    let (true, Some(bytes)) = (is_map, bytes) else { return Ok(WeightData::F32(values)) };
    if let Some(at) = elementwise::first_non_finite(&values) {
        return Err(Error::Model(luban_model::Error::Weight {
            name: slot.name.clone(),
            expected: "numbers that are finite".into(),
            found: format!("{} at {at}", values[at]),
        }));
    }
    let mut quantized = vec![0; bytes];
    blocks::quantize(format, &values, &mut quantized);
    Ok(WeightData::Blocks { format, bytes: quantized })
}
