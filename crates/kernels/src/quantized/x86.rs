//! The lanes on x86.
//!
//! SAFETY of every block here: these types are used only below the functions of [`super::tile`] that are compiled for
//! their instructions, whose callers have checked that the machine has them; memory operations pass the caller's
//! promise on.

use std::arch::x86_64::*;

use super::lanes::Lanes;

/// By how much to shift: known when compiled, everywhere here.
#[inline(always)]
fn count(bits: u32) -> __m128i {
    // SAFETY: every x86-64 has SSE2.
    unsafe { _mm_cvtsi32_si128(bits as i32) }
}

/// The upper half of 32 bits.
const UPPER: i32 = 0xFFFF_0000_u32 as i32;

/// AVX-512; with `VNNI`, products of bytes in one instruction, and with `BF16`, of bf16 pairs.
#[derive(Clone, Copy)]
pub(super) struct Wide<const VNNI: bool, const BF16: bool>;

impl<const VNNI: bool, const BF16: bool> Lanes for Wide<VNNI, BF16> {
    type Vector = __m512i;
    const ROWS: usize = 6;
    const PANELS: usize = 4;
    const SUMS: usize = 12;

    #[inline(always)]
    fn splat(bits: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(bits) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store(vector: __m512i, to: *mut u8) {
        unsafe { _mm512_storeu_si512(to.cast(), vector) }
    }
    #[inline(always)]
    fn low_nibbles(bytes: __m512i, up: u32) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_sll_epi16(bytes, count(up)), _mm512_set1_epi8(15 << up)) }
    }
    #[inline(always)]
    fn high_nibbles(bytes: __m512i, up: u32) -> __m512i {
        unsafe { _mm512_and_si512(_mm512_srl_epi16(bytes, count(4 - up)), _mm512_set1_epi8(15 << up)) }
    }
    #[inline(always)]
    fn with_low(upper: __m512i, below: __m512i, bits: u32) -> __m512i {
        unsafe { _mm512_or_si512(upper, _mm512_and_si512(below, _mm512_set1_epi8((1 << bits) - 1))) }
    }
    #[inline(always)]
    fn move_down(bytes: __m512i, bits: u32) -> __m512i {
        unsafe { _mm512_srl_epi16(bytes, count(bits)) }
    }
    #[inline(always)]
    fn choose(among: &[u8; 16], bytes: __m512i) -> __m512i {
        unsafe { _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128(among.as_ptr().cast())), bytes) }
    }
    #[inline(always)]
    fn dot<const SIGNED: bool>(weights: __m512i, activations: __m512i, sum: __m512i) -> __m512i {
        unsafe {
            if VNNI {
                return _mm512_dpbusd_epi32(sum, weights, activations);
            }
            let low = _mm512_set1_epi16(0xFF);
            let (even, odd) = (_mm512_and_si512(weights, low), _mm512_srli_epi16::<8>(weights));
            let a_even = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(activations));
            let even = _mm512_madd_epi16(even, a_even);
            let odd = _mm512_madd_epi16(odd, _mm512_srai_epi16::<8>(activations));
            _mm512_add_epi32(sum, _mm512_add_epi32(even, odd))
        }
    }
    #[inline(always)]
    fn start<const SIGNED: bool>(correction: i32) -> __m512i {
        Self::splat(correction)
    }
    #[inline(always)]
    fn to_floats(integers: __m512i) -> __m512i {
        unsafe { _mm512_castps_si512(_mm512_cvtepi32_ps(integers)) }
    }
    #[inline(always)]
    unsafe fn load_fp16(from: *const u16) -> __m512i {
        unsafe { _mm512_castps_si512(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }
    #[inline(always)]
    fn multiply(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_castps_si512(_mm512_mul_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b))) }
    }
    #[inline(always)]
    fn add(a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b))) }
    }
    #[inline(always)]
    fn fma(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
        unsafe {
            let (a, b, c) = (_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), _mm512_castsi512_ps(c));
            _mm512_castps_si512(_mm512_fmadd_ps(a, b, c))
        }
    }
    #[inline(always)]
    fn dot_pairs(a: __m512i, b: __m512i, sum: __m512i) -> __m512i {
        unsafe {
            if BF16 {
                // SAFETY: both are 512 bits of any content.
                let (a, b) = (std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b));
                return _mm512_castps_si512(_mm512_dpbf16_ps(_mm512_castsi512_ps(sum), a, b));
            }
        }
        let ((a_odd, a_even), (b_odd, b_even)) = (Self::halves(a), Self::halves(b));
        Self::fma(a_even, b_even, Self::fma(a_odd, b_odd, sum))
    }
    #[inline(always)]
    fn halves(pairs: __m512i) -> (__m512i, __m512i) {
        unsafe { (_mm512_and_si512(pairs, _mm512_set1_epi32(UPPER)), _mm512_slli_epi32::<16>(pairs)) }
    }
}

