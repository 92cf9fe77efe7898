//! Writing GGUF files, version 3.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

use luban_kernels::blocks::BlockFormat;

use super::value::ValueKind;
use super::{ALIGNMENT, ALIGNMENT_KEY, ALIGNMENT_MAX, KEY_BYTES_MAX, MAGIC, NAME_BYTES_MAX, RANK_MAX, VERSIONS};
use crate::error::{Error, Result};

/// An entry of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    key: String,
    kind: ValueKind,
    bytes: Vec<u8>,
}

impl Entry {
    /// A value in the bytes that it has in the file.
    pub(super) fn raw(key: impl Into<String>, kind: ValueKind, bytes: Vec<u8>) -> Self {
        Self { key: key.into(), kind, bytes }
    }

    /// A whole number.
    pub fn u32(key: impl Into<String>, value: u32) -> Self {
        Self::raw(key, ValueKind::U32, value.to_le_bytes().into())
    }

    /// A number.
    pub fn f32(key: impl Into<String>, value: f32) -> Self {
        Self::raw(key, ValueKind::F32, value.to_le_bytes().into())
    }

    /// True or false.
    pub fn bool(key: impl Into<String>, value: bool) -> Self {
        Self::raw(key, ValueKind::Bool, vec![u8::from(value)])
    }

    /// A text.
    pub fn text(key: impl Into<String>, value: &str) -> Self {
        Self::raw(key, ValueKind::Text, text(value))
    }

    /// Texts.
    pub fn texts<T: AsRef<str>>(key: impl Into<String>, values: &[T]) -> Self {
        Self::array(key, ValueKind::Text, values.iter().map(|value| text(value.as_ref())))
    }

    /// Whole numbers with signs.
    pub fn i32s(key: impl Into<String>, values: &[i32]) -> Self {
        Self::array(key, ValueKind::I32, values.iter().map(|value| value.to_le_bytes()))
    }

    /// Numbers.
    pub fn f32s(key: impl Into<String>, values: &[f32]) -> Self {
        Self::array(key, ValueKind::F32, values.iter().map(|value| value.to_le_bytes()))
    }

    /// Truths.
    pub fn bools(key: impl Into<String>, values: &[bool]) -> Self {
        Self::array(key, ValueKind::Bool, values.iter().map(|&value| [u8::from(value)]))
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    fn array<T: AsRef<[u8]>>(key: impl Into<String>, kind: ValueKind, items: impl ExactSizeIterator<Item = T>) -> Self {
        let mut bytes = kind.id().to_le_bytes().to_vec();
        bytes.extend((items.len() as u64).to_le_bytes());
        items.for_each(|item| bytes.extend(item.as_ref()));
        Self::raw(key, ValueKind::Array, bytes)
    }
}

/// What a tensor is, without its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The format of its rows.
    pub format: BlockFormat,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor's name, format and shape.
    pub fn new(name: impl Into<String>, format: BlockFormat, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), format, shape: shape.into() }
    }

    /// Its length in bytes; `None` if that overflows or rows do not fill blocks.
    pub fn bytes(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
        let row = self.shape.last().copied().unwrap_or(1);
        row.is_multiple_of(self.format.block_len()).then(|| self.format.bytes_of(elements))?
    }

    /// Writes bytes of it.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn put(&self, out: &mut dyn Write, bytes: &[u8]) -> Result<()> {
        out.write_all(bytes).map_err(|error| write_error(self, &error))
    }

    fn error(&self, expected: impl ToString, got: impl ToString) -> Error {
        Error::Tensor { name: self.name.clone(), expected: expected.to_string(), got: got.to_string() }
    }
}

