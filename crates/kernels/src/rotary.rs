//! Rotary position embedding (Su et al., 2021) in the half-split layout of Hugging Face: element i of a head turns
//! together with element i + half.

use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel_ranges};
use crate::simd::{Kernel, LANES, Simd, dispatch};

/// Cosines and sines for every position, computed in f64 and rounded once.
#[derive(Clone, Debug)]
pub struct Table {
    half: usize,
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Which way to turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As attention needs it.
    Forward,
    /// Back: the inverse, and the gradient.
    Inverse,
}

impl Table {
    /// Angles position × theta^(-2 i / head_width) for positions 0 to `positions - 1`.
    ///
    /// # Panics
    /// If the width is odd.
    pub fn new(head_width: usize, positions: usize, theta: f64) -> Self {
        assert!(head_width.is_multiple_of(2), "rotary: an odd head width, {head_width}");
        let frequencies: Vec<f64> =
            (0..head_width / 2).map(|i| theta.powf(-2.0 * i as f64 / head_width as f64)).collect();
        Self::from_frequencies(&frequencies, positions)
    }

    /// Angles position × frequency, for scaled or partial embeddings: the first `2 * frequencies.len()` elements of a
    /// head turn, the others stay.
    pub fn from_frequencies(frequencies: &[f64], positions: usize) -> Self {
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let cos = angles().map(|angle| angle.cos() as f32).collect();
        let sin = angles().map(|angle| angle.sin() as f32).collect();
        Self { half: frequencies.len(), positions, cos, sin }
    }

    /// Positions that the table holds.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Elements of a head that turn.
    pub fn width(&self) -> usize {
        self.half * 2
    }
}

/// Turns `x` (rows × heads × head width) in place; row r stands at `positions[r]`.
///
/// # Panics
/// If the lengths do not agree, a head is narrower than the table, or a position lies beyond the table.
pub fn apply(x: &mut [f32], heads: usize, positions: &[u32], table: &Table, direction: Direction) {
    let rows = positions.len();
    if rows * heads == 0 {
        return assert!(x.is_empty(), "rotary: {} elements in no rows", x.len());
    }
    let head_width = x.len() / (rows * heads);
    assert_len("rotary: x", x.len(), &[rows, heads, head_width]);
    assert!(table.width() <= head_width, "rotary: a table of width {} for heads of {head_width}", table.width());
    if let Some(beyond) = positions.iter().find(|&&p| p as usize >= table.positions) {
        panic!("rotary: position {beyond} in a table of {}", table.positions);
    }
    let x = SharedMut::new(x);
    parallel_ranges(rows, heads * head_width, |rows| {
        // SAFETY: ranges of rows do not overlap.
        let x = unsafe { x.slice(rows.start * heads * head_width, rows.len() * heads * head_width) };
        dispatch(Turn { x, heads, head_width, positions: &positions[rows], table, direction });
    });
}

struct Turn<'a> {
    x: &'a mut [f32],
    heads: usize,
    head_width: usize,
    positions: &'a [u32],
    table: &'a Table,
    direction: Direction,
}

impl Kernel for Turn<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        let half = self.table.half;
        let sign = S::splat(if self.direction == Direction::Forward { 1.0 } else { -1.0 });
        for (row, &position) in self.x.chunks_exact_mut(self.heads * self.head_width).zip(self.positions) {
            let angles = position as usize * half..(position as usize + 1) * half;
            let (cos, sin) = (&self.table.cos[angles.clone()], &self.table.sin[angles]);
            for head in row.chunks_exact_mut(self.head_width) {
                let (low, high) = head.split_at_mut(half);
                let high = &mut high[..half];
                for i in (0..half).step_by(LANES) {
                    let (a, b) = (S::at(low, i), S::at(high, i));
                    let (cos, sin) = (S::at(cos, i), S::at(sin, i) * sign);
                    a.fma(cos, S::splat(0.0) - b * sin).put(low, i);
                    b.fma(cos, a * sin).put(high, i);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{Guarded, assert_close, random, same_everywhere, wide};

    #[test]
    fn turns_as_the_reference_and_back() {
        for (rows, heads, width) in [(1, 1, 2), (5, 3, 16), (9, 2, 64), (4, 1, 50)] {
            let table = Table::new(width, 100, 10_000.0);
            let x = random(1, rows * heads * width);
            let positions: Vec<u32> = (0..rows as u32).map(|r| r * 11).collect();
            let turned = same_everywhere(|| {
                let mut y = Guarded::new(&x);
                apply(&mut y, heads, &positions, &table, Direction::Forward);
                y.to_vec()
            });
            let expected = reference::rotary(&wide(&x), [heads, width], &positions, 10_000.0);
            assert_close(&turned, &expected, 1e-6, "forward");
            let mut back = turned;
            apply(&mut back, heads, &positions, &table, Direction::Inverse);
            assert_close(&back, &wide(&x), 1e-6, "inverse");
        }
    }

    #[test]
    fn a_partial_table_leaves_the_rest_alone() {
        let (table, x) = (Table::from_frequencies(&[1.0, 0.1], 8), random(1, 2 * 10));
        let mut y = x.clone();
        apply(&mut y, 1, &[3, 4], &table, Direction::Forward);
        assert!(y[..4] != x[..4] && y[4..10] == x[4..10] && y[14..] == x[14..]);
    }

    #[test]
    #[should_panic(expected = "position 8 in a table of 8")]
    fn a_position_beyond_the_table_is_refused() {
        apply(&mut [0.0; 4], 1, &[8], &Table::new(4, 8, 10_000.0), Direction::Forward);
    }
}
