//! The three products of a linear map, each between a factor that is made once and what is at hand.

use std::sync::Arc;

use luban_kernels::elementwise;
use luban_kernels::matmul::{Accumulate, MatRef};
use luban_kernels::quantized::training::{self, Left, Right, block_of};

use crate::precision::{Factor, Precision};
use crate::storage::{Buffer, Tensor};

/// A factor as the products of one precision take it.
#[derive(Debug)]
pub(crate) enum Operand {
    /// A matrix in either of its orders.
    Matrix(Factor),
    /// Bytes, laid out for one place in one product.
    Bytes { memory: Buffer, shape: [usize; 2] },
}

/// Tokens of a block, where sums run over tokens: gradients of tokens differ by orders of magnitude, and of 128 in a block
/// too many became zeros.
const TOKENS: usize = 64;

impl Operand {
    fn left(matrix: MatRef<'_>, block: usize) -> Self {
        let shape = <[usize; 2]>::from(matrix.shape());
        let mut memory = Buffer::scratch(Left::floats(shape, block));
        Left::quantize(matrix, block, &mut memory);
        Self::Bytes { memory, shape }
    }

    fn right(matrix: MatRef<'_>, block: usize) -> Self {
        let shape = <[usize; 2]>::from(matrix.shape());
        let mut memory = Buffer::scratch(Right::floats(shape, block));
        Right::quantize(matrix, block, &mut memory);
        Self::Bytes { memory, shape }
    }
}

fn matrix(tensor: &Tensor) -> MatRef<'_> {
    MatRef::row_major(tensor, tensor.rows(), tensor.columns())
}

impl Precision {
    /// The input of linear maps, rows × inputs.
    pub(crate) fn input(self, x: &Tensor) -> Operand {
        match self {
            Self::Int8 => Operand::left(matrix(x), block_of(x.columns())),
            _ => Operand::Matrix(self.factor(x)),
        }
    }

    /// The same input, kept for [`Precision::weight_gradient`]; `operand` is what [`Precision::input`] gave.
    pub(crate) fn kept(self, x: &Tensor, operand: Operand) -> Operand {
        match operand {
            // Along the other side, from the numbers as they were.
            Operand::Bytes { .. } => Operand::right(matrix(x), TOKENS),
            operand @ Operand::Matrix(_) => operand,
        }
    }

    /// What was kept, as [`Precision::weight_gradient`] takes it: blocks of fp8 are rounded anew along the rows.
    pub(crate) fn across_rows(self, kept: Operand) -> Operand {
        match kept {
            Operand::Matrix(factor) => Operand::Matrix(self.across(factor)),
            bytes @ Operand::Bytes { .. } => bytes,
        }
    }

    /// The gradient of a linear map's output (rows × outputs), for [`Precision::input_gradient`] and, where it is no
    /// other there, [`Precision::weight_gradient`]; adds its rows to `sums`, where they are wanted.
    pub(crate) fn output_gradient(self, dy: Arc<Buffer>, outputs: usize, sums: Option<&mut [f32]>) -> Operand {
        if self != Self::Int8 {
            return Operand::Matrix(self.gradient(dy, outputs, sums));
        }
        if let Some(sums) = sums {
            elementwise::column_sums(&dy, sums);
        }
        Operand::left(MatRef::row_major(&dy, dy.len() / outputs.max(1), outputs), block_of(outputs))
    }

    /// The same for [`Precision::weight_gradient`], where it is another one there.
    pub(crate) fn output_gradient_across(self, dy: &[f32], outputs: usize) -> Option<Operand> {
        match self {
            Self::Int8 => {
                let dy = MatRef::row_major(dy, dy.len() / outputs.max(1), outputs);
                Some(Operand::left(dy.transposed(), TOKENS))
            }
            _ => self.gradient_across(dy, outputs).map(Operand::Matrix),
        }
    }

    /// `y = x · weightᵀ`, or `y += x · weightᵀ`, and a bias; the weight is outputs × inputs.
    pub(crate) fn forward(
        self,
        x: &Operand,
        weight: &Tensor,
        y: &mut [f32],
        accumulate: Accumulate,
        bias: Option<&[f32]>,
    ) {
        match x {
            Operand::Matrix(x) => {
                let weight = self.weight(weight);
                self.matmul(x.matrix(), weight.matrix().transposed(), y, accumulate, bias);
            }
            &Operand::Bytes { ref memory, shape } => {
                let x = Left::of(memory, shape, block_of(shape[1]));
                bytes_by_weight(x, matrix(weight).transposed(), y, accumulate, bias);
            }
        }
    }

    /// `dx = dy · weight`, or `dx += dy · weight`.
    pub(crate) fn input_gradient(self, dy: &Operand, weight: &Tensor, dx: &mut [f32], accumulate: Accumulate) {
        match dy {
            Operand::Matrix(dy) => {
                self.matmul(dy.matrix(), self.weight(weight).matrix(), dx, accumulate, None);
            }
            &Operand::Bytes { ref memory, shape } => {
                let dy = Left::of(memory, shape, block_of(shape[1]));
                bytes_by_weight(dy, matrix(weight), dx, accumulate, None);
            }
        }
    }

    /// `dw = dyᵀ · x`, or `dw += dyᵀ · x`.
    ///
    /// # Panics
    /// If one of the two is bytes and the other not.
    pub(crate) fn weight_gradient(self, dy: &Operand, x: &Operand, dw: &mut [f32], accumulate: Accumulate) {
        match (dy, x) {
            (Operand::Matrix(dy), Operand::Matrix(x)) => {
                self.matmul(dy.matrix().transposed(), x.matrix(), dw, accumulate, None);
            }
            (Operand::Bytes { memory: dy, shape }, Operand::Bytes { memory: x, shape: other }) => {
                let (dy, x) = (Left::of(dy, *shape, TOKENS), Right::of(x, *other, TOKENS));
                training::product(dy, x, dw, accumulate, None);
            }
            _ => panic!("a product of bytes with numbers that are none"),
        }
    }
}

fn bytes_by_weight(left: Left<'_>, weight: MatRef<'_>, out: &mut [f32], accumulate: Accumulate, bias: Option<&[f32]>) {
    let shape @ [depth, _] = <[usize; 2]>::from(weight.shape());
    let block = block_of(depth);
    let mut memory = Buffer::scratch(Right::floats(shape, block));
    training::product(left, Right::quantize(weight, block, &mut memory), out, accumulate, bias);
}
