//! Q2_K: 256 integers of 2 bits from 0; for each 16 a scale and a minimum of 4 bits. 16 bytes of scales (low) and
//! minima (high), 64 bytes of integers, half-precision scales of the scales and of the minima.
//!
//! Each 32 bytes of integers hold 128: byte `i` has those at `i`, `i + 32`, `i + 64` and `i + 96`, lowest bits first.

use super::bits::{half, put_half};
use super::{Layout, Parts, Reader, search};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q2_K",
    id: 10,
    len: 256,
    bytes: 84,
    sub_block: 16,
    has_mins: true,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    let (scale, min) = (half(block, 80), half(block, 82));
    for (j, &byte) in block[..16].iter().enumerate() {
        out.scales[j] = scale * f32::from(byte & 15);
        out.mins[j] = -(min * f32::from(byte >> 4));
    }
    two_bits(&block[16..80], &mut out.values);
}

/// 256 integers of 2 bits.
pub(super) fn two_bits(bytes: &[u8], values: &mut [i8; 256]) {
    for (bytes, values) in bytes.chunks_exact(32).zip(values.chunks_exact_mut(128)) {
        for (shift, values) in values.chunks_exact_mut(32).enumerate() {
            values.iter_mut().zip(bytes).for_each(|(value, byte)| *value = (byte >> (2 * shift) & 3) as i8);
        }
    }
}

/// The reverse of [`two_bits`], of the lowest 2 bits of each integer.
pub(super) fn put_two_bits(codes: &[u8; 256], bytes: &mut [u8]) {
    bytes.fill(0);
    for (bytes, codes) in bytes.chunks_exact_mut(32).zip(codes.chunks_exact(128)) {
        for (shift, codes) in codes.chunks_exact(32).enumerate() {
            bytes.iter_mut().zip(codes).for_each(|(byte, code)| *byte |= (code & 3) << (2 * shift));
        }
    }
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let fitted = search::scales_and_mins::<16>(weights, 3);
    let largest = |of: fn(&(f32, f32)) -> f32| fitted.iter().map(of).fold(0.0, f32::max);
    let scale = put_half(block, 80, largest(|fit| fit.0) / 15.0);
    let min = put_half(block, 82, largest(|fit| -fit.1) / 15.0);
    let mut codes = [0; 256];
    for (j, (fit, weights)) in fitted.iter().zip(weights.chunks_exact(16)).enumerate() {
        let (a, b) = (search::steps(fit.0, scale, 15), search::steps(-fit.1, min, 15));
        block[j] = a | b << 4;
        let (scale, min) = (scale * f32::from(a), -(min * f32::from(b)));
        search::codes(weights, scale, min, 3, &mut codes[16 * j..][..16]);
    }
    put_two_bits(&codes, &mut block[16..80]);
}
