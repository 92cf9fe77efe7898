use super::*;
use crate::bf16;
use crate::cpu::{Isa, with_isa};

/// Runs a function of lanes over a slice.
struct Map<'a>(Name, &'a [f32]);

mod fn_name {
    #[derive(Clone, Copy)]
    pub enum Name {
        Exp,
        Sigmoid,
        Erf,
        Sum,
        Magnitude,
        Bytes,
        ToBf16,
        OfBf16,
        Swap,
    }
}
use fn_name::Name;

impl Kernel for Map<'_> {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self) -> Vec<f32> {
        let mut out = vec![0.0; self.1.len()];
        let mut i = 0;
        while i < out.len() {
            let x = S::at(self.1, i);
            let y = match self.0 {
                Name::Exp => x.exp(),
                Name::Sigmoid => x.sigmoid(),
                Name::Erf => {
                    let [erf] = erf([x]);
                    erf
                }
                Name::Sum => S::splat(x.sum()) + S::splat(x.largest()),
                Name::Magnitude => {
                    let largest = S::splat(x.larger_magnitude(S::splat(7.0)).largest_magnitude());
                    x.larger_magnitude(S::splat(0.0)) - largest
                }
                Name::Bytes => bytes(x),
                Name::ToBf16 => x.to_bf16(),
                Name::OfBf16 => S::of_bf16(&upper_halves(x.to_array())),
                Name::Swap => x.swap_neighbours(),
            };
            y.put(&mut out, i);
            i += LANES;
        }
        out
    }
}

/// What the bytes of the lanes and three times their sum come to.
#[inline(always)]
fn bytes<S: Simd>(x: S) -> S {
    let (x, mut bytes) = (x * S::splat(1.1), [0; LANES]);
    // SAFETY: 16 bytes.
    unsafe {
        let once = x.store_i8_adding(bytes.as_mut_ptr(), S::splat(0.0));
        let sums = x.store_i8_adding(bytes.as_mut_ptr(), x.store_i8_adding(bytes.as_mut_ptr(), once));
        S::load_i8(bytes.as_ptr()) + S::splat(1000.0 * sums.sum_of_integers() as f32)
    }
}

fn upper_halves(lanes: [f32; LANES]) -> [u16; LANES] {
    lanes.map(|x| (x.to_bits() >> 16) as u16)
}

fn grid() -> Vec<f32> {
    (-11_000..11_003).map(|i| i as f32 * 0.009_7).collect()
}

#[test]
fn all_instruction_sets_give_the_same_bits() {
    for name in [Name::Exp, Name::Sigmoid, Name::Erf, Name::Sum, Name::Magnitude, Name::Bytes] {
        let run = |isa| with_isa(isa, || dispatch(Map(name, &grid()))).iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let expected = run(Isa::Scalar);
        for isa in Isa::supported() {
            assert_eq!(run(isa), expected, "{isa:?}");
        }
    }
}

#[test]
fn bytes_and_magnitudes_are_what_they_are_defined_as() {
    let x = grid();
    for isa in Isa::supported() {
        let magnitudes = with_isa(isa, || dispatch(Map(Name::Magnitude, &x)));
        let bytes = with_isa(isa, || dispatch(Map(Name::Bytes, &x)));
        for (start, x) in x.chunks_exact(LANES).enumerate().map(|(i, x)| (i * LANES, x)) {
            let largest = x.iter().fold(7.0f32, |largest, x| largest.max(x.abs()));
            let each: Vec<f32> = x.iter().map(|x| (x * 1.1).round_ties_even()).collect();
            let sum: f32 = each.iter().sum();
            for i in 0..LANES {
                assert_eq!(magnitudes[start + i], x[i].abs() - largest, "{isa:?}");
                assert_eq!(bytes[start + i], each[i] + 3000.0 * sum, "{isa:?}");
            }
        }
        let mut lanes = x[..LANES].to_vec();
        lanes[5] = -f32::NAN;
        assert!(with_isa(isa, || dispatch(Map(Name::Magnitude, &lanes))).iter().all(|x| x.is_nan()));
    }
}

#[test]
fn bf16_lanes_are_what_they_are_defined_as() {
    // Every sixteenth of all bits: infinities, numbers that are not, numbers below the least normal one.
    let x: Vec<f32> = (0..1u32 << 20).map(|i| f32::from_bits(i << 12 | i.wrapping_mul(0x9E5) & 0xFFF)).collect();
    let bits = |x: Vec<f32>| x.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let each = |f: fn(f32) -> f32| x.iter().map(|&x| f(x)).collect::<Vec<_>>();
    let expected = [
        (Name::ToBf16, each(|x| bf16::to_f32(bf16::from_f32(x)))),
        (Name::OfBf16, each(|x| f32::from_bits(x.to_bits() & 0xFFFF_0000))),
        (Name::Swap, (0..x.len()).map(|i| x[i ^ 1]).collect()),
    ];
    for (name, expected) in expected {
        let expected = bits(expected);
        for isa in Isa::supported() {
            let got = bits(with_isa(isa, || dispatch(Map(name, &x))));
            let wrong = (0..got.len()).find(|&i| got[i] != expected[i]);
            assert!(wrong.is_none(), "{isa:?}: {:?}", wrong.map(|i| (x[i], got[i], expected[i])));
        }
    }
}

#[test]
fn exp_is_accurate_over_its_range() {
    for (x, y) in grid().into_iter().zip(dispatch(Map(Name::Exp, &grid()))) {
        let exact = f64::from(x).exp();
        let unit = f64::from(f32::EPSILON) * exact.max(f64::from(f32::MIN_POSITIVE));
        if exact < f64::from(f32::MAX) {
            assert!((f64::from(y) - exact).abs() <= 1.1 * unit, "exp({x}) = {y}, exactly {exact}");
        } else {
            assert_eq!(y, f32::INFINITY);
        }
    }
    let special = dispatch(Map(Name::Exp, &[0.0, -0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -1e30]));
    assert_eq!(special[..4], [1.0, 1.0, 0.0, f32::INFINITY]);
    assert!(special[4].is_nan() && special[5] == 0.0);
}

#[test]
fn erf_and_sigmoid_are_accurate() {
    let (erf, sigmoid) = (dispatch(Map(Name::Erf, &grid())), dispatch(Map(Name::Sigmoid, &grid())));
    for (i, x) in grid().into_iter().enumerate() {
        assert!((f64::from(erf[i]) - crate::reference::erf(f64::from(x))).abs() < 3e-7, "erf({x}) = {}", erf[i]);
        let exact = 1.0 / (1.0 + (-f64::from(x)).exp());
        assert!((f64::from(sigmoid[i]) - exact).abs() <= 2e-7 * exact + 1e-38, "sigmoid({x}) = {}", sigmoid[i]);
    }
}

#[test]
fn ln_is_accurate() {
    for i in 1..100_000u32 {
        let x = f32::from_bits(i * 21_000);
        let exact = f64::from(x).ln();
        assert!((f64::from(ln(x)) - exact).abs() <= exact.abs() * 6.1e-8, "ln({x}) = {}, exactly {exact}", ln(x));
    }
    assert_eq!((ln(1.0), ln(0.0), ln(f32::INFINITY)), (0.0, f32::NEG_INFINITY, f32::INFINITY));
    assert!(ln(-1.0).is_nan() && ln(f32::NAN).is_nan());
}
