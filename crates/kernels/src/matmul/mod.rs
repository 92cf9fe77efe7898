//! Matrix products whose every output is one sequential chain of fused multiply-adds over k.
//!
//! So an output depends on its row of A, its column of B and nothing else: not on the other rows, the threads, the
//! blocking or the instruction set. It equals [`crate::reference::matmul`] bit for bit. Blocks over k continue from
//! the stored sums, which is exact.
//!
//! [`matmul_bf16`] rounds both factors to bf16 while it packs them; its chains take the numbers in pairs, the second of
//! a pair first, as the instruction does, and sum in f32. It equals [`crate::reference::matmul_bf16`]. Where the
//! instruction is slow or missing, the packed numbers are f32 and lie in that order, and the multiply-adds of f32 take
//! them.
//!
//! B is packed in panels of 64 columns (`[outputs / 64][inputs][64]`, zero padded). Threads split the outputs, never
//! k. The blocking follows Goto and van de Geijn (2008), "Anatomy of high-performance matrix multiplication".

mod blocks;
mod pack;
mod pairs;
mod source;
pub(crate) mod tile;
mod wide;

use std::ops::Range;

use crate::buffer::with_scratch;
use crate::cpu;
use crate::pool::{self, SharedMut};
use crate::simd::LANES;
use blocks::{Columns, Product, multiply};
pub(crate) use pack::pieces;
pub use pack::{pack, packed_len};
pub use source::Number;
use tile::{Bits, Factor, PANEL, Weight, Wide};

/// Packed columns times k that one pass over B holds in scratch: 4 MiB.
const SCRATCH_FLOATS: usize = 1 << 20;
/// Rows of B that one pass packs at most: so a task can pack nearly a hundred rows of a transposed A, which reads whole
/// cache lines, and keep them in the second cache.
const DEPTH_MAX: usize = 1024;

/// A view of a matrix: element (i, j) is `data[i * row_stride + j * col_stride]`.
///
/// The elements are f32, or bf16 as their bits.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> MatRef<'a, T> {
    /// A matrix stored row after row.
    ///
    /// # Panics
    /// If `data` does not hold exactly rows × cols elements.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_len("matrix", data.len(), &[rows, cols]);
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transposed view.
    pub fn transposed(self) -> Self {
        let Self { data, rows, cols, row_stride, col_stride } = self;
        Self { data, rows: cols, cols: rows, row_stride: col_stride, col_stride: row_stride }
    }

    /// The view of some columns.
    ///
    /// # Panics
    /// If the range ends beyond the columns.
    pub fn columns(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.cols, "columns {range:?} of {}", self.cols);
        let start = (range.start * self.col_stride).min(self.data.len());
        Self { data: &self.data[start..], cols: range.len(), ..self }
    }

    /// The view of some rows.
    ///
    /// # Panics
    /// If the range ends beyond the rows.
    pub fn rows(self, range: Range<usize>) -> Self {
        self.transposed().columns(range).transposed()
    }

    /// Number of rows and of columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The elements, the first one of the view at their beginning.
    pub(crate) fn data(&self) -> &'a [T] {
        self.data
    }

    /// How far it is to the next row, and to the next column.
    pub(crate) fn strides(&self) -> [usize; 2] {
        [self.row_stride, self.col_stride]
    }
}

/// Whether a result replaces what was there or is added to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// The result replaces what was there.
    Overwrite,
    /// The sums start from what is there.
    Add,
}

/// Sizes of a product with a packed weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of x and y.
    pub rows: usize,
    /// Columns of x, rows of the weight.
    pub inputs: usize,
    /// Columns of the weight and of y.
    pub outputs: usize,
}

/// `c = a b`, or `c += a b`: a is m × k, b is k × n, c is m × n, row after row.
///
/// # Panics
/// If the sizes do not agree.
pub fn matmul(a: MatRef<'_>, b: MatRef<'_>, c: &mut [f32], accumulate: Accumulate) {
    matmul_bias(a, b, c, accumulate, None);
}

/// As [`matmul`], with a bias added to every row of the result.
///
/// # Panics
/// If the sizes do not agree.
pub fn matmul_bias(a: MatRef<'_>, b: MatRef<'_>, c: &mut [f32], accumulate: Accumulate, bias: Option<&[f32]>) {
    if bias.is_none() && is_read_in_place(a.rows, b) {
        return product_in_place(a, b, c, accumulate);
    }
    product_with_bias(a, b, c, accumulate, bias, pack);
}

/// Whether tiles read B where it lies: so few rows of A do not repay packing it, its rows fill whole vectors, and they are
/// not whole KiB apart, of which the caches keep few.
fn is_read_in_place(rows: usize, b: MatRef<'_>) -> bool {
    rows <= ROWS_FEW && b.col_stride == 1 && b.cols.is_multiple_of(LANES) && !b.row_stride.is_multiple_of(KIB)
}

