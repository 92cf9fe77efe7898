//! Slow and clear versions of every kernel, for f32 and f64: the definitions that the fast ones are tested against.
//!
//! In f64 they also serve finite-difference checks of the backward kernels.

mod scalar;

pub use scalar::{Float, erf};

/// `a` (m × k) times `b` (k × n): every output one chain of fused multiply-adds over k, from `start` (m × n) or zero.
pub fn matmul<F: Float>(a: &[F], b: &[F], [m, k, n]: [usize; 3], start: Option<&[F]>) -> Vec<F> {
    let mut c = start.map_or_else(|| vec![F::ZERO; m * n], <[F]>::to_vec);
    for i in 0..m {
        for j in 0..n {
            for t in 0..k {
                c[i * n + j] = a[i * k + t].fused(b[t * n + j], c[i * n + j]);
            }
        }
    }
    c
}

/// The transpose of a rows × cols matrix.
pub fn transpose<F: Float>(x: &[F], rows: usize, cols: usize) -> Vec<F> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}
