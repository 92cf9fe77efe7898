//! Weights as the kernels want them.

use luban_kernels::Accumulate;
use luban_kernels::buffer::Buffer;
use luban_kernels::embedding;
use luban_kernels::matmul::{self, MatRef, Shape};
use luban_model::io::WeightData;

/// A weight of a [`super::ServingModel`].
#[derive(Debug)]
pub enum ServingWeight {
    /// A linear map.
    Matrix(Matrix),
    /// A table of rows to look up; with the same values as a map to its rows, where the head needs that.
    Table {
        /// The rows.
        rows: Table,
        /// From the width to a score for each row.
        map: Option<Matrix>,
    },
    /// A bias, or the scale of a norm.
    Vector(Vec<f32>),
}

/// A packed linear map.
#[derive(Debug)]
pub struct Matrix {
    inputs: usize,
    outputs: usize,
    packed: Packed,
}

#[derive(Debug)]
enum Packed {
    F32(Buffer<f32>),
    I8 { values: Buffer<i8>, scales: Vec<f32> },
}

/// Rows to look up.
#[derive(Debug)]
pub struct Table {
    width: usize,
    values: Values,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    I8 { values: Vec<i8>, scales: Vec<f32> },
}

impl ServingWeight {
    /// Packs the matrix of a linear map, given as outputs × inputs.
    pub(super) fn matrix(data: WeightData, outputs: usize, inputs: usize) -> Self {
        Self::Matrix(Matrix::pack(&data, outputs, inputs))
    }

    /// Keeps a table as it is, and packs it too if it is also a map.
    pub(super) fn table(data: WeightData, rows: usize, width: usize, is_map: bool) -> Self {
        let map = is_map.then(|| Matrix::pack(&data, rows, width));
        let values = match data {
            WeightData::F32(values) => Values::F32(values),
            WeightData::I8 { values, scales } => Values::I8 { values, scales },
            blocks @ WeightData::Blocks { .. } => Values::F32(blocks.into_f32()),
        };
        Self::Table { rows: Table { width, values }, map }
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Matrix(matrix) => matrix.bytes(),
            Self::Vector(values) => 4 * values.len(),
            Self::Table { rows, map } => rows.bytes() + map.as_ref().map_or(0, Matrix::bytes),
        };
        bytes as u64
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
            Self::Matrix(matrix) => matrix,
            Self::Table { map: Some(map), .. } => map,
            other => panic!("a linear map was expected where there is {}", other.kind()),
        }
    }

    /// The rows of a table.
    ///
    /// # Panics
    /// As [`Self::vector`].
    pub(super) fn rows(&self) -> &Table {
        match self {
            Self::Table { rows, .. } => rows,
            other => panic!("a table was expected where there is {}", other.kind()),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Matrix(_) => "a linear map",
            Self::Table { .. } => "a table",
            Self::Vector(_) => "a vector",
        }
    }
}

impl Matrix {
    fn pack(data: &WeightData, outputs: usize, inputs: usize) -> Self {
        let packed = match data {
            WeightData::F32(values) => {
                let mut packed = Buffer::zeroed(matmul::packed_len(inputs, outputs));
                matmul::pack(MatRef::row_major(values, outputs, inputs).transposed(), &mut packed);
                Packed::F32(packed)
            }
            WeightData::I8 { values, scales } => {
                let mut packed = Buffer::zeroed(matmul::packed_i8_len(inputs, outputs));
                matmul::pack_i8(values, inputs, outputs, &mut packed);
                Packed::I8 { values: packed, scales: scales.clone() }
            }
            WeightData::Blocks { .. } => {
                return Self::pack(&WeightData::F32(data.clone().into_f32()), outputs, inputs);
            }
        };
        Self { inputs, outputs, packed }
    }

    /// Outputs of the map.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// y = x · weight + bias, row by row.
    pub(super) fn apply(&self, x: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let shape = Shape { rows: x.len() / self.inputs, inputs: self.inputs, outputs: self.outputs };
        match &self.packed {
            Packed::F32(packed) => matmul::matmul_packed(x, packed, shape, bias, y, Accumulate::Overwrite),
            Packed::I8 { values, scales } => matmul::matmul_packed_i8(x, values, scales, shape, bias, y),
        }
    }

    fn bytes(&self) -> usize {
        match &self.packed {
            Packed::F32(packed) => 4 * packed.len(),
            Packed::I8 { values, scales } => values.len() + 4 * scales.len(),
        }
    }
}

impl Table {
    /// Copies the rows of some ids.
    pub(super) fn gather(&self, ids: &[u32], out: &mut [f32]) {
        match &self.values {
            Values::F32(values) => embedding::gather(values, self.width, ids, out),
            Values::I8 { values, scales } => embedding::gather_i8(values, scales, ids, out),
        }
    }

    fn bytes(&self) -> usize {
        match &self.values {
            Values::F32(values) => 4 * values.len(),
            Values::I8 { values, scales } => values.len() + 4 * scales.len(),
        }
    }
}
