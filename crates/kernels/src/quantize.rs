//! Weights to int8, one scale for each output channel.

use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel_ranges};

/// Quantizes each row: scale = largest magnitude / 127, values rounded to the nearest, ties to even. A row of zeros
/// gets the scale 1.
///
/// # Panics
/// If the lengths do not agree, or a row holds NaN or infinity (see [`crate::elementwise::first_non_finite`]).
pub fn rows_i8(weight: &[f32], rows: usize, quantized: &mut [i8], scales: &mut [f32]) {
    assert_eq!(scales.len(), rows, "rows_i8: length of the scales");
    assert_eq!(quantized.len(), weight.len(), "rows_i8: length of the quantized weight");
    if rows == 0 {
        return assert!(weight.is_empty(), "rows_i8: {} elements in no rows", weight.len());
    }
    let width = weight.len() / rows;
    assert_len("rows_i8: weight", weight.len(), &[rows, width]);
    let (quantized, scales) = (SharedMut::new(quantized), SharedMut::new(scales));
    parallel_ranges(rows, width, |range| {
        for row in range {
            // SAFETY: rows do not overlap, and each belongs to one range.
            let (quantized, scale) = unsafe { (quantized.slice(row * width, width), scales.slice(row, 1)) };
            let weight = &weight[row * width..][..width];
            assert!(weight.iter().all(|w| w.is_finite()), "rows_i8: row {row} holds NaN or infinity");
            scale[0] = quantize_row(weight, quantized);
        }
    });
}

fn quantize_row(weight: &[f32], quantized: &mut [i8]) -> f32 {
    let largest = weight.iter().fold(0.0f32, |largest, w| largest.max(w.abs()));
    // The quotient of a tiny weight may round to zero, which no value can be divided by.
    let scale = if largest / 127.0 > 0.0 { largest / 127.0 } else { 1.0 };
    for (q, w) in quantized.iter_mut().zip(weight) {
        *q = (w / scale).round_ties_even().clamp(-127.0, 127.0) as i8;
    }
    scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{random, same_everywhere};

    #[test]
    fn errors_are_at_most_half_a_step() {
        let (rows, width) = (33, 130);
        let mut weight = random(1, rows * width);
        weight[..width].fill(0.0);
        weight[width..2 * width].fill(f32::MIN_POSITIVE);
        let restored = same_everywhere(|| {
            let (mut q, mut scales) = (vec![0; rows * width], vec![0.0; rows]);
            rows_i8(&weight, rows, &mut q, &mut scales);
            q.iter().enumerate().map(|(i, &q)| f32::from(q) * scales[i / width]).collect()
        });
        for (i, (w, restored)) in weight.iter().zip(restored).enumerate() {
            assert!((w - restored).abs() <= 0.502 / 127.0, "element {i}: {w} became {restored}");
        }
    }

    #[test]
    fn ties_go_to_the_even_neighbour() {
        let (mut q, mut scales) = ([0; 4], [0.0]);
        rows_i8(&[127.0, 0.5, 1.5, -2.5], 1, &mut q, &mut scales);
        assert_eq!((q, scales), ([127, 0, 2, -2], [1.0]));
    }

    #[test]
    #[should_panic(expected = "row 1 holds NaN or infinity")]
    fn a_row_with_nan_is_refused() {
        rows_i8(&[0.0, 1.0, 2.0, f32::NAN], 2, &mut [0; 4], &mut [0.0; 2]);
    }
}