/// Writes a file: the metadata, and the tensors in the order given, for each of which `fill` is called to write its
/// bytes. Tensors begin on multiples of what the metadata say under [`ALIGNMENT_KEY`], or of [`ALIGNMENT`].
///
/// # Errors
/// Those of `fill`; if it writes more or fewer bytes than the shape says; if a key or a name comes twice or is too
/// long, or a shape or an alignment cannot be written; if the disk refuses.
pub fn write_streaming<E: From<Error>>(
    out: &mut dyn Write,
    metadata: &[Entry],
    specs: &[TensorSpec],
    mut fill: impl FnMut(&TensorSpec, &mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let alignment = alignment(metadata)?;
    TensorSpec::new("the header", BlockFormat::F32, []).put(out, &header(metadata, specs, alignment)?)?;
    for spec in specs {
        let mut counted = Counted { out, count: 0 };
        fill(spec, &mut counted)?;
        let (count, expected) = (counted.count, spec.bytes().unwrap_or(0));
        if count != expected {
            return Err(spec.error(format!("{expected} bytes"), format!("{count} bytes")).into());
        }
        spec.put(out, &padding(count, alignment))?;
    }
    Ok(())
}

/// What tensors begin on multiples of.
fn alignment(metadata: &[Entry]) -> Result<usize> {
    let Some(Entry { kind, bytes, .. }) = metadata.iter().find(|entry| entry.key == ALIGNMENT_KEY) else {
        return Ok(ALIGNMENT);
    };
    let number = bytes.as_slice().try_into().ok().filter(|_| *kind == ValueKind::U32).map(u32::from_le_bytes);
    let alignment = number.and_then(|number| usize::try_from(number).ok());
    alignment.filter(|alignment| alignment.is_power_of_two() && *alignment <= ALIGNMENT_MAX).ok_or_else(|| {
        let found = number.map_or_else(|| "another kind of value".to_owned(), |number| number.to_string());
        let expected = format!("a power of two up to {ALIGNMENT_MAX}");
        Error::corrupt(Path::new("the metadata to write"), ALIGNMENT_KEY, expected, found)
    })
}

fn header(metadata: &[Entry], specs: &[TensorSpec], alignment: usize) -> Result<Vec<u8>> {
    let mut header = MAGIC.to_vec();
    header.extend((VERSIONS.end - 1).to_le_bytes());
    header.extend((specs.len() as u64).to_le_bytes());
    header.extend((metadata.len() as u64).to_le_bytes());
    let mut keys = BTreeSet::new();
    for Entry { key, kind, bytes } in metadata {
        if key.len() > KEY_BYTES_MAX || !keys.insert(key) {
            let expected = format!("each key once and of at most {KEY_BYTES_MAX} bytes");
            return Err(Error::corrupt(Path::new("the metadata to write"), "a key", expected, format!("{key:?}")));
        }
        header.extend(text(key));
        header.extend(kind.id().to_le_bytes());
        header.extend(bytes);
    }
    let (mut names, mut start) = (BTreeSet::new(), 0_usize);
    for spec in specs {
        let shape = || format!("shape {:?}", spec.shape);
        if spec.name.len() > NAME_BYTES_MAX || spec.shape.len() > RANK_MAX || spec.shape.contains(&0) {
            let expected =
                format!("a name of at most {NAME_BYTES_MAX} bytes and at most {RANK_MAX} dimensions from 1 up");
            return Err(spec.error(expected, shape()));
        }
        if !names.insert(&spec.name) {
            return Err(spec.error("each name once", "it twice"));
        }
        header.extend(text(&spec.name));
        header.extend((spec.shape.len() as u32).to_le_bytes());
        spec.shape.iter().rev().for_each(|&size| header.extend((size as u64).to_le_bytes()));
        header.extend(spec.format.gguf_id().to_le_bytes());
        header.extend((start as u64).to_le_bytes());
        let end = spec.bytes().and_then(|bytes| start.checked_add(bytes)?.checked_next_multiple_of(alignment));
        start = end.ok_or_else(|| {
            let expected = format!("rows of a multiple of {} in {}", spec.format.block_len(), spec.format);
            spec.error(expected, shape())
        })?;
    }
    header.extend(padding(header.len(), alignment));
    Ok(header)
}

/// What stands between so many bytes and the next place where a tensor may begin.
fn padding(bytes: usize, alignment: usize) -> Vec<u8> {
    vec![0; bytes.next_multiple_of(alignment) - bytes]
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn write_error(spec: &TensorSpec, error: &io::Error) -> Error {
    spec.error("the disk to take it", error)
}

/// Counts what passes.
struct Counted<'a> {
    out: &'a mut dyn Write,
    count: usize,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.count += count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
