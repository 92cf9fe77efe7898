//! Writing safetensors files that every other program reads.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{Dtype, HEADER_BYTES_MAX, NAME_BYTES_MAX, RANK_MAX};
use crate::error::{Error, Result};

const ALIGN_BYTES: usize = 8;
const CHUNK: usize = 4096;

/// What a tensor is, without its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor's name, type and shape.
    pub fn new(name: impl Into<String>, dtype: Dtype, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }

    /// Its length in bytes; `None` if that overflows or does not end at a whole byte.
    pub fn bytes(&self) -> Option<usize> {
        let elements = self.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
        let bits = elements.checked_mul(self.dtype.bitsize())?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    fn error(&self, expected: impl ToString, got: impl ToString) -> Error {
        Error::Tensor { name: self.name.clone(), expected: expected.to_string(), got: got.to_string() }
    }
}

/// Writes tensors (name, type, shape, little-endian row-major bytes) as a safetensors file, with text entries in its
/// header (`("format", "pt")` is what `transformers` looks for).
///
/// Tensors stand in the file by the size of their type, then by name, so that each is aligned.
///
/// # Errors
/// If a tensor's bytes are not as many as its shape says, a name comes twice, or the disk refuses.
pub fn write(
    out: &mut dyn Write,
    tensors: &[(String, Dtype, Vec<usize>, &[u8])],
    metadata: &[(&str, &str)],
) -> Result<()> {
    let mut sorted: Vec<_> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let specs: Vec<_> = sorted.iter().map(|t| TensorSpec::new(t.0.clone(), t.1, t.2.clone())).collect();
    write_streaming(out, &specs, metadata, |spec, out| {
        let found = sorted.binary_search_by(|tensor| tensor.0.as_str().cmp(&spec.name));
        let data = found.map_or(&[][..], |at| sorted[at].3);
        out.write_all(data).map_err(|error| write_error(spec, &error))
    })
}

/// Like [`write`], for tensors that do not lie in memory: `fill` is called for each, in the file's order, and writes
/// its bytes.
///
/// # Errors
/// Those of `fill`; if it writes more or fewer bytes than the shape says; if the list cannot be a file.
pub fn write_streaming(
    out: &mut dyn Write,
    specs: &[TensorSpec],
    metadata: &[(&str, &str)],
    mut fill: impl FnMut(&TensorSpec, &mut dyn Write) -> Result<()>,
) -> Result<()> {
    let mut ordered: Vec<&TensorSpec> = specs.iter().collect();
    ordered.sort_by(|a, b| b.dtype.bitsize().cmp(&a.dtype.bitsize()).then_with(|| a.name.cmp(&b.name)));
    let header = header(&ordered, metadata)?;
    let prefix = (header.len() as u64).to_le_bytes();
    let whole = TensorSpec::new("the header", Dtype::U8, []);
    out.write_all(&prefix).and_then(|()| out.write_all(&header)).map_err(|error| write_error(&whole, &error))?;
    for spec in ordered {
        let mut counted = Counted { out, count: 0 };
        fill(spec, &mut counted)?;
        let expected = spec.bytes().unwrap_or(0);
        if counted.count != expected {
            return Err(spec.error(format!("{expected} bytes"), format!("{} bytes", counted.count)));
        }
    }
    Ok(())
}

/// Writes `f32` elements in the file's byte order.
///
/// # Errors
/// Those of the writer.
pub fn write_f32(out: &mut dyn Write, elements: &[f32]) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(4 * CHUNK);
    for chunk in elements.chunks(CHUNK) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|element| element.to_le_bytes()));
        out.write_all(&bytes)?;
    }
    Ok(())
}

fn header(ordered: &[&TensorSpec], metadata: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut fields = Map::new();
    if !metadata.is_empty() {
        let entries = metadata.iter().map(|&(key, value)| (key.to_owned(), Value::from(value)));
        fields.insert("__metadata__".to_owned(), Value::Object(entries.collect()));
    }
    let mut start = 0_usize;
    for spec in ordered {
        if spec.name.len() > NAME_BYTES_MAX || spec.shape.len() > RANK_MAX || spec.name == "__metadata__" {
            let expected = format!("a name of at most {NAME_BYTES_MAX} bytes and at most {RANK_MAX} dimensions");
            return Err(spec.error(expected, format!("shape {:?}", spec.shape)));
        }
        let end = spec.bytes().and_then(|bytes| start.checked_add(bytes));
        let end = end.ok_or_else(|| spec.error("a size that can be counted", format!("shape {:?}", spec.shape)))?;
        let entry = json!({"dtype": spec.dtype, "shape": spec.shape, "data_offsets": [start, end]});
        if fields.insert(spec.name.clone(), entry).is_some() {
            return Err(spec.error("each name once", "it twice"));
        }
        start = end;
    }
    let mut header = Value::Object(fields).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(ALIGN_BYTES), b' ');
    if header.len() as u64 > HEADER_BYTES_MAX {
        let whole = TensorSpec::new("the header", Dtype::U8, []);
        return Err(whole.error(format!("at most {HEADER_BYTES_MAX} bytes"), header.len()));
    }
    Ok(header)
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
