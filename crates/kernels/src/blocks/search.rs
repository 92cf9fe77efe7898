//! The choice of scales: of some candidates, the one with the least squared error, with the best factor for its
//! integers.

/// Candidates on either side of the plain scale.
const CANDIDATES: i32 = 8;
/// How far neighbouring candidates lie from one another, in steps of the outermost integer.
const APART: f32 = 0.1;

/// The reciprocal, and zero of zero: what is multiplied by it is then zero too.
pub(super) fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The scale of integers from `-most` to `most - 1`; of either sign, so that the weight of the largest magnitude may
/// become `-most`.
pub(super) fn symmetric(weights: &[f32], most: u8) -> f32 {
    let outermost = weights.iter().fold(0.0f32, |outer, &w| if w.abs() > outer.abs() { w } else { outer });
    if outermost == 0.0 {
        return 0.0;
    }
    let most = f32::from(most);
    let mut best = (0.0, 0.0);
    for candidate in -CANDIDATES..=CANDIDATES {
        let inverse = -(most + APART * candidate as f32) / outermost;
        let (mut xq, mut qq) = (0.0f32, 0.0f32);
        for &x in weights {
            let q = (x * inverse).round_ties_even().clamp(-most, most - 1.0);
            xq += x * q;
            qq += q * q;
        }
        // The best factor is xq / qq, and takes xq² / qq from the squared error.
        let gain = xq * (xq / qq);
        if gain > best.0 {
            best = (gain, xq / qq);
        }
    }
    // Where squares are too small to be told, the plain scale is as good as any.
    if best.1 == 0.0 { -outermost / most } else { best.1 }
}

/// The scale and the minimum (at most `min_most`) of integers from 0 to `most`.
pub(super) fn affine(weights: &[f32], most: u8, min_most: f32) -> (f32, f32) {
    let low = weights.iter().fold(f32::INFINITY, |low, &w| low.min(w)).min(min_most);
    let high = weights.iter().fold(f32::NEG_INFINITY, |high, &w| high.max(w));
    let range = high - low;
    // A range beyond the largest number is of no use to any file.
    if !(range > 0.0 && range < f32::INFINITY) {
        return (0.0, low);
    }
    let most = f32::from(most);
    let mut best = (range / most, low);
    let mut least = squared_error(weights, best, most);
    for candidate in -CANDIDATES..=CANDIDATES {
        let fit = refined(weights, (most + APART * candidate as f32) / range, low, (most, min_most));
        let error = squared_error(weights, fit, most);
        if error < least {
            (best, least) = (fit, error);
        }
    }
    best
}

/// Scale and minimum by least squares for the integers of one guess.
fn refined(weights: &[f32], inverse: f32, low: f32, (most, min_most): (f32, f32)) -> (f32, f32) {
    let (mut x_sum, mut q_sum, mut xq, mut qq) = (0.0f32, 0.0f32, 0.0f32, 0.0f32);
    for &x in weights {
        let q = ((x - low) * inverse).round_ties_even().clamp(0.0, most);
        x_sum += x;
        q_sum += q;
        xq += x * q;
        qq += q * q;
    }
    let count = weights.len() as f32;
    let spread = count * qq - q_sum * q_sum;
    let scale = (count * xq - x_sum * q_sum) / spread;
    let min = (x_sum - scale * q_sum) / count;
    if min > min_most { (xq / qq, min_most) } else { (scale, min) }
}

fn squared_error(weights: &[f32], (scale, min): (f32, f32), most: f32) -> f32 {
    let inverse = inverse(scale);
    let error = |&x: &f32| {
        let q = ((x - min) * inverse).round_ties_even().clamp(0.0, most);
        (scale * q + min - x) * (scale * q + min - x)
    };
    // NaN, where a fit had nothing to go by, is no error less than another.
    if scale > 0.0 { weights.iter().map(error).sum() } else { f32::NAN }
}

/// Scale and minimum, which is at most zero, for each of `PARTS` equal parts of a block.
pub(super) fn scales_and_mins<const PARTS: usize>(weights: &[f32], most: u8) -> [(f32, f32); PARTS] {
    let len = weights.len() / PARTS;
    std::array::from_fn(|part| affine(&weights[part * len..][..len], most, 0.0))
}

/// The number of steps of `step` in `number`, at most `most`.
pub(super) fn steps(number: f32, step: f32, most: u8) -> u8 {
    (number * inverse(step)).round_ties_even().clamp(0.0, f32::from(most)) as u8
}

/// The integers from 0 to `most` that come nearest to the weights.
pub(super) fn codes(weights: &[f32], scale: f32, min: f32, most: u8, out: &mut [u8]) {
    let inverse = inverse(scale);
    for (code, x) in out.iter_mut().zip(weights) {
        *code = ((x - min) * inverse).round_ties_even().clamp(0.0, f32::from(most)) as u8;
    }
}
