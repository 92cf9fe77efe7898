//! Q4_1: 32 integers of 4 bits from 0, a scale and a minimum. Half-precision scale and minimum, 16 bytes of halves.

use super::bits::{half, low_then_high, put_half, put_low_then_high};
use super::{Layout, Parts, Reader, search};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q4_1",
    id: 3,
    len: 32,
    bytes: 20,
    sub_block: 32,
    has_mins: true,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    out.scales[0] = half(block, 0);
    out.mins[0] = half(block, 2);
    low_then_high(&block[4..20], 0, &mut out.values[..32]);
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let (scale, min) = search::affine(weights, 15, f32::INFINITY);
    let (scale, min) = (put_half(block, 0, scale), put_half(block, 2, min));
    let mut codes = [0; 32];
    search::codes(weights, scale, min, 15, &mut codes);
    put_low_then_high(&codes, &mut block[4..]);
}
