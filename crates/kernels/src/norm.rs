//! Normalisation of rows: by root mean square (Zhang and Sennrich, 2019) and by mean and variance (Ba et al., 2016).
//!
//! With x̂ = (x - mean) / deviation, both give y = x̂ weight (+ bias). Within a row the sums follow a fixed tree; the
//! gradients of weight and bias are summed over the rows one after the other, starting from what is there.

use std::ops::Range;

use crate::matmul::{Accumulate, assert_len};
use crate::pool::{SharedMut, parallel_columns, parallel_ranges};
use crate::quantized::{self, Room};
use crate::simd::{Kernel, LANES, Simd, dispatch, dot, sum};

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// The input, rows × width.
    pub x: &'a [f32],
    /// The weight, width.
    pub weight: &'a [f32],
    /// The statistics that the forward pass wrote.
    pub stats: &'a [f32],
}

/// `y = x / sqrt(mean(x²) + eps) * weight`, row by row; the width is the weight's length.
///
/// `stats` receives one number a row: 1 / sqrt(mean(x²) + eps).
///
/// # Panics
/// If the lengths do not agree.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32], stats: Option<&mut [f32]>) {
    forward(Forward { x, weight, bias: None, eps, centered: false }, y, stats);
}

/// `y = (x - mean(x)) / sqrt(variance(x) + eps) * weight + bias`, row by row; the width is the weight's length.
///
/// `stats` receives two numbers a row: mean and 1 / sqrt(variance + eps).
///
/// # Panics
/// If the lengths do not agree.
pub fn layer_norm(x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, y: &mut [f32], stats: Option<&mut [f32]>) {
    if let Some(bias) = bias {
        assert_eq!(bias.len(), weight.len(), "layer_norm: length of the bias");
    }
    forward(Forward { x, weight, bias, eps, centered: true }, y, stats);
}

/// Gradients of [`rms_norm`]: `dx` is replaced or added to, as `accumulate` says; `dweight` is added to.
///
/// # Panics
/// If the lengths do not agree.
pub fn rms_norm_backward(
    saved: Saved<'_>,
    dy: &[f32],
    dx: &mut [f32],
    accumulate: Accumulate,
    dweight: Option<&mut [f32]>,
) {
    backward(Backward { saved, dy, centered: false, add: accumulate == Accumulate::Add }, dx, dweight);
}

/// Gradients of [`layer_norm`]: `dx` is replaced or added to, as `accumulate` says; those of `(weight, bias)` are
/// added to.
///
/// # Panics
/// If the lengths do not agree.
pub fn layer_norm_backward(
    saved: Saved<'_>,
    dy: &[f32],
    dx: &mut [f32],
    accumulate: Accumulate,
    (dweight, dbias): (Option<&mut [f32]>, Option<&mut [f32]>),
) {
    backward(Backward { saved, dy, centered: true, add: accumulate == Accumulate::Add }, dx, dweight);
    if let Some(dbias) = dbias {
        assert_eq!(dbias.len(), saved.weight.len(), "norm: length of the bias's gradient");
        crate::elementwise::column_sums(dy, dbias);
    }
}

#[derive(Clone, Copy)]
struct Forward<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    eps: f32,
    centered: bool,
}

impl Forward<'_> {
    /// A row's result; gives its mean and inverse deviation.
    #[inline(always)]
    fn row<S: Simd>(&self, x: &[f32], y: &mut [f32]) -> (f32, f32) {
        let width = self.weight.len();
        let mean = if self.centered { sum::<S>(x) / width as f32 } else { 0.0 };
        for i in (0..width).step_by(LANES) {
            (S::at(x, i) - S::splat(mean)).put(y, i);
        }
        let inverse = 1.0 / (dot::<S>(y, y) / width as f32 + self.eps).sqrt();
        for i in (0..width).step_by(LANES) {
            let normal = S::at(y, i) * S::splat(inverse);
            match self.bias {
                Some(bias) => normal.fma(S::at(self.weight, i), S::at(bias, i)).put(y, i),
                None => (normal * S::at(self.weight, i)).put(y, i),
            }
        }
        (mean, inverse)
    }
}

fn forward(args: Forward<'_>, y: &mut [f32], stats: Option<&mut [f32]>) {
    let rows = count_rows(args.x, args.weight);
    assert_eq!(y.len(), args.x.len(), "norm: length of y");
    let per_row = 1 + usize::from(args.centered);
    let stats = stats.map(|stats| {
        assert_len("norm: stats", stats.len(), &[rows, per_row]);
        SharedMut::new(stats)
    });
    let (y, width) = (SharedMut::new(y), args.weight.len());
    parallel_ranges(rows, width, |rows| {
        // SAFETY: ranges of rows do not overlap.
        let y = unsafe { y.slice(rows.start * width, rows.len() * width) };
        let stats = stats.map(|stats| unsafe { stats.slice(rows.start * per_row, rows.len() * per_row) });
        let x = &args.x[rows.start * width..rows.end * width];
        dispatch(ForwardRows { args: Forward { x, ..args }, y, stats });
    });
}

