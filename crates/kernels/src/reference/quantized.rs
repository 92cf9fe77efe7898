//! Products of quantized rows and weights, block by block.

use crate::blocks::{f16_to_f32, f32_to_f16};

/// A row's or an output's blocks: values, and for each part of a block its scale and, of weights, its minimum.
#[derive(Clone, Debug, Default)]
pub struct Blocks {
    /// Elements, a multiple of the block's length.
    pub values: Vec<i32>,
    /// One for each part.
    pub scales: Vec<f32>,
    /// One for each part, or none at all.
    pub mins: Vec<f32>,
}

/// One output: `x` has one part a block, `w` as many as `parts` says.
pub fn quantized(x: &Blocks, w: &Blocks, [block, parts]: [usize; 2], factor: f32) -> f32 {
    let len = block / parts;
    let mut total = 0.0f32;
    for part in 0..x.values.len() / len {
        let range = part * len..(part + 1) * len;
        let products = x.values[range.clone()].iter().zip(&w.values[range.clone()]).map(|(x, w)| x * w);
        let scale = x.scales[part / parts];
        total = (products.sum::<i32>() as f32 * scale).mul_add(w.scales[part], total);
        if let Some(min) = w.mins.get(part) {
            let sum: i32 = x.values[range].iter().sum();
            total = (sum as f32 * scale).mul_add(*min, total);
        }
    }
    total * factor
}

/// A block of f32 as bytes: the values and their scale, which fp16 holds where `half` says so.
pub fn bytes_of(block: &[f32], half: bool) -> (Vec<i32>, f32) {
    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    if block.iter().any(|x| !x.is_finite()) || (half && largest > 65504.0 * 127.0) {
        return (vec![0; block.len()], f32::NAN);
    }
    if largest < 1e-30 {
        return (vec![0; block.len()], 0.0);
    }
    let (scale, inverse) = match half {
        false => (largest / 127.0, 127.0 / largest),
        true => {
            let bits = f32_to_f16(largest / 127.0);
            let scale = [bits, bits + 1].map(f16_to_f32).into_iter().find(|&scale| scale >= largest / 127.0);
            scale.map_or((f32::NAN, 0.0), |scale| (scale, 1.0 / scale))
        }
    };
    (block.iter().map(|x| (x * inverse).round_ties_even() as i32).collect(), scale)
}

/// `a` (m × k) times `b` (k × n), both as bytes in blocks of `block` along k, from `start` (m × n) or zero.
pub fn bytes(a: &[f32], b: &[f32], [m, k, n]: [usize; 3], block: usize, start: Option<&[f32]>) -> Vec<f32> {
    let blocks = |line: Vec<f32>, half| line.chunks(block).map(|block| bytes_of(block, half)).collect::<Vec<_>>();
    let rows: Vec<_> = (0..m).map(|i| blocks(a[i * k..(i + 1) * k].to_vec(), false)).collect();
    let columns: Vec<_> = (0..n).map(|j| blocks((0..k).map(|t| b[t * n + j]).collect(), true)).collect();
    let mut c = start.map_or_else(|| vec![0.0; m * n], <[f32]>::to_vec);
    for (i, row) in rows.iter().enumerate() {
        for (j, column) in columns.iter().enumerate() {
            for ((a, a_scale), (b, b_scale)) in row.iter().zip(column) {
                let sum: i32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                c[i * n + j] = (sum as f32 * a_scale).mul_add(*b_scale, c[i * n + j]);
            }
        }
    }
    c
}
