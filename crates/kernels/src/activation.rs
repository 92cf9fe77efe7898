//! Activations of the feed-forward block, plain or gated (Shazeer, 2020: `act(gate) * up`).

use crate::pool::{SharedMut, parallel_elements};
use crate::simd::{Kernel, LANES, Math, Simd, dispatch, erf};

/// Which function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// x sigmoid(x).
    Silu,
    /// The Gaussian unit's tanh approximation (Hendrycks and Gimpel, 2016), as in GPT-2.
    GeluTanh,
    /// The Gaussian unit itself: x Φ(x).
    GeluErf,
    /// max(x, 0).
    Relu,
}

/// `y = act(gate)`, or `y = act(gate) * up`.
///
/// # Panics
/// If the lengths differ.
pub fn forward(kind: Kind, gate: &[f32], up: Option<&[f32]>, y: &mut [f32]) {
    assert!(y.len() == gate.len() && up.is_none_or(|up| up.len() == gate.len()), "activation: lengths");
    let out = SharedMut::new(y);
    parallel_elements(gate.len(), |range| {
        // SAFETY: ranges do not overlap.
        let y = unsafe { out.slice(range.start, range.len()) };
        dispatch(Forward { kind, gate: &gate[range.clone()], up: up.map(|up| &up[range]), y });
    });
}

/// The gradient of [`forward`] without `up`: `dx = dy act'(x)`.
///
/// # Panics
/// If the lengths differ.
pub fn backward(kind: Kind, x: &[f32], dy: &[f32], dx: &mut [f32]) {
    assert!(dy.len() == x.len() && dx.len() == x.len(), "activation: lengths");
    let dx = SharedMut::new(dx);
    parallel_elements(x.len(), |range| {
        // SAFETY: ranges do not overlap.
        let dx = unsafe { dx.slice(range.start, range.len()) };
        dispatch(Backward { kind, x: &x[range.clone()], dy: &dy[range], dx });
    });
}

/// What the gated forward pass had before it.
#[derive(Clone, Copy, Debug)]
pub struct Gated<'a> {
    /// Input of the activation.
    pub gate: &'a [f32],
    /// What its result was multiplied with.
    pub up: &'a [f32],
}

/// The gradients of [`forward`] with `up`: `dgate = dy up act'(gate)`, `dup = dy act(gate)`.
///
/// # Panics
/// If the lengths differ.
pub fn backward_gated(kind: Kind, gated: Gated<'_>, dy: &[f32], dgate: &mut [f32], dup: &mut [f32]) {
    let len = dy.len();
    let lengths = [gated.gate.len(), gated.up.len(), dgate.len(), dup.len()];
    assert_eq!(lengths, [len; 4], "activation: lengths of gate, up, dgate, dup");
    let (dgate, dup) = (SharedMut::new(dgate), SharedMut::new(dup));
    parallel_elements(len, |range| {
        // SAFETY: ranges do not overlap.
        let (dgate, dup) = unsafe { (dgate.slice(range.start, range.len()), dup.slice(range.start, range.len())) };
        let gated = Gated { gate: &gated.gate[range.clone()], up: &gated.up[range.clone()] };
        dispatch(BackwardGated { kind, gated, dy: &dy[range], dgate, dup });
    });
}

/// The function, of vectors side by side.
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
pub(crate) fn values<S: Simd, const N: usize>(kind: Kind, x: [S; N]) -> [S; N] {
    let mut y = x;
    if kind == Kind::GeluErf {
        let cdf = normal_cdf(x);
        for i in 0..N {
            y[i] = x[i] * cdf[i];
        }
        return y;
    }
    for i in 0..N {
        y[i] = match kind {
            Kind::Silu => x[i] * x[i].sigmoid(),
            Kind::GeluTanh | Kind::GeluErf => x[i] * gate_of_gelu(x[i]),
            Kind::Relu => S::splat(0.0).max(x[i]),
        };
    }
    y
}

/// The function and its derivative.
#[inline(always)]
fn value_and_slope<S: Simd>(kind: Kind, x: S) -> (S, S) {
    let one = S::splat(1.0);
    match kind {
        Kind::Silu => {
            let s = x.sigmoid();
            (x * s, s * x.fma(one - s, one))
        }
        Kind::GeluTanh => {
            let s = gate_of_gelu(x);
            let slope = (x * x).fma(S::splat(GELU_CUBIC * 3.0), one) * S::splat(GELU_SCALE * 2.0);
            (x * s, (x * s * (one - s)).fma(slope, s))
        }
        Kind::GeluErf => {
            let ([cdf], square) = (normal_cdf([x]), x * x);
            let density = (square * S::splat(-0.5)).exp() * S::splat(0.398_942_3);
            (x * cdf, x.fma(density, cdf))
        }
        Kind::Relu => {
            let zero = S::splat(0.0);
            (zero.max(x), zero.if_less(x, one, zero))
        }
    }
}

/// sqrt(2 / π) and the factor of x³.
const GELU_SCALE: f32 = 0.797_884_6;
const GELU_CUBIC: f32 = 0.044_715;

/// (1 + tanh(u)) / 2 = sigmoid(2 u) with u = sqrt(2 / π) (x + 0.044715 x³).
#[inline(always)]
fn gate_of_gelu<S: Simd>(x: S) -> S {
    let cubic = (x * x * x).fma(S::splat(GELU_CUBIC), x);
    (cubic * S::splat(GELU_SCALE * 2.0)).sigmoid()
}

