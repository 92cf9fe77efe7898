//! Normalisation by rows.

use super::Float;

/// Which one.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Whether the mean is taken off (layer norm) or not (root mean square).
    pub centered: bool,
    /// Added to the variance.
    pub eps: f64,
}

/// (x - mean) / sqrt(variance + eps) * weight + bias, row by row.
pub fn forward<F: Float>(norm: Norm, x: &[F], weight: &[F], bias: Option<&[F]>) -> Vec<F> {
    let width = weight.len();
    let mut y = Vec::with_capacity(x.len());
    for row in x.chunks_exact(width) {
        let average = |f: &dyn Fn(F) -> F| row.iter().fold(F::ZERO, |sum, &x| sum + f(x)) / F::of(width as f64);
        let mean = if norm.centered { average(&|x| x) } else { F::ZERO };
        let deviation = (average(&|x| (x - mean) * (x - mean)) + F::of(norm.eps)).sqrt();
        let scaled = row.iter().zip(weight).map(|(&x, &w)| (x - mean) / deviation * w);
        y.extend(scaled.enumerate().map(|(j, y)| bias.map_or(y, |bias| y + bias[j])));
    }
    y
}
