//! Muon (Jordan et al., 2024): momentum, made orthogonal.
//!
//! A matrix moves by its momentum with all singular values brought near one. Five Newton-Schulz steps do that with
//! products alone: X ← a X + (b A + c A²) X with A = X Xᵀ, from X of Frobenius norm 1. The coefficients are those
//! that Jordan found: they climb fast from small singular values and end between 0.7 and 1.2.

use crate::elementwise;
use crate::matmul::{Accumulate, MatRef, matmul, matmul_bf16};
use crate::optim::sum_of_squares;
use crate::pool::{SharedMut, parallel_elements};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// a, b and c.
pub const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
/// Newton-Schulz steps.
pub const STEPS: usize = 5;
/// The least norm that a matrix is divided by.
pub const EPSILON: f64 = 1e-7;

/// What the products of [`orthogonalize`] round their factors to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// Nothing.
    F32,
    /// bf16; sums are f32. Enough for a direction, and what Jordan uses.
    Bf16,
}

/// `m = beta m + (1 - beta) scale g`, and Nesterov's `update = beta m + (1 - beta) scale g` with the new m.
///
/// # Panics
/// If the lengths differ.
pub fn momentum(m: &mut [f32], g: &[f32], [beta, scale]: [f32; 2], update: &mut [f32]) {
    let len = m.len();
    assert!(g.len() == len && update.len() == len, "momentum: lengths");
    let (m, update) = (SharedMut::new(m), SharedMut::new(update));
    parallel_elements(len, |range| {
        // SAFETY: ranges do not overlap.
        let part = |all: &SharedMut<f32>| unsafe { all.slice(range.start, range.len()) };
        let (m, update) = (part(&m), part(&update));
        dispatch(Momentum { m, g: &g[range], beta, rest: (1.0 - beta) * scale, update });
    });
}

struct Momentum<'a> {
    m: &'a mut [f32],
    g: &'a [f32],
    beta: f32,
    rest: f32,
    update: &'a mut [f32],
}

impl Kernel for Momentum<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let (beta, rest) = (S::splat(self.beta), S::splat(self.rest));
        for i in (0..self.g.len()).step_by(LANES) {
            let g = S::at(self.g, i) * rest;
            let m = beta.fma(S::at(self.m, i), g);
            m.put(self.m, i);
            beta.fma(m, g).put(self.update, i);
        }
    }
}

/// Floats of scratch memory that [`orthogonalize`] needs for a matrix.
pub fn scratch_len([rows, cols]: [usize; 2]) -> usize {
    let (short, long) = (rows.min(cols), rows.max(cols));
    2 * short * short + short * long
}

/// Brings the singular values of a matrix near one, in place.
///
/// # Panics
/// If `x` is not rows × cols, or `scratch` is shorter than [`scratch_len`].
pub fn orthogonalize(x: &mut [f32], [rows, cols]: [usize; 2], products: Products, scratch: &mut [f32]) {
    assert_eq!(x.len(), rows * cols, "orthogonalize: length of the matrix");
    let short = rows.min(cols);
    let (a, rest) = scratch[..scratch_len([rows, cols])].split_at_mut(short * short);
    let (b, y) = rest.split_at_mut(short * short);
    let norm = sum_of_squares(x).sqrt().max(EPSILON);
    elementwise::scale(x, (1.0 / norm) as f32);
    let product = |left: MatRef<'_>, right: MatRef<'_>, out: &mut [f32]| match products {
        Products::F32 => matmul(left, right, out, Accumulate::Overwrite),
        Products::Bf16 => matmul_bf16(left, right, out, Accumulate::Overwrite, None),
    };
    for _ in 0..STEPS {
        let seen = short_first(x, [rows, cols]);
        product(seen, seen.transposed(), a);
        product(square(a, short), square(a, short), b);
        elementwise::mix(b, COEFFICIENTS[2], a, COEFFICIENTS[1]);
        // B is symmetric but for rounding: its transpose serves where the matrix is seen transposed.
        match rows <= cols {
            true => product(square(b, short), MatRef::row_major(x, rows, cols), y),
            false => product(MatRef::row_major(x, rows, cols), square(b, short), y),
        }
        elementwise::mix(x, COEFFICIENTS[0], y, 1.0);
    }
}

