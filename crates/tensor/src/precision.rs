//! What the matrix products of a computation round their factors to.
//!
//! Parameters, activations, gradients and moments are f32 in every precision, and every sum is: what differs is what a
//! product sees (Micikevicius et al. 2018). In fp8 and int8 the product with the vocabulary stays bf16, as in the
//! published recipes; embeddings, norms and attention are f32 in every precision.

use std::ops::Range;
use std::sync::Arc;

use luban_kernels::formats::{self, E4M3, E5M2, Format, Tile};
use luban_kernels::matmul::{self, Accumulate, MatRef};
use luban_kernels::{bf16, cpu, elementwise};
use serde::{Deserialize, Serialize};

use crate::storage::{Buffer, Tensor};

/// What the matrix products round their factors to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// Nothing is rounded.
    #[default]
    F32,
    /// bf16: the exponent of f32, 8 bits of precision.
    Bf16,
    /// IEEE half: 5 bits of exponent, 11 of precision. Small gradients need a loss that is scaled up.
    Fp16,
    /// fp8, E4M3 for weights and activations and E5M2 for gradients, with a scale for each block: 128 numbers along
    /// the sum of activations and gradients, 128 × 128 of weights (DeepSeek-V3 2024).
    Fp8,
    /// As [`Precision::Fp8`], with one scale for a whole tensor (Micikevicius et al. 2022).
    Fp8Tensor,
    /// 8-bit integers with a scale for each block of 128 numbers along the sum, of 64 tokens where it runs over tokens; of
    /// weights, activations and gradients alike (as in Xi et al. 2024, "Jetfire").
    Int8,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 6] = [Self::F32, Self::Bf16, Self::Fp16, Self::Fp8, Self::Fp8Tensor, Self::Int8];

    /// The fastest whose results are as good: bf16 where the machine has fast instructions for it.
    pub fn of_this_machine() -> Self {
        if cpu::bf16_pairs_are_fast() { Self::Bf16 } else { Self::F32 }
    }

    /// The fastest of all, though its results be a little worse: int8 where the machine has instructions for it.
    pub fn fastest() -> Self {
        if cpu::bytes_are_fast() { Self::Int8 } else { Self::of_this_machine() }
    }

    /// What options call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Fp8 => "fp8",
            Self::Fp8Tensor => "fp8-tensor",
            Self::Int8 => "int8",
        }
    }

    /// Whether its range is so small that the loss must be scaled, lest gradients vanish. fp8 scales its tensors
    /// instead.
    pub fn scales_loss(self) -> bool {
        self == Self::Fp16
    }

    /// What the product with the vocabulary rounds to: a byte is too coarse for it.
    pub(crate) fn of_head(self) -> Self {
        if matches!(self, Self::Fp8 | Self::Fp8Tensor | Self::Int8) { Self::Bf16 } else { self }
    }

    /// Activations (rows × inputs) as a factor of several products whose sums run along the rows. In int8 nothing is
    /// rounded here: its products take an [`Operand`](crate::product::Operand).
    pub(crate) fn factor(self, tensor: &Tensor) -> Factor {
        match self {
            Self::F32 | Self::Int8 => Factor::F32(tensor.clone()),
            Self::Fp16 => fp16(tensor),
            Self::Fp8 => fp8(tensor, tensor.columns(), E4M3, Tile::Row),
            Self::Fp8Tensor => fp8(tensor, tensor.columns(), E4M3, Tile::Whole),
            Self::Bf16 => {
                let mut memory = Buffer::scratch(tensor.len().div_ceil(2));
                bf16::round(tensor, &mut bf16::of_floats_mut(&mut memory)[..tensor.len()]);
                Factor::Bf16 { memory, rows: tensor.rows(), columns: tensor.columns() }
            }
        }
    }

    /// A weight as a factor; in bf16 it is rounded on its way into the product.
    pub(crate) fn weight(self, tensor: &Tensor) -> Factor {
        match self {
            Self::F32 | Self::Bf16 | Self::Int8 => Factor::F32(tensor.clone()),
            Self::Fp16 => fp16(tensor),
            Self::Fp8 => fp8(tensor, tensor.columns(), E4M3, Tile::Square),
            Self::Fp8Tensor => fp8(tensor, tensor.columns(), E4M3, Tile::Whole),
        }
    }

    /// What [`Precision::factor`] gave, for sums that run over the rows: blocks of fp8 are rounded anew along them.
    pub(crate) fn across(self, factor: Factor) -> Factor {
        match (self, factor) {
            (Self::Fp8, Factor::Bf16 { memory, rows, columns }) => {
                fp8(&bf16::of_floats(&memory)[..rows * columns], columns, E4M3, Tile::Column)
            }
            (_, factor) => factor,
        }
    }

    /// A gradient for sums over its rows, where that differs from [`Precision::gradient`].
    pub(crate) fn gradient_across(self, gradient: &[f32], columns: usize) -> Option<Factor> {
        (self == Self::Fp8).then(|| fp8(gradient, columns, E5M2, Tile::Column))
    }

    /// Rounds a gradient where it lies, unless the product does so.
    pub(crate) fn round_gradient(self, gradient: &mut [f32]) {
        if self == Self::Fp16 {
            formats::round_fp16_in_place(gradient);
        }
    }

    /// Rows of a gradient as a factor of several products; adds the rows to `sums`, where they are wanted.
    pub(crate) fn gradient(self, gradient: Arc<Buffer>, columns: usize, sums: Option<&mut [f32]>) -> Factor {
        let (rows, length) = (gradient.len() / columns.max(1), gradient.len());
        match self {
            Self::F32 | Self::Fp16 | Self::Fp8 | Self::Fp8Tensor | Self::Int8 => {
                if let Some(sums) = sums {
                    elementwise::column_sums(&gradient, sums);
                }
                match self {
                    Self::Fp8 => fp8(&gradient, columns, E5M2, Tile::Row),
                    Self::Fp8Tensor => fp8(&gradient, columns, E5M2, Tile::Whole),
                    Self::Fp16 => fp16(&Tensor::from_shared(&[rows, columns], gradient)),
                    _ => Factor::F32(Tensor::from_shared(&[rows, columns], gradient)),
                }
            }
            Self::Bf16 => {
                let mut memory = Buffer::scratch(length.div_ceil(2));
                let rounded = &mut bf16::of_floats_mut(&mut memory)[..length];
                match sums {
                    Some(sums) => bf16::round_and_sum(&gradient, rounded, sums),
                    None => bf16::round(&gradient, rounded),
                }
                Factor::Bf16 { memory, rows, columns }
            }
        }
    }

    /// `c = a b`, or `c += a b`, and a bias.
    pub(crate) fn matmul(
        self,
        a: Matrix<'_>,
        b: Matrix<'_>,
        c: &mut [f32],
        accumulate: Accumulate,
        bias: Option<&[f32]>,
    ) {
        use matmul::matmul_bf16;
        match (a, b) {
            (Matrix::F32(a), Matrix::F32(b)) => match self {
                Self::F32 | Self::Fp16 | Self::Int8 => matmul::matmul_bias(a, b, c, accumulate, bias),
                Self::Bf16 | Self::Fp8 | Self::Fp8Tensor => matmul_bf16(a, b, c, accumulate, bias),
            },
            (Matrix::F32(a), Matrix::Bf16(b)) => matmul_bf16(a, b, c, accumulate, bias),
            (Matrix::Bf16(a), Matrix::F32(b)) => matmul_bf16(a, b, c, accumulate, bias),
            (Matrix::Bf16(a), Matrix::Bf16(b)) => matmul_bf16(a, b, c, accumulate, bias),
        }
    }
}

