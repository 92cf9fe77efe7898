//! IQ4_NL: 32 integers of 4 bits that choose among sixteen uneven steps, one scale. Half-precision scale, 16 bytes of
//! halves.

use super::bits::half;
use super::{Layout, Parts, Reader};

pub(super) const LAYOUT: Layout = Layout {
    name: "IQ4_NL",
    id: 20,
    len: 32,
    bytes: 18,
    sub_block: 32,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: None,
};

/// The steps, denser near zero.
pub const STEPS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

fn parts(block: &[u8], out: &mut Parts) {
    out.scales[0] = half(block, 0);
    out.mins[0] = 0.0;
    steps(&block[2..18], &mut out.values[..32]);
}

/// The steps that halves of bytes choose: the low ones, then the high ones.
pub(super) fn steps(bytes: &[u8], values: &mut [i8]) {
    super::bits::low_then_high(bytes, 0, values);
    values.iter_mut().for_each(|value| *value = STEPS[*value as usize & 15]);
}