/// The fewest columns, not fewer than these, that let [`matmul`] read a row-major B where it lies for few rows of A: worth
/// it for a matrix that is multiplied often, and too narrow for the panels of [`pack`].
pub fn columns_in_place(columns: usize) -> usize {
    let whole = columns.next_multiple_of(LANES);
    if whole.is_multiple_of(KIB) { whole + LANES } else { whole }
}

/// Floats of a KiB.
const KIB: usize = 1024 / size_of::<f32>();

/// The product with a matrix that is not packed.
fn product_in_place(a: MatRef<'_>, b: MatRef<'_>, c: &mut [f32], accumulate: Accumulate) {
    assert_eq!(a.cols, b.rows, "matmul: columns of a and rows of b");
    assert_len("matmul: c", c.len(), &[a.rows, b.cols]);
    if a.cols == 0 && accumulate == Accumulate::Overwrite {
        c.fill(0.0);
    }
    let c = SharedMut::new(c);
    for depth in steps(0..a.cols, DEPTH_MAX) {
        let from_c = accumulate == Accumulate::Add || depth.start > 0;
        let (a, columns) = (a.columns(depth.clone()), Columns::of_rows(b.rows(depth)));
        let product = Product { a, b: columns, outputs: b.cols, c, c_row: b.cols, c_start: 0, from_c };
        multiply(&product, |_, _, _| {});
    }
}

/// As [`matmul`], with sums in f32 of factors that are bf16, or f32 and rounded to bf16 on the way. A `bias` is added to
/// every row of the result.
///
/// # Panics
/// If the sizes do not agree.
pub fn matmul_bf16<A: Number, B: Number>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: &mut [f32],
    accumulate: Accumulate,
    bias: Option<&[f32]>,
) {
    if cpu::bf16_pairs_are_fast() {
        product_with_bias(a, b, c, accumulate, bias, pairs::pack_columns);
    } else {
        product_with_bias(a, b, c, accumulate, bias, wide::pack_columns);
    }
}

/// The product of a with a matrix of bf16 numbers that `pack(rows, columns, packed)` gives, part by part, as panels of
/// [`Wide`]; `finish(row, columns, piece)` gets each complete piece of a row.
pub(crate) fn matmul_wide(
    a: MatRef<'_>,
    outputs: usize,
    c: &mut [f32],
    finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
    pack: impl Fn(Range<usize>, Range<usize>, &mut [Wide]) + Sync,
) {
    product(a, outputs, (c, Accumulate::Overwrite), pack, finish);
}

/// The product with a matrix in memory, each part of it packed by `pack`.
fn product_with_bias<A: Number, B: Number, W: Weight + Bits>(
    a: MatRef<'_, A>,
    b: MatRef<'_, B>,
    c: &mut [f32],
    accumulate: Accumulate,
    bias: Option<&[f32]>,
    pack: impl Fn(MatRef<'_, B>, &mut [W]) + Sync,
) {
    assert_eq!(a.cols, b.rows, "matmul: columns of a and rows of b");
    let pack = |rows, columns, packed: &mut [W]| pack(b.rows(rows).columns(columns), packed);
    match bias {
        None => product(a, b.cols, (c, accumulate), pack, |_, _, _| {}),
        Some(bias) => {
            assert_eq!(bias.len(), b.cols, "matmul: length of the bias");
            product(a, b.cols, (c, accumulate), pack, |_, columns, row| add(row, &bias[columns]));
        }
    }
}

/// Adds numbers to a piece of a row.
fn add(row: &mut [f32], numbers: &[f32]) {
    row.iter_mut().zip(numbers).for_each(|(y, b)| *y += b);
}

/// The product with a matrix of which `pack(rows, columns, packed)` packs parts, into elements of the kind that the
/// kernel takes; `finish(row, columns, piece)` is called once for each complete piece of a row.
fn product<A: Number, W: Weight + Bits>(
    a: MatRef<'_, A>,
    outputs: usize,
    (c, accumulate): (&mut [f32], Accumulate),
    pack: impl Fn(Range<usize>, Range<usize>, &mut [W]) + Sync,
    finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) {
    assert_len("matmul: c", c.len(), &[a.rows, outputs]);
    if a.cols == 0 && outputs > 0 {
        if accumulate == Accumulate::Overwrite {
            c.fill(0.0);
        }
        c.chunks_exact_mut(outputs).enumerate().for_each(|(row, piece)| finish(row, 0..outputs, piece));
        return;
    }
    let whole = Whole { a, c: SharedMut::new(c), c_row: outputs, accumulate };
    let width = columns_of_task::<A, W>(a, outputs);
    pool::parallel(outputs.div_ceil(width), |task| {
        whole.columns(task * width..outputs.min((task + 1) * width), &pack, &finish);
    });
}

/// How many columns a task takes that packs its own part of B: all of them, and then there is one task, whose work is
/// shared out again, unless there are so few rows that all of them are one task's anyway. Then what a task packs need not
/// leave its core's cache. More rows than that may be one task's where each task reads A as it is, and every thread gets
/// as many tasks.
fn columns_of_task<A: Number, W: Weight>(a: MatRef<'_, A>, outputs: usize) -> usize {
    let threads = pool::threads();
    let as_it_is = a.col_stride == 1 && !A::PAIRED && matches!(W::FACTOR, Factor::Float);
    let rows_max = if as_it_is { ROWS_FEW_AS_THEY_ARE } else { ROWS_FEW };
    if threads == 1 || a.rows > rows_max || outputs < 2 * threads * PANEL {
        return outputs.max(1);
    }
    let fitting = TASK_FLOATS / a.cols.clamp(1, DEPTH_MAX);
    let even = outputs.div_ceil(2 * threads);
    let width = fitting.min(even).next_multiple_of(PANEL);
    let is_even = outputs.div_ceil(width).is_multiple_of(threads);
    if a.rows > ROWS_FEW && !is_even { outputs } else { width }
}

/// Rows of a product that do not repay packing B for all threads, or at all, at most.
const ROWS_FEW: usize = 256;
/// The same where A is not packed.
const ROWS_FEW_AS_THEY_ARE: usize = 1024;
/// Floats of B that such a task packs at once, about: they stay in its core's second cache.
const TASK_FLOATS: usize = 1 << 17;

/// A product of which some columns at a time are computed.
struct Whole<'a, A> {
    a: MatRef<'a, A>,
    c: SharedMut<f32>,
    c_row: usize,
    accumulate: Accumulate,
}

