//! Q4_K: 256 integers of 4 bits from 0; for each 32 a scale and a minimum of 6 bits. Half-precision scales of the
//! scales and of the minima, 12 bytes of those, 128 bytes of integers: each 32 bytes hold 64, low halves first.

use super::bits::{half, low_then_high, put_half, put_low_then_high, put_six_bit_pairs, six_bit_pairs};
use super::{Layout, Parts, Reader, search};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q4_K",
    id: 12,
    len: 256,
    bytes: 144,
    sub_block: 32,
    has_mins: true,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    scales_and_mins(block, out);
    for (bytes, values) in block[16..144].chunks_exact(32).zip(out.values.chunks_exact_mut(64)) {
        low_then_high(bytes, 0, values);
    }
}

/// The scales and minima of a block that begins with them.
pub(super) fn scales_and_mins(block: &[u8], out: &mut Parts) {
    let (scale, min) = (half(block, 0), half(block, 2));
    for (j, (a, b)) in six_bit_pairs(&block[4..16]).into_iter().enumerate() {
        out.scales[j] = scale * f32::from(a);
        out.mins[j] = -(min * f32::from(b));
    }
}

/// Fits scales and minima for integers up to `most`, puts them at the block's begin, and gives the integers.
pub(super) fn fit(weights: &[f32], most: u8, block: &mut [u8]) -> [u8; 256] {
    let fitted = search::scales_and_mins::<8>(weights, most);
    let largest = |of: fn(&(f32, f32)) -> f32| fitted.iter().map(of).fold(0.0, f32::max);
    let scale = put_half(block, 0, largest(|fit| fit.0) / 63.0);
    let min = put_half(block, 2, largest(|fit| -fit.1) / 63.0);
    let pairs = fitted.map(|fit| (search::steps(fit.0, scale, 63), search::steps(-fit.1, min, 63)));
    put_six_bit_pairs(&pairs, &mut block[4..16]);
    let mut codes = [0; 256];
    for ((codes, weights), (a, b)) in codes.chunks_exact_mut(32).zip(weights.chunks_exact(32)).zip(pairs) {
        search::codes(weights, scale * f32::from(a), -(min * f32::from(b)), most, codes);
    }
    codes
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let codes = fit(weights, 15, block);
    for (bytes, codes) in block[16..].chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        put_low_then_high(codes, bytes);
    }
}
