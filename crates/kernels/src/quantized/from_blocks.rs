//! Weights of model files in the layout of the kernels.

use super::pack::{Layout, Values, Weight};
use super::{BLOCK, PARTS};
use crate::blocks::{self, BlockFormat, Parts};
use crate::matmul::assert_len;

impl Layout {
    /// The narrowest layout that holds all values of a format, none for formats of floats.
    pub fn of(format: BlockFormat) -> Option<Self> {
        let values = match format {
            BlockFormat::F32 | BlockFormat::F16 | BlockFormat::Bf16 => return None,
            BlockFormat::Q4_0 | BlockFormat::Q3K => Values::Four,
            BlockFormat::Q4_1 | BlockFormat::Q4K | BlockFormat::Q2K => Values::FourMin,
            BlockFormat::Iq4Nl | BlockFormat::Iq4Xs => Values::FourUneven,
            BlockFormat::Q5_0 => Values::Five,
            BlockFormat::Q5_1 | BlockFormat::Q5K => Values::FiveMin,
            BlockFormat::Q6K => Values::Six,
            BlockFormat::Q8_0 | BlockFormat::Q8K => Values::Eight,
        };
        Some(Self { values, block: BLOCK, parts: BLOCK / format.sub_block().min(BLOCK) })
    }
}

impl Weight {
    /// Packs a map of blocks, outputs × inputs, row after row. Values stay what they are; scales are rounded where they
    /// are products of several numbers.
    ///
    /// # Panics
    /// If the lengths do not agree, rows are not whole blocks, or the format is one of floats.
    pub fn from_blocks(format: BlockFormat, bytes: &[u8], [outputs, inputs]: [usize; 2]) -> Self {
        let layout = Layout::of(format).unwrap_or_else(|| panic!("from_blocks: {format} has no blocks"));
        let row = format.bytes_of(inputs).unwrap_or_else(|| panic!("from_blocks: rows of {inputs} in {format}"));
        assert_len("from_blocks", bytes.len(), &[outputs, row]);
        Self::pack([outputs, inputs], layout, None, |output, column| {
            let mut parts = Parts::default();
            let rows = bytes[output * row..][..row].chunks_exact(format.block_bytes());
            for (bytes, column) in rows.zip(column.chunks_mut(format.block_len() / BLOCK)) {
                blocks::parts(format, bytes, &mut parts);
                let values = parts.values.as_chunks::<BLOCK>().0;
                for (number, (block, values)) in column.iter_mut().zip(values).enumerate() {
                    let part = |part: usize| (number * BLOCK + part * BLOCK / layout.parts) / parts.sub_block;
                    block.values = *values;
                    block.scales = std::array::from_fn(|i| parts.scales[part(i.min(layout.parts - 1))]);
                    block.mins = std::array::from_fn(|i| parts.mins[part(i.min(layout.parts - 1))]);
                }
            }
        })
    }

    /// Packs a map of bytes with one scale for each output.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn from_rows(values: &[i8], scales: &[f32], [outputs, inputs]: [usize; 2]) -> Self {
        assert_len("from_rows", values.len(), &[outputs, inputs]);
        let layout = Layout { values: Values::Eight, block: BLOCK, parts: 1 };
        Self::pack([outputs, inputs], layout, Some(scales), |output, column| {
            for (block, values) in column.iter_mut().zip(values[output * inputs..][..inputs].chunks(BLOCK)) {
                block.values[..values.len()].copy_from_slice(values);
                block.scales = [1.0; PARTS];
            }
        })
    }

    /// Packs f32 weights, outputs × inputs, as bytes with a scale for every `block` inputs: largest magnitude / 127.
    ///
    /// # Panics
    /// If the lengths do not agree, a block is no multiple of 32, or a weight is NaN or infinite (see [`crate::elementwise::first_non_finite`]).
    pub fn quantize(weights: &[f32], [outputs, inputs]: [usize; 2], block: usize) -> Self {
        assert_len("Weight::quantize", weights.len(), &[outputs, inputs]);
        let layout = Layout { values: Values::Eight, block, parts: 1 };
        Self::pack([outputs, inputs], layout, None, |output, column| {
            let weights = weights[output * inputs..][..inputs].chunks(block);
            for (column, weights) in column.chunks_mut(block / BLOCK).zip(weights) {
                assert!(weights.iter().all(|w| w.is_finite()), "Weight::quantize: output {output} is not finite");
                let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
                // As a half, so that the values are the nearest to what the scale will be.
                let scale = blocks::f16_to_f32(blocks::f32_to_f16(largest / 127.0));
                if scale > 0.0 {
                    let value = |w: &f32| (w / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
                    for (block, weights) in column.iter_mut().zip(weights.chunks(BLOCK)) {
                        block.values.iter_mut().zip(weights).for_each(|(v, w)| *v = value(w));
                        block.scales = [scale; PARTS];
                    }
                }
            }
        })
    }
}
