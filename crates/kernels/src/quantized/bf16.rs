//! Linear maps with bf16 weights that were packed ahead: panels of 16 outputs, in each the inputs by pairs.
//!
//! An output is one chain over the pairs of inputs: the odd one of a pair first, then the even one, each a multiply-add
//! in f32 that is rounded once; activations are rounded to bf16 before. So it equals [`crate::reference::matmul_bf16`]
//! bit for bit, by dot products of pairs where those are fast and by multiply-adds of widened numbers elsewhere.

use std::ops::Range;

use super::lanes::{Lanes, Portable};
use super::tile::PANEL;
use super::{PANELS, Plan};
use crate::bf16;
use crate::buffer::{Buffer, Scratch};
use crate::cpu;
use crate::matmul::tile::{PANEL as WIDE_PANEL, Wide};
use crate::matmul::{MatRef, assert_len, matmul_wide, pieces};
use crate::pool::{SharedMut, parallel, parallel_ranges};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Pairs of inputs of four panels that stay in the first cache while rows pass.
const DEPTH_MAX: usize = 128;

/// Rows from which on it pays to widen the weights once, where products of pairs are slow.
const ROWS_WIDENED: usize = 32;

/// A packed linear map.
#[derive(Debug)]
pub struct Bf16Weight {
    inputs: usize,
    outputs: usize,
    /// panels × pairs of inputs × 16, the first of a pair in the lower half.
    values: Buffer<u32>,
}