struct ForwardRows<'a> {
    args: Forward<'a>,
    y: &'a mut [f32],
    stats: Option<&'a mut [f32]>,
}

impl Kernel for ForwardRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self) {
        let Forward { x, weight, centered, .. } = self.args;
        let width = weight.len();
        for (row, (x, y)) in x.chunks_exact(width).zip(self.y.chunks_exact_mut(width)).enumerate() {
            let (mean, inverse) = self.args.row::<S>(x, y);
            match &mut self.stats {
                Some(stats) if centered => stats[row * 2..][..2].copy_from_slice(&[mean, inverse]),
                Some(stats) => stats[row] = inverse,
                None => {}
            }
        }
    }
}

/// A norm of rows as long as its weight.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// What each element is multiplied by.
    pub weight: &'a [f32],
    /// What is added to that.
    pub bias: Option<&'a [f32]>,
    /// What is added to the variance, or to the mean square.
    pub eps: f32,
    /// Whether rows are centered, as [`layer_norm`] does it, or not, as [`rms_norm`].
    pub centered: bool,
}

/// `x += branch` and `y = norm(x)`, row by row in one pass; where `bytes` are given, they become y in blocks of so many
/// elements, for the maps that take it.
///
/// # Panics
/// If the lengths do not agree, or a block is no multiple of 32.
pub fn add_norm(
    x: &mut [f32],
    branch: Option<&[f32]>,
    norm: Norm<'_>,
    y: &mut [f32],
    bytes: Option<(&mut quantized::Rows, usize)>,
) {
    let Norm { weight, bias, eps, centered } = norm;
    let (rows, width) = (count_rows(x, weight), weight.len());
    assert_eq!(y.len(), x.len(), "norm: length of y");
    assert!(branch.is_none_or(|branch| branch.len() == x.len()), "norm: length of the branch");
    assert!(bias.is_none_or(|bias| bias.len() == width), "norm: length of the bias");
    let room = bytes.map(|(bytes, block)| bytes.room(rows, width, block));
    let (x, y) = (SharedMut::new(x), SharedMut::new(y));
    parallel_ranges(rows, width, |rows| {
        let part = rows.start * width..rows.end * width;
        // SAFETY: ranges of rows do not overlap.
        let (x, y) = unsafe { (x.slice(part.start, part.len()), y.slice(part.start, part.len())) };
        let args = Forward { x: &[], weight, bias, eps, centered };
        dispatch(AddRows {
            args,
            x,
            branch: branch.map(|branch| &branch[part]),
            y,
            room: room.as_ref(),
            first: rows.start,
        });
    });
}

struct AddRows<'a> {
    args: Forward<'a>,
    x: &'a mut [f32],
    branch: Option<&'a [f32]>,
    y: &'a mut [f32],
    room: Option<&'a Room>,
    /// The number of the first row.
    first: usize,
}

impl Kernel for AddRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let width = self.args.weight.len();
        for (row, (x, y)) in self.x.chunks_exact_mut(width).zip(self.y.chunks_exact_mut(width)).enumerate() {
            if let Some(branch) = self.branch {
                let branch = &branch[row * width..][..width];
                for i in (0..width).step_by(LANES) {
                    (S::at(x, i) + S::at(branch, i)).put(x, i);
                }
            }
            self.args.row::<S>(x, y);
            if let Some(room) = self.room {
                // SAFETY: this row belongs to this task alone.
                unsafe { room.put::<S>(self.first + row, 0, y) };
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Backward<'a> {
    saved: Saved<'a>,
    dy: &'a [f32],
    centered: bool,
    add: bool,
}

impl Backward<'_> {
    /// Mean and inverse deviation of a row.
    #[inline(always)]
    fn stats(&self, row: usize) -> (f32, f32) {
        let stats = self.saved.stats;
        if self.centered { (stats[row * 2], stats[row * 2 + 1]) } else { (0.0, stats[row]) }
    }
}

