//! fp16 numbers as their bits.

/// As f32, exactly.
#[inline(always)]
pub fn to_f32(half: u16) -> f32 {
    let (sign, exponent, mantissa) = (u32::from(half & 0x8000) << 16, (half >> 10) & 0x1F, u32::from(half & 0x3FF));
    let magnitude = match exponent {
        // 2⁻²⁴ steps.
        0 => (mantissa as f32 * f32::from_bits(0x3380_0000)).to_bits(),
        0x1F => 0x7F80_0000 | (mantissa << 13),
        _ => ((u32::from(exponent) + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// To the nearest, ties to even; what is too large becomes infinite, NaN stays NaN.
pub fn from_f32(x: f32) -> u16 {
    let (bits, sign) = (x.to_bits(), ((x.to_bits() >> 16) & 0x8000) as u16);
    let magnitude = bits & 0x7FFF_FFFF;
    if magnitude > 0x7F80_0000 {
        return sign | 0x7E00;
    }
    if magnitude >= 0x477F_F000 {
        return sign | 0x7C00;
    }
    if magnitude < 0x3880_0000 {
        // Below 2⁻¹⁴ in steps of 2⁻²⁴: adding one half brings the steps to the last bit of the mantissa.
        let shifted = f32::from_bits(magnitude) + 0.5;
        return sign | (shifted.to_bits() - 0.5f32.to_bits()) as u16;
    }
    let odd = (magnitude >> 13) & 1;
    sign | ((magnitude - (112 << 23) + 0xFFF + odd) >> 13) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_comes_back() {
        for half in 0..=u16::MAX {
            let wide = to_f32(half);
            match wide.is_nan() {
                true => assert!(to_f32(from_f32(wide)).is_nan()),
                false => assert_eq!(from_f32(wide), half, "{half:#06x} is {wide}"),
            }
        }
    }

    #[test]
    fn rounding_goes_to_the_nearest_even_neighbour() {
        for half in 0..0x7BFFu16 {
            let (low, high) = (to_f32(half), to_f32(half + 1));
            let middle = low + (high - low) / 2.0;
            assert_eq!(from_f32(middle), half + (half & 1), "between {low} and {high}");
            assert_eq!(from_f32(f32::from_bits(middle.to_bits() - 1)), half);
            assert_eq!(from_f32(f32::from_bits(middle.to_bits() + 1)), half + 1);
        }
        assert_eq!(from_f32(65519.9), 0x7BFF);
        assert_eq!(from_f32(65520.0), 0x7C00);
    }
}
