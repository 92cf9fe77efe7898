//! Q3_K: 256 integers of 3 bits from -4 to 3; for each 16 a scale of 6 bits from -32 to 31. 32 bytes of highest bits,
//! 64 bytes of lower ones, 12 bytes of scales, half-precision scale of the scales.
//!
//! Bit `j` of the `i`-th byte of highest bits belongs to the integer at `32 * j + i`; lower bits lie as in Q2_K. The
//! first 8 bytes of the scales hold their low halves, the first eight scales' low; the others, from the lowest bits
//! up, the highest two bits of scales `k`, `k + 4`, `k + 8`, `k + 12`.

use super::bits::{half, put_half};
use super::q2_k::{put_two_bits, two_bits};
use super::{Layout, Parts, Reader, search};

pub(super) const LAYOUT: Layout = Layout {
    name: "Q3_K",
    id: 11,
    len: 256,
    bytes: 110,
    sub_block: 16,
    has_mins: false,
    reader: Reader::Blocks(parts),
    quantize: Some(quantize),
};

fn parts(block: &[u8], out: &mut Parts) {
    let scale = half(block, 108);
    let scales = &block[96..108];
    for j in 0..16 {
        let low = scales[j % 8] >> (4 * (j / 8)) & 15;
        let high = scales[8 + j % 4] >> (2 * (j / 4)) & 3;
        out.scales[j] = scale * f32::from((low | high << 4) as i8 - 32);
        out.mins[j] = 0.0;
    }
    two_bits(&block[32..96], &mut out.values);
    for (j, values) in out.values.chunks_exact_mut(32).enumerate() {
        for (value, byte) in values.iter_mut().zip(&block[..32]) {
            *value += ((byte >> j & 1) << 2) as i8 - 4;
        }
    }
}

fn quantize(weights: &[f32], block: &mut [u8]) {
    let mut fitted = [0.0; 16];
    fitted.iter_mut().zip(weights.chunks_exact(16)).for_each(|(fit, w)| *fit = search::symmetric(w, 4));
    let scale = put_half(block, 108, search::symmetric(&fitted, 32));
    let mut coded_scales = [0; 16];
    search::codes(&fitted, scale, -32.0 * scale, 63, &mut coded_scales);
    block[96..108].fill(0);
    let mut codes = [0; 256];
    for (j, (&code, weights)) in coded_scales.iter().zip(weights.chunks_exact(16)).enumerate() {
        block[96 + j % 8] |= (code & 15) << (4 * (j / 8));
        block[104 + j % 4] |= code >> 4 << (2 * (j / 4));
        let scale = scale * f32::from(code as i8 - 32);
        search::codes(weights, scale, -4.0 * scale, 7, &mut codes[16 * j..][..16]);
    }
    put_two_bits(&codes, &mut block[32..96]);
    block[..32].fill(0);
    for (j, codes) in codes.chunks_exact(32).enumerate() {
        block[..32].iter_mut().zip(codes).for_each(|(byte, code)| *byte |= code >> 2 << j);
    }
}
