//! IQ4_XS: 256 integers of 4 bits that choose among the steps of IQ4_NL; for each 32 a scale of 6 bits from -32 to 31.
//! Half-precision scale of the scales, two bytes of the scales' highest two bits, four bytes of their low halves,
//! 128 bytes of halves, each 16 as a block of IQ4_NL.

use super::bits::half;
use super::iq4_nl::steps;
use super::{Layout, Parts, Reader};

pub(super) const LAYOUT: Layout = Layout {
    name: "IQ4_XS",
    id: 23,
    len: 256,
    bytes: 136,
    sub_block: 32,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: None,
};

fn parts(block: &[u8], out: &mut Parts) {
    let scale = half(block, 0);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for j in 0..8 {
        let low = block[4 + j / 2] >> (4 * (j % 2)) & 15;
        let high = (high >> (2 * j) & 3) as u8;
        out.scales[j] = scale * f32::from((low | high << 4) as i8 - 32);
        out.mins[j] = 0.0;
    }
    for (bytes, values) in block[8..136].chunks_exact(16).zip(out.values.chunks_exact_mut(32)) {
        steps(bytes, values);
    }
}
