//! Exponential, sigmoid and error function on the lanes, and a logarithm for single numbers: our own, so that every
//! instruction set and platform gives the same bits.

use super::Simd;

/// Functions built from the lane operations alone.
pub(crate) trait Math: Simd {
    /// e to the power of each lane, to about one unit in the last place over the whole range; underflows to zero and
    /// overflows to infinity. exp(0) is exactly 1 and exp(-inf) exactly 0.
    ///
    /// Range reduction by Cody and Waite, polynomial of Moshier's Cephes `expf`.
    #[inline(always)]
    fn exp(self) -> Self {
        // The argument stands second so that a NaN stays.
        let x = Self::splat(-104.0).max(Self::splat(89.0).min(self));
        let (n, p) = Self::reduced_exp(x);
        // In two steps, since 2^128 and 2^-150 have no exponent bits of their own.
        let half = (n * Self::splat(0.5)).round();
        p * half.exp2_of_integer() * (n - half).exp2_of_integer()
    }

    /// As [`Math::exp`] for arguments up to 88, but a result below 2^-126 becomes zero: a third cheaper.
    #[inline(always)]
    fn exp_flushed(self) -> Self {
        let [exp] = exp_flushed([self]);
        exp
    }

    /// An integer n and p = exp(x - n ln 2).
    #[inline(always)]
    fn reduced_exp(x: Self) -> (Self, Self) {
        let ([n], [p]) = reduced_exp([x]);
        (n, p)
    }

    /// 1 / (1 + exp(-x)).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = Self::splat(1.0);
        one / (one + (Self::splat(0.0) - self).exp())
    }
}

impl<S: Simd> Math for S {}

// The polynomials are long chains of multiply-adds: vectors side by side fill the time that each waits for the one
// before it.

/// As [`Math::reduced_exp`], of vectors side by side.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
fn reduced_exp<S: Simd, const N: usize>(x: [S; N]) -> ([S; N], [S; N]) {
    const COEFFICIENTS: [f32; 5] = [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    let (mut n, mut r, mut p) = (x, x, [S::splat(1.987_569_1e-4); N]);
    for i in 0..N {
        n[i] = (x[i] * S::splat(std::f32::consts::LOG2_E)).round();
    }
    for i in 0..N {
        r[i] = n[i].fma(S::splat(-0.693_359_4), x[i]);
    }
    for i in 0..N {
        r[i] = n[i].fma(S::splat(2.121_944_4e-4), r[i]);
    }
    for coefficient in COEFFICIENTS {
        for i in 0..N {
            p[i] = p[i].fma(r[i], S::splat(coefficient));
        }
    }
    for i in 0..N {
        p[i] = p[i].fma(r[i] * r[i], r[i]) + S::splat(1.0);
    }
    (n, p)
}

/// As [`Math::exp_flushed`], of vectors side by side.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
pub(crate) fn exp_flushed<S: Simd, const N: usize>(x: [S; N]) -> [S; N] {
    let edge = S::splat(-87.3);
    let mut bounded = x;
    for i in 0..N {
        bounded[i] = edge.max(x[i]);
    }
    let (n, mut p) = reduced_exp(bounded);
    for i in 0..N {
        p[i] = x[i].if_less(edge, S::splat(0.0), p[i] * n[i].exp2_of_integer());
    }
    p
}

/// The error function, to 3e-7, of vectors side by side: x times a polynomial of x², whose argument is moved to [-1, 1] so
/// that its terms stay small. From 3.92 on it is one. The coefficients come from weighted least squares on Chebyshev's
/// nodes, repeated towards the least largest error.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
pub(crate) fn erf<S: Simd, const N: usize>(x: [S; N]) -> [S; N] {
    const EDGE: f32 = 3.92;
    /// Of t⁷ to 1, and of t¹⁵ to t⁸: two chains of half the length.
    const LOW: [f32; 8] = [
        -4.337_459e-2,
        5.835_847_6e-2,
        -7.403_019e-2,
        9.060_231_6e-2,
        -1.091_785e-1,
        1.340_842_7e-1,
        -1.801_086_4e-1,
        3.607_368_2e-1,
    ];
    const HIGH: [f32; 8] = [
        -7.753_416e-4,
        2.045_738e-3,
        -1.618_944_2e-3,
        2.087_215_4e-3,
        -7.371_596e-3,
        1.400_477_7e-2,
        -2.018_069_1e-2,
        2.982_091e-2,
    ];
    let (mut x, mut t) = (x, x);
    for i in 0..N {
        // The argument stands second so that a NaN stays.
        x[i] = S::splat(-EDGE).max(S::splat(EDGE).min(x[i]));
        t[i] = (x[i] * x[i]).fma(S::splat(2.0 / (EDGE * EDGE)), S::splat(-1.0));
    }
    let (mut low, mut high) = ([S::splat(LOW[0]); N], [S::splat(HIGH[0]); N]);
    for at in 1..LOW.len() {
        for i in 0..N {
            low[i] = low[i].fma(t[i], S::splat(LOW[at]));
            high[i] = high[i].fma(t[i], S::splat(HIGH[at]));
        }
    }
    for i in 0..N {
        let fourth = (t[i] * t[i]) * (t[i] * t[i]);
        x[i] = x[i] * high[i].fma(fourth * fourth, low[i]);
    }
    x
}

/// The natural logarithm, rounded from f64: ln(m 2^e) = e ln 2 + 2 artanh((m - 1) / (m + 1)).
pub(crate) fn ln(x: f32) -> f32 {
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x == f32::INFINITY {
        return x;
    }
    let bits = f64::from(x).to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..10).rev().fold(0.0, |sum, i| sum * square + 1.0 / f64::from(2 * i + 1));
    (exponent as f64 * std::f64::consts::LN_2 + 2.0 * s * series) as f32
}
