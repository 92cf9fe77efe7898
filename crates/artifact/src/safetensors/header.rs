//! The header of a safetensors file: read with a bound on everything, then checked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ::safetensors::tensor::{Metadata, TensorInfo};
use luban_base::fault::{self, Guard};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Dtype, HEADER_BYTES_MAX, NAME_BYTES_MAX, Place, RANK_MAX};
use crate::error::{Error, Result};

const PREFIX_BYTES: usize = 8;
const METADATA_KEY: &str = "__metadata__";

type Header = (BTreeMap<String, Place>, BTreeMap<String, String>);

/// Finds the tensors of a file, or says what is wrong with it.
pub(super) fn read(file: &[u8], path: &Path) -> Result<Header> {
    let (header, data_start) = split(file, path)?;
    let wrong = |error: &dyn fmt::Display| Error::corrupt(path, "the header", "a list of tensors", error);
    let mut parsed: Parsed = serde_json::from_slice(header).map_err(|error| wrong(&error))?;
    parsed.tensors.sort_by(|a, b| a.1.data_offsets.cmp(&b.1.data_offsets).then_with(|| a.0.cmp(&b.0)));
    if let Some(twin) = doubled(&parsed.tensors) {
        return Err(Error::corrupt(path, "the header", "each tensor once", format!("{twin:?} twice")));
    }
    let tensors = places(&parsed.tensors, data_start);
    // The format's own library checks the rest: sizes by checked arithmetic, no overlap, no hole.
    let checked = Metadata::new(None, parsed.tensors).map_err(|error| wrong(&error))?;
    let (expected, found) = (checked.data_len(), file.len() - data_start);
    if expected != found && fault::is_on(Guard::Bounds) {
        let bytes = |count| format!("{count} bytes");
        return Err(Error::corrupt(path, "the tensors' length", bytes(expected), bytes(found)));
    }
    Ok((tensors, parsed.metadata))
}

/// The header's bytes, and where the tensors begin.
fn split<'a>(file: &'a [u8], path: &Path) -> Result<(&'a [u8], usize)> {
    let short = |what: &str, expected: u64| Error::corrupt(path, what, format!("{expected} bytes"), file.len());
    let Some(prefix) = file.first_chunk::<PREFIX_BYTES>() else {
        return Err(short("its length", PREFIX_BYTES as u64));
    };
    let length = u64::from_le_bytes(*prefix);
    if length > HEADER_BYTES_MAX {
        let expected = format!("at most {HEADER_BYTES_MAX} bytes");
        return Err(Error::corrupt(path, "the header's length", expected, length));
    }
    let data_start = PREFIX_BYTES + length as usize;
    match file.get(PREFIX_BYTES..data_start) {
        Some(header) if header.first() == Some(&b'{') => Ok((header, data_start)),
        Some(_) => Err(Error::corrupt(path, "the header", "'{' as its first byte", "another")),
        None => Err(short("its length", data_start as u64)),
    }
}

fn places(tensors: &[(String, TensorInfo)], data_start: usize) -> BTreeMap<String, Place> {
    let place = |info: &TensorInfo| {
        let (start, end) = info.data_offsets;
        // Offsets that wrap around are refused right after this, before any of them is used.
        let range = start.wrapping_add(data_start)..end.wrapping_add(data_start);
        Place { dtype: info.dtype, shape: info.shape.clone(), range }
    };
    tensors.iter().map(|(name, info)| (name.clone(), place(info))).collect()
}

fn doubled(tensors: &[(String, TensorInfo)]) -> Option<&str> {
    let mut names: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// A header as it is written, in memory proportional to its length.
#[derive(Default)]
struct Parsed {
    tensors: Vec<(String, TensorInfo)>,
    metadata: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Parsed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Parsed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parsed, A::Error> {
                let mut parsed = Parsed::default();
                while let Some(name) = map.next_key::<String>()? {
                    if name.len() > NAME_BYTES_MAX {
                        return Err(A::Error::custom(format!("a name longer than {NAME_BYTES_MAX} bytes")));
                    }
                    if name == METADATA_KEY {
                        parsed.metadata = map.next_value()?;
                    } else {
                        parsed.tensors.push((name, map.next_value::<Entry>()?.into()));
                    }
                }
                Ok(parsed)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

impl From<Entry> for TensorInfo {
    fn from(entry: Entry) -> Self {
        Self { dtype: entry.dtype, shape: entry.shape.0, data_offsets: entry.data_offsets }
    }
}

/// A shape of at most [`RANK_MAX`] dimensions.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dimensions;
        impl<'de> Visitor<'de> for Dimensions {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {RANK_MAX} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(dimension) = sequence.next_element::<usize>()? {
                    if shape.len() == RANK_MAX {
                        return Err(A::Error::invalid_length(RANK_MAX + 1, &self));
                    }
                    shape.push(dimension);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Dimensions)
    }
}
