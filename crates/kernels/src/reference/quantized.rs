//! Products of quantized rows and weights, block by block.

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
