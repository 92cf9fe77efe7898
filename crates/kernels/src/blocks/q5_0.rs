//! Q5_0: 32 integers of 5 bits from -16 to 15, one scale. Half-precision scale, 4 bytes of highest bits, 16 bytes of
//! halves.

use super::bits::{add_fifth_bits, half, low_then_high, put_fifth_bits, put_half, put_low_then_high};
use super::{Layout, Parts, Reader, search};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q5_0",
    id: 6,
    len: 32,
    bytes: 22,
    sub_block: 32,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    out.scales[0] = half(block, 0);
    out.mins[0] = 0.0;
    low_then_high(&block[6..22], 16, &mut out.values[..32]);
    add_fifth_bits(&block[2..6], &mut out.values[..32]);
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let scale = put_half(block, 0, search::symmetric(weights, 16));
    let mut codes = [0; 32];
    search::codes(weights, scale, -16.0 * scale, 31, &mut codes);
    put_fifth_bits(&codes, &mut block[2..6]);
    put_low_then_high(&codes, &mut block[6..]);
}
