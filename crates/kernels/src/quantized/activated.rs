//! A map and the non-linearity behind it, whose results become bytes for the map that follows while they are in the
//! caches: no f32 of them are ever written to memory.

use std::ops::Range;

use super::rows::{Room, Rows};
use super::tile::{PANEL, functions};
use super::{PANELS, Plan, Side, Strip, Weight};
use crate::activation::{self, Kind};
use crate::buffer::Scratch;
use crate::pool::parallel;
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Columns that a strip has.
const STRIP: usize = PANELS * PANEL;

/// A map with what comes behind it.
#[derive(Clone, Copy, Debug)]
pub struct Activated<'a> {
    /// The map's weights.
    pub weight: &'a Weight,
    /// What is added to its results.
    pub bias: Option<&'a [f32]>,
    /// The non-linearity.
    pub kind: Kind,
    /// Elements of a block of the bytes that come out.
    pub block: usize,
}

impl Activated<'_> {
    /// Whether [`products_activated`] can do it: blocks must be whole strips of 64 outputs.
    pub fn fits(&self) -> bool {
        self.block > 0 && self.block.is_multiple_of(STRIP) && self.weight.outputs().is_multiple_of(self.block)
    }
}

/// Applies the map and the non-linearity to all rows of `x`, and quantizes the results into `to`: what
/// [`super::products`], [`activation::forward`] and [`Rows::quantize`] give, one after the other, but that where a number
/// is not finite its block alone has a scale that is NaN.
///
/// # Panics
/// If the sizes do not agree, or the map does not [fit](Activated::fits).
pub fn products_activated(x: &Rows, map: &Activated<'_>, to: &mut Rows) {
    let Activated { weight, bias, kind, block } = *map;
    assert!(map.fits(), "blocks of {block} of a map with {} outputs", weight.outputs());
    let room = to.room(x.rows(), weight.outputs(), block);
    let side = Side::new(x, weight, bias, &mut []);
    let (functions, blocks) = (functions(), weight.outputs() / block);
    if x.rows() == 0 || blocks == 0 {
        return;
    }
    let plan = Plan::new(x.rows(), blocks, functions.rows);
    parallel(plan.tasks(), |task| {
        let (own, rows) = plan.task(task);
        let mut numbers = Scratch::new(rows.len() * block);
        let start = numbers.as_mut_ptr();
        for number in own {
            for column in (0..block).step_by(STRIP) {
                let strip = Strip { rows: rows.clone(), c: start.wrapping_add(column), c_row: block };
                let is_last = column + STRIP == block;
                side.pieces(x, (number * block + column) / PANEL, &strip, functions, |done: Range<usize>| {
                    // SAFETY: these rows of the scratch, which the products no longer touch.
                    let numbers =
                        unsafe { std::slice::from_raw_parts_mut(start.add(done.start * block), done.len() * block) };
                    let bytes = is_last.then_some((&room, rows.start + done.start, number));
                    dispatch(Finish { kind, numbers, block, column, bytes });
                });
            }
        }
    });
}

/// The non-linearity on a strip of some rows of a block of columns, and the block's quantization.
struct Finish<'a> {
    kind: Kind,
    /// Rows × block.
    numbers: &'a mut [f32],
    block: usize,
    column: usize,
    /// Where the rows go when the block is complete: from which row on, and which of its blocks this one is.
    bytes: Option<(&'a Room, usize, usize)>,
}

impl Kernel for Finish<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        // The kind known to the compiler in each.
        match self.kind {
            Kind::Silu => self.rows::<S>(Kind::Silu),
            Kind::GeluTanh => self.rows::<S>(Kind::GeluTanh),
            Kind::GeluErf => self.rows::<S>(Kind::GeluErf),
            Kind::Relu => self.rows::<S>(Kind::Relu),
        }
    }
}

