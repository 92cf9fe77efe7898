//! Q4_0: 32 integers of 4 bits from -8 to 7, one scale. Half-precision scale, 16 bytes of halves.

use super::bits::{half, low_then_high, put_half, put_low_then_high};
use super::{Layout, Parts, Reader, search};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q4_0",
    id: 2,
    len: 32,
    bytes: 18,
    sub_block: 32,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    out.scales[0] = half(block, 0);
    out.mins[0] = 0.0;
    low_then_high(&block[2..18], 8, &mut out.values[..32]);
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let scale = put_half(block, 0, search::symmetric(weights, 8));
    let mut codes = [0; 32];
    search::codes(weights, scale, -8.0 * scale, 15, &mut codes);
    put_low_then_high(&codes, &mut block[2..]);
}
