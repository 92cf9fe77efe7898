//! bf16: the upper half of an f32 (8 bits of exponent, 7 of mantissa).

/// Rounded to the nearest bf16, ties to even; numbers below 2⁻¹²⁶ to zero; NaN stays NaN.
#[inline(always)]
pub fn from_f32(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    if bits & 0x7F80_0000 == 0 {
        return (bits >> 16) as u16 & 0x8000;
    }
    ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16
}

/// The number, exactly.
#[inline(always)]
pub fn to_f32(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// Two numbers as bf16 in the bits of an f32, the first in the lower half.
#[inline(always)]
pub(crate) fn pair(even: f32, odd: f32) -> f32 {
    f32::from_bits(u32::from(from_f32(odd)) << 16 | u32::from(from_f32(even)))
}

/// `sum + a.odd * b.odd`, then `+ a.even * b.even`, each rounded once.
#[inline(always)]
pub(crate) fn dot_pair(a: f32, b: f32, sum: f32) -> f32 {
    let odd = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
    let even = |x: f32| f32::from_bits(x.to_bits() << 16);
    even(a).mul_add(even(b), odd(a).mul_add(odd(b), sum))
}
