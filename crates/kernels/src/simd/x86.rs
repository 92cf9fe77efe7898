//! The lanes on x86: one 512-bit register, or a pair of 256-bit ones.
//!
//! SAFETY of every block here: these types exist only below `run_avx512` and `run_avx2`, whose callers have checked
//! that the machine has the instructions; memory operations pass the caller's promise on.

use std::arch::x86_64::*;
use std::ops::{Add, Div, Mul, Sub};

use super::{Kernel, LANES, Simd};
use crate::matmul::tile::{Tile, TilePairs, run_tile, run_tile_pairs};

/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512<false>>()
}

/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub(super) unsafe fn run_avx512_bf16<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512<true>>()
}

/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

/// Every machine of this architecture has it, and it never faults.
#[inline(always)]
pub(super) fn prefetch(from: *const f32) {
    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
}

/// As above.
#[inline(always)]
pub(super) fn prefetch_second(from: *const f32) {
    unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
}

/// `BF16` says whether the machine has dot products of bf16 pairs.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>(__m512);

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

macro_rules! operator {
    ($trait:ident, $method:ident, $wide:ident, $half:ident) => {
        impl<const BF16: bool> $trait for Avx512<BF16> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(unsafe { $wide(self.0, other.0) })
            }
        }
        impl $trait for Avx2 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                unsafe { Self($half(self.0, other.0), $half(self.1, other.1)) }
            }
        }
    };
}
operator!(Add, add, _mm512_add_ps, _mm256_add_ps);
operator!(Sub, sub, _mm512_sub_ps, _mm256_sub_ps);
operator!(Mul, mul, _mm512_mul_ps, _mm256_mul_ps);
operator!(Div, div, _mm512_div_ps, _mm256_div_ps);

