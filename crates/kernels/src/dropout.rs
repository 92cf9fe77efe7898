//! Dropout (Srivastava et al., 2014): elements become zero with a probability, the others grow by one over the rest.
//!
//! No mask is stored. Whether an element stays is a function of a key, its row's path (of seed, sample, operation, …),
//! the row's number within it and the column, so the backward pass finds the same elements again, whichever rows are
//! computed together. The draws are Philox 4x32-10 (Salmon et al., 2011), 16 bits an element: the columns
//! 128 g + 16 s + l of a row have the half s mod 2 (the lower first) of the word s / 2 at the counter
//! (16 g + l, row, path).

use std::ops::Range;

use crate::pool::{SharedMut, parallel_ranges};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Elements that one draw of all lanes serves: four words of two halves for each lane.
const GROUP: usize = 8 * LANES;

/// Which elements fall out.
#[derive(Clone, Copy, Debug)]
pub struct Mask<'a> {
    /// How many of 65536 elements fall out, on average; see [`probability`].
    pub dropped: u16,
    /// The generator's key.
    pub key: [u32; 2],
    /// Whose rows they are, one after another.
    pub runs: &'a [Run],
}

/// Rows of one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How many; the first has the number 0.
    pub rows: usize,
    /// What tells their draws from those of others.
    pub path: u64,
}

/// A probability in parts of 65536: the nearest that is below 1.
pub fn probability(probability: f64) -> u16 {
    (probability * 65536.0).round().clamp(0.0, 65535.0) as u16
}

impl Mask<'_> {
    /// What the elements that stay are multiplied by, so that the mean stays too.
    pub fn scale(&self) -> f32 {
        (65536.0 / (65536.0 - f64::from(self.dropped))) as f32
    }
}

/// `branch = residual + dropped(branch)`.
///
/// # Panics
/// If the lengths differ, or are not that of the mask's rows.
pub fn add_to(residual: &[f32], branch: &mut [f32], mask: &Mask<'_>) {
    assert_eq!(residual.len(), branch.len(), "dropout: lengths");
    apply(mask, Operands { from: None, add: Some(residual) }, branch);
}

/// `x = dropped(x)`.
///
/// # Panics
/// If the length is not that of the mask's rows.
pub fn in_place(x: &mut [f32], mask: &Mask<'_>) {
    apply(mask, Operands { from: None, add: None }, x);
}

/// `out = dropped(x)`: also the gradient of either of the above, from that of its result.
///
/// # Panics
/// If the lengths differ, or are not that of the mask's rows.
pub fn to(x: &[f32], out: &mut [f32], mask: &Mask<'_>) {
    assert_eq!(x.len(), out.len(), "dropout: lengths");
    apply(mask, Operands { from: Some(x), add: None }, out);
}

#[derive(Clone, Copy)]
struct Operands<'a> {
    /// What is dropped; the output itself where there is none.
    from: Option<&'a [f32]>,
    add: Option<&'a [f32]>,
}

impl<'a> Operands<'a> {
    fn part(self, elements: Range<usize>) -> Self {
        let Range { start, end } = elements;
        let part = |all: &'a [f32]| &all[start..end];
        Self { from: self.from.map(part), add: self.add.map(part) }
    }
}

fn apply(mask: &Mask<'_>, operands: Operands<'_>, out: &mut [f32]) {
    let rows: usize = mask.runs.iter().map(|run| run.rows).sum();
    let whole = if rows == 0 { out.is_empty() } else { out.len().is_multiple_of(rows) };
    assert!(whole, "dropout: {} elements in {rows} rows", out.len());
    let width = out.len() / rows.max(1);
    let out = SharedMut::new(out);
    parallel_ranges(rows, width, |range| {
        let mut first = 0;
        for run in mask.runs {
            let (start, end) = (range.start.max(first), range.end.min(first + run.rows));
            if start < end {
                let elements = start * width..end * width;
                // SAFETY: ranges of rows do not overlap.
                let out = unsafe { out.slice(elements.start, elements.len()) };
                let operands = operands.part(elements);
                dispatch(Rows { mask, path: run.path, row: start - first, width, operands, out });
            }
            first += run.rows;
        }
    });
}

/// Rows of one sample, from the one of number `row` on.
struct Rows<'a> {
    mask: &'a Mask<'a>,
    path: u64,
    row: usize,
    width: usize,
    operands: Operands<'a>,
    out: &'a mut [f32],
}