/// AVX2 with FMA and F16C, in pairs of registers.
#[derive(Clone, Copy)]
pub(super) struct Narrow;

/// Applies an expression to both halves.
macro_rules! both {
    ($($name:ident = $vector:expr),+; $body:expr) => {
        unsafe { ({ $(let $name = $vector.0;)+ $body }, { $(let $name = $vector.1;)+ $body }) }
    };
}

impl Lanes for Narrow {
    type Vector = (__m256i, __m256i);
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const SUMS: usize = 2;

    #[inline(always)]
    fn splat(bits: i32) -> Self::Vector {
        unsafe { (_mm256_set1_epi32(bits), _mm256_set1_epi32(bits)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::Vector {
        unsafe { (_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())) }
    }
    #[inline(always)]
    unsafe fn store(vector: Self::Vector, to: *mut u8) {
        unsafe {
            _mm256_storeu_si256(to.cast(), vector.0);
            _mm256_storeu_si256(to.add(32).cast(), vector.1);
        }
    }
    #[inline(always)]
    fn low_nibbles(bytes: Self::Vector, up: u32) -> Self::Vector {
        both!(v = bytes; _mm256_and_si256(_mm256_sll_epi16(v, count(up)), _mm256_set1_epi8(15 << up)))
    }
    #[inline(always)]
    fn high_nibbles(bytes: Self::Vector, up: u32) -> Self::Vector {
        both!(v = bytes; _mm256_and_si256(_mm256_srl_epi16(v, count(4 - up)), _mm256_set1_epi8(15 << up)))
    }
    #[inline(always)]
    fn with_low(upper: Self::Vector, below: Self::Vector, bits: u32) -> Self::Vector {
        both!(u = upper, b = below; _mm256_or_si256(u, _mm256_and_si256(b, _mm256_set1_epi8((1 << bits) - 1))))
    }
    #[inline(always)]
    fn move_down(bytes: Self::Vector, bits: u32) -> Self::Vector {
        both!(v = bytes; _mm256_srl_epi16(v, count(bits)))
    }
    #[inline(always)]
    fn choose(among: &[u8; 16], bytes: Self::Vector) -> Self::Vector {
        let among = unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(among.as_ptr().cast())) };
        both!(v = bytes; _mm256_shuffle_epi8(among, v))
    }
    /// Products of bytes come in pairs as 16 bits: at most 2 · 63 · 127, or 2 · 128 · 127 of magnitudes, which fit.
    #[inline(always)]
    fn dot<const SIGNED: bool>(weights: Self::Vector, activations: Self::Vector, sum: Self::Vector) -> Self::Vector {
        both!(w = weights, a = activations, s = sum; {
            let pairs = if SIGNED {
                let signed = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
                _mm256_maddubs_epi16(_mm256_abs_epi8(signed), _mm256_sign_epi8(a, signed))
            } else {
                _mm256_maddubs_epi16(w, a)
            };
            _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }
    #[inline(always)]
    fn start<const SIGNED: bool>(correction: i32) -> Self::Vector {
        Self::splat(if SIGNED { 0 } else { correction })
    }
    #[inline(always)]
    fn to_floats(integers: Self::Vector) -> Self::Vector {
        both!(v = integers; _mm256_castps_si256(_mm256_cvtepi32_ps(v)))
    }
    #[inline(always)]
    unsafe fn load_fp16(from: *const u16) -> Self::Vector {
        unsafe {
            let low = _mm256_cvtph_ps(_mm_loadu_si128(from.cast()));
            let high = _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast()));
            (_mm256_castps_si256(low), _mm256_castps_si256(high))
        }
    }
    #[inline(always)]
    fn multiply(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        both!(a = a, b = b; _mm256_castps_si256(_mm256_mul_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b))))
    }
    #[inline(always)]
    fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        both!(a = a, b = b; _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b))))
    }
    #[inline(always)]
    fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        both!(a = a, b = b, c = c; {
            let (a, b, c) = (_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), _mm256_castsi256_ps(c));
            _mm256_castps_si256(_mm256_fmadd_ps(a, b, c))
        })
    }
    #[inline(always)]
    fn dot_pairs(a: Self::Vector, b: Self::Vector, sum: Self::Vector) -> Self::Vector {
        let ((a_odd, a_even), (b_odd, b_even)) = (Self::halves(a), Self::halves(b));
        Self::fma(a_even, b_even, Self::fma(a_odd, b_odd, sum))
    }
    #[inline(always)]
    fn halves(pairs: Self::Vector) -> (Self::Vector, Self::Vector) {
        let odd = both!(v = pairs; _mm256_and_si256(v, _mm256_set1_epi32(UPPER)));
        (odd, both!(v = pairs; _mm256_slli_epi32::<16>(v)))
    }
}
