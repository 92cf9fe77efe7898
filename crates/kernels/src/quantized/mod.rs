//! Linear maps whose weights are small whole numbers in blocks of inputs, mostly 32, times activations that become bytes on the
//! way, as most model files for inference hold them.
//!
//! An output is, block by block in order, `fma(sum of products · row's scale, output's scale, what stands so far)`, and
//! where weights have minima `fma(sum of the row's values · row's scale, output's minimum, …)` after it; at the end comes
//! the output's factor, and then the map's bias. The sums of products are whole numbers and exact, so that an output depends on its row and its
//! weights alone, and every instruction set gives the same bits: those of [`crate::reference::quantized`].
//!
//! Weights lie in panels of 16 outputs, four inputs of each side by side, as the instructions for dot products of bytes
//! take them. Weights of four bits share bytes; of five and six, the upper four do, and what is below them follows in bytes
//! of its own, part by part. A product of few rows reads each weight once from memory; of many rows, a piece of the inputs
//! that stays in the first cache serves them all, and weights of less than a byte are unpacked once for it.

mod activated;
mod bf16;
mod from_blocks;
mod lanes;
mod pack;
mod rows;
mod tile;
pub mod training;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::Range;

use crate::buffer::Scratch;
use crate::matmul::assert_len;
use crate::pool::{self, SharedMut, parallel};
pub use activated::{Activated, products_activated};
pub use bf16::Bf16Weight;
pub use pack::{Block, Layout, Values, Weight};
pub(crate) use rows::Room;
pub use rows::Rows;
use tile::{Activations, Ahead, Functions, PANEL, Tile, Weights, functions};

/// Inputs of a block in most formats, of which other blocks are multiples.
pub const BLOCK: usize = 32;
/// Parts of a block at most.
pub const PARTS: usize = 2;
/// Panels that one tile takes.
const PANELS: usize = 4;
/// Inputs of four panels that stay in the first cache while rows pass.
const INPUTS_MAX: usize = 384;
/// Bytes of a panel that one tile takes of weights that it alone reads.
const PIECE_BYTES: usize = 3072;
/// Rows of the largest tile that takes bytes apart as it goes.
const ROWS_UNPACKING: usize = 4;
/// Tasks for each thread, so that a slow one does not hold up the rest.
const TASKS: usize = 4;

/// One of several maps of the same rows.
#[derive(Debug)]
pub struct Map<'a> {
    /// Its weights.
    pub weight: &'a Weight,
    /// What is added to every row's results.
    pub bias: Option<&'a [f32]>,
    /// Where its results go: rows × outputs.
    pub out: &'a mut [f32],
}

/// The products of some rows with several maps.
///
/// # Panics
/// If the sizes do not agree.
pub fn products<const N: usize>(x: &Rows, maps: &mut [Map<'_>; N]) {
    let rows = x.rows();
    let units = maps.each_ref().map(|map| {
        assert_len("products: out", map.out.len(), &[rows, map.weight.outputs]);
        map.weight.panels().div_ceil(PANELS)
    });
    let sides = maps.each_mut().map(|map| Side::new(x, map.weight, map.bias, map.out));
    let total: usize = units.iter().sum();
    if rows == 0 || total == 0 {
        return;
    }
    let functions = functions();
    let plan = Plan::new(rows, total, functions.rows);
    parallel(plan.tasks(), |task| {
        let (range, rows) = plan.task(task);
        let mut before = 0;
        for (side, &units) in sides.iter().zip(&units) {
            let own = range.start.max(before)..range.end.min(before + units);
            own.for_each(|unit| side.unit(x, unit - before, rows.clone(), functions));
            before += units;
        }
    });
}

/// How a product is cut into tasks: some units of four panels, or some rows of one unit.
struct Plan {
    rows: usize,
    rows_step: usize,
    units: usize,
    units_step: usize,
}

impl Plan {
    fn new(rows: usize, units: usize, tile_rows: usize) -> Self {
        let wanted = pool::threads() * TASKS;
        if pool::threads() == 1 {
            return Self { rows, rows_step: rows, units, units_step: units };
        }
        if units >= wanted || rows < 16 * tile_rows {
            return Self { rows, rows_step: rows, units, units_step: units.div_ceil(wanted) };
        }
        // Few outputs: rows are cut too, in pieces that still serve a packed piece of the weights well.
        let pieces = wanted.div_ceil(units).min(rows / (8 * tile_rows));
        let rows_step = rows.div_ceil(pieces).next_multiple_of(tile_rows);
        Self { rows, rows_step, units, units_step: 1 }
    }

    fn tasks(&self) -> usize {
        self.units.div_ceil(self.units_step) * self.rows.div_ceil(self.rows_step)
    }

    fn task(&self, task: usize) -> (Range<usize>, Range<usize>) {
        let pieces = self.rows.div_ceil(self.rows_step);
        let (unit, row) = (task / pieces * self.units_step, task % pieces * self.rows_step);
        (unit..self.units.min(unit + self.units_step), row..self.rows.min(row + self.rows_step))
    }
}

/// One map's part in a product.
struct Side<'a> {
    weight: &'a Weight,
    bias: Option<Bias<'a>>,
    out: SharedMut<f32>,
    /// For each part of a block of a row, where they are not in the rows themselves: see [`Activations`].
    starts: Option<Scratch>,
    sums: Option<Scratch>,
}

