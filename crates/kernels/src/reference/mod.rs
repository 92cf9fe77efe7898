//! Slow and clear versions of every kernel, for f32 and f64: the definitions that the fast ones are tested against.
//!
//! In f64 they also serve finite-difference checks of the backward kernels.

mod attention;
mod blocks;
mod dropout;
mod formats;
pub mod norm;
mod quantized;
mod scalar;

use crate::activation::Kind;
use crate::bf16;
use crate::loss::IGNORED;
use crate::optim::AdamW;

pub use attention::{attention, attention_backward};
pub use blocks::{adamw_blocks, decode_blocks, encode_blocks};
pub use dropout::{dropout_factors, philox};
pub use formats::{quantize_fp8, round};
pub use quantized::{Blocks as QuantizedBlocks, bytes, bytes_of, quantized};
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

/// [`matmul`] of factors rounded to bf16: each chain takes the numbers in pairs, the second of a pair first; a number
/// without a partner is paired with zero.
pub fn matmul_bf16(a: &[f32], b: &[f32], [m, k, n]: [usize; 3], start: Option<&[f32]>) -> Vec<f32> {
    let rounded = |x: f32| bf16::to_f32(bf16::from_f32(x));
    let mut c = start.map_or_else(|| vec![0.0; m * n], <[f32]>::to_vec);
    for i in 0..m {
        for j in 0..n {
            for pair in (0..k).step_by(2) {
                for t in (pair..k.min(pair + 2)).rev() {
                    c[i * n + j] = rounded(a[i * k + t]).mul_add(rounded(b[t * n + j]), c[i * n + j]);
                }
            }
        }
    }
    c
}

/// The transpose of a rows × cols matrix.
pub fn transpose<F: Float>(x: &[F], rows: usize, cols: usize) -> Vec<F> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}

/// Rotary embedding of rows × heads × head width, half-split, in angles computed exactly.
pub fn rotary<F: Float>(x: &[F], [heads, head_width]: [usize; 2], positions: &[u32], theta: f64) -> Vec<F> {
    let (mut y, half) = (x.to_vec(), head_width / 2);
    for (r, &position) in positions.iter().enumerate() {
        for (head, i) in (0..heads).flat_map(|head| (0..half).map(move |i| (head, i))) {
            let angle = f64::from(position) * theta.powf(-2.0 * i as f64 / head_width as f64);
            let (low, high) = ((r * heads + head) * head_width + i, (r * heads + head) * head_width + i + half);
            let (cos, sin) = (F::of(angle.cos()), F::of(angle.sin()));
            y[low] = x[low] * cos - x[high] * sin;
            y[high] = x[high] * cos + x[low] * sin;
        }
    }
    y
}

/// An activation at one point.
pub fn activation<F: Float>(kind: Kind, x: F) -> F {
    let half = F::of(0.5);
    match kind {
        Kind::Silu => x / (F::ONE + (-x).exp()),
        Kind::GeluTanh => {
            let inner = F::of((2.0 / std::f64::consts::PI).sqrt()) * (x + F::of(0.044715) * x * x * x);
            half * x * (F::ONE + inner.tanh())
        }
        Kind::GeluErf => half * x * (F::ONE + F::of(erf(x.to_f64() * std::f64::consts::FRAC_1_SQRT_2))),
        Kind::Relu => x.max(F::ZERO),
    }
}

/// Cross entropy in nats for each row of logits; zero where the target is [`IGNORED`].
pub fn cross_entropy<F: Float>(logits: &[F], targets: &[u32]) -> Vec<F> {
    let classes = logits.len() / targets.len().max(1);
    let row = |(r, &target): (usize, &u32)| {
        if target == IGNORED {
            return F::ZERO;
        }
        let row = &logits[r * classes..][..classes];
        let top = row.iter().fold(row[0], |top, &x| top.max(x));
        row.iter().fold(F::ZERO, |sum, &x| sum + (x - top).exp()).ln() + top - row[target as usize]
    };
    targets.iter().enumerate().map(row).collect()
}

/// Five Newton-Schulz steps towards the nearest orthogonal matrix, as [`crate::optim::muon`] describes them.
pub fn orthogonalize<F: Float>(x: &[F], [rows, cols]: [usize; 2]) -> Vec<F> {
    use crate::optim::muon::{COEFFICIENTS, EPSILON, STEPS};
    if rows > cols {
        return transpose(&orthogonalize(&transpose(x, rows, cols), [cols, rows]), cols, rows);
    }
    let [a, b, c] = COEFFICIENTS.map(|coefficient| F::of(f64::from(coefficient)));
    let norm = x.iter().fold(F::ZERO, |sum, &x| sum + x * x).sqrt().max(F::of(EPSILON));
    let mut x: Vec<F> = x.iter().map(|&x| x / norm).collect();
    for _ in 0..STEPS {
        let gram = matmul(&x, &transpose(&x, rows, cols), [rows, cols, rows], None);
        let squared = matmul(&gram, &gram, [rows, rows, rows], None);
        let factor: Vec<F> = gram.iter().zip(&squared).map(|(&g, &s)| b * g + c * s).collect();
        let turned = matmul(&factor, &x, [rows, rows, cols], None);
        x = x.iter().zip(&turned).map(|(&x, &t)| a * x + t).collect();
    }
    x
}

/// One step of AdamW, as Loshchilov and Hutter write it.
pub fn adamw<F: Float>(options: &AdamW, parameters: &mut [F], gradients: &[F], m: &mut [F], v: &mut [F]) {
    let of = |x: f32| F::of(f64::from(x));
    let correction = |beta: f32| F::of(1.0 - f64::from(beta).powf(options.step as f64));
    for i in 0..parameters.len() {
        let g = gradients[i] * of(options.gradient_scale);
        m[i] = of(options.beta1) * m[i] + (F::ONE - of(options.beta1)) * g;
        v[i] = of(options.beta2) * v[i] + (F::ONE - of(options.beta2)) * g * g;
        let (m_hat, v_hat) = (m[i] / correction(options.beta1), v[i] / correction(options.beta2));
        let step = m_hat / (v_hat.sqrt() + of(options.epsilon)) + of(options.weight_decay) * parameters[i];
        parameters[i] = parameters[i] - of(options.learning_rate) * step;
    }
}
