//! The GGUF format: metadata of a model and its tensors, quantized in blocks, in one file that can be mapped.
//!
//! Versions 2 and 3 are read, little-endian. A file is checked whole before anything of it is handed out: every count
//! and length against the bytes that are left (by checked arithmetic), keys and names against doubles, each tensor's
//! shape and type against its place, and places against one another. Nothing is copied but names and places: values
//! of the metadata are read out of the map when they are asked for. Format:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//!
//! ```
//! # fn main() -> luban_artifact::Result<()> {
//! use luban_artifact::gguf::{Entry, Gguf, TensorSpec, write_streaming};
//! use luban_kernels::blocks::BlockFormat;
//! let mut file = Vec::new();
//! let entries = [Entry::text("general.architecture", "llama")];
//! let tensors = [TensorSpec::new("scale", BlockFormat::F32, [1])];
//! write_streaming(&mut file, &entries, &tensors, |spec, out| spec.put(out, &1.5_f32.to_le_bytes()))?;
//! let gguf = Gguf::open(file.into())?;
//! assert_eq!(gguf.text("general.architecture")?, "llama");
//! assert_eq!(gguf.tensor("scale")?.to_f32(), [1.5]);
//! # Ok(())
//! # }
//! ```

mod cursor;
mod header;
mod value;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use luban_kernels::blocks::{self, BlockFormat};
pub use value::{Array, Value, ValueKind};
pub use write::{Entry, TensorSpec, write_streaming};

use crate::error::{Error, Result};
use crate::mapped::{Mapped, Piece};

/// What a file begins with.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// The versions that are read; the last is written.
pub const VERSIONS: Range<u32> = 2..4;
/// Most entries of the metadata.
pub const ENTRIES_MAX: u64 = 1 << 16;
/// Most tensors.
pub const TENSORS_MAX: u64 = 1 << 16;
/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 65_535;
/// The longest name of a tensor, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// The most dimensions of a tensor.
pub const RANK_MAX: usize = 4;
/// How deep arrays may lie in arrays.
pub const DEPTH_MAX: usize = 4;
/// Where tensors begin on multiples of, unless [`ALIGNMENT_KEY`] says otherwise.
pub const ALIGNMENT: usize = 32;
/// The coarsest alignment that is read.
pub const ALIGNMENT_MAX: usize = 1 << 20;
/// The entry that says what tensors are aligned to.
pub const ALIGNMENT_KEY: &str = "general.alignment";

/// The metadata and the tensors of one file.
#[derive(Clone, Debug)]
pub struct Gguf {
    bytes: Mapped,
    path: PathBuf,
    version: u32,
    metadata: BTreeMap<String, Stored>,
    tensors: BTreeMap<String, Place>,
}

/// Where a value lies in its file.
#[derive(Clone, Debug)]
struct Stored {
    kind: ValueKind,
    range: Range<usize>,
}

/// Where a tensor lies in its file.
#[derive(Clone, Debug)]
struct Place {
    format: BlockFormat,
    /// Outermost first.
    shape: Vec<usize>,
    range: Range<usize>,
}

/// A tensor in the file's own bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorView<'a> {
    /// The format of its rows.
    pub format: BlockFormat,
    /// Its dimensions, outermost first (the file has them innermost first).
    pub shape: &'a [usize],
    /// Its bytes, row after row.
    pub data: &'a [u8],
}

impl Gguf {
    /// Checks a file in memory or mapped, and finds what is in it.
    ///
    /// # Errors
    /// If it is not a whole and consistent GGUF file of a version and with types that this program reads.
    pub fn open(bytes: Mapped) -> Result<Self> {
        Self::open_named(bytes, Path::new("model.gguf"))
    }

    /// Like [`Gguf::open`]; errors name the path.
    ///
    /// # Errors
    /// Those of [`Gguf::open`].
    pub fn open_named(bytes: Mapped, path: &Path) -> Result<Self> {
        let header::Header { version, metadata, tensors } = header::read(&bytes, path)?;
        Ok(Self { bytes, path: path.to_owned(), version, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The metadata's keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.metadata.keys().map(String::as_str)
    }

    /// A value of the metadata.
    pub fn get(&self, key: &str) -> Option<Value<'_>> {
        let stored = self.metadata.get(key)?;
        // Everything was walked through when the file was opened.
        Value::at(stored.kind, self.bytes.get(stored.range.clone())?)
    }

    /// A value as it stands in the file, to be written into another.
    pub fn entry(&self, key: &str) -> Option<Entry> {
        let stored = self.metadata.get(key)?;
        Some(Entry::raw(key, stored.kind, self.bytes.get(stored.range.clone())?.to_vec()))
    }

    /// A text of the metadata.
    ///
    /// # Errors
    /// If there is none, or it is not a text.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.get(key).and_then(Value::as_text).ok_or_else(|| self.wrong(key, "a text"))
    }

    /// A whole number of the metadata, of any width, from 0 up.
    ///
    /// # Errors
    /// If there is none, or it is something else.
    pub fn count(&self, key: &str) -> Result<u64> {
        self.get(key).and_then(Value::as_u64).ok_or_else(|| self.wrong(key, "a whole number from 0 up"))
    }

    /// A number of the metadata.
    ///
    /// # Errors
    /// If there is none, or it is something else.
    pub fn number(&self, key: &str) -> Result<f64> {
        self.get(key).and_then(Value::as_f64).ok_or_else(|| self.wrong(key, "a number"))
    }

    /// An error that says what was expected of an entry, and what is there.
    pub fn wrong(&self, key: &str, expected: impl ToString) -> Error {
        let found = self.get(key).map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        Error::corrupt(&self.path, format!("{key} in the metadata"), expected, found)
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

    /// A tensor.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        let missing = || Error::corrupt(&self.path, "its tensors", format!("one named {name:?}"), "none");
        let place = self.tensors.get(name).ok_or_else(missing)?;
        let data = self.bytes.get(place.range.clone()).ok_or_else(missing)?;
        Ok(TensorView { format: place.format, shape: &place.shape, data })
    }

    /// A tensor's bytes, whose memory is given back when they are dropped.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn piece(&self, name: &str) -> Result<Piece> {
        let piece = self.tensors.get(name).and_then(|place| self.bytes.piece(place.range.clone()));
        piece.ok_or_else(|| Error::corrupt(&self.path, "its tensors", format!("one named {name:?}"), "none"))
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.values().map(|place| place.range.len() as u64).sum()
    }
}

impl TensorView<'_> {
    /// The elements as `f32`, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.elements()];
        blocks::dequantize(self.format, self.data, &mut out);
        out
    }

    /// How many elements there are.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}
