//! Element by element over whole arrays.

use crate::pool::{SharedMut, parallel_columns, parallel_elements};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// `y += x`.
///
/// # Panics
/// If the lengths differ.
pub fn add_assign(y: &mut [f32], x: &[f32]) {
    assert_eq!(y.len(), x.len(), "add_assign: lengths");
    update(y, |range, y| y.iter_mut().zip(&x[range]).for_each(|(y, x)| *y += x));
}

/// `y += x`, by this thread alone: for pieces of a product as they become complete.
///
/// # Panics
/// If `x` is shorter.
pub fn add_piece(y: &mut [f32], x: &[f32]) {
    struct Add<'a>(&'a mut [f32], &'a [f32]);
    impl Kernel for Add<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self) {
            let Self(y, x) = self;
            for i in (0..y.len()).step_by(LANES) {
                (S::at(y, i) + S::at(x, i)).put(y, i);
            }
        }
    }
    let x = &x[..y.len()];
    dispatch(Add(y, x));
}

/// `y *= factor`.
pub fn scale(y: &mut [f32], factor: f32) {
    update(y, |_, y| y.iter_mut().for_each(|y| *y *= factor));
}

/// `y = a y + b x`, in one rounding after that of `b x`.
///
/// # Panics
/// If the lengths differ.
pub fn mix(y: &mut [f32], a: f32, x: &[f32], b: f32) {
    assert_eq!(y.len(), x.len(), "mix: lengths");
    let len = y.len();
    let y = SharedMut::new(y);
    parallel_elements(len, |range| {
        // SAFETY: ranges do not overlap.
        let part = unsafe { y.slice(range.start, range.len()) };
        dispatch(Mix { y: part, a, x: &x[range], b });
    });
}

struct Mix<'a> {
    y: &'a mut [f32],
    a: f32,
    x: &'a [f32],
    b: f32,
}

impl Kernel for Mix<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (a, b) = (S::splat(self.a), S::splat(self.b));
        for i in (0..self.x.len()).step_by(LANES) {
            a.fma(S::at(self.y, i), b * S::at(self.x, i)).put(self.y, i);
        }
    }
}

/// Adds to every row of `y` the row `bias`.
///
/// # Panics
/// If `y` is not whole rows of the bias's length.
pub fn add_rows(y: &mut [f32], bias: &[f32]) {
    assert!(!bias.is_empty() && y.len().is_multiple_of(bias.len()), "add_rows: {} in rows of {}", y.len(), bias.len());
    let rows = SharedMut::new(y);
    crate::pool::parallel_ranges(y.len() / bias.len(), bias.len(), |range| {
        // SAFETY: ranges of rows do not overlap.
        let y = unsafe { rows.slice(range.start * bias.len(), range.len() * bias.len()) };
        y.chunks_exact_mut(bias.len()).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
    });
}

/// Adds the rows of `x` to `sums`, one after the other: the gradient of a bias. The row length is that of `sums`.
///
/// # Panics
/// If `x` is not whole rows of that length.
pub fn column_sums(x: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    assert!(width > 0 && x.len().is_multiple_of(width), "column_sums: {} elements in rows of {width}", x.len());
    let sums = SharedMut::new(sums);
    parallel_columns(x.len() / width, width, |columns| {
        // SAFETY: ranges of columns do not overlap.
        let sums = unsafe { sums.slice(columns.start, columns.len()) };
        for row in x.chunks_exact(width) {
            sums.iter_mut().zip(&row[columns.clone()]).for_each(|(sum, x)| *sum += x);
        }
    });
}

/// The index of the first NaN or infinity.
pub fn first_non_finite(x: &[f32]) -> Option<usize> {
    x.iter().position(|x| !x.is_finite())
}

fn update(y: &mut [f32], f: impl Fn(std::ops::Range<usize>, &mut [f32]) + Sync) {
    let len = y.len();
    let y = SharedMut::new(y);
    parallel_elements(len, |range| {
        // SAFETY: ranges do not overlap.
        f(range.clone(), unsafe { y.slice(range.start, range.len()) });
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_bits, random, same_everywhere};

    #[test]
    fn each_equals_its_definition() {
        for (rows, width) in [(1, 1), (3, 17), (500, 33), (70, 300)] {
            let (x, y, bias) = (random(1, rows * width), random(2, rows * width), random(3, width));
            let got = same_everywhere(|| {
                let (mut a, mut b, mut c, mut d) = (y.clone(), y.clone(), y.clone(), bias.clone());
                let mut e = y.clone();
                mix(&mut e, 0.3, &x, -0.7);
                add_assign(&mut a, &x);
                scale(&mut b, 0.3);
                add_rows(&mut c, &bias);
                column_sums(&x, &mut d);
                [a, b, c, d, e].concat()
            });
            let mut expected: Vec<f32> = y.iter().zip(&x).map(|(y, x)| y + x).collect();
            expected.extend(y.iter().map(|y| y * 0.3));
            expected.extend(y.iter().enumerate().map(|(i, y)| y + bias[i % width]));
            expected.extend((0..width).map(|j| (0..rows).fold(bias[j], |sum, i| sum + x[i * width + j])));
            expected.extend(y.iter().zip(&x).map(|(y, x)| 0.3_f32.mul_add(*y, -0.7 * x)));
            assert_same_bits(&got, &expected, "elementwise");
        }
        assert_eq!(first_non_finite(&[0.0, 1.0, f32::NAN, f32::INFINITY]), Some(2));
    }
}
