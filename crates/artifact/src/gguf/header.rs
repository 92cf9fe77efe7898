//! The part of a file before its tensors.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use luban_kernels::blocks::BlockFormat;

use super::cursor::Cursor;
use super::{
    ALIGNMENT, ALIGNMENT_KEY, ALIGNMENT_MAX, ENTRIES_MAX, KEY_BYTES_MAX, MAGIC, NAME_BYTES_MAX, Place, RANK_MAX,
    Stored, TENSORS_MAX, VERSIONS, Value, ValueKind, value,
};
use crate::error::{Error, Result};

/// The least bytes of an entry: key, type and a value of one byte.
const ENTRY_BYTES_MIN: u64 = 8 + 4 + 1;
/// The least bytes of what is said of a tensor: name, rank, type and place.
const TENSOR_BYTES_MIN: u64 = 8 + 4 + 4 + 8;

pub(super) struct Header {
    pub version: u32,
    pub metadata: BTreeMap<String, Stored>,
    pub tensors: BTreeMap<String, Place>,
}

pub(super) fn read(bytes: &[u8], path: &Path) -> Result<Header> {
    let mut cursor = Cursor { bytes, at: 0, path };
    let version = version(&mut cursor)?;
    let tensor_count = count(&mut cursor, "the number of tensors", TENSORS_MAX, TENSOR_BYTES_MIN)?;
    let entry_count = count(&mut cursor, "the number of metadata entries", ENTRIES_MAX, ENTRY_BYTES_MIN)?;
    let mut metadata = BTreeMap::new();
    for _ in 0..entry_count {
        let at = cursor.at;
        let key = cursor.text(KEY_BYTES_MAX, "a metadata key")?;
        let kind = ValueKind::read(&mut cursor)?;
        let start = cursor.at;
        value::skip(&mut cursor, kind, 0)?;
        if metadata.insert(key.to_owned(), Stored { kind, range: start..cursor.at }).is_some() {
            return Err(cursor.error(at, "a metadata key", "each key once", format!("{key:?} twice")));
        }
    }
    let alignment = alignment(&cursor, metadata.get(ALIGNMENT_KEY))?;
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let at = cursor.at;
        let (name, place) = tensor(&mut cursor, alignment)?;
        if tensors.insert(name.to_owned(), place).is_some() {
            return Err(cursor.error(at, "a tensor's name", "each name once", format!("{name:?} twice")));
        }
    }
    if !tensors.is_empty() {
        let start = cursor.at.checked_next_multiple_of(alignment).filter(|&start| start <= bytes.len());
        let start =
            start.ok_or_else(|| cursor.error(cursor.at, "the end of the header", "padding", "the file's end"))?;
        settle(&mut tensors, start, bytes.len(), path)?;
    }
    Ok(Header { version, metadata, tensors })
}

fn version(cursor: &mut Cursor<'_>) -> Result<u32> {
    let magic: [u8; 4] = cursor.array("the first four bytes")?;
    if magic != MAGIC {
        return Err(cursor.error(
            0,
            "the first four bytes",
            "\"GGUF\"",
            format!("{:?}", magic.escape_ascii().to_string()),
        ));
    }
    let version = cursor.u32("the version")?;
    if VERSIONS.contains(&version) {
        return Ok(version);
    }
    let found = match VERSIONS.contains(&version.swap_bytes()) {
        true => "a big-endian file".to_owned(),
        false => format!("version {version}"),
    };
    let expected = "version 2 or 3, little-endian".to_owned();
    Err(Error::Unsupported { path: cursor.path.to_owned(), what: "this GGUF file", expected, found })
}

/// A count of things of which each takes so many bytes at least.
fn count(cursor: &mut Cursor<'_>, what: &str, most: u64, bytes_min: u64) -> Result<u64> {
    let at = cursor.at;
    let count = cursor.u64(what)?;
    let rest = (cursor.bytes.len() - cursor.at) as u64;
    let most = most.min(rest / bytes_min);
    if count > most {
        return Err(cursor.error(at, what, format!("at most {most} in a file of this length"), count));
    }
    Ok(count)
}