fn backward(args: Backward<'_>, dx: &mut [f32], dweight: Option<&mut [f32]>) {
    let Saved { x, weight, stats } = args.saved;
    let (rows, width) = (count_rows(x, weight), weight.len());
    assert_len("norm: stats", stats.len(), &[rows, 1 + usize::from(args.centered)]);
    assert!(args.dy.len() == x.len() && dx.len() == x.len(), "norm: lengths of x {}, dy, dx", x.len());
    let dx = SharedMut::new(dx);
    parallel_ranges(rows, width, |rows| {
        // SAFETY: ranges of rows do not overlap.
        let dx = unsafe { dx.slice(rows.start * width, rows.len() * width) };
        dispatch(BackwardRows { args, rows, dx });
    });
    if let Some(dweight) = dweight {
        assert_eq!(dweight.len(), width, "norm: length of the weight's gradient");
        let dweight = SharedMut::new(dweight);
        parallel_columns(rows, width, |columns| {
            // SAFETY: ranges of columns do not overlap.
            let dweight = unsafe { dweight.slice(columns.start, columns.len()) };
            dispatch(WeightColumns { args, columns, dweight });
        });
    }
}

/// With g = dy weight: dx = (g - mean(g) - x̂ mean(g x̂)) / deviation, without mean(g) where rows are not centered.
struct BackwardRows<'a> {
    args: Backward<'a>,
    rows: Range<usize>,
    dx: &'a mut [f32],
}

impl Kernel for BackwardRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Backward { saved: Saved { x, weight, .. }, dy, centered, add } = self.args;
        let width = weight.len();
        for (row, dx) in self.rows.zip(self.dx.chunks_exact_mut(width)) {
            let (x, dy) = (&x[row * width..][..width], &dy[row * width..][..width]);
            let (mean, inverse) = self.args.stats(row);
            let (mean, inverse) = (S::splat(mean), S::splat(inverse));
            let (mut sum_g, mut sum_gx) = (S::splat(0.0), S::splat(0.0));
            for i in (0..width).step_by(LANES) {
                // Past the end g is zero, and so are both products.
                let g = S::at(dy, i) * S::at(weight, i);
                sum_g = sum_g + g;
                sum_gx = g.fma((S::at(x, i) - mean) * inverse, sum_gx);
            }
            let mean_g = S::splat(if centered { sum_g.sum() / width as f32 } else { 0.0 });
            let mean_gx = S::splat(sum_gx.sum() / width as f32);
            for i in (0..width).step_by(LANES) {
                let normal = (S::at(x, i) - mean) * inverse;
                let g = S::at(dy, i) * S::at(weight, i) - mean_g;
                let gradient = (g - normal * mean_gx) * inverse;
                if add { (S::at(dx, i) + gradient).put(dx, i) } else { gradient.put(dx, i) }
            }
        }
    }
}

struct WeightColumns<'a> {
    args: Backward<'a>,
    columns: Range<usize>,
    dweight: &'a mut [f32],
}

impl Kernel for WeightColumns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Backward { saved: Saved { x, weight, .. }, dy, .. } = self.args;
        let width = weight.len();
        for row in 0..x.len() / width {
            let (mean, inverse) = self.args.stats(row);
            let columns = row * width + self.columns.start..row * width + self.columns.end;
            let (x, dy) = (&x[columns.clone()], &dy[columns]);
            for i in (0..x.len()).step_by(LANES) {
                let normal = (S::at(x, i) - S::splat(mean)) * S::splat(inverse);
                S::at(dy, i).fma(normal, S::at(self.dweight, i)).put(self.dweight, i);
            }
        }
    }
}

