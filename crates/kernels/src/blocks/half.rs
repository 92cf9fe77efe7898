//! IEEE half precision, by its bits.

/// The number, exactly.
#[inline(always)]
pub fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1f;
    let fraction = u32::from(half & 0x3ff);
    match (exponent, fraction) {
        // Zero and the subnormal numbers: fraction × 2^-24, exact in f32.
        (0, _) => {
            let magnitude = fraction as f32 * (1.0 / 16_777_216.0);
            if sign == 0 { magnitude } else { -magnitude }
        }
        (0x1f, _) => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// Rounded to the nearest half, ties to even; beyond the largest half, that one; NaN stays NaN.
pub fn f32_to_f16(x: f32) -> u16 {
    const LARGEST: f32 = 65504.0;
    const SMALLEST_NORMAL: f32 = 1.0 / 16384.0;
    let sign = (x.to_bits() >> 16) as u16 & 0x8000;
    if x.is_nan() {
        return sign | 0x7e00;
    }
    let magnitude = x.abs().min(LARGEST);
    if magnitude < SMALLEST_NORMAL {
        // In steps of 2^-24; 1024 of them are the smallest normal number, whose bits these are too.
        return sign | (magnitude * 16_777_216.0).round_ties_even() as u16;
    }
    let bits = magnitude.to_bits() - (112 << 23);
    sign | ((bits + 0x0fff + ((bits >> 13) & 1)) >> 13) as u16
}
