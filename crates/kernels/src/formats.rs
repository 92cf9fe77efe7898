//! Rounding to narrow formats: IEEE half (fp16), and OCP's fp8, E4M3 and E5M2, with scales.
//!
//! Results stay in wider memory: fp16 as f32, scaled fp8 as bf16. Scales are powers of two, so a number of 2 to 4 bits
//! times its scale is exact in bf16, and a product over bf16 with sums in f32 is the product of the fp8 numbers with
//! their scales.

use crate::pool::{SharedMut, parallel, parallel_elements, parallel_ranges};
use crate::simd::{Kernel, Simd, dispatch};

/// Columns, or rows, of a block that has a scale of its own (DeepSeek-V3, 2024, section 3.3).
pub const BLOCK: usize = 128;

/// A binary format of fewer bits than f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bits after the point of a normal number.
    pub mantissa: i32,
    /// Exponent of the smallest normal number; below, numbers keep its spacing (subnormals).
    pub exponent_min: i32,
    /// Exponent of the largest number.
    pub exponent_max: i32,
    /// What is above the largest number: infinity, or that number.
    pub saturates: bool,
    /// Whether the last number of the highest binade is missing, as E4M3's NaN stands there.
    pub last_missing: bool,
}

/// IEEE half precision: 11 bits, up to 65504; what is above becomes infinite.
pub const FP16: Format =
    Format { mantissa: 10, exponent_min: -14, exponent_max: 15, saturates: false, last_missing: false };
/// OCP's fp8 for weights and activations: 4 bits, up to 448, no infinities.
pub const E4M3: Format = Format { mantissa: 3, exponent_min: -6, exponent_max: 8, saturates: true, last_missing: true };
/// OCP's fp8 for gradients: 3 bits, up to 57344; saturating, as its conversions may be.
pub const E5M2: Format =
    Format { mantissa: 2, exponent_min: -14, exponent_max: 15, saturates: true, last_missing: false };

impl Format {
    /// The largest finite number.
    pub const fn max(self) -> f32 {
        let ulps = (2 << self.mantissa) - 1 - self.last_missing as i32;
        ulps as f32 * power(self.exponent_max - self.mantissa)
    }

    /// Rounded to the nearest number of the format, ties to even; subnormals are kept, NaN stays NaN. What rounds to
    /// beyond the largest number becomes that number or infinite.
    #[inline(always)]
    pub fn round(self, x: f32) -> f32 {
        const EXPONENT: i32 = 0x7F80_0000;
        // The sum with a number whose last bit is worth one step of the format rounds to that step, and the difference
        // is exact. Its exponent is held at the format's bounds: above, whatever comes out is too large anyhow.
        let least = (127 + self.exponent_min) << 23;
        let most = (127 + self.exponent_max + 1) << 23;
        let exponent = (x.to_bits() as i32 & EXPONENT).max(least).min(most);
        let step = f32::from_bits((exponent + ((23 - self.mantissa) << 23)) as u32 | 0x0040_0000);
        let rounded = ((x + step) - step).abs();
        let beyond = if self.saturates { self.max() } else { f32::INFINITY };
        let bounded = if rounded > self.max() { beyond } else { rounded };
        bounded.copysign(x)
    }

    /// The scale of numbers of which `largest` is the largest: the least power of two that brings it within the
    /// format, held to where every scaled number is a normal bf16; NaN where `largest` is not finite.
    #[inline(always)]
    fn scale(self, largest: f32) -> f32 {
        let bits = largest.to_bits() as i32;
        // Beyond the format's largest mantissa, the next power. Both fp8 formats end at 1.75.
        let exponent = ((bits + 0x1F_FFFF) >> 23) - 127 - self.exponent_max;
        let least = -126 + self.mantissa - self.exponent_min;
        let most = 127 - self.exponent_max;
        let scale = f32::from_bits(((exponent.max(least).min(most) + 127) << 23) as u32);
        if largest < f32::INFINITY { scale } else { f32::NAN }
    }
}

/// 2^exponent, for normal results.
const fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) << 23) as u32)
}

/// Rounds every number to fp16; see [`Format::round`].
///
/// # Panics
/// If the lengths differ.
pub fn round_fp16(x: &[f32], out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "round_fp16: lengths");
    let out = SharedMut::new(out);
    parallel_elements(x.len(), |range| {
        // SAFETY: ranges do not overlap.
        let out = unsafe { out.slice(range.start, range.len()) };
        dispatch(RoundFp16 { x: &x[range], out });
    });
}

