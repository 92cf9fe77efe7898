//! Transposed copies.

use super::{Kernel, LANES, Simd};

/// Copies a matrix of `rows` × `cols` (element (r, c) at `from[r * from_stride + c]`) transposed: to
/// `to[c * to_stride + r]`. The rows are padded with zeros to a multiple of 16, for which `to` must have room.
pub(crate) struct Transpose<'a> {
    pub from: &'a [f32],
    pub from_stride: usize,
    pub rows: usize,
    pub cols: usize,
    pub to: &'a mut [f32],
    pub to_stride: usize,
}

impl Kernel for Transpose<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self) {
        for row in (0..self.rows).step_by(LANES) {
            for col in (0..self.cols).step_by(LANES) {
                let cols = LANES.min(self.cols - col);
                let mut lanes = [S::splat(0.0); LANES];
                for (r, lanes) in lanes.iter_mut().enumerate() {
                    if row + r < self.rows {
                        let start = (row + r) * self.from_stride + col;
                        *lanes = S::at(&self.from[start..start + cols], 0);
                    }
                }
                let lanes = S::transpose(lanes);
                for (c, lanes) in lanes.iter().enumerate() {
                    if c < cols {
                        let start = (col + c) * self.to_stride + row;
                        lanes.put(&mut self.to[start..start + LANES], 0);
                    }
                }
            }
        }
    }
}