/// The mask of the first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// Folds eight lanes by the fixed tree.
macro_rules! fold_halves {
    ($eight:expr, $four:ident, $one:ident) => {{
        let eight = $eight;
        let four = $four(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = $four(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32($one(two, _mm_shuffle_ps::<1>(two, two)))
    }};
}

/// As [`fold_halves`], of whole numbers.
macro_rules! fold_integers {
    ($eight:expr, $four:ident) => {{
        let eight = $eight;
        let four = $four(_mm256_castsi256_si128(eight), _mm256_extracti128_si256::<1>(eight));
        let two = $four(four, _mm_shuffle_epi32::<0b11_10_11_10>(four));
        _mm_cvtsi128_si32($four(two, _mm_shuffle_epi32::<1>(two)))
    }};
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    const ACCUMULATORS: usize = 24;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        Self(unsafe { _mm512_maskz_loadu_ps(first(count), from) })
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first(count), self.0) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(self.0))) }
    }
    #[inline(always)]
    unsafe fn store_i8_adding(self, to: *mut i8, sums: Self) -> Self {
        unsafe {
            let integers = _mm512_cvtps_epi32(self.0);
            _mm_storeu_si128(to.cast(), _mm512_cvtepi32_epi8(integers));
            Self(_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(sums.0), integers)))
        }
    }
    #[inline(always)]
    fn sum_of_integers(self) -> i32 {
        unsafe {
            let lanes = _mm512_castps_si512(self.0);
            let eight = _mm256_add_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
            fold_integers!(eight, _mm_add_epi32)
        }
    }
    #[inline(always)]
    fn fma(self, factor: Self, addend: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    fn larger_magnitude(self, other: Self) -> Self {
        unsafe {
            let magnitude = _mm512_and_si512(_mm512_castps_si512(self.0), _mm512_set1_epi32(i32::MAX));
            Self(_mm512_castsi512_ps(_mm512_max_epi32(magnitude, _mm512_castps_si512(other.0))))
        }
    }
    #[inline(always)]
    fn largest_magnitude(self) -> f32 {
        unsafe {
            let lanes = _mm512_castps_si512(self.0);
            let eight = _mm256_max_epi32(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
            f32::from_bits(fold_integers!(eight, _mm_max_epi32) as u32)
        }
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0) })
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        Self(unsafe { _mm512_sqrt_ps(self.0) })
    }
    #[inline(always)]
    fn exp2_of_integer(self) -> Self {
        unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent)))
        }
    }
    #[inline(always)]
    fn if_less(self, other: Self, yes: Self, no: Self) -> Self {
        Self(unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0), no.0, yes.0) })
    }
    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), self.0) };
        lanes
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
            fold_halves!(eight, _mm_add_ps, _mm_add_ss)
        }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe {
            let eight = _mm256_max_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
            fold_halves!(eight, _mm_max_ps, _mm_max_ss)
        }
    }
    /// Pairs of rows, then fours, then the quarters of the registers.
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let mut out = rows;
        unsafe {
            let mut fours = [[rows[0].0; 4]; 4];
            for (four, rows) in fours.iter_mut().zip(rows.as_chunks::<4>().0) {
                let low = [_mm512_unpacklo_ps(rows[0].0, rows[1].0), _mm512_unpacklo_ps(rows[2].0, rows[3].0)];
                let high = [_mm512_unpackhi_ps(rows[0].0, rows[1].0), _mm512_unpackhi_ps(rows[2].0, rows[3].0)];
                let [low, high] = [low, high].map(|[a, b]| (_mm512_castps_pd(a), _mm512_castps_pd(b)));
                *four = [
                    _mm512_castpd_ps(_mm512_unpacklo_pd(low.0, low.1)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(low.0, low.1)),
                    _mm512_castpd_ps(_mm512_unpacklo_pd(high.0, high.1)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(high.0, high.1)),
                ];
            }
            // fours[g][c] holds, of rows 4 g to 4 g + 3, the columns c, c + 4, c + 8 and c + 12.
            for c in 0..4 {
                let even_low = _mm512_shuffle_f32x4::<0x88>(fours[0][c], fours[1][c]);
                let even_high = _mm512_shuffle_f32x4::<0x88>(fours[2][c], fours[3][c]);
                let odd_low = _mm512_shuffle_f32x4::<0xDD>(fours[0][c], fours[1][c]);
                let odd_high = _mm512_shuffle_f32x4::<0xDD>(fours[2][c], fours[3][c]);
                out[c] = Self(_mm512_shuffle_f32x4::<0x88>(even_low, even_high));
                out[c + 4] = Self(_mm512_shuffle_f32x4::<0x88>(odd_low, odd_high));
                out[c + 8] = Self(_mm512_shuffle_f32x4::<0xDD>(even_low, even_high));
                out[c + 12] = Self(_mm512_shuffle_f32x4::<0xDD>(odd_low, odd_high));
            }
        }
        out
    }
    #[inline(always)]
    fn pairs_along(first: Self, second: Self) -> Self {
        unsafe {
            if BF16 {
                let pairs = _mm512_cvtne2ps_pbh(second.0, first.0);
                return Self(std::mem::transmute::<__m512bh, __m512>(pairs));
            }
            // The upper half of each 32 bits.
            let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            let four = _mm512_mullo_epi32(lane, _mm512_set1_epi32(0x0004_0004));
            let halves = _mm512_add_epi32(four, _mm512_set1_epi32(0x0003_0001));
            let pairs = _mm512_permutex2var_epi16(rounded512(first.0), halves, rounded512(second.0));
            Self(_mm512_castsi512_ps(pairs))
        }
    }
    #[inline(always)]
    fn pairs_across(even: Self, odd: Self) -> Self {
        unsafe {
            let (even, odd) = if BF16 {
                let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(odd.0, even.0));
                let low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(pairs));
                let high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(pairs));
                (low, _mm512_slli_epi32::<16>(high))
            } else {
                (_mm512_srli_epi32::<16>(rounded512(even.0)), rounded512(odd.0))
            };
            let odd = _mm512_and_si512(odd, _mm512_set1_epi32(UPPER));
            Self(_mm512_castsi512_ps(_mm512_or_si512(even, odd)))
        }
    }
    #[inline(always)]
    fn pairs_of(even: &[u16; LANES], odd: &[u16; LANES]) -> Self {
        unsafe {
            let even = _mm512_cvtepu16_epi32(_mm256_loadu_epi16(even.as_ptr().cast()));
            let odd = _mm512_cvtepu16_epi32(_mm256_loadu_epi16(odd.as_ptr().cast()));
            Self(_mm512_castsi512_ps(_mm512_or_si512(even, _mm512_slli_epi32::<16>(odd))))
        }
    }
    #[inline(always)]
    fn dot_pairs(self, factor: Self, sum: Self) -> Self {
        unsafe {
            if BF16 {
                let a = std::mem::transmute::<__m512, __m512bh>(self.0);
                let b = std::mem::transmute::<__m512, __m512bh>(factor.0);
                return Self(_mm512_dpbf16_ps(sum.0, a, b));
            }
            let (a, b) = (_mm512_castps_si512(self.0), _mm512_castps_si512(factor.0));
            let upper = _mm512_set1_epi32(UPPER);
            let (a_odd, b_odd) = (_mm512_and_si512(a, upper), _mm512_and_si512(b, upper));
            let (a_even, b_even) = (_mm512_slli_epi32::<16>(a), _mm512_slli_epi32::<16>(b));
            let sum = _mm512_fmadd_ps(_mm512_castsi512_ps(a_odd), _mm512_castsi512_ps(b_odd), sum.0);
            Self(_mm512_fmadd_ps(_mm512_castsi512_ps(a_even), _mm512_castsi512_ps(b_even), sum))
        }
    }
    #[inline(always)]
    fn to_bf16(self) -> Self {
        unsafe {
            if BF16 {
                let narrow = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self.0));
                return Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow))));
            }
            Self(_mm512_castsi512_ps(_mm512_and_si512(rounded512(self.0), _mm512_set1_epi32(UPPER))))
        }
    }
    #[inline(always)]
    fn of_bf16(numbers: &[u16; LANES]) -> Self {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_epi16(numbers.as_ptr().cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
    #[inline(always)]
    fn swap_neighbours(self) -> Self {
        Self(unsafe { _mm512_permute_ps::<0b10_11_00_01>(self.0) })
    }
    #[inline(always)]
    unsafe fn tile(tile: Tile) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        #[inline(never)]
        unsafe fn compiled(tile: Tile) {
            unsafe { run_tile::<Avx512<false>>(tile) }
        }
        unsafe { compiled(tile) }
    }
    #[inline(always)]
    unsafe fn tile_pairs(tile: TilePairs) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        #[inline(never)]
        unsafe fn native(tile: TilePairs) {
            unsafe { run_tile_pairs::<Avx512<true>>(tile) }
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
        #[inline(never)]
        unsafe fn emulated(tile: TilePairs) {
            unsafe { run_tile_pairs::<Avx512<false>>(tile) }
        }
        unsafe { if BF16 { native(tile) } else { emulated(tile) } }
    }
}

