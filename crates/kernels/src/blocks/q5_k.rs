//! Q5_K: Q4_K with a fifth bit. Scales and minima as there, 32 bytes of fifth bits, 128 bytes of lower ones.
//!
//! Bit `j` of the `i`-th byte of fifth bits belongs to the integer at `32 * j + i`.

use super::bits::{low_then_high, put_low_then_high};
use super::{Layout, Parts, Reader, q4_k};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q5_K",
    id: 13,
    len: 256,
    bytes: 176,
    sub_block: 32,
    has_mins: true,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    q4_k::scales_and_mins(block, out);
    for (bytes, values) in block[48..176].chunks_exact(32).zip(out.values.chunks_exact_mut(64)) {
        low_then_high(bytes, 0, values);
    }
    for (j, values) in out.values.chunks_exact_mut(32).enumerate() {
        values.iter_mut().zip(&block[16..48]).for_each(|(value, byte)| *value += ((byte >> j & 1) << 4) as i8);
    }
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let codes = q4_k::fit(weights, 31, block);
    for (bytes, codes) in block[48..].chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        put_low_then_high(codes, bytes);
    }
    block[16..48].fill(0);
    for (j, codes) in codes.chunks_exact(32).enumerate() {
        block[16..48].iter_mut().zip(codes).for_each(|(byte, code)| *byte |= code >> 4 << j);
    }
}
