//! Weights as the kernels want them.

use luban_kernels::Accumulate;
use luban_kernels::blocks::BlockFormat;
use luban_kernels::buffer::Buffer;
use luban_kernels::elementwise;
use luban_kernels::embedding;
use luban_kernels::matmul::{self, MatRef, Shape};
use luban_kernels::quantized::{self, Bf16Weight};
use luban_model::io::WeightData;

/// A weight of a [`super::ServingModel`].
#[derive(Debug)]
pub enum ServingWeight {
    /// A linear map.
    Matrix(Matrix),
    /// A table of rows to look up.
    Table(Table),
    /// A bias, or the scale of a norm.
    Vector(Vec<f32>),
}

/// A packed linear map.
#[derive(Debug)]
pub struct Matrix {
    /// Its place among the model's linear maps; a table that is a map too has none.
    place: Option<usize>,
    inputs: usize,
    outputs: usize,
    packed: Packed,
}

#[derive(Debug)]
enum Packed {
    F32(Buffer<f32>),
    Bf16(Bf16Weight),
    Bytes(quantized::Weight),
}

/// Rows to look up; where the head needs that, with the same values as a map from the width to a score for each row.
#[derive(Debug)]
pub struct Table {
    width: usize,
    /// The rows, unless the map gives them back exactly.
    rows: Option<Vec<f32>>,
    map: Option<Matrix>,
    is_map: bool,
}

impl ServingWeight {
    /// A linear map, with its place among the model's.
    pub(super) fn matrix(matrix: Matrix, place: usize) -> Self {
        Self::Matrix(Matrix { place: Some(place), ..matrix })
    }

    /// Keeps a table, packed where it is also a map, or takes less memory so.
    pub(super) fn table(data: WeightData, rows: usize, width: usize, is_map: bool) -> Self {
        Self::Table(match floats(data) {
            WeightData::F32(values) => {
                let map = is_map.then(|| Matrix::of_f32(&values, rows, width));
                Table { width, rows: Some(values), map, is_map }
            }
            data => Table { width, rows: None, map: Some(Matrix::pack(data, rows, width)), is_map },
        })
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Matrix(matrix) => matrix.bytes(),
            Self::Vector(values) => 4 * values.len(),
            Self::Table(table) => table.bytes(),
        };
        bytes as u64
    }

    /// Bytes that one step for one token reads: of a table one row, and all of its map.
    pub(super) fn step_bytes(&self) -> u64 {
        match self {
            Self::Table(table) => table.step_bytes() as u64,
            other => other.bytes(),
        }
    }

    /// The values of a vector.
    ///
    /// # Panics
    /// If it is none: the tree of weights and the forward do not agree.
    pub(super) fn vector(&self) -> &[f32] {
        match self {
            Self::Vector(values) => values,
            other => panic!("a vector was expected where there is {}", other.kind()),
        }
    }

    /// The map, of a matrix or a tied table.
    ///
    /// # Panics
    /// As [`Self::vector`].
    pub(super) fn map(&self) -> &Matrix {
        match self {
            Self::Matrix(matrix) | Self::Table(Table { map: Some(matrix), .. }) => matrix,
            other => panic!("a linear map was expected where there is {}", other.kind()),
        }
    }

    /// The rows of a table.
    ///
    /// # Panics
    /// As [`Self::vector`].
    pub(super) fn rows(&self) -> &Table {
        match self {
            Self::Table(table) => table,
            other => panic!("a table was expected where there is {}", other.kind()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Matrix(_) => "a linear map",
            Self::Table(_) => "a table",
            Self::Vector(_) => "a vector",
        }
    }
}

impl Matrix {
    /// Packs a matrix of outputs × inputs.
    pub(super) fn pack(data: WeightData, outputs: usize, inputs: usize) -> Self {
        let packed = match floats(data) {
            WeightData::I8 { values, scales } => {
                Packed::Bytes(quantized::Weight::from_rows(&values, &scales, [outputs, inputs]))
            }
            WeightData::Blocks { format: BlockFormat::Bf16, bytes } => {
                Packed::Bf16(Bf16Weight::from_bytes(&bytes, [outputs, inputs]))
            }
            WeightData::Blocks { format, bytes } => {
                Packed::Bytes(quantized::Weight::from_blocks(format, &bytes, [outputs, inputs]))
            }
            WeightData::F32(values) => return Self::of_f32(&values, outputs, inputs),
        };
        Self { place: None, inputs, outputs, packed }
    }

