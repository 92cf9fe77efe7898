//! Attention with all scores at once.

use std::ops::Range;

use super::Float;
use crate::attention::Shape;

/// softmax(scale q kᵀ) v for every sequence and head; the layouts of [`crate::attention::Inputs`].
pub fn attention<F: Float>(shape: &Shape, sequences: &[Range<usize>], q: &[F], k: &[F], v: &[F]) -> Vec<F> {
    let mut out = vec![F::ZERO; q.len()];
    each_row(shape, sequences, |query, keys| {
        let weights = weights(shape, &q[query..], k, &keys);
        for (&key, weight) in keys.iter().zip(weights) {
            (0..shape.head_width).for_each(|i| out[query + i] += weight * v[key + i]);
        }
    });
    out
}

/// The gradients of q, k and v: with P = softmax, dV = P dO, dS = P (dO V - Σ P dO V), dQ = scale dS K, dK = scale dS Q.
pub fn attention_backward<F: Float>(
    shape: &Shape,
    sequences: &[Range<usize>],
    [q, k, v]: [&[F]; 3],
    dout: &[F],
) -> [Vec<F>; 3] {
    let (mut dq, mut dk, mut dv) = (vec![F::ZERO; q.len()], vec![F::ZERO; k.len()], vec![F::ZERO; v.len()]);
    let scale = F::of(f64::from(shape.scale));
    each_row(shape, sequences, |query, keys| {
        let weights = weights(shape, &q[query..], k, &keys);
        let slopes: Vec<F> = keys.iter().map(|&key| dot(shape, &dout[query..], &v[key..])).collect();
        let mean = weights.iter().zip(&slopes).fold(F::ZERO, |sum, (&w, &s)| sum + w * s);
        for ((&key, weight), slope) in keys.iter().zip(weights).zip(slopes) {
            let slope = weight * (slope - mean) * scale;
            for i in 0..shape.head_width {
                dv[key + i] += weight * dout[query + i];
                dq[query + i] += slope * k[key + i];
                dk[key + i] += slope * q[query + i];
            }
        }
    });
    [dq, dk, dv]
}

/// Calls `f` with where each row's head begins in q, and where the heads that it sees begin in k and v.
fn each_row(shape: &Shape, sequences: &[Range<usize>], mut f: impl FnMut(usize, Vec<usize>)) {
    for sequence in sequences {
        for (row, head) in sequence.clone().flat_map(|row| (0..shape.heads).map(move |head| (row, head))) {
            let kv_head = head / (shape.heads / shape.kv_heads);
            let end = if shape.causal { row + 1 } else { sequence.end };
            let near = |key: &usize| shape.reach.is_none_or(|reach| row.abs_diff(*key) <= reach);
            let key = |key: usize| (key * shape.kv_heads + kv_head) * shape.head_width;
            f((row * shape.heads + head) * shape.head_width, (sequence.start..end).filter(near).map(key).collect());
        }
    }
}

fn weights<F: Float>(shape: &Shape, q: &[F], k: &[F], keys: &[usize]) -> Vec<F> {
    let scale = F::of(f64::from(shape.scale));
    let scores: Vec<F> = keys.iter().map(|&key| dot(shape, q, &k[key..]) * scale).collect();
    let top = scores.iter().fold(scores[0], |top, &s| top.max(s));
    let sum = scores.iter().fold(F::ZERO, |sum, &s| sum + (s - top).exp());
    scores.into_iter().map(|s| (s - top).exp() / sum).collect()
}

fn dot<F: Float>(shape: &Shape, a: &[F], b: &[F]) -> F {
    (0..shape.head_width).fold(F::ZERO, |sum, i| sum + a[i] * b[i])
}