impl Bf16Weight {
    /// Packs a map, given as outputs × inputs, row after row, in bits of bf16.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn pack(bits: &[u16], [outputs, inputs]: [usize; 2]) -> Self {
        assert_len("Bf16Weight::pack", bits.len(), &[outputs, inputs]);
        Self::packed([outputs, inputs], |at| bits[at])
    }

    /// As [`Self::pack`], of the bytes of a file: the lower one of each number first.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn from_bytes(bytes: &[u8], [outputs, inputs]: [usize; 2]) -> Self {
        assert_len("Bf16Weight::from_bytes", bytes.len(), &[outputs, inputs, 2]);
        let numbers = bytes.as_chunks().0;
        Self::packed([outputs, inputs], |at| u16::from_le_bytes(numbers[at]))
    }

    fn packed([outputs, inputs]: [usize; 2], bits: impl Fn(usize) -> u16 + Sync) -> Self {
        let (panels, depth) = (outputs.div_ceil(PANEL), inputs.div_ceil(2));
        let mut values = Buffer::zeroed(panels * depth * PANEL);
        let out = SharedMut::new(&mut values);
        parallel(panels, |panel| {
            // SAFETY: panels do not overlap.
            let out = unsafe { out.slice(panel * depth * PANEL, depth * PANEL) };
            for lane in 0..PANEL.min(outputs - panel * PANEL) {
                let row = (panel * PANEL + lane) * inputs;
                for pair in 0..depth {
                    let odd = if 2 * pair + 1 < inputs { bits(row + 2 * pair + 1) } else { 0 };
                    out[pair * PANEL + lane] = u32::from(bits(row + 2 * pair)) | u32::from(odd) << 16;
                }
            }
        });
        Self { inputs, outputs, values }
    }

    /// Outputs of the map.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs of the map.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes in memory, all of which a product reads.
    pub fn bytes(&self) -> usize {
        4 * self.values.len()
    }

    /// Writes the weights of one output.
    ///
    /// # Panics
    /// If there is no such output, or `to` has not one element for each input.
    pub fn dequantize(&self, output: usize, to: &mut [f32]) {
        assert!(output < self.outputs && to.len() == self.inputs, "output {output} of {}", self.outputs);
        let depth = self.inputs.div_ceil(2);
        let column = &self.values[output / PANEL * depth * PANEL + output % PANEL..];
        for (input, to) in to.iter_mut().enumerate() {
            let pair = column[input / 2 * PANEL];
            *to = bf16::to_f32(if input % 2 == 0 { pair as u16 } else { (pair >> 16) as u16 });
        }
    }

    /// `out = x · weight` for x of rows × inputs; `finish` gets each complete piece of a row, with the row and its columns.
    ///
    /// # Panics
    /// If the lengths do not agree.
    pub fn product(&self, x: &[f32], out: &mut [f32], finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync) {
        let rows = x.len().checked_div(self.inputs).unwrap_or(0);
        assert_len("Bf16Weight::product: x", x.len(), &[rows, self.inputs]);
        assert_len("Bf16Weight::product: out", out.len(), &[rows, self.outputs]);
        let units = self.outputs.div_ceil(PANEL).div_ceil(PANELS);
        if rows == 0 || units == 0 {
            return;
        }
        if rows >= ROWS_WIDENED && !cpu::bf16_pairs_are_fast() {
            let x = MatRef::row_major(x, rows, self.inputs);
            return matmul_wide(x, self.outputs, out, finish, |inputs, outputs, packed| {
                self.widen(inputs.start / 2, inputs.len(), outputs, packed);
            });
        }
        let functions = functions();
        let packed = (functions.pack)(x, self.inputs);
        let out = SharedMut::new(out);
        let plan = Plan::new(rows, units, functions.rows);
        parallel(plan.tasks(), |task| {
            let (units, rows) = plan.task(task);
            for unit in units {
                self.unit(&packed, unit, rows.clone(), functions, out);
                let columns = unit * PANELS * PANEL..self.outputs.min((unit + 1) * PANELS * PANEL);
                for row in rows.clone() {
                    // SAFETY: these columns of these rows belong to this task alone.
                    finish(row, columns.clone(), unsafe {
                        out.slice(row * self.outputs + columns.start, columns.len())
                    });
                }
            }
        });
    }

    /// Some inputs of some outputs as f32, in the panels that products of f32 read, the odd number of a pair before the
    /// even one.
    fn widen(&self, first_pair: usize, inputs: usize, outputs: Range<usize>, packed: &mut [Wide]) {
        pieces(inputs.next_multiple_of(2), outputs.len(), packed, |piece, out| {
            let (panel, pair) = ((outputs.start + piece.column) / PANEL, first_pair + piece.row / 2);
            dispatch(Widened { weight: self, panel, pair, out: Wide::as_floats(out) });
        });
    }

    fn unit(&self, x: &Scratch, unit: usize, rows: Range<usize>, functions: Functions, out: SharedMut<f32>) {
        let (depth, first) = (self.inputs.div_ceil(2), unit * PANELS);
        let panels = PANELS.min(self.outputs.div_ceil(PANEL) - first);
        let columns = (self.outputs - first * PANEL).min(panels * PANEL);
        let whole = columns == panels * PANEL;
        let mut spare = Scratch::new(if whole { 0 } else { rows.len() * panels * PANEL });
        let (c, c_row) = match whole {
            // SAFETY: these columns of these rows belong to this task alone.
            true => (unsafe { out.pointer(rows.start * self.outputs + first * PANEL) }, self.outputs),
            false => (spare.as_mut_ptr(), panels * PANEL),
        };
        let tiles = rows.len().div_ceil(functions.rows);
        let step = depth.div_ceil(depth.div_ceil(DEPTH_MAX));
        for start in (0..depth).step_by(step) {
            for tile in 0..tiles {
                let (from, to) = (rows.len() * tile / tiles, rows.len() * (tile + 1) / tiles);
                let x_row = depth * functions.x_pair;
                let tile = Tile {
                    rows: to - from,
                    panels,
                    depth: step.min(depth - start),
                    x: x[(rows.start + from) * x_row + start * functions.x_pair..].as_ptr(),
                    x_row,
                    w: self.values[(first * depth + start) * PANEL..].as_ptr(),
                    w_panel: depth * PANEL,
                    c: c.wrapping_add(from * c_row),
                    c_row,
                    from_c: start > 0,
                };
                // SAFETY: all sizes were checked; the columns of these rows belong to this task alone.
                unsafe { (functions.tile)(&tile) };
            }
        }
        if !whole {
            for (row, from) in rows.zip(spare.chunks_exact(c_row)) {
                // SAFETY: as above.
                unsafe { out.slice(row * self.outputs + first * PANEL, columns) }.copy_from_slice(&from[..columns]);
            }
        }
    }
}

/// Four panels from `panel` on, of the pairs from `pair` on.
struct Widened<'a> {
    weight: &'a Bf16Weight,
    panel: usize,
    pair: usize,
    out: &'a mut [f32],
}

impl Kernel for Widened<'_> {
    type Output = ();
    const BF16: bool = true;
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Bf16Weight { inputs, outputs, values } = self.weight;
        let (depth, panels) = (inputs.div_ceil(2), outputs.div_ceil(PANEL));
        for p in 0..WIDE_PANEL / PANEL {
            let panel = self.panel + p;
            let rows = self.out.chunks_exact_mut(2 * WIDE_PANEL);
            if panel >= panels {
                rows.for_each(|rows| [0, WIDE_PANEL].iter().for_each(|at| rows[at + p * PANEL..][..PANEL].fill(0.0)));
                continue;
            }
            let pairs = values[(panel * depth + self.pair) * PANEL..].as_chunks::<PANEL>().0;
            for (rows, pairs) in rows.zip(pairs) {
                let (odd, even) = rows.split_at_mut(WIDE_PANEL);
                let halves = odd[p * PANEL..][..PANEL].iter_mut().zip(&mut even[p * PANEL..][..PANEL]);
                for ((odd, even), pair) in halves.zip(pairs) {
                    (*odd, *even) = (f32::from_bits(pair & 0xffff_0000), f32::from_bits(pair << 16));
                }
            }
        }
    }
}