/// A matrix seen with its short side as rows: where that are its columns, the view is transposed, never the memory.
fn short_first(data: &[f32], [rows, cols]: [usize; 2]) -> MatRef<'_> {
    let stored = MatRef::row_major(data, rows, cols);
    if rows <= cols { stored } else { stored.transposed() }
}

fn square(data: &[f32], side: usize) -> MatRef<'_> {
    MatRef::row_major(data, side, side)
}

/// What a matrix's update is multiplied by: steps of tall ones are longer, so that their effect on what they give is as
/// large (Jordan's rule, the square root of max(1, rows / columns) with outputs as rows).
pub fn scale([rows, cols]: [usize; 2]) -> f64 {
    (rows as f64 / cols.max(1) as f64).max(1.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{Guarded, assert_close, random, same_everywhere, wide};

    const SHAPES: [[usize; 2]; 7] = [[1, 1], [1, 30], [30, 1], [17, 17], [16, 65], [70, 33], [130, 40]];

    fn found(x: &[f32], shape: [usize; 2], products: Products) -> Vec<f32> {
        same_everywhere(|| {
            let mut y = Guarded::new(x);
            let mut scratch = Guarded::new(&vec![f32::NAN; scratch_len(shape)]);
            orthogonalize(&mut y, shape, products, &mut scratch);
            y.to_vec()
        })
    }

    #[test]
    fn it_is_the_five_steps() {
        for shape @ [rows, cols] in SHAPES {
            let x = random(1, rows * cols);
            let expected = reference::orthogonalize(&wide(&x), shape);
            assert_close(&found(&x, shape, Products::F32), &expected, 1e-4, &format!("{shape:?}"));
            // Rounding moves singular values within the band where they end; the direction stays.
            let rounded = wide(&found(&x, shape, Products::Bf16));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let cosine = dot(&rounded, &expected) / (dot(&rounded, &rounded) * dot(&expected, &expected)).sqrt();
            assert!(cosine > 0.998, "{shape:?} in bf16: {cosine}");
        }
        assert_eq!(found(&[0.0; 12], [3, 4], Products::F32), [0.0; 12], "nothing to turn");
    }

    #[test]
    fn singular_values_come_near_one() {
        for shape @ [rows, cols] in [[20, 50], [50, 20], [32, 32]] {
            let x = found(&random(7, rows * cols), shape, Products::Bf16);
            let short = rows.min(cols);
            let at = |i: usize, k: usize| f64::from(if rows <= cols { x[i * cols + k] } else { x[k * cols + i] });
            let gram = |i: usize, j: usize| (0..rows.max(cols)).map(|k| at(i, k) * at(j, k)).sum::<f64>();
            // The mean of squared singular values, and by Gershgorin nothing far from the diagonal.
            let trace = (0..short).map(|i| gram(i, i)).sum::<f64>() / short as f64;
            assert!((0.5..1.5).contains(&trace), "{shape:?}: {trace}");
            let off: f64 =
                (0..short).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| gram(i, j).abs()).fold(0.0, f64::max);
            assert!(off < 0.35, "{shape:?}: {off}");
        }
    }

    #[test]
    fn momentum_is_nesterovs() {
        for len in [0, 1, 100, 9001] {
            let (m, g) = (random(1, len), random(2, len));
            let got = same_everywhere(|| {
                let (mut m, mut update) = (Guarded::new(&m), Guarded::new(&g));
                momentum(&mut m, &g, [0.95, 0.5], &mut update);
                [&m[..], &update[..]].concat()
            });
            let new: Vec<f64> = wide(&m).iter().zip(wide(&g)).map(|(m, g)| 0.95 * m + 0.05 * 0.5 * g).collect();
            let update: Vec<f64> = new.iter().zip(wide(&g)).map(|(m, g)| 0.95 * m + 0.05 * 0.5 * g).collect();
            assert_close(&got, &[new, update].concat(), 1e-6, "momentum");
        }
        assert_eq!([scale([384, 384]), scale([1536, 384]), scale([384, 1536])], [1.0, 2.0, 1.0]);
    }
}