impl<A: Number> Whole<'_, A> {
    fn columns<W: Weight + Bits>(
        &self,
        range: Range<usize>,
        pack: &impl Fn(Range<usize>, Range<usize>, &mut [W]),
        finish: &(impl Fn(usize, Range<usize>, &mut [f32]) + Sync),
    ) {
        let (a, c_row) = (self.a, self.c_row);
        for depth in steps(0..a.cols, DEPTH_MAX * W::INPUTS) {
            let k = W::depth(depth.len());
            let width = (SCRATCH_FLOATS / k / PANEL).max(1) * PANEL;
            let from_c = self.accumulate == Accumulate::Add || depth.start > 0;
            let is_last = depth.end == a.cols;
            for columns in steps(range.clone(), width) {
                with_scratch(packed_len(k, columns.len()), |packed| {
                    let packed = W::of_floats(packed);
                    pack(depth.clone(), columns.clone(), packed);
                    let a = a.columns(depth.clone());
                    let (outputs, c_start) = (columns.len(), columns.start);
                    let b = Columns::packed(packed, k);
                    let product = Product { a, b, outputs, c: self.c, c_row, c_start, from_c };
                    match is_last {
                        false => multiply(&product, |_, _, _| {}),
                        true => multiply(&product, |row, columns, piece| {
                            finish(row, c_start + columns.start..c_start + columns.end, piece);
                        }),
                    }
                });
            }
        }
    }
}

/// Cuts a range into ranges of `step`.
fn steps(range: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(step).map(move |start| start..range.end.min(start + step))
}

/// `y = x w + bias`, or `y += x w + bias`, with a weight from [`pack`].
///
/// # Panics
/// If the sizes do not agree.
pub fn matmul_packed(
    x: &[f32],
    packed: &[f32],
    shape: Shape,
    bias: Option<&[f32]>,
    y: &mut [f32],
    accumulate: Accumulate,
) {
    assert_eq!(packed.len(), packed_len(shape.inputs, shape.outputs), "matmul_packed: length of the packed weight");
    let from_c = accumulate == Accumulate::Add;
    packed_product(x, packed, shape, y, from_c, |_, columns, row| {
        if let Some(bias) = bias {
            assert_eq!(bias.len(), shape.outputs, "matmul_packed: length of the bias");
            row.iter_mut().zip(&bias[columns]).for_each(|(y, b)| *y += b);
        }
    });
}

fn packed_product<B: Weight>(
    x: &[f32],
    packed: &[B],
    shape: Shape,
    y: &mut [f32],
    from_c: bool,
    finish: impl Fn(usize, Range<usize>, &mut [f32]) + Sync,
) {
    let Shape { rows, inputs, outputs } = shape;
    assert_len("packed product: x", x.len(), &[rows, inputs]);
    assert_len("packed product: y", y.len(), &[rows, outputs]);
    if inputs == 0 && !from_c {
        y.fill(0.0);
    }
    let a = MatRef::row_major(x, rows, inputs);
    let b = Columns::packed(packed, B::depth(inputs));
    multiply(&Product { a, b, outputs, c: SharedMut::new(y), c_row: outputs, c_start: 0, from_c }, finish);
}

/// Asserts that a slice holds the product of the sizes.
#[track_caller]
pub(crate) fn assert_len(what: &str, len: usize, sizes: &[usize]) {
    let expected = sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    assert!(expected == Some(len), "{what}: {len} elements for the shape {sizes:?}");
}

#[cfg(test)]
mod tests;