/// A bias as long as whole panels are.
enum Bias<'a> {
    Whole(&'a [f32]),
    Padded(Scratch),
}

/// Some rows, and where their results go: each has a whole number of panels there.
struct Strip {
    rows: Range<usize>,
    c: *mut f32,
    c_row: usize,
}

impl<'a> Side<'a> {
    fn new(x: &Rows, weight: &'a Weight, bias: Option<&'a [f32]>, out: &mut [f32]) -> Self {
        let of_map = (weight.inputs, weight.layout.block);
        assert_eq!(of_map, (x.inputs(), x.block()), "products: inputs and blocks of the map and of the rows");
        let (rows, blocks, parts) = (x.rows(), x.blocks(), weight.layout.parts);
        let sum = |at: usize| match parts {
            1 => x.sums[PARTS * at] + x.sums[PARTS * at + 1],
            _ => x.sums[at],
        };
        let each = |number: &dyn Fn(usize) -> f32| {
            let mut numbers = Scratch::new(rows * blocks * parts);
            numbers.iter_mut().enumerate().for_each(|(at, to)| *to = number(at));
            numbers
        };
        let zero = i32::from(weight.layout.zero());
        let starts =
            (parts > 1 || !Rows::ZEROS.contains(&zero)).then(|| each(&|at| f32::from_bits((-zero * sum(at)) as u32)));
        let sums = weight.mins.is_some().then(|| each(&|at| sum(at) as f32 * x.scales[at / parts]));
        let bias = bias.map(|bias| {
            assert_len("products: bias", bias.len(), &[weight.outputs]);
            if weight.outputs.is_multiple_of(PANEL) {
                return Bias::Whole(bias);
            }
            let mut padded = Scratch::new(weight.panels() * PANEL);
            padded[..bias.len()].copy_from_slice(bias);
            Bias::Padded(padded)
        });
        Self { weight, bias, out: SharedMut::new(out), starts, sums }
    }

    /// Some rows times four panels.
    fn unit(&self, x: &Rows, unit: usize, rows: Range<usize>, functions: Functions) {
        let weight = self.weight;
        let first = unit * PANELS;
        let panels = PANELS.min(weight.panels() - first);
        let columns = first * PANEL..weight.outputs.min((first + panels) * PANEL);
        if columns.len() == panels * PANEL {
            // SAFETY: these columns of these rows belong to this task alone.
            let c = unsafe { self.out.pointer(rows.start * weight.outputs + columns.start) };
            return self.pieces(x, first, &Strip { rows, c, c_row: weight.outputs }, functions, |_| {});
        }
        // Rows whose last panel is not whole cannot be written past their end.
        let c_row = panels * PANEL;
        let mut spare = Scratch::new(rows.len() * c_row);
        let strip = Strip { rows: rows.clone(), c: spare.as_mut_ptr(), c_row };
        self.pieces(x, first, &strip, functions, |_| {});
        for (row, piece) in rows.zip(spare.chunks_exact(c_row)) {
            // SAFETY: as above.
            let out = unsafe { self.out.slice(row * weight.outputs + columns.start, columns.len()) };
            out.copy_from_slice(&piece[..columns.len()]);
        }
    }

