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
        let edge = Self::splat(-87.3);
        let (n, p) = Self::reduced_exp(edge.max(self));
        self.if_less(edge, Self::splat(0.0), p * n.exp2_of_integer())
    }

    /// An integer n and p = exp(x - n ln 2).
    #[inline(always)]
    fn reduced_exp(x: Self) -> (Self, Self) {
        let n = (x * Self::splat(std::f32::consts::LOG2_E)).round();
        let r = n.fma(Self::splat(-0.693_359_4), x);
        let r = n.fma(Self::splat(2.121_944_4e-4), r);
        let mut p = Self::splat(1.987_569_1e-4);
        p = p.fma(r, Self::splat(1.398_2e-3));
        p = p.fma(r, Self::splat(8.333_452e-3));
        p = p.fma(r, Self::splat(4.166_579_6e-2));
        p = p.fma(r, Self::splat(1.666_666_5e-1));
        p = p.fma(r, Self::splat(0.5));
        (n, p.fma(r * r, r) + Self::splat(1.0))
    }

    /// 1 / (1 + exp(-x)).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let one = Self::splat(1.0);
        one / (one + (Self::splat(0.0) - self).exp())
    }

    /// The error function, by the rational approximation that Eigen and XLA use (a few 1e-7 absolute).
    #[inline(always)]
    fn erf(self) -> Self {
        let x = Self::splat(-4.0).max(Self::splat(4.0).min(self));
        let s = x * x;
        let mut p = Self::splat(-2.726_142_3e-10);
        p = p.fma(s, Self::splat(2.770_681_4e-8));
        p = p.fma(s, Self::splat(-2.101_024e-6));
        p = p.fma(s, Self::splat(-5.692_506_5e-5));
        p = p.fma(s, Self::splat(-7.349_906_3e-4));
        p = p.fma(s, Self::splat(-2.954_6e-3));
        p = p.fma(s, Self::splat(-1.609_603_3e-2));
        let mut q = Self::splat(-1.456_607_2e-5);
        q = q.fma(s, Self::splat(-2.133_740_6e-4));
        q = q.fma(s, Self::splat(-1.682_827e-3));
        q = q.fma(s, Self::splat(-7.373_329_3e-3));
        q = q.fma(s, Self::splat(-1.426_473_9e-2));
        // From there on it rounds to one, which the quotient misses by a unit.
        let (one, edge) = (Self::splat(1.0), Self::splat(3.92));
        let upper = edge.if_less(x, one, x * p / q);
        x.if_less(Self::splat(-3.92), Self::splat(-1.0), upper)
    }
}

impl<S: Simd> Math for S {}

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
