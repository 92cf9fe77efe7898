//! Weights that take another precision when they are loaded.

use luban_kernels::{bf16, elementwise, quantized};
use luban_model::weights::Slot;

use super::weight::Matrix;
use crate::error::{Error, Result};

/// What the f32 weights of linear maps become when a model is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// What they are.
    #[default]
    Stored,
    /// bf16, and activations too.
    Bf16,
    /// Bytes with a scale for every 128 inputs, or 32, and activations too.
    Int8,
}

/// Inputs that share a scale, where rows are whole blocks of so many; elsewhere 32 do. Products of longer blocks are
/// nearly half as fast again, and sentence embeddings hardly differ.
const LONG_BLOCK: usize = 128;

impl Precision {
    /// The name of what the weights become; none where they stay what they are.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::Stored => None,
            Self::Bf16 => Some("bf16"),
            Self::Int8 => Some("int8"),
        }
    }
}

/// A linear map of f32 weights, packed as `precision` wants it; none where it stays what it is, which it also does where
/// its rows are not whole blocks.
pub(super) fn pack(values: &[f32], slot: &Slot, precision: Precision) -> Result<Option<Matrix>> {
    let &[outputs, inputs] = slot.shape.as_slice() else { return Ok(None) };
    if precision == Precision::Stored || !inputs.is_multiple_of(quantized::BLOCK) {
        return Ok(None);
    }
    if let Some(at) = elementwise::first_non_finite(values) {
        return Err(Error::Model(luban_model::Error::Weight {
            name: slot.name.clone(),
            expected: "numbers that are finite".into(),
            found: format!("{} at {at}", values[at]),
        }));
    }
    let shape = [outputs, inputs];
    Ok(match precision {
        Precision::Stored => None,
        Precision::Bf16 => {
            let mut bits = vec![0; values.len()];
            bf16::round(values, &mut bits);
            Some(Matrix::of_bf16(&bits, shape))
        }
        Precision::Int8 => {
            let block = if inputs.is_multiple_of(LONG_BLOCK) { LONG_BLOCK } else { quantized::BLOCK };
            Some(Matrix::of_bytes(quantized::Weight::quantize(values, shape, block)))
        }
    })
}