/// Arguments of a register kernel. Strides are in elements; `x` holds pairs as their bits, or both numbers of each.
///
/// Safety of running it: what the strides and counts reach must be readable, and `c`, of 16 columns a panel, writable
/// by this thread alone.
struct Tile {
    rows: usize,
    panels: usize,
    /// Pairs of inputs.
    depth: usize,
    x: *const f32,
    x_row: usize,
    w: *const u32,
    w_panel: usize,
    c: *mut f32,
    c_row: usize,
    from_c: bool,
}

/// The functions of an instruction set.
#[derive(Clone, Copy)]
struct Functions {
    tile: unsafe fn(&Tile),
    /// Rounds rows of activations to bf16: as pairs, or as numbers.
    pack: fn(&[f32], usize) -> Scratch,
    /// Elements of the packed rows for each pair.
    x_pair: usize,
    rows: usize,
}

/// How pairs are multiplied.
trait Pairs: Lanes {
    /// Whether activations come as pairs; otherwise as two numbers.
    const PAIRED: bool;
}

impl Pairs for Portable {
    const PAIRED: bool = false;
}
#[cfg(target_arch = "x86_64")]
impl<const VNNI: bool> Pairs for super::x86::Wide<VNNI, true> {
    const PAIRED: bool = true;
}
#[cfg(target_arch = "x86_64")]
impl Pairs for super::x86::Wide<true, false> {
    const PAIRED: bool = false;
}
#[cfg(target_arch = "x86_64")]
impl Pairs for super::x86::Narrow {
    const PAIRED: bool = false;
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn run<L: Pairs>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        if L::PANELS == 4 && tile.panels == 4 {
            return rows::<L, 4>(tile);
        }
        for panel in 0..tile.panels {
            let (w, c) = (tile.w.add(panel * tile.w_panel), tile.c.add(panel * PANEL));
            rows::<L, 1>(&Tile { panels: 1, w, c, ..*tile });
        }
    }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn rows<L: Pairs, const P: usize>(tile: &Tile) {
    // SAFETY: the caller's promise.
    unsafe {
        match tile.rows {
            1 => sized::<L, 1, P>(tile),
            2 => sized::<L, 2, P>(tile),
            3 => sized::<L, 3, P>(tile),
            4 => sized::<L, 4, P>(tile),
            5 if L::ROWS > 4 => sized::<L, 5, P>(tile),
            6 if L::ROWS > 4 => sized::<L, 6, P>(tile),
            rows => unreachable!("a tile of {rows} rows"),
        }
    }
}

/// # Safety
/// See [`Tile`].
#[inline(always)]
unsafe fn sized<L: Pairs, const R: usize, const P: usize>(tile: &Tile) {
    let mut sums = [[L::splat(0); P]; R];
    // SAFETY: the caller's promise.
    unsafe {
        let place = |r: usize, p: usize| tile.c.add(r * tile.c_row + p * PANEL);
        if tile.from_c {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (p, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(place(r, p).cast());
                }
            }
        }
        for pair in 0..tile.depth {
            let mut columns = [L::splat(0); P];
            for (p, columns) in columns.iter_mut().enumerate() {
                let from = tile.w.add(p * tile.w_panel + pair * PANEL);
                crate::simd::prefetch(from.wrapping_add(AHEAD).cast());
                *columns = L::load(from.cast());
            }
            if L::PAIRED {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat((*tile.x.add(r * tile.x_row + pair)).to_bits() as i32);
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = L::dot_pairs(columns, x, *sum);
                    }
                }
                continue;
            }
            // The odd numbers of all first, so that only one half of the columns is in registers at a time.
            for odd in [true, false] {
                let mut half = columns;
                for half in half.iter_mut() {
                    *half = if odd { L::halves(*half).0 } else { L::halves(*half).1 };
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat((*tile.x.add(r * tile.x_row + 2 * pair + usize::from(odd))).to_bits() as i32);
                    for (sum, half) in sums.iter_mut().zip(half) {
                        *sum = L::fma(x, half, *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (p, sum) in sums.into_iter().enumerate() {
                L::store(sum, place(r, p).cast());
            }
        }
    }
}

/// How far ahead weights are asked for, in pairs of a panel.
const AHEAD: usize = 512;

/// Rounds rows to bf16, each number an f32; of an odd number of inputs, one zero more.
fn numbers(x: &[f32], inputs: usize) -> Scratch {
    let width = inputs.next_multiple_of(2);
    each_row(x, inputs, width, |x, out| {
        out[x.len()..].fill(0.0);
        dispatch(Rounded { x, out });
    })
}

struct Rounded<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Rounded<'_> {
    type Output = ();
    const BF16: bool = true;
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { x, out } = self;
        for at in (0..x.len()).step_by(LANES) {
            // As the odd numbers of pairs, whose even ones are zero: these are the bits of an f32.
            S::pairs_across(S::splat(0.0), S::at(x, at)).put(&mut out[..x.len()], at);
        }
    }
}