    /// Some rows times four panels: piece by piece of the inputs, and each piece for all rows. As soon as some rows of
    /// the strip are complete, `finish` gets which.
    fn pieces(
        &self,
        x: &Rows,
        first: usize,
        strip: &Strip,
        functions: Functions,
        mut finish: impl FnMut(Range<usize>),
    ) {
        let Strip { ref rows, c, c_row } = *strip;
        let panels = PANELS.min(self.weight.panels() - first);
        let (layout, blocks) = (self.weight.layout, self.weight.blocks());
        let kind = layout.kind();
        let few = kind.is_packed() && rows.len() <= 2 * functions.rows;
        let tiles = rows.len().div_ceil(if few { ROWS_UNPACKING.min(functions.rows) } else { functions.rows });
        // What nobody comes back to need not stay, and what is asked for ahead should not have to wait long.
        let most = if tiles == 1 { PIECE_BYTES / layout.block_bytes() } else { INPUTS_MAX / layout.block };
        let step = blocks.div_ceil(blocks.div_ceil(most.max(1)).max(1)).max(1);
        let unpacks = kind.is_packed() && tiles > 2;
        let bytes = if unpacks { panels * step * PANEL * layout.block } else { 0 };
        let mut unpacked = Scratch::new(bytes / 4);
        for start in (0..blocks.max(1)).step_by(step) {
            let count = step.min(blocks - start);
            let last = start + count == blocks;
            let mut w = self.weights(first, start, last);
            let next = self.next(first, start + count);
            if unpacks {
                w = unpack(w, panels, layout, count, functions, &mut unpacked);
            }
            for tile in 0..tiles {
                let ahead = Ahead { w: next, bits: kind.bits(), turn: tile, turns: tiles };
                // Tiles of about the same size.
                let (from, to) = (rows.len() * tile / tiles, rows.len() * (tile + 1) / tiles);
                let tile = Tile {
                    rows: to - from,
                    panels,
                    blocks: count,
                    block: layout.block,
                    parts: layout.parts,
                    x: self.activations(x, rows.start + from, start),
                    w,
                    ahead,
                    c: c.wrapping_add(from * c_row),
                    c_row,
                    from_c: start > 0,
                };
                // SAFETY: all sizes were checked; the columns of these rows belong to this task alone.
                unsafe { (functions.tile)(if unpacks { kind.unpacked() } else { kind }, &tile) };
                if last {
                    finish(from..to);
                }
            }
        }
    }

    /// The weights that follow on a block: of the same panels, or of the next four.
    fn next(&self, first: usize, block: usize) -> Weights {
        match block < self.weight.blocks() {
            true => self.weights(first, block, false),
            false => self.weights((first + PANELS).min(self.weight.panels()), 0, false),
        }
    }

    fn weights(&self, first: usize, block: usize, last: bool) -> Weights {
        let Weight { layout, values, scales, mins, factors, .. } = self.weight;
        let blocks = self.weight.blocks();
        let (values_panel, parts_panel) = (blocks * layout.block_bytes(), blocks * layout.parts * PANEL);
        let part = first * parts_panel + block * layout.parts * PANEL;
        Weights {
            values: values[(first * values_panel + block * layout.block_bytes()).min(values.len())..].as_ptr(),
            values_panel,
            scales: scales[part.min(scales.len())..].as_ptr(),
            mins: mins.as_ref().map_or(std::ptr::null(), |mins| mins[part.min(mins.len())..].as_ptr()),
            parts_panel,
            factors: if last { factors[first * PANEL..].as_ptr() } else { std::ptr::null() },
            bias: match &self.bias {
                Some(Bias::Whole(bias)) if last => bias[first * PANEL..].as_ptr(),
                Some(Bias::Padded(bias)) if last => bias[first * PANEL..].as_ptr(),
                _ => std::ptr::null(),
            },
        }
    }

    fn activations(&self, x: &Rows, row: usize, block: usize) -> Activations {
        let (blocks, parts) = (x.blocks(), self.weight.layout.parts);
        let (at, part) = (row * blocks + block, (row * blocks + block) * parts);
        let starts = match &self.starts {
            Some(starts) => starts[part.min(starts.len())..].as_ptr().cast(),
            None => {
                let zero = i32::from(self.weight.layout.zero());
                let starts = &x.starts[usize::from(zero != Rows::ZEROS[0])];
                starts[at.min(starts.len())..].as_ptr()
            }
        };
        Activations {
            values: x.values[(at * x.block()).min(x.values.len())..].as_ptr(),
            values_row: blocks * x.block(),
            scales: x.scales[at.min(x.scales.len())..].as_ptr(),
            scales_row: blocks,
            starts,
            sums: self.sums.as_ref().map_or(std::ptr::null(), |sums| sums[part.min(sums.len())..].as_ptr()),
            parts_row: blocks * parts,
        }
    }
}

/// Weights of less than a byte as those of a byte, in scratch that has room for so many panels of `count` blocks.
fn unpack(
    w: Weights,
    panels: usize,
    layout: Layout,
    count: usize,
    functions: Functions,
    scratch: &mut Scratch,
) -> Weights {
    let values_panel = count * PANEL * layout.block;
    let parts = [count * layout.parts, layout.quads()];
    let to: *mut u8 = scratch.as_mut_ptr().cast();
    for panel in 0..panels {
        // SAFETY: the panels have so many parts, and the scratch room for all.
        unsafe {
            let (from, to) = (w.values.add(panel * w.values_panel), to.add(panel * values_panel));
            (functions.unpack)(layout.kind(), from, parts, to);
        }
    }
    Weights { values: to, values_panel, ..w }
}

#[cfg(test)]
mod tests;
