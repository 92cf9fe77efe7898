//! The safetensors format: named tensors in one file, after a JSON header that says where each lies.
//!
//! A file is checked whole before any tensor of it is handed out: the header's length and form, every shape times its
//! type's size against its bytes (by checked arithmetic), the tensors' places without overlap or hole, and their sum
//! against the file's length to the byte. Format: <https://github.com/huggingface/safetensors>.
//!
//! ```
//! # fn main() -> luban_artifact::Result<()> {
//! use luban_artifact::safetensors::{Dtype, Weights, write};
//! let mut file = Vec::new();
//! let bytes = 1.5_f32.to_le_bytes();
//! write(&mut file, &[("scale".to_owned(), Dtype::F32, vec![1], &bytes)], &[("format", "pt")])?;
//! let weights = Weights::open(file.into())?;
//! assert_eq!(weights.to_f32("scale")?, [1.5]);
//! # Ok(())
//! # }
//! ```

mod header;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

pub use ::safetensors::Dtype;
pub use luban_kernels::blocks::f16_to_f32;
pub use write::{TensorSpec, write, write_f32, write_streaming};

use crate::error::{Error, Result};
use crate::mapped::Mapped;

/// The longest header that is read: room for about 80,000 tensors.
pub const HEADER_BYTES_MAX: u64 = 8 << 20;
/// The most dimensions of a tensor.
pub const RANK_MAX: usize = 8;
/// The longest name of a tensor, in bytes.
pub const NAME_BYTES_MAX: usize = 512;

/// The tensors of one file.
#[derive(Clone, Debug)]
pub struct Weights {
    bytes: Mapped,
    path: PathBuf,
    tensors: BTreeMap<String, Place>,
    metadata: BTreeMap<String, String>,
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug)]
struct Place {
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// A tensor in the file's own bytes: little-endian, row-major, not necessarily aligned in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: &'a [usize],
    /// Its bytes.
    pub data: &'a [u8],
}

impl Weights {
    /// Checks a file in memory or mapped, and finds its tensors.
    ///
    /// # Errors
    /// If it is not a whole and consistent safetensors file.
    pub fn open(bytes: Mapped) -> Result<Self> {
        Self::open_named(bytes, Path::new("model.safetensors"))
    }

    /// Like [`Weights::open`]; errors name the path.
    ///
    /// # Errors
    /// If it is not a whole and consistent safetensors file.
    pub fn open_named(bytes: Mapped, path: &Path) -> Result<Self> {
        let (tensors, metadata) = header::read(&bytes, path)?;
        Ok(Self { bytes, path: path.to_owned(), tensors, metadata })
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// The header's free text entries.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// A tensor.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let missing = || Error::corrupt(&self.path, "its tensors", format!("one named {name:?}"), "none");
        let place = self.tensors.get(name).ok_or_else(missing)?;
        let data = self.bytes.get(place.range.clone()).ok_or_else(missing)?;
        Ok(TensorView { dtype: place.dtype, shape: &place.shape, data })
    }

    /// Gives the memory back that a tensor of a mapped file takes; it is read again when it is looked at again.
    pub fn release(&self, name: &str) {
        if let Some(place) = self.tensors.get(name) {
            self.bytes.release(place.range.clone());
        }
    }

    /// A tensor's elements as `f32`, row-major. `F16` and `BF16` are widened, which loses nothing.
    ///
    /// # Errors
    /// If there is no such tensor or it is of another type.
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        let view = self.tensor(name)?;
        view.to_f32().ok_or_else(|| Error::Unsupported {
            path: self.path.clone(),
            what: "a tensor's type",
            expected: "F32, F16 or BF16".to_owned(),
            found: format!("{} in {name:?}", view.dtype),
        })
    }
}

impl TensorView<'_> {
    /// The elements as `f32`; `None` if they are not `F32`, `F16` or `BF16`.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let halves = || self.data.as_chunks::<2>().0.iter().map(|&bytes| u16::from_le_bytes(bytes));
        match self.dtype {
            Dtype::F32 => Some(self.data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()),
            Dtype::BF16 => Some(halves().map(|half| f32::from_bits(u32::from(half) << 16)).collect()),
            Dtype::F16 => Some(halves().map(f16_to_f32).collect()),
            _ => None,
        }
    }

    /// The elements as `i8`; `None` if they are of another type.
    pub fn to_i8(&self) -> Option<Vec<i8>> {
        (self.dtype == Dtype::I8).then(|| self.data.iter().map(|&byte| byte as i8).collect())
    }

    /// How many elements there are.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}