fn fp16(tensor: &Tensor) -> Factor {
    let mut rounded = Buffer::scratch(tensor.len());
    formats::round_fp16(tensor, &mut rounded);
    Factor::F32(Tensor::from_buffer(tensor.shape(), rounded))
}

/// fp8 numbers times their scales, which bf16 holds exactly.
fn fp8<T: formats::Wide>(numbers: &[T], columns: usize, format: Format, tile: Tile) -> Factor {
    let mut memory = Buffer::scratch(numbers.len().div_ceil(2));
    formats::quantize_fp8(numbers, columns, format, tile, &mut bf16::of_floats_mut(&mut memory)[..numbers.len()]);
    Factor::Bf16 { memory, rows: numbers.len() / columns.max(1), columns }
}

/// A factor of several products, rounded once for all of them.
#[derive(Debug)]
pub(crate) enum Factor {
    F32(Tensor),
    /// Row after row, two numbers in the memory of an f32.
    Bf16 {
        memory: Buffer,
        rows: usize,
        columns: usize,
    },
}

impl Factor {
    /// The view for a product.
    pub(crate) fn matrix(&self) -> Matrix<'_> {
        match self {
            Self::F32(tensor) => Matrix::F32(MatRef::row_major(tensor, tensor.rows(), tensor.columns())),
            &Self::Bf16 { ref memory, rows, columns } => {
                Matrix::Bf16(MatRef::row_major(&bf16::of_floats(memory)[..rows * columns], rows, columns))
            }
        }
    }
}

/// A view of a factor.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Matrix<'a> {
    F32(MatRef<'a>),
    Bf16(MatRef<'a, u16>),
}

impl<'a> Matrix<'a> {
    /// Rows and columns.
    pub(crate) fn shape(self) -> (usize, usize) {
        match self {
            Self::F32(matrix) => matrix.shape(),
            Self::Bf16(matrix) => matrix.shape(),
        }
    }

    /// The transposed view.
    pub(crate) fn transposed(self) -> Self {
        match self {
            Self::F32(matrix) => Self::F32(matrix.transposed()),
            Self::Bf16(matrix) => Self::Bf16(matrix.transposed()),
        }
    }

    /// The view of some rows.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(matrix) => Self::F32(matrix.rows(range)),
            Self::Bf16(matrix) => Self::Bf16(matrix.rows(range)),
        }
    }
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| format!("{name:?} is no precision; there are: {}", known()))
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