fn count_rows(x: &[f32], weight: &[f32]) -> usize {
    assert!(!weight.is_empty(), "norm: an empty weight");
    assert!(x.len().is_multiple_of(weight.len()), "norm: {} elements in rows of {}", x.len(), weight.len());
    x.len() / weight.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{self, norm::Norm};
    use crate::testing::{Guarded, assert_close, assert_same_bits, check_gradient, random, same_everywhere, wide};

    const SHAPES: &[[usize; 2]] = &[[0, 5], [1, 1], [3, 15], [7, 64], [40, 193], [9, 1000]];

    fn norm(centered: bool) -> Norm {
        Norm { centered, eps: 1e-5 }
    }

    #[test]
    fn forward_agrees_with_the_reference() {
        for &[rows, width] in SHAPES {
            let (x, weight, bias) = (random(1, rows * width), random(2, width), random(3, width));
            let (x, weight, bias) = (Guarded::new(&x), Guarded::new(&weight), Guarded::new(&bias));
            let rms = same_everywhere(|| {
                let mut y = Guarded::new(&x);
                rms_norm(&x, &weight, 1e-5, &mut y, None);
                y.to_vec()
            });
            let expected = reference::norm::forward(norm(false), &wide(&x), &wide(&weight), None);
            assert_close(&rms, &expected, 1e-6, "rms");
            let layer = same_everywhere(|| {
                let (mut y, mut stats) = (Guarded::new(&x), vec![0.0; rows * 2]);
                layer_norm(&x, &weight, Some(&bias), 1e-5, &mut y, Some(&mut stats));
                y.to_vec()
            });
            let expected = reference::norm::forward(norm(true), &wide(&x), &wide(&weight), Some(&wide(&bias)));
            // A row of one element is all deviation, hence the tolerance.
            assert_close(&layer, &expected, 1e-5, "layer");
        }
    }

    #[test]
    fn a_sum_its_norm_and_bytes_in_one_pass_are_those_step_by_step() {
        for &[rows, width] in SHAPES {
            let (x, branch) = (random(1, rows * width), random(4, rows * width));
            let (weight, bias) = (random(2, width), random(3, width));
            for centered in [false, true] {
                let norm = super::Norm { weight: &weight, bias: centered.then_some(&bias), eps: 1e-5, centered };
                let together = same_everywhere(|| {
                    let (mut x, mut y, mut bytes) = (x.clone(), vec![0.0; x.len()], quantized::Rows::default());
                    add_norm(&mut x, Some(&branch), norm, &mut y, Some((&mut bytes, 64)));
                    let bytes = (0..rows).flat_map(|row| bytes.dequantized(row));
                    bytes.chain(x).chain(y.clone()).collect()
                });
                let mut sum = x.clone();
                crate::elementwise::add_assign(&mut sum, &branch);
                let (mut y, mut bytes) = (vec![0.0; x.len()], quantized::Rows::default());
                match centered {
                    true => layer_norm(&sum, &weight, Some(&bias), 1e-5, &mut y, None),
                    false => rms_norm(&sum, &weight, 1e-5, &mut y, None),
                }
                bytes.quantize(&y, width, 64);
                let bytes = (0..rows).flat_map(|row| bytes.dequantized(row));
                let apart: Vec<f32> = bytes.chain(sum).chain(y.clone()).collect();
                assert_same_bits(&together, &apart, "in one pass");
                add_norm(&mut x.clone(), None, norm, &mut y, None);
            }
        }
    }

    #[test]
    fn not_a_number_stays_in_its_row() {
        let (mut x, weight) = (random(1, 3 * 40), random(2, 40));
        x[40 + 39] = f32::NAN;
        let (mut rms, mut layer) = (x.clone(), x.clone());
        rms_norm(&x, &weight, 1e-5, &mut rms, None);
        layer_norm(&x, &weight, None, 1e-5, &mut layer, None);
        for (i, (rms, layer)) in rms.iter().zip(&layer).enumerate() {
            assert_eq!((rms.is_nan(), layer.is_nan()), (i / 40 == 1, i / 40 == 1), "element {i}");
        }
    }

    /// dx, dweight and dbias, one after the other.
    fn gradients(centered: bool, x: &[f32], weight: &[f32], dy: &[f32]) -> Vec<f32> {
        let rows = x.len() / weight.len();
        let (mut y, mut stats) = (vec![0.0; x.len()], vec![0.0; rows * (1 + usize::from(centered))]);
        let (mut dx, mut dweight, mut dbias) = (vec![0.5; x.len()], vec![0.5; weight.len()], vec![0.5; weight.len()]);
        if centered {
            layer_norm(x, weight, None, 1e-5, &mut y, Some(&mut stats));
            let saved = Saved { x, weight, stats: &stats };
            layer_norm_backward(saved, dy, &mut dx, Accumulate::Add, (Some(&mut dweight), Some(&mut dbias)));
        } else {
            rms_norm(x, weight, 1e-5, &mut y, Some(&mut stats));
            rms_norm_backward(Saved { x, weight, stats: &stats }, dy, &mut dx, Accumulate::Add, Some(&mut dweight));
        }
        [dx, dweight, dbias].concat()
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        for (centered, [rows, width]) in [(false, [3, 19]), (true, [4, 21]), (true, [2, 64])] {
            let (x, weight, dy) = (random(1, rows * width), random(2, width), random(3, rows * width));
            let got = same_everywhere(|| gradients(centered, &x, &weight, &dy));
            let got: Vec<f32> = got.iter().map(|g| g - 0.5).collect();
            let loss = |x: &[f64], weight: &[f64]| {
                let y = reference::norm::forward(norm(centered), x, weight, None);
                y.iter().zip(&dy).map(|(y, &d)| y * f64::from(d)).sum::<f64>()
            };
            let (wide_x, wide_weight) = (wide(&x), wide(&weight));
            check_gradient(&got[..x.len()], &wide_x, |x| loss(x, &wide_weight));
            check_gradient(&got[x.len()..][..width], &wide_weight, |weight| loss(&wide_x, weight));
            if centered {
                let sums: Vec<f64> =
                    (0..width).map(|j| (0..rows).map(|i| f64::from(dy[i * width + j])).sum()).collect();
                assert_close(&got[x.len() + width..], &sums, 1e-5, "bias");
            }
        }
    }
}
