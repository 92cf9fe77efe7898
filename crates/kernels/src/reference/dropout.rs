//! Which elements stay, one at a time.

use crate::dropout::Mask;

/// The factor of every element, for rows of `width`: 0, or what makes up for those that fall out.
pub fn dropout_factors(mask: &Mask<'_>, width: usize) -> Vec<f32> {
    let mut factors = Vec::new();
    for run in mask.runs {
        for (row, column) in (0..run.rows).flat_map(|row| (0..width).map(move |column| (row, column))) {
            let (lane, slot, group) = (column % 16, column / 16 % 8, column / 128);
            let counter = [(group * 16 + lane) as u32, row as u32, run.path as u32, (run.path >> 32) as u32];
            let word = philox(counter, mask.key)[slot / 2];
            let draw = if slot % 2 == 0 { word & 0xFFFF } else { word >> 16 };
            factors.push(if draw < u32::from(mask.dropped) { 0.0 } else { mask.scale() });
        }
    }
    factors
}

/// Philox 4x32 with ten rounds (Salmon et al., 2011).
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let (left, right) = (0xD251_1F53_u64 * u64::from(counter[0]), 0xCD9E_8D57_u64 * u64::from(counter[2]));
        counter = [
            (right >> 32) as u32 ^ counter[1] ^ key[0],
            right as u32,
            (left >> 32) as u32 ^ counter[3] ^ key[1],
            left as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}
