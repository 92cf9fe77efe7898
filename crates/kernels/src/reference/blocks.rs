//! Optimizer states in 8 bits, number by number.

use super::philox;
use crate::optim::blocks::{BLOCK, Code, Draws, ROOT_STEPS, ROOT_ZERO, SIGNED_STEPS};
use crate::optim::{AdamW, Constants};

/// Bytes and scales.
pub type Stored = (Vec<i8>, Vec<f32>);

/// What bytes stand for; of [`Code::Root`], the roots.
pub fn decode_blocks(code: Code, (codes, scales): &Stored) -> Vec<f32> {
    let number = |(i, &byte): (usize, &i8)| {
        let (byte, scale) = (f32::from(byte), scales[i / BLOCK]);
        match code {
            Code::Signed => byte * byte.abs() * (scale / (SIGNED_STEPS * SIGNED_STEPS)),
            Code::Root => (byte + ROOT_ZERO) * (byte + ROOT_ZERO) * (scale / (ROOT_STEPS * ROOT_STEPS)),
        }
    };
    codes.iter().enumerate().map(number).collect()
}

/// The bytes and the scales of numbers; of [`Code::Root`], of the roots.
pub fn encode_blocks(code: Code, numbers: &[f32], draws: Draws) -> Stored {
    let (mut codes, mut scales) = (Vec::new(), Vec::new());
    for (block, numbers) in numbers.chunks(BLOCK).enumerate() {
        let largest = numbers.iter().fold(0.0f32, |largest, number| largest.max(number.abs()));
        let scale = if largest >= f32::MIN_POSITIVE { largest } else { 0.0 };
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        scales.push(scale);
        let byte = |(i, &number)| encode(code, number, inverse, chance(code, draws, [block, i]));
        codes.extend(numbers.iter().enumerate().map(byte));
    }
    (codes, scales)
}

fn encode(code: Code, number: f32, inverse: f32, chance: f32) -> i8 {
    let most = if code == Code::Signed { SIGNED_STEPS } else { ROOT_STEPS };
    let square = number.abs() * inverse * (most * most);
    let low = (square.sqrt() - 0.5).round_ties_even();
    let (below, above) = (low * low, (low + 1.0) * (low + 1.0));
    let up = match code {
        Code::Signed => chance * (low + low + 1.0) < square - below,
        Code::Root => chance * ((above - below) * (above + below)) < (square - below) * (square + below),
    };
    let steps = if up { low + 1.0 } else { low };
    match code {
        Code::Signed => steps.min(most).copysign(number) as i8,
        Code::Root => (steps.max(1.0).min(most) - ROOT_ZERO) as i8,
    }
}

fn chance(code: Code, draws: Draws, [block, element]: [usize; 2]) -> f32 {
    let (group, word, half, lane) = (element / 128, element / 32 % 4, element / 16 % 2, element % 16);
    let counter = [(16 * group + lane) as u32, block as u32, draws.path as u32, (draws.path >> 32) as u32];
    let bits = philox(counter, draws.key)[word];
    let shift = 16 * half + if code == Code::Signed { 0 } else { 8 };
    ((bits >> shift & 0xFF) as f32 + 0.5) / 256.0
}

/// One step of AdamW with moments in blocks: of the mean, and of the root of the mean of squares.
pub fn adamw_blocks(
    options: &AdamW,
    draws: Draws,
    parameters: &mut [f32],
    gradients: &[f32],
    [m, v]: [&mut Stored; 2],
) {
    let c = Constants::new(options);
    let mut means = decode_blocks(Code::Signed, m);
    let mut roots = decode_blocks(Code::Root, v);
    for (i, parameter) in parameters.iter_mut().enumerate() {
        let g = gradients[i] * c.gradient_scale;
        means[i] = c.beta1.mul_add(means[i], (1.0 - c.beta1) * g);
        roots[i] = c.beta2.mul_add(roots[i] * roots[i], (1.0 - c.beta2) * g * g).sqrt();
        let size = roots[i].mul_add(c.root, c.epsilon);
        *parameter = parameter.mul_add(c.kept, -c.rate * means[i] / size);
    }
    *m = encode_blocks(Code::Signed, &means, draws);
    *v = encode_blocks(Code::Root, &roots, draws);
}
