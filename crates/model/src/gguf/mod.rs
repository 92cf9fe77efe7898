//! How GGUF files map to specs, both ways: [`ARCHITECTURES`] gives each kind of model its metadata and its names of
//! tensors, by way of the family that Hugging Face folders of it have.
//!
//! What lies differently from canonical weights: dimensions are listed innermost first (the reader turns them round),
//! architecture `llama` has the rows of queries and keys with the two halves of a head interleaved, GPT-2's queries,
//! keys and values lie in one tensor, and norms that scale by one plus the weight have the one added.

mod adapter;
mod architecture;
mod metadata;
mod rotation;
mod write;

use std::sync::Arc;

use luban_artifact::gguf::{Gguf, TensorView};
use luban_kernels::blocks::BlockFormat;
use serde_json::Value;

pub(crate) use adapter::read_adapter;
pub use architecture::{ARCHITECTURES, Architecture};
pub use write::{export, file_type, format_of};

use crate::error::Error;
use crate::families::Family;
use crate::io::WeightData;
use crate::spec::Spec;
use crate::weights::Slot;
use architecture::{Layout, Place};

/// The weights of a model in a GGUF file.
#[derive(Debug)]
pub(crate) struct Weights {
    gguf: Arc<Gguf>,
    architecture: &'static Architecture,
    head_width: usize,
    /// How many lie one after another where there are any.
    experts: usize,
}

/// What a GGUF file says that its model is.
pub(crate) struct Read {
    pub family: &'static Family,
    pub spec: Spec,
    /// As the family would have it in a folder.
    pub config: Value,
    pub weights: Weights,
}

/// Reads what the model of a file is.
pub(crate) fn read(gguf: Arc<Gguf>) -> Result<Read, Error> {
    let architecture = Architecture::of(&gguf)?;
    let (spec, config) = metadata::read(architecture, &gguf)?;
    let experts = spec.experts.as_ref().map_or(0, |experts| experts.count);
    let weights = Weights { gguf, architecture, head_width: spec.head_width, experts };
    Ok(Read { family: architecture.family(), spec, config, weights })
}

impl Weights {
    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.gguf.tensor_bytes()
    }

    /// Checks that a weight is there in its shape.
    pub fn check(&self, slot: &Slot) -> Result<(), Error> {
        self.locate(slot).map(drop)
    }

    /// The format of a weight in the file.
    pub fn format(&self, slot: &Slot) -> Option<BlockFormat> {
        self.locate(slot).ok().map(|(view, _)| view.format)
    }

    /// Reads one weight: vectors as floats, matrices in the blocks of the file, which are not copied where they lie as
    /// they should.
    pub fn weight(&self, slot: &Slot) -> Result<WeightData, Error> {
        let (view, layout) = self.locate(slot)?;
        let format = view.format;
        let mut bytes = self.gguf.piece(&self.architecture.place(slot).name)?;
        match layout {
            Layout::Part { part, of } => bytes = bytes.part(part, of),
            Layout::Stacked { expert } => bytes = bytes.part(expert, self.experts),
            Layout::Interleaved => {
                let row_bytes = bytes.len() / slot.shape[0].max(1);
                bytes = separated(&bytes, row_bytes, self.head_width).into();
            }
            Layout::Same => {}
        }
        match slot.shape.len() == 2 && format != BlockFormat::F32 {
            true => Ok(WeightData::Blocks { format, bytes }),
            false => Ok(WeightData::F32(floats(format, &bytes, slot.len()))),
        }
    }

    fn locate(&self, slot: &Slot) -> Result<(TensorView<'_>, Layout), Error> {
        let Place { name, layout } = self.architecture.place(slot);
        let mut expected = slot.shape.clone();
        match layout {
            Layout::Part { of, .. } => expected[0] = expected[0].saturating_mul(of),
            Layout::Stacked { .. } => expected.insert(0, self.experts),
            Layout::Same | Layout::Interleaved => {}
        }
        let fail = |found: String| Error::Weight { name: name.clone(), expected: format!("{expected:?}"), found };
        if !self.gguf.contains(&name) {
            return Err(fail("no such tensor".into()));
        }
        let view = self.gguf.tensor(&name)?;
        if view.shape != expected {
            return Err(fail(format!("{:?}", view.shape)));
        }
        if matches!(layout, Layout::Interleaved) && !slot.shape[0].is_multiple_of(self.head_width.max(1)) {
            return Err(fail(format!("{:?}, no whole heads of {}", view.shape, self.head_width)));
        }
        Ok((view, layout))
    }
}

fn floats(format: BlockFormat, bytes: &[u8], len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    luban_kernels::blocks::dequantize(format, bytes, &mut values);
    values
}

/// Rows of heads whose halves alternate, as rows of one half after the other.
fn separated<T: Copy>(values: &[T], row_len: usize, head_width: usize) -> Vec<T> {
    rearranged(values, row_len, head_width, |row| 2 * (row % (head_width / 2)) + row / (head_width / 2))
}

/// The reverse of [`separated`].
fn interleaved<T: Copy>(values: &[T], row_len: usize, head_width: usize) -> Vec<T> {
    rearranged(values, row_len, head_width, |row| head_width / 2 * (row % 2) + row / 2)
}

/// Each head's rows, of which `from` says where they stood.
fn rearranged<T: Copy>(values: &[T], row_len: usize, head_width: usize, from: impl Fn(usize) -> usize) -> Vec<T> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(row_len * head_width) {
        (0..head_width).for_each(|row| out.extend_from_slice(&head[from(row) * row_len..][..row_len]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_heads_go_to_and_fro() {
        let rows: Vec<u8> = (0..24).flat_map(|row| [row, 100 + row]).collect();
        let there = interleaved(&rows, 2, 12);
        assert_eq!(&there[..8], [0, 100, 6, 106, 1, 101, 7, 107], "row 6 begins the second half");
        assert_eq!(separated(&there, 2, 12), rows);
    }
}