fn alignment(cursor: &Cursor<'_>, stored: Option<&Stored>) -> Result<usize> {
    let Some(Stored { kind, range }) = stored else { return Ok(ALIGNMENT) };
    let value = Value::at(*kind, &cursor.bytes[range.clone()]);
    let found = value.and_then(Value::as_u64).and_then(|alignment| usize::try_from(alignment).ok());
    found.filter(|alignment| alignment.is_power_of_two() && *alignment <= ALIGNMENT_MAX).ok_or_else(|| {
        let found = value.map_or_else(String::new, |value| value.to_string());
        let expected = format!("a power of two up to {ALIGNMENT_MAX}");
        cursor.error(range.start, ALIGNMENT_KEY, expected, found)
    })
}

/// What is said of one tensor; its range counts from where tensors begin.
fn tensor<'a>(cursor: &mut Cursor<'a>, alignment: usize) -> Result<(&'a str, Place)> {
    let name = cursor.text(NAME_BYTES_MAX, "a tensor's name")?;
    let wrong = |what: &str, expected: String, found: String| {
        Error::corrupt(cursor.path, format!("the {what} of tensor {name:?}"), expected, found)
    };
    let mut cursor_after = *cursor;
    let rank = cursor_after.u32("a tensor's rank")?;
    if rank as usize > RANK_MAX {
        return Err(wrong("number of dimensions", format!("at most {RANK_MAX}"), rank.to_string()));
    }
    let mut shape = Vec::with_capacity(rank as usize);
    for _ in 0..rank {
        let size = cursor_after.u64("a tensor's dimension")?;
        let bounded = usize::try_from(size).ok().filter(|&size| size > 0 && size <= isize::MAX as usize);
        shape.push(bounded.ok_or_else(|| wrong("dimensions", "sizes from 1 up".into(), size.to_string()))?);
    }
    let id = cursor_after.u32("a tensor's type")?;
    let format = BlockFormat::from_gguf_id(id).ok_or_else(|| Error::Unsupported {
        path: cursor.path.to_owned(),
        what: "a tensor's type",
        expected: BlockFormat::ALL.map(BlockFormat::name).join(", "),
        found: format!("type {id} in {name:?}"),
    })?;
    let row = shape.first().copied().unwrap_or(1);
    if !row.is_multiple_of(format.block_len()) {
        let expected = format!("rows of a multiple of {} for {format}", format.block_len());
        return Err(wrong("shape", expected, format!("rows of {row}")));
    }
    let elements = shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    let bytes = elements.and_then(|elements| format.bytes_of(elements));
    let offset = cursor_after.u64("a tensor's place")?;
    let start = usize::try_from(offset).ok().filter(|start| start.is_multiple_of(alignment));
    let start = start.ok_or_else(|| wrong("place", format!("a multiple of {alignment}"), offset.to_string()))?;
    let end = bytes.and_then(|bytes| start.checked_add(bytes));
    let end = end.ok_or_else(|| wrong("size", "one that can be counted".into(), format!("{shape:?}")))?;
    shape.reverse();
    *cursor = cursor_after;
    Ok((name, Place { format, shape, range: start..end }))
}

/// Moves ranges to where tensors begin in the file, and checks that they end within it and do not overlap.
fn settle(tensors: &mut BTreeMap<String, Place>, first: usize, end: usize, path: &Path) -> Result<()> {
    for (name, place) in tensors.iter_mut() {
        let moved = |at: usize| at.checked_add(first).filter(|&at| at <= end);
        let range = moved(place.range.start).zip(moved(place.range.end));
        let Some((from, to)) = range else {
            let expected = format!("it to end by byte {}, where the file does", end - first);
            let what = format!("the place of tensor {name:?}");
            return Err(Error::corrupt(path, what, expected, format!("bytes {:?}", place.range)));
        };
        place.range = from..to;
    }
    let mut places: Vec<(&Range<usize>, &String)> = tensors.iter().map(|(name, place)| (&place.range, name)).collect();
    places.sort_by_key(|(range, _)| (range.start, range.end));
    for pair in places.windows(2) {
        let [(before, first), (after, second)] = pair else { continue };
        if before.end > after.start {
            let found = format!("{first:?} and {second:?} at bytes {before:?} and {after:?}");
            return Err(Error::corrupt(path, "its tensors", "tensors that do not overlap", found));
        }
    }
    Ok(())
}