impl Simd for Avx2 {
    const ACCUMULATORS: usize = 6;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; LANES];
        unsafe {
            std::ptr::copy_nonoverlapping(from, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> Self {
        unsafe {
            let low = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast()));
            let high = _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(8).cast()));
            Self(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let lanes = self.to_array();
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), to, count) }
    }
    #[inline(always)]
    unsafe fn store_i8(self, to: *mut i8) {
        unsafe {
            // Packing goes by halves of the registers: the quarters come back in order before the bytes do.
            let shorts = _mm256_packs_epi32(_mm256_cvtps_epi32(self.0), _mm256_cvtps_epi32(self.1));
            let shorts = _mm256_permute4x64_epi64::<0b11_01_10_00>(shorts);
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(shorts), _mm256_extracti128_si256::<1>(shorts));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn store_i8_adding(self, to: *mut i8, sums: Self) -> Self {
        unsafe {
            self.store_i8(to);
            let low = _mm256_add_epi32(_mm256_castps_si256(sums.0), _mm256_cvtps_epi32(self.0));
            let high = _mm256_add_epi32(_mm256_castps_si256(sums.1), _mm256_cvtps_epi32(self.1));
            Self(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        }
    }
    #[inline(always)]
    fn sum_of_integers(self) -> i32 {
        unsafe {
            let eight = _mm256_add_epi32(_mm256_castps_si256(self.0), _mm256_castps_si256(self.1));
            fold_integers!(eight, _mm_add_epi32)
        }
    }
    #[inline(always)]
    fn fma(self, factor: Self, addend: Self) -> Self {
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, addend.0), _mm256_fmadd_ps(self.1, factor.1, addend.1)) }
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        unsafe { Self(_mm256_min_ps(self.0, other.0), _mm256_min_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        unsafe { Self(_mm256_max_ps(self.0, other.0), _mm256_max_ps(self.1, other.1)) }
    }
    #[inline(always)]
    fn larger_magnitude(self, other: Self) -> Self {
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            let (low, high) = (_mm256_andnot_ps(sign, self.0), _mm256_andnot_ps(sign, self.1));
            let low = _mm256_max_epi32(_mm256_castps_si256(low), _mm256_castps_si256(other.0));
            let high = _mm256_max_epi32(_mm256_castps_si256(high), _mm256_castps_si256(other.1));
            Self(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        }
    }
    #[inline(always)]
    fn largest_magnitude(self) -> f32 {
        unsafe {
            let eight = _mm256_max_epi32(_mm256_castps_si256(self.0), _mm256_castps_si256(self.1));
            f32::from_bits(fold_integers!(eight, _mm_max_epi32) as u32)
        }
    }
    #[inline(always)]
    fn round(self) -> Self {
        const MODE: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        unsafe { Self(_mm256_round_ps::<MODE>(self.0), _mm256_round_ps::<MODE>(self.1)) }
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        unsafe { Self(_mm256_sqrt_ps(self.0), _mm256_sqrt_ps(self.1)) }
    }
    #[inline(always)]
    fn exp2_of_integer(self) -> Self {
        unsafe {
            let low = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            let high = _mm256_add_epi32(_mm256_cvtps_epi32(self.1), _mm256_set1_epi32(127));
            Self(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)), _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)))
        }
    }
    #[inline(always)]
    fn if_less(self, other: Self, yes: Self, no: Self) -> Self {
        unsafe {
            let low = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0);
            let high = _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1);
            Self(_mm256_blendv_ps(no.0, yes.0, low), _mm256_blendv_ps(no.1, yes.1, high))
        }
    }
    #[inline(always)]
    fn to_array(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe { fold_halves!(_mm256_add_ps(self.0, self.1), _mm_add_ps, _mm_add_ss) }
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe { fold_halves!(_mm256_max_ps(self.0, self.1), _mm_max_ps, _mm_max_ss) }
    }
    #[inline(always)]
    fn transpose(rows: [Self; LANES]) -> [Self; LANES] {
        let (mut from, mut to) = ([[0.0; LANES]; LANES], [[0.0; LANES]; LANES]);
        for r in 0..LANES {
            from[r] = rows[r].to_array();
        }
        for r in 0..LANES {
            for c in 0..LANES {
                to[c][r] = from[r][c];
            }
        }
        let mut out = rows;
        for c in 0..LANES {
            out[c] = unsafe { Self::load(to[c].as_ptr()) };
        }
        out
    }
    #[inline(always)]
    fn pairs_along(first: Self, second: Self) -> Self {
        unsafe { Self(along256(first.0, first.1), along256(second.0, second.1)) }
    }
    #[inline(always)]
    fn pairs_across(even: Self, odd: Self) -> Self {
        unsafe { Self(across256(even.0, odd.0), across256(even.1, odd.1)) }
    }
    #[inline(always)]
    fn pairs_of(even: &[u16; LANES], odd: &[u16; LANES]) -> Self {
        let (even, odd) = (even.as_ptr(), odd.as_ptr());
        unsafe { Self(pairs256(even, odd), pairs256(even.add(LANES / 2), odd.add(LANES / 2))) }
    }
    #[inline(always)]
    fn dot_pairs(self, factor: Self, sum: Self) -> Self {
        unsafe { Self(dot256(self.0, factor.0, sum.0), dot256(self.1, factor.1, sum.1)) }
    }
    #[inline(always)]
    fn to_bf16(self) -> Self {
        unsafe {
            let upper = _mm256_set1_epi32(UPPER);
            let (low, high) = (rounded256(self.0), rounded256(self.1));
            let (low, high) = (_mm256_and_si256(low, upper), _mm256_and_si256(high, upper));
            Self(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        }
    }
    #[inline(always)]
    fn of_bf16(numbers: &[u16; LANES]) -> Self {
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(numbers.as_ptr().cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(numbers[8..].as_ptr().cast()));
            let (low, high) = (_mm256_slli_epi32::<16>(low), _mm256_slli_epi32::<16>(high));
            Self(_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
        }
    }
    #[inline(always)]
    fn swap_neighbours(self) -> Self {
        const SWAP: i32 = 0b10_11_00_01;
        unsafe { Self(_mm256_permute_ps::<SWAP>(self.0), _mm256_permute_ps::<SWAP>(self.1)) }
    }
    #[inline(always)]
    unsafe fn tile(tile: Tile) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        unsafe fn compiled(tile: Tile) {
            unsafe { run_tile::<Avx2>(tile) }
        }
        unsafe { compiled(tile) }
    }
    #[inline(always)]
    unsafe fn tile_pairs(tile: TilePairs) {
        #[target_feature(enable = "avx2,fma")]
        #[inline(never)]
        unsafe fn compiled(tile: TilePairs) {
            unsafe { run_tile_pairs::<Avx2>(tile) }
        }
        unsafe { compiled(tile) }
    }
}

