//! Q6_K: 256 integers of 6 bits from -32 to 31; for each 16 a signed scale of 8 bits. 128 bytes of low halves, 64 bytes
//! of the highest two bits, 16 bytes of scales, half-precision scale of the scales.
//!
//! Each 64 bytes of halves hold 128 integers: low halves are the first 64, high ones the others. The highest bits lie
//! as in Q2_K.

use super::bits::{half, low_then_high, put_half, put_low_then_high};
use super::q2_k::{put_two_bits, two_bits};
use super::search::{self, inverse};
use super::{Layout, Parts, Reader};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q6_K",
    id: 14,
    len: 256,
    bytes: 210,
    sub_block: 16,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    let scale = half(block, 208);
    for (j, &byte) in block[192..208].iter().enumerate() {
        out.scales[j] = scale * f32::from(byte as i8);
        out.mins[j] = 0.0;
    }
    let mut low = [0; 256];
    for (bytes, low) in block[..128].chunks_exact(64).zip(low.chunks_exact_mut(128)) {
        low_then_high(bytes, 32, low);
    }
    two_bits(&block[128..192], &mut out.values);
    out.values.iter_mut().zip(low).for_each(|(value, low)| *value = (*value << 4) + low);
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let mut fitted = [0.0; 16];
    fitted.iter_mut().zip(weights.chunks_exact(16)).for_each(|(fit, w)| *fit = search::symmetric(w, 32));
    let largest = fitted.iter().fold(0.0f32, |largest, fit| largest.max(fit.abs()));
    let scale = put_half(block, 208, largest / 127.0);
    let steps = inverse(scale);
    let mut codes = [0; 256];
    for (j, (fit, weights)) in fitted.iter().zip(weights.chunks_exact(16)).enumerate() {
        let count = (fit * steps).round_ties_even().clamp(-127.0, 127.0) as i8;
        block[192 + j] = count as u8;
        let scale = scale * f32::from(count);
        search::codes(weights, scale, -32.0 * scale, 63, &mut codes[16 * j..][..16]);
    }
    for (bytes, codes) in block[..128].chunks_exact_mut(64).zip(codes.chunks_exact(128)) {
        put_low_then_high(codes, bytes);
    }
    put_two_bits(&codes.map(|code| code >> 4), &mut block[128..192]);
}