impl Finish<'_> {
    #[inline(always)]
    fn rows<S: Simd>(self, kind: Kind) {
        for (row, numbers) in self.numbers.chunks_exact_mut(self.block).enumerate() {
            let strip = &mut numbers[self.column..][..STRIP];
            let mut x = [S::splat(0.0); STRIP / LANES];
            for (i, x) in x.iter_mut().enumerate() {
                *x = S::at(strip, i * LANES);
            }
            for (i, y) in activation::values(kind, x).into_iter().enumerate() {
                y.put(strip, i * LANES);
            }
            if let Some((room, first, number)) = &self.bytes {
                // SAFETY: this block of this row belongs to this task alone.
                unsafe { room.put::<S>(first + row, *number, numbers) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantized::{Block, Layout, Map, Values, products};
    use crate::testing::{random, same_everywhere};

    fn weight(outputs: usize, inputs: usize, block: usize) -> Weight {
        let fill = |output: usize, to: &mut [Block]| {
            for (number, to) in to.iter_mut().enumerate() {
                to.values = std::array::from_fn(|i| (output * 37 + number * 11 + i * 29) as u8 as i8);
                to.scales = [0.001; 2];
            }
        };
        Weight::pack([outputs, inputs], Layout { values: Values::Eight, block, parts: 1 }, None, fill)
    }

    #[test]
    fn the_same_as_step_by_step() {
        for (rows, inputs, outputs, block) in
            [(1, 64, 64, 64), (7, 500, 256, 128), (40, 1536, 384, 128), (9, 32, 192, 192)]
        {
            let weight = weight(outputs, inputs, 32);
            let bias = random(3, outputs);
            let numbers = random(5, rows * inputs);
            for kind in [Kind::Silu, Kind::GeluTanh, Kind::GeluErf, Kind::Relu] {
                let map = Activated { weight: &weight, bias: Some(&bias), kind, block };
                let together = same_everywhere(|| {
                    let (mut x, mut y) = (Rows::default(), Rows::default());
                    x.quantize(&numbers, inputs, 32);
                    products_activated(&x, &map, &mut y);
                    (0..rows).flat_map(|row| y.dequantized(row)).collect()
                });
                let (mut x, mut plain) = (Rows::default(), vec![0.0; rows * outputs]);
                x.quantize(&numbers, inputs, 32);
                products(&x, &mut [Map { weight: &weight, bias: Some(&bias), out: &mut plain }]);
                let mut active = vec![0.0; plain.len()];
                activation::forward(kind, &plain, None, &mut active);
                x.quantize(&active, outputs, block);
                let apart: Vec<f32> = (0..rows).flat_map(|row| x.dequantized(row)).collect();
                crate::testing::assert_same_bits(&together, &apart, &format!("{kind:?} {rows} × {inputs} × {outputs}"));
            }
        }
    }

    #[test]
    fn what_is_not_finite_shows_in_every_output_of_the_next_map() {
        let (first, second) = (weight(256, 64, 64), weight(48, 256, 128));
        let mut numbers = random(5, 3 * 64);
        numbers[64 + 3] = f32::NAN;
        let (mut x, mut between) = (Rows::default(), Rows::default());
        x.quantize(&numbers, 64, 64);
        let map = Activated { weight: &first, bias: None, kind: Kind::GeluErf, block: 128 };
        products_activated(&x, &map, &mut between);
        let mut y = vec![0.0; 3 * 48];
        products(&between, &mut [Map { weight: &second, bias: None, out: &mut y }]);
        for (at, y) in y.iter().enumerate() {
            assert_eq!(y.is_nan(), at / 48 == 1, "element {at}");
        }
    }

    #[test]
    fn only_whole_strips_fit() {
        let (even, odd) = (weight(256, 64, 64), weight(200, 64, 64));
        let fits = |weight, block| Activated { weight, bias: None, kind: Kind::Relu, block }.fits();
        assert!(fits(&even, 64) && fits(&even, 256) && !fits(&even, 32) && !fits(&even, 512) && !fits(&odd, 64));
    }
}