    fn of_f32(values: &[f32], outputs: usize, inputs: usize) -> Self {
        let mut packed = Buffer::zeroed(matmul::packed_len(inputs, outputs));
        matmul::pack(MatRef::row_major(values, outputs, inputs).transposed(), &mut packed);
        Self { place: None, inputs, outputs, packed: Packed::F32(packed) }
    }

    /// A map of bf16 weights, given as outputs × inputs.
    pub(super) fn of_bf16(bits: &[u16], [outputs, inputs]: [usize; 2]) -> Self {
        Self { place: None, inputs, outputs, packed: Packed::Bf16(Bf16Weight::pack(bits, [outputs, inputs])) }
    }

    /// A map of bytes.
    pub(super) fn of_bytes(weight: quantized::Weight) -> Self {
        Self { place: None, inputs: weight.inputs(), outputs: weight.outputs(), packed: Packed::Bytes(weight) }
    }

    /// Outputs of the map.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs of the map.
    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    /// Its place among the model's linear maps, if it is one of them.
    pub(super) fn place(&self) -> Option<usize> {
        self.place
    }

    /// The weights as bytes, where they are.
    pub(super) fn as_bytes(&self) -> Option<&quantized::Weight> {
        match &self.packed {
            Packed::Bytes(weight) => Some(weight),
            _ => None,
        }
    }

    /// `y = x · weight + bias`, row by row; `room` is for rows that become bytes on the way.
    pub(super) fn apply(&self, x: &[f32], room: &mut quantized::Rows, bias: Option<&[f32]>, y: &mut [f32]) {
        match &self.packed {
            Packed::F32(packed) => {
                let shape = Shape { rows: x.len() / self.inputs, inputs: self.inputs, outputs: self.outputs };
                matmul::matmul_packed(x, packed, shape, bias, y, Accumulate::Overwrite);
            }
            Packed::Bf16(weight) => weight.product(x, y, |_, columns, piece| {
                if let Some(bias) = bias {
                    elementwise::add_piece(piece, &bias[columns]);
                }
            }),
            Packed::Bytes(weight) => {
                room.quantize(x, self.inputs, weight.layout().block);
                quantized::products(room, &mut [quantized::Map { weight, bias, out: y }]);
            }
        }
    }

    /// The weights of one output.
    fn row(&self, output: usize, to: &mut [f32]) {
        match &self.packed {
            Packed::F32(_) => unreachable!("tables of f32 keep their rows"),
            Packed::Bf16(weight) => weight.dequantize(output, to),
            Packed::Bytes(weight) => weight.dequantize(output, to),
        }
    }

    fn bytes(&self) -> usize {
        match &self.packed {
            Packed::F32(packed) => 4 * packed.len(),
            Packed::Bf16(weight) => weight.bytes(),
            Packed::Bytes(weight) => weight.bytes(),
        }
    }
}

/// Floats that the kernels have no layout for as f32: those of half precision, whose range bf16 has not, or whose
/// precision.
fn floats(data: WeightData) -> WeightData {
    match data {
        WeightData::Blocks { format: BlockFormat::F16 | BlockFormat::F32, .. } => WeightData::F32(data.into_f32()),
        other => other,
    }
}

impl Table {
    /// Bytes that a step reads that looks one row up: of a map all, of other tables the row.
    fn step_bytes(&self) -> usize {
        match &self.map {
            Some(map) if self.is_map => map.bytes(),
            Some(map) => map.bytes() / map.outputs.max(1),
            None => 4 * self.width,
        }
    }

    /// Copies the rows of some ids.
    pub(super) fn gather(&self, ids: &[u32], out: &mut [f32]) {
        match (&self.rows, &self.map) {
            (Some(rows), _) => embedding::gather(rows, self.width, ids, out),
            (None, Some(map)) => {
                let rows = out.chunks_exact_mut(self.width).zip(ids);
                rows.for_each(|(to, &id)| map.row(id as usize, to));
            }
            (None, None) => unreachable!("a table has rows or a map"),
        }
    }

    fn bytes(&self) -> usize {
        let rows = self.rows.as_ref().map_or(0, |rows| 4 * rows.len());
        rows + self.map.as_ref().map_or(0, Matrix::bytes)
    }
}
