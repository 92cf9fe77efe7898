//! Q8_0: 32 integers of 8 bits, one scale. Half-precision scale, 32 signed bytes.

use super::bits::{half, put_half};
use super::search::inverse;
use super::{Layout, Parts, Reader};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q8_0",
    id: 8,
    len: 32,
    bytes: 34,
    sub_block: 32,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    out.scales[0] = half(block, 0);
    out.mins[0] = 0.0;
    out.values.iter_mut().zip(&block[2..34]).for_each(|(value, &byte)| *value = byte as i8);
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let largest = weights.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    let inverse = inverse(put_half(block, 0, largest / 127.0));
    for (byte, w) in block[2..].iter_mut().zip(weights) {
        *byte = (w * inverse).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
    }
}