/// As [`round_fp16`], in place.
pub fn round_fp16_in_place(x: &mut [f32]) {
    let len = x.len();
    let x = SharedMut::new(x);
    // SAFETY: ranges do not overlap.
    parallel_elements(len, |range| dispatch(RoundFp16InPlace(unsafe { x.slice(range.start, range.len()) })));
}

struct RoundFp16<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for RoundFp16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        self.out.iter_mut().zip(self.x).for_each(|(out, &x)| *out = FP16.round(x));
    }
}

struct RoundFp16InPlace<'a>(&'a mut [f32]);

impl Kernel for RoundFp16InPlace<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        self.0.iter_mut().for_each(|x| *x = FP16.round(*x));
    }
}

/// Which numbers of a matrix share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tile {
    /// All.
    Whole,
    /// [`BLOCK`] neighbours of a row.
    Row,
    /// [`BLOCK`] neighbours of a column.
    Column,
    /// [`BLOCK`] × [`BLOCK`].
    Square,
}

/// A number that can be quantized: f32, or bf16 as its bits.
#[allow(private_bounds, reason = "sealed: there are no others")]
pub trait Wide: Value {}
impl Wide for f32 {}
impl Wide for u16 {}

trait Value: Copy + Send + Sync {
    fn value(self) -> f32;
}

impl Value for f32 {
    #[inline(always)]
    fn value(self) -> f32 {
        self
    }
}

impl Value for u16 {
    #[inline(always)]
    fn value(self) -> f32 {
        crate::bf16::to_f32(self)
    }
}

/// Rounds a matrix of rows of `columns` to an fp8 format with a scale for each tile, and gives number times scale, as
/// bf16, which is exact. NaN stays NaN, and a tile with an
/// infinity becomes NaN.
///
/// # Panics
/// If the lengths differ or are not whole rows.
pub fn quantize_fp8<T: Wide>(x: &[T], columns: usize, format: Format, tile: Tile, out: &mut [u16]) {
    assert_eq!(x.len(), out.len(), "quantize_fp8: lengths");
    if x.is_empty() {
        return;
    }
    assert!(columns > 0 && x.len().is_multiple_of(columns), "quantize_fp8: {} in rows of {columns}", x.len());
    let all = (tile == Tile::Whole).then(|| largest(x));
    let panel_rows = if matches!(tile, Tile::Column | Tile::Square) { BLOCK } else { 1 };
    let rows = x.len() / columns;
    let out = SharedMut::new(out);
    parallel_ranges(rows.div_ceil(panel_rows), panel_rows * columns, |panels| {
        for panel in panels {
            let start = panel * panel_rows * columns;
            let end = x.len().min(start + panel_rows * columns);
            // SAFETY: panels do not overlap.
            let out = unsafe { out.slice(start, end - start) };
            dispatch(Panel { x: &x[start..end], columns, format, tile, all, out });
        }
    });
}

/// The largest magnitude; an order of no consequence.
fn largest<T: Value>(x: &[T]) -> f32 {
    const CHUNK: usize = 1 << 14;
    let mut parts = vec![0.0; x.len().div_ceil(CHUNK)];
    let out = SharedMut::new(&mut parts);
    parallel(x.len().div_ceil(CHUNK), |index| {
        let chunk = &x[index * CHUNK..x.len().min((index + 1) * CHUNK)];
        // SAFETY: each part belongs to one task.
        let part = unsafe { out.slice(index, 1) };
        part[0] = dispatch(Largest(chunk));
    });
    parts.into_iter().fold(0.0, larger)
}

/// The larger of two magnitudes; NaN is passed over, as the numbers beside it are none the worse.
#[inline(always)]
fn larger(most: f32, x: f32) -> f32 {
    if x > most { x } else { most }
}

struct Largest<'a, T>(&'a [T]);

impl<T: Value> Kernel for Largest<'_, T> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self) -> f32 {
        let mut lanes = [0.0; BLOCK];
        for part in self.0.chunks(BLOCK) {
            raise(&mut lanes, part);
        }
        lanes.into_iter().fold(0.0, larger)
    }
}

#[inline(always)]
fn raise<T: Value>(most: &mut [f32; BLOCK], x: &[T]) {
    most.iter_mut().zip(x).for_each(|(most, x)| *most = larger(*most, x.value().abs()));
}

/// Some rows, whose tiles reach no further.
struct Panel<'a, T> {
    x: &'a [T],
    columns: usize,
    format: Format,
    tile: Tile,
    /// The largest magnitude of the whole matrix, where that decides.
    all: Option<f32>,
    out: &'a mut [u16],
}

impl<T: Value> Kernel for Panel<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        // The formats as constants, so that their loops hold no more than they must.
        match self.format {
            E4M3 => self.run_in(E4M3),
            E5M2 => self.run_in(E5M2),
            other => self.run_in(other),
        }
    }
}