/// The upper half of 32 bits.
const UPPER: i32 = 0xFFFF_0000_u32 as i32;

/// Rounded to bf16, which then is the upper half of each 32 bits (the lower is left over): to the nearest, ties to
/// even; numbers below 2⁻¹²⁶ to zero; NaN stays NaN.
#[inline(always)]
unsafe fn rounded512(x: __m512) -> __m512i {
    unsafe {
        let bits = _mm512_castps_si512(x);
        let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(bits, _mm512_add_epi32(last, _mm512_set1_epi32(0x7FFF)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
        let rounded = _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x0040_0000));
        let tiny = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7F80_0000));
        _mm512_mask_and_epi32(rounded, tiny, bits, _mm512_set1_epi32(i32::MIN))
    }
}

/// As [`rounded512`].
#[inline(always)]
unsafe fn rounded256(x: __m256) -> __m256i {
    unsafe {
        let bits = _mm256_castps_si256(x);
        let last = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7FFF)));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
        let rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000)), nan);
        let exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7F80_0000));
        let tiny = _mm256_cmpeq_epi32(exponent, _mm256_setzero_si256());
        _mm256_blendv_epi8(rounded, _mm256_and_si256(bits, _mm256_set1_epi32(i32::MIN)), tiny)
    }
}

/// Eight pairs along sixteen numbers.
#[inline(always)]
unsafe fn along256(first: __m256, second: __m256) -> __m256 {
    unsafe {
        let (first, second) = (rounded256(first), rounded256(second));
        let pairs = _mm256_packus_epi32(_mm256_srli_epi32::<16>(first), _mm256_srli_epi32::<16>(second));
        _mm256_castsi256_ps(_mm256_permute4x64_epi64::<0b11_01_10_00>(pairs))
    }
}

