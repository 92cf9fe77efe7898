//! Narrow formats, by their definitions.

use crate::formats::{BLOCK, Format, Tile};

/// The nearest number of a format, ties to even, by division by the spacing at `x`; exact in f64 for every f32.
pub fn round(format: Format, x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    // The exponent from the bits: a logarithm may round up to the next.
    let exponent = ((x.abs().to_bits() >> 52) as i32 - 1023).max(format.exponent_min);
    let spacing = f64::from(exponent - format.mantissa).exp2();
    let rounded = (x.abs() / spacing).round_ties_even() * spacing;
    let max = f64::from(format.max());
    let bounded = match (rounded > max, format.saturates) {
        (false, _) => rounded,
        (true, true) => max,
        (true, false) => f64::INFINITY,
    };
    bounded.copysign(x)
}

/// A matrix of rows of `columns` rounded to an fp8 format and back, with the least power of two as each tile's scale
/// that brings its largest number within the format, held to where every scaled number is a normal bf16.
pub fn quantize_fp8(x: &[f32], columns: usize, format: Format, tile: Tile) -> Vec<f32> {
    let tile_of = |index: usize| {
        let (row, column) = (index / columns, index % columns);
        match tile {
            Tile::Whole => (0, 0),
            Tile::Row => (row, column / BLOCK),
            Tile::Column => (row / BLOCK, column),
            Tile::Square => (row / BLOCK, column / BLOCK),
        }
    };
    let mut largest = std::collections::BTreeMap::new();
    for (index, x) in x.iter().enumerate() {
        let most: &mut f64 = largest.entry(tile_of(index)).or_default();
        *most = most.max(f64::from(x.abs()));
    }
    let (least, most) = (-126 + format.mantissa - format.exponent_min, 127 - format.exponent_max);
    let scale = |largest: f64| {
        let fits = |&exponent: &i32| largest <= f64::from(format.max()) * f64::from(exponent).exp2();
        f64::from((least..most).find(fits).unwrap_or(most)).exp2()
    };
    let scales: std::collections::BTreeMap<_, f64> =
        largest.into_iter().map(|(tile, largest)| (tile, scale(largest))).collect();
    let quantize = |(index, &x): (usize, &f32)| {
        let scale = scales[&tile_of(index)];
        (round(format, f64::from(x) / scale) * scale) as f32
    };
    x.iter().enumerate().map(quantize).collect()
}