/// Rounds rows to bf16, two numbers in the bits of an f32.
#[cfg(target_arch = "x86_64")]
fn pairs(x: &[f32], inputs: usize) -> Scratch {
    each_row(x, inputs, inputs.div_ceil(2), |x, out| {
        for (out, x) in out.iter_mut().zip(x.chunks(2)) {
            let odd = x.get(1).map_or(0, |&x| bf16::from_f32(x));
            *out = f32::from_bits(u32::from(bf16::from_f32(x[0])) | u32::from(odd) << 16);
        }
    })
}

fn each_row(x: &[f32], inputs: usize, width: usize, fill: impl Fn(&[f32], &mut [f32]) + Sync) -> Scratch {
    let rows = x.len() / inputs;
    let mut packed = Scratch::new(rows * width);
    let out = SharedMut::new(&mut packed);
    parallel_ranges(rows, inputs, |range| {
        for row in range {
            // SAFETY: rows do not overlap.
            fill(&x[row * inputs..][..inputs], unsafe { out.slice(row * width, width) });
        }
    });
    packed
}

macro_rules! compiled {
    ($name:ident, $lanes:ty, $($features:literal)?) => {
        /// # Safety
        /// See [`Tile`]; the machine must have the instructions.
        $(#[target_feature(enable = $features)])?
        unsafe fn $name(tile: &Tile) {
            // SAFETY: the caller's promise.
            unsafe { run::<$lanes>(tile) }
        }
    };
}
compiled!(portable, Portable,);
#[cfg(target_arch = "x86_64")]
compiled!(paired, super::x86::Wide<true, true>, "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(wide, super::x86::Wide<true, false>, "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
compiled!(narrow, super::x86::Narrow, "avx2,fma");

fn functions() -> Functions {
    use cpu::Isa;
    let numbers = Functions { tile: portable, pack: numbers, x_pair: 2, rows: 4 };
    match cpu::isa() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => Functions { tile: paired, pack: pairs, x_pair: 1, rows: 6 },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16Fma | Isa::Avx512 => Functions { tile: wide, rows: 6, ..numbers },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Functions { tile: narrow, ..numbers },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx512Bf16 | Isa::Avx512Bf16Fma | Isa::Avx512 | Isa::Avx2 => numbers,
        Isa::Scalar => numbers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_same_bits, random, same_everywhere};

    #[test]
    fn products_are_their_definition_everywhere() {
        for [rows, inputs, outputs] in
            [[1, 1, 1], [1, 64, 80], [3, 33, 17], [7, 520, 64], [40, 96, 130], [33, 2051, 77]]
        {
            let (x, w) = (random(1, rows * inputs), random(2, outputs * inputs));
            let bits: Vec<u16> = w.iter().map(|&w| bf16::from_f32(w)).collect();
            let got = same_everywhere(|| {
                let weight = Bf16Weight::pack(&bits, [outputs, inputs]);
                let mut y = vec![f32::NAN; rows * outputs];
                weight.product(&x, &mut y, |row, columns, piece| {
                    piece.iter_mut().zip(columns).for_each(|(y, column)| *y += (row + column) as f32);
                });
                y
            });
            let turned: Vec<f32> =
                (0..inputs).flat_map(|i| (0..outputs).map(move |o| (o, i))).map(|(o, i)| w[o * inputs + i]).collect();
            let mut expected = reference::matmul_bf16(&x, &turned, [rows, inputs, outputs], None);
            expected.iter_mut().enumerate().for_each(|(at, y)| *y += (at / outputs + at % outputs) as f32);
            assert_same_bits(&got, &expected, &format!("{rows} × {inputs} × {outputs}"));
        }
    }

    #[test]
    fn weights_come_back() {
        let bits: Vec<u16> = random(5, 33 * 7).into_iter().map(bf16::from_f32).collect();
        let weight = Bf16Weight::pack(&bits, [33, 7]);
        for output in 0..33 {
            let mut row = [0.0; 7];
            weight.dequantize(output, &mut row);
            assert_eq!(row.map(bf16::from_f32), bits[output * 7..][..7]);
        }
    }
}