/// Eight pairs of one number each.
#[inline(always)]
unsafe fn across256(even: __m256, odd: __m256) -> __m256 {
    unsafe {
        let odd = _mm256_and_si256(rounded256(odd), _mm256_set1_epi32(UPPER));
        _mm256_castsi256_ps(_mm256_or_si256(_mm256_srli_epi32::<16>(rounded256(even)), odd))
    }
}

/// The sums and the products of eight pairs.
#[inline(always)]
unsafe fn dot256(a: __m256, b: __m256, sum: __m256) -> __m256 {
    unsafe {
        let (a, b, upper) = (_mm256_castps_si256(a), _mm256_castps_si256(b), _mm256_set1_epi32(UPPER));
        let (a_odd, b_odd) = (_mm256_and_si256(a, upper), _mm256_and_si256(b, upper));
        let (a_even, b_even) = (_mm256_slli_epi32::<16>(a), _mm256_slli_epi32::<16>(b));
        let sum = _mm256_fmadd_ps(_mm256_castsi256_ps(a_odd), _mm256_castsi256_ps(b_odd), sum);
        _mm256_fmadd_ps(_mm256_castsi256_ps(a_even), _mm256_castsi256_ps(b_even), sum)
    }
}

/// Pairs of eight numbers each.
#[inline(always)]
unsafe fn pairs256(even: *const u16, odd: *const u16) -> __m256 {
    unsafe {
        let even = _mm256_cvtepu16_epi32(_mm_loadu_si128(even.cast()));
        let odd = _mm256_cvtepu16_epi32(_mm_loadu_si128(odd.cast()));
        _mm256_castsi256_ps(_mm256_or_si256(even, _mm256_slli_epi32::<16>(odd)))
    }
}