impl<T: Value> Panel<'_, T> {
    #[inline(always)]
    fn run_in(self, format: Format) {
        for start in (0..self.columns).step_by(BLOCK) {
            let columns = start..self.columns.min(start + BLOCK);
            let most = self.largest(columns.clone());
            let scales: [f32; BLOCK] = std::array::from_fn(|column| format.scale(most[column]));
            // The reciprocal of a power of two is exact.
            let inverses: [f32; BLOCK] = std::array::from_fn(|column| 1.0 / scales[column]);
            let (rows, outs) = (self.x.chunks_exact(self.columns), self.out.chunks_exact_mut(self.columns));
            for (x, out) in rows.zip(outs) {
                let factors = scales.iter().zip(&inverses);
                for ((out, x), (&scale, &inverse)) in
                    out[columns.clone()].iter_mut().zip(&x[columns.clone()]).zip(factors)
                {
                    let rounded = format.round(x.value() * inverse) * scale;
                    *out = (rounded.to_bits() >> 16) as u16;
                }
            }
        }
    }

    /// The largest magnitude of each column's tile.
    #[inline(always)]
    fn largest(&self, columns: std::ops::Range<usize>) -> [f32; BLOCK] {
        if let Some(all) = self.all {
            return [all; BLOCK];
        }
        let mut most = [0.0; BLOCK];
        self.x.chunks_exact(self.columns).for_each(|row| raise(&mut most, &row[columns.clone()]));
        match self.tile {
            Tile::Column => most,
            _ => [most.into_iter().fold(0.0, larger); BLOCK],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bf16;
    use crate::reference;
    use crate::testing::{assert_same_bits, random, same_everywhere};

    const FORMATS: [(Format, u32, f32); 3] = [(FP16, 16, 65504.0), (E4M3, 8, 448.0), (E5M2, 8, 57344.0)];

    /// Every finite number of a format from zero up, from its codes.
    fn numbers(format: Format, bits: u32) -> Vec<f64> {
        let mantissa_bits = format.mantissa as u32;
        let number = |code: u32| {
            let (exponent, mantissa) = (code >> mantissa_bits, code & ((1 << mantissa_bits) - 1));
            let fraction = f64::from(mantissa) / f64::from(1u32 << mantissa_bits);
            match exponent {
                0 => fraction * f64::from(format.exponent_min).exp2(),
                _ => (1.0 + fraction) * f64::from(format.exponent_min + exponent as i32 - 1).exp2(),
            }
        };
        // E4M3 has one NaN of each sign; the others keep the highest exponent for infinity and NaN.
        let codes = match format.last_missing {
            true => (1 << (bits - 1)) - 1,
            false => ((1 << (bits - 1 - mantissa_bits)) - 1) << mantissa_bits,
        };
        (0..codes).map(number).collect()
    }

    /// The nearest of the numbers; between two, that of the even code.
    fn nearest(numbers: &[f64], x: f64, saturates: bool) -> f64 {
        let above = numbers.partition_point(|&number| number < x.abs());
        let last = numbers.len() - 1;
        let magnitude = if above > last {
            let step = numbers[last] - numbers[last - 1];
            let rounds_up = x.abs() - numbers[last] >= step / 2.0;
            if rounds_up && !saturates { f64::INFINITY } else { numbers[last] }
        } else if above == 0 {
            0.0
        } else {
            let (up, down) = (numbers[above] - x.abs(), x.abs() - numbers[above - 1]);
            let upwards = up < down || (up == down && above % 2 == 0);
            numbers[above - usize::from(!upwards)]
        };
        magnitude.copysign(x)
    }

    /// Every number of the format, every tie, what is next to both, and numbers of every size, random and not.
    fn cases(numbers: &[f64]) -> Vec<f32> {
        let mut cases =
            vec![f32::MAX, f32::INFINITY, f32::MIN_POSITIVE, 1e-45, 65519.99, 65520.0, 464.0, 465.0, 61440.0];
        for pair in numbers.windows(2) {
            let (number, tie) = (pair[0] as f32, ((pair[0] + pair[1]) / 2.0) as f32);
            assert_eq!((f64::from(number), f64::from(tie)), (pair[0], (pair[0] + pair[1]) / 2.0), "exact in f32");
            cases.extend([number, number.next_up(), tie.next_down(), tie, tie.next_up()]);
        }
        cases.extend(numbers.last().map(|&last| last as f32));
        for exponent in -30..20 {
            cases.extend(random(exponent as u64, 200).iter().map(|x| x * (exponent as f32).exp2()));
        }
        cases.extend(random(1, 20_000).iter().map(|x| f32::from_bits(((x + 1.0) * 1e9) as u32)));
        cases.retain(|x| !x.is_nan());
        cases.iter().flat_map(|&x| [x, -x]).collect()
    }

    #[test]
    fn rounding_is_to_the_nearest_of_all_codes() {
        for (format, bits, max) in FORMATS {
            let numbers = numbers(format, bits);
            assert_eq!((format.max(), numbers[numbers.len() - 1]), (max, f64::from(max)));
            for x in cases(&numbers) {
                let expected = nearest(&numbers, f64::from(x), format.saturates);
                let found = format.round(x);
                assert_eq!(f64::from(found).to_bits(), expected.to_bits(), "{format:?}: {x:e} became {found:e}");
                assert_eq!(reference::round(format, f64::from(x)).to_bits(), expected.to_bits(), "{format:?}: {x:e}");
            }
            assert!(format.round(f32::NAN).is_nan());
        }
    }

    #[test]
    fn fp16_gives_the_same_bits_everywhere() {
        let numbers = numbers(FP16, 16);
        let x = cases(&numbers);
        let got = same_everywhere(|| {
            let (mut out, mut again) = (vec![0.0; x.len()], x.clone());
            round_fp16(&x, &mut out);
            round_fp16_in_place(&mut again);
            assert_same_bits(&out, &again, "in place");
            out
        });
        let expected: Vec<f32> = x.iter().map(|&x| nearest(&numbers, f64::from(x), false) as f32).collect();
        assert_same_bits(&got, &expected, "fp16");
    }

    /// Numbers whose size changes from place to place, zeros and tiny and huge ones among them.
    fn uneven(rows: usize, columns: usize) -> Vec<f32> {
        let mut x = random(5, rows * columns);
        for (index, x) in x.iter_mut().enumerate() {
            let (row, column) = (index / columns, index % columns);
            *x *= ((row / 7 % 5) as f32 * 3.0 - (column / 50 % 9) as f32 * 2.0).exp2();
            if row % 11 == 3 && column < 130 {
                *x = 0.0;
            }
        }
        x[0] = 1e-42;
        x[columns / 2] = f32::MAX;
        x[rows * columns - 1] = 1.2e-38;
        x
    }

    #[test]
    fn scaled_fp8_is_its_definition_everywhere_and_exact_in_bf16() {
        for (rows, columns) in [(1, 1), (3, 5), (130, 300), (257, 129)] {
            let x = uneven(rows, columns);
            for (format, tile) in [E4M3, E5M2]
                .into_iter()
                .flat_map(|format| [Tile::Whole, Tile::Row, Tile::Column, Tile::Square].map(|tile| (format, tile)))
            {
                let got = same_everywhere(|| {
                    let mut out = vec![0; x.len()];
                    quantize_fp8(&x, columns, format, tile, &mut out);
                    out.iter().map(|&bits| bf16::to_f32(bits)).collect()
                });
                let expected = reference::quantize_fp8(&x, columns, format, tile);
                assert_same_bits(&got, &expected, &format!("{format:?} {tile:?} {rows} x {columns}"));
            }
        }
    }

    #[test]
    fn a_second_rounding_with_the_same_tiles_changes_nothing_and_bf16_is_read_too() {
        let x = random(3, 200 * 150);
        for tile in [Tile::Whole, Tile::Row, Tile::Column, Tile::Square] {
            let (mut once, mut twice) = (vec![0; x.len()], vec![0; x.len()]);
            quantize_fp8(&x, 150, E4M3, tile, &mut once);
            quantize_fp8(&once, 150, E4M3, tile, &mut twice);
            assert_eq!(once, twice, "{tile:?}");
        }
    }

    #[test]
    fn errors_are_relative_to_the_largest_of_the_tile_and_what_is_not_finite_shows() {
        let x = random(4, 128);
        let mut out = vec![0; 128];
        quantize_fp8(&x, 128, E4M3, Tile::Row, &mut out);
        for (&x, &bits) in x.iter().zip(&out) {
            let error = (bf16::to_f32(bits) - x).abs();
            assert!(error <= x.abs() / 16.0 + 1.0 / 256.0 / 512.0, "{x} lost {error}");
        }
        let mut spoilt = x.clone();
        spoilt[3] = f32::NAN;
        quantize_fp8(&spoilt, 128, E4M3, Tile::Row, &mut out);
        assert!(bf16::to_f32(out[3]).is_nan() && bf16::to_f32(out[4]).is_finite());
        spoilt[3] = f32::INFINITY;
        quantize_fp8(&spoilt, 128, E4M3, Tile::Row, &mut out);
        assert!(out.iter().all(|&bits| bf16::to_f32(bits).is_nan()));
    }
}
