//! How formats pack their integers.

use super::half::{f16_to_f32, f32_to_f16};

/// The half-precision number at a byte.
#[inline(always)]
pub(super) fn half(block: &[u8], at: usize) -> f32 {
    f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]))
}

/// Puts a number as half precision at a byte; gives what it became.
pub(super) fn put_half(block: &mut [u8], at: usize, number: f32) -> f32 {
    let half = f32_to_f16(number);
    block[at..at + 2].copy_from_slice(&half.to_le_bytes());
    f16_to_f32(half)
}

/// Integers of 4 bits less `zero`: the low halves of the bytes, then their high halves.
#[inline(always)]
pub(super) fn low_then_high(bytes: &[u8], zero: i8, values: &mut [i8]) {
    let (low, high) = values.split_at_mut(bytes.len());
    for ((&byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = (byte & 15) as i8 - zero;
        *high = (byte >> 4) as i8 - zero;
    }
}

/// The reverse of [`low_then_high`], of the lowest 4 bits of each integer.
pub(super) fn put_low_then_high(values: &[u8], bytes: &mut [u8]) {
    let (low, high) = values.split_at(bytes.len());
    for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = low & 15 | high << 4;
    }
}

/// The fifth bits of 32 integers that stand in four bytes, added as 16 each.
#[inline(always)]
pub(super) fn add_fifth_bits(bytes: &[u8], values: &mut [i8]) {
    for (i, value) in values.iter_mut().enumerate() {
        *value += ((bytes[i / 8] >> (i % 8) & 1) << 4) as i8;
    }
}

/// The reverse of [`add_fifth_bits`].
pub(super) fn put_fifth_bits(values: &[u8], bytes: &mut [u8]) {
    for (byte, values) in bytes.iter_mut().zip(values.chunks_exact(8)) {
        *byte = values.iter().rev().fold(0, |byte, value| byte << 1 | value >> 4 & 1);
    }
}

/// Eight scales and eight minima of 6 bits in twelve bytes: the first four of each whole in the low bits of eight
/// bytes, the low halves of the others side by side in four more, their highest two bits above the first ones.
#[inline(always)]
pub(super) fn six_bit_pairs(bytes: &[u8]) -> [(u8, u8); 8] {
    std::array::from_fn(|j| match j {
        0..4 => (bytes[j] & 63, bytes[j + 4] & 63),
        _ => (bytes[j + 4] & 15 | bytes[j - 4] >> 6 << 4, bytes[j + 4] >> 4 | bytes[j] >> 6 << 4),
    })
}

/// The reverse of [`six_bit_pairs`].
pub(super) fn put_six_bit_pairs(pairs: &[(u8, u8); 8], bytes: &mut [u8]) {
    for j in 0..4 {
        let ((scale, min), (late_scale, late_min)) = (pairs[j], pairs[j + 4]);
        bytes[j] = scale | late_scale >> 4 << 6;
        bytes[j + 4] = min | late_min >> 4 << 6;
        bytes[j + 8] = late_scale & 15 | late_min << 4;
    }
}
