//! Q5_1: 32 integers of 5 bits from 0, a scale and a minimum. Half-precision scale and minimum, 4 bytes of highest
//! bits, 16 bytes of halves.

use super::bits::{add_fifth_bits, half, low_then_high, put_fifth_bits, put_half, put_low_then_high};
use super::{Layout, Parts, Reader, search};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q5_1",
    id: 7,
    len: 32,
    bytes: 24,
    sub_block: 32,
    has_mins: true,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    out.scales[0] = half(block, 0);
    out.mins[0] = half(block, 2);
    low_then_high(&block[8..24], 0, &mut out.values[..32]);
    add_fifth_bits(&block[4..8], &mut out.values[..32]);
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let (scale, min) = search::affine(weights, 31, f32::INFINITY);
    let (scale, min) = (put_half(block, 0, scale), put_half(block, 2, min));
    let mut codes = [0; 32];
    search::codes(weights, scale, min, 31, &mut codes);
    put_fifth_bits(&codes, &mut block[4..8]);
    put_low_then_high(&codes, &mut block[8..]);
}