impl Kernel for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let Operands { from, add } = self.operands;
        let (dropped, scale) = (u32::from(self.mask.dropped), self.mask.scale());
        for (row, out) in self.out.chunks_exact_mut(self.width.max(1)).enumerate() {
            let here = row * self.width;
            let from = from.map(|from| &from[here..here + self.width]);
            let add = add.map(|add| &add[here..here + self.width]);
            for group in (0..self.width).step_by(GROUP) {
                let first = [(group / GROUP * LANES) as u32, (self.row + row) as u32];
                let words = draw(first, self.path, self.mask.key);
                for (slot, at) in (group..self.width.min(group + GROUP)).step_by(LANES).enumerate() {
                    let mut factors = [0.0; LANES];
                    for (factor, word) in factors.iter_mut().zip(&words[slot / 2]) {
                        let draw = (word >> (16 * (slot % 2) as u32)) & 0xFFFF;
                        *factor = if draw < dropped { 0.0 } else { scale };
                    }
                    let x = match from {
                        Some(from) => S::at(from, at),
                        None => S::at(out, at),
                    };
                    match add {
                        Some(add) => S::at(&factors, 0).fma(x, S::at(add, at)).put(out, at),
                        None => (S::at(&factors, 0) * x).put(out, at),
                    }
                }
            }
        }
    }
}

/// Philox at sixteen counters, of which the first word counts up: the four words of each.
#[inline(always)]
fn draw([first, row]: [u32; 2], path: u64, mut key: [u32; 2]) -> [[u32; LANES]; 4] {
    let mut words = [[0; LANES], [row; LANES], [path as u32; LANES], [(path >> 32) as u32; LANES]];
    for (lane, word) in words[0].iter_mut().enumerate() {
        *word = first + lane as u32;
    }
    for _ in 0..10 {
        let [a, b, c, d] = &mut words;
        for lane in 0..LANES {
            let left = 0xD251_1F53 * u64::from(a[lane]);
            let right = 0xCD9E_8D57 * u64::from(c[lane]);
            a[lane] = (right >> 32) as u32 ^ b[lane] ^ key[0];
            b[lane] = right as u32;
            c[lane] = (left >> 32) as u32 ^ d[lane] ^ key[1];
            d[lane] = left as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{Guarded, assert_same_bits, random, same_everywhere};

    #[test]
    fn the_generator_is_the_published_one() {
        // Known answers of Random123's philox4x32_10.
        assert_eq!(reference::philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let words = draw([0xFFFF_FFF0, u32::MAX], u64::MAX, [u32::MAX; 2]);
        assert_eq!(words.map(|word| word[15]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
    }

    #[test]
    fn each_equals_its_definition() {
        for (rows, width, dropped) in
            [(&[1][..], 1, 30_000), (&[3, 5], 17, 6554), (&[0, 40, 1], 300, 65_535), (&[9], 128, 0)]
        {
            let runs: Vec<Run> = rows.iter().zip(7..).map(|(&rows, path)| Run { rows, path: path << 40 | 5 }).collect();
            let mask = Mask { dropped, key: [3, 9], runs: &runs };
            let len = rows.iter().sum::<usize>() * width;
            let (x, residual) = (Guarded::new(&random(1, len)), Guarded::new(&random(2, len)));
            let got = same_everywhere(|| {
                let (mut a, mut b, mut c) = (Guarded::new(&x), Guarded::new(&x), Guarded::new(&residual));
                add_to(&residual, &mut a, &mask);
                in_place(&mut b, &mask);
                to(&x, &mut c, &mask);
                [&a[..], &b[..], &c[..]].concat()
            });
            let factors = reference::dropout_factors(&mask, width);
            let sums = factors.iter().zip(&x[..]).zip(&residual[..]).map(|((f, x), r)| f.mul_add(*x, *r));
            let products: Vec<f32> = factors.iter().zip(&x[..]).map(|(f, x)| f * x).collect();
            let expected = [sums.collect(), products.clone(), products].concat();
            assert_same_bits(&got, &expected, "dropout");
        }
        in_place(&mut [], &Mask { dropped: 1, key: [0; 2], runs: &[] });
    }

    #[test]
    fn as_many_fall_out_as_should_and_the_mean_stays() {
        let runs = [Run { rows: 500, path: 77 }, Run { rows: 500, path: 78 }];
        for share in [0.1, 0.2, 0.5] {
            let mask = Mask { dropped: probability(share), key: [1, 2], runs: &runs };
            let mut ones = vec![1.0; 1000 * 200];
            in_place(&mut ones, &mask);
            let zeros = ones.iter().filter(|&&x| x == 0.0).count() as f64 / ones.len() as f64;
            let mean = ones.iter().map(|&x| f64::from(x)).sum::<f64>() / ones.len() as f64;
            // Four standard deviations.
            let far = 4.0 * (share * (1.0 - share) / ones.len() as f64).sqrt();
            assert!((zeros - share).abs() < far && (mean - 1.0).abs() < 2.0 * far / (1.0 - share), "{zeros} {mean}");
            // Samples, rows and columns fall out independently.
            let both = |stride: usize| ones.iter().zip(&ones[stride..]).filter(|(a, b)| **a + **b == 0.0).count();
            for stride in [1, 16, 128, 200, 100_000] {
                let pairs = (ones.len() - stride) as f64;
                let found = both(stride) as f64 / pairs;
                assert!((found - share * share).abs() < 5.0 * share / pairs.sqrt(), "{share}, {stride}: {found}");
            }
        }
        assert_eq!([probability(0.0), probability(1e-9), probability(0.5), probability(1.0)], [0, 0, 32_768, 65_535]);
    }
}