#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "indices keep the unrolled loops over registers plain")]
fn normal_cdf<S: Simd, const N: usize>(x: [S; N]) -> [S; N] {
    let mut scaled = x;
    for i in 0..N {
        scaled[i] = x[i] * S::splat(std::f32::consts::FRAC_1_SQRT_2);
    }
    let mut erf = erf(scaled);
    for i in 0..N {
        erf[i] = erf[i].fma(S::splat(0.5), S::splat(0.5));
    }
    erf
}

struct Forward<'a> {
    kind: Kind,
    gate: &'a [f32],
    up: Option<&'a [f32]>,
    y: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        // The kind known to the compiler in each.
        match self.kind {
            Kind::Silu => self.each::<S>(Kind::Silu),
            Kind::GeluTanh => self.each::<S>(Kind::GeluTanh),
            Kind::GeluErf => self.each::<S>(Kind::GeluErf),
            Kind::Relu => self.each::<S>(Kind::Relu),
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn each<S: Simd>(mut self, kind: Kind) {
        const TOGETHER: usize = 4;
        let len = self.gate.len();
        let whole = len - len % (TOGETHER * LANES);
        for start in (0..whole).step_by(TOGETHER * LANES) {
            let mut x = [S::splat(0.0); TOGETHER];
            for (i, x) in x.iter_mut().enumerate() {
                *x = S::at(self.gate, start + i * LANES);
            }
            for (i, y) in values(kind, x).into_iter().enumerate() {
                self.put(y, start + i * LANES);
            }
        }
        for at in (whole..len).step_by(LANES) {
            let [y] = values(kind, [S::at(self.gate, at)]);
            self.put(y, at);
        }
    }

    #[inline(always)]
    fn put<S: Simd>(&mut self, y: S, at: usize) {
        match self.up {
            Some(up) => (y * S::at(up, at)).put(self.y, at),
            None => y.put(self.y, at),
        }
    }
}

struct Backward<'a> {
    kind: Kind,
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for i in (0..self.x.len()).step_by(LANES) {
            let (_, slope) = value_and_slope(self.kind, S::at(self.x, i));
            (S::at(self.dy, i) * slope).put(self.dx, i);
        }
    }
}

struct BackwardGated<'a> {
    kind: Kind,
    gated: Gated<'a>,
    dy: &'a [f32],
    dgate: &'a mut [f32],
    dup: &'a mut [f32],
}

impl Kernel for BackwardGated<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for i in (0..self.dy.len()).step_by(LANES) {
            let (value, slope) = value_and_slope(self.kind, S::at(self.gated.gate, i));
            let dy = S::at(self.dy, i);
            (dy * S::at(self.gated.up, i) * slope).put(self.dgate, i);
            (dy * value).put(self.dup, i);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{Guarded, assert_close, check_gradient, random, same_everywhere, wide};

    const KINDS: [Kind; 4] = [Kind::Silu, Kind::GeluTanh, Kind::GeluErf, Kind::Relu];

    fn spread(seed: u64, len: usize) -> Vec<f32> {
        random(seed, len).iter().map(|x| x * 6.0).collect()
    }

    #[test]
    fn forward_agrees_with_the_reference() {
        for kind in KINDS {
            for len in [0, 1, 15, 16, 100, 20_001] {
                let (gate, up) = (Guarded::new(&spread(1, len)), Guarded::new(&random(2, len)));
                let got = same_everywhere(|| {
                    let (mut plain, mut gated) = (Guarded::new(&gate), Guarded::new(&gate));
                    forward(kind, &gate, None, &mut plain);
                    forward(kind, &gate, Some(&up), &mut gated);
                    [&plain[..], &gated[..]].concat()
                });
                let plain: Vec<f64> = wide(&gate).iter().map(|&x| reference::activation(kind, x)).collect();
                let gated = plain.iter().zip(&up[..]).map(|(y, &up)| y * f64::from(up));
                assert_close(&got, &[plain.clone(), gated.collect()].concat(), 2e-7, &format!("{kind:?}"));
            }
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for kind in KINDS {
            let (gate, up, dy) = (spread(1, 77), random(2, 77), random(3, 77));
            let got = same_everywhere(|| {
                let mut grads = vec![0.0; 3 * 77];
                let (dx, rest) = grads.split_at_mut(77);
                backward(kind, &gate, &dy, dx);
                let (dgate, dup) = rest.split_at_mut(77);
                backward_gated(kind, Gated { gate: &gate, up: &up }, &dy, dgate, dup);
                grads
            });
            let sum = |gate: &[f64], up: &[f64]| {
                let terms = gate.iter().zip(up).zip(&dy);
                terms.map(|((&g, up), &dy)| reference::activation(kind, g) * up * f64::from(dy)).sum::<f64>()
            };
            check_gradient(&got[..77], &wide(&gate), |gate| sum(gate, &[1.0; 77]));
            check_gradient(&got[77..154], &wide(&gate), |gate| sum(gate, &wide(&up)));
            check_gradient(&got[154..], &wide(&up), |up| sum(&wide(&gate), up));
        }
    }

    #[test]
    fn extremes_stay_sane() {
        for kind in KINDS {
            let mut y = [0.0; 3];
            forward(kind, &[200.0, -200.0, f32::NAN], None, &mut y);
            assert!(y[0] == 200.0 && y[1] == 0.0 && y[2].is_nan(), "{kind:?}: {y:?}");
        }
    }
}
