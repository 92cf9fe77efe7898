//! Q8_K: 256 integers of 8 bits, one scale. Single-precision scale, 256 signed bytes, 16-bit sums of each 16 of them,
//! which products may use and reading does not.

use super::{Layout, Parts, Reader};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q8_K",
    id: 15,
    len: 256,
    bytes: 292,
    sub_block: 32,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    out.scales[..8].fill(f32::from_le_bytes([block[0], block[1], block[2], block[3]]));
    out.mins[..8].fill(0.0);
    out.values.iter_mut().zip(&block[4..260]).for_each(|(value, &byte)| *value = byte as i8);
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    // The quotient of a tiny weight may round to zero, which no value can be divided by.
    let scale = if largest / 127.0 > 0.0 { largest / 127.0 } else { 1.0 };
    block[..4].copy_from_slice(&scale.to_le_bytes());
    for (group, weights) in weights.chunks_exact(16).enumerate() {
        let values: [i8; 16] =
            std::array::from_fn(|i| (weights[i] / scale).round_ties_even().clamp(-127.0, 127.0) as i8);
        block[4 + 16 * group..].iter_mut().zip(values).for_each(|(byte, value)| *byte = value as u8);
        let sum: i16 = values.iter().map(|&value| i16::from(value)).sum();
        block[260 + 2 * group..][..2].copy_from_slice(&sum.to_le_bytes());
    }
}
