//! The numbers that the references compute with.

use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// f32 or f64.
pub trait Float:
    Copy
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Rounded from f64.
    fn of(x: f64) -> Self;
    /// Widened to f64.
    fn to_f64(self) -> f64;
    /// `self * factor + addend`, rounded once.
    fn fused(self, factor: Self, addend: Self) -> Self;
    /// e to this power.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The larger one.
    fn max(self, other: Self) -> Self;
}

macro_rules! float {
    ($type:ident) => {
        impl Float for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            fn of(x: f64) -> Self {
                x as $type
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn fused(self, factor: Self, addend: Self) -> Self {
                self.mul_add(factor, addend)
            }
            fn exp(self) -> Self {
                $type::exp(self)
            }
            fn ln(self) -> Self {
                $type::ln(self)
            }
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }
            fn tanh(self) -> Self {
                $type::tanh(self)
            }
            fn max(self, other: Self) -> Self {
                $type::max(self, other)
            }
        }
    };
}
float!(f32);
float!(f64);

/// The error function to about 1e-15: its power series near zero, else the continued fraction of its complement.
pub fn erf(x: f64) -> f64 {
    let magnitude = x.abs();
    if magnitude < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if magnitude > 6.0 {
        return x.signum();
    }
    let fraction = (1..120).rev().fold(0.0, |tail, n| f64::from(n) / 2.0 / (magnitude + tail));
    let complement = (-x * x).exp() / ((magnitude + fraction) * std::f64::consts::PI.sqrt());
    x.signum() * (1.0 - complement)
}
