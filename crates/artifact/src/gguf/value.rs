//! Values of the metadata.

use std::fmt;
use std::path::Path;

use super::DEPTH_MAX;
use super::cursor::Cursor;
use crate::error::{Error, Result};

/// Items of an array that are shown; longer ones are cut.
const SHOWN_ITEMS: u64 = 8;
/// Characters of a text that are shown.
const SHOWN_CHARACTERS: usize = 80;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// 8 bits from 0 up.
    U8,
    /// 8 bits with a sign.
    I8,
    /// 16 bits from 0 up.
    U16,
    /// 16 bits with a sign.
    I16,
    /// 32 bits from 0 up.
    U32,
    /// 32 bits with a sign.
    I32,
    /// Single precision.
    F32,
    /// True or false.
    Bool,
    /// UTF-8.
    Text,
    /// Many of one type.
    Array,
    /// 64 bits from 0 up.
    U64,
    /// 64 bits with a sign.
    I64,
    /// Double precision.
    F64,
}

impl ValueKind {
    /// By their numbers in the file.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// Its number in the file.
    pub(super) fn id(self) -> u32 {
        self as u32
    }

    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let at = cursor.at;
        let id = cursor.u32("the type of a value")?;
        let kind = usize::try_from(id).ok().and_then(|id| Self::ALL.get(id)).copied();
        kind.ok_or_else(|| cursor.error(at, "the type of a value", "a number from 0 to 12", id))
    }

    /// Bytes of every value of it; `None` where they differ.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }
}

/// A value, read out of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A whole number from 0 up, of any width.
    Unsigned(u64),
    /// A whole number with a sign, of any width.
    Signed(i64),
    /// A number in single or double precision.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(&'a str),
    /// Many values of one type.
    Array(Array<'a>),
}

/// An array that lies in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    kind: ValueKind,
    len: u64,
    bytes: &'a [u8],
}

/// Walks over one value: whether it is whole, as deep as is allowed, and of what it should be made.
pub(super) fn skip(cursor: &mut Cursor<'_>, kind: ValueKind, depth: usize) -> Result<()> {
    let at = cursor.at;
    match kind {
        ValueKind::Text => cursor.text(usize::MAX, "a text").map(drop),
        ValueKind::Bool => match cursor.array("a boolean")? {
            [0 | 1] => Ok(()),
            [other] => Err(cursor.error(at, "a boolean", "0 or 1", other)),
        },
        ValueKind::Array if depth == DEPTH_MAX => {
            Err(cursor.error(at, "an array", format!("at most {DEPTH_MAX} in one another"), "more"))
        }
        ValueKind::Array => {
            let kind = ValueKind::read(cursor)?;
            let len = cursor.u64("the length of an array")?;
            match kind.bytes().filter(|_| kind != ValueKind::Bool) {
                // A length that overflows is longer than any file.
                Some(bytes) => cursor.take(len.saturating_mul(bytes), "an array").map(drop),
                // Each item has a byte at least, so that the file's end comes before a false length does.
                None => (0..len).try_for_each(|_| skip(cursor, kind, depth + 1)),
            }
        }
        other => cursor.take(other.bytes().unwrap_or(0), "a value").map(drop),
    }
}

/// Reads one value; `None` where the bytes are not one.
fn read<'a>(cursor: &mut Cursor<'a>, kind: ValueKind) -> Option<Value<'a>> {
    let bytes = match kind.bytes() {
        Some(bytes) => cursor.take(bytes, "").ok()?,
        None if kind == ValueKind::Text => return cursor.text(usize::MAX, "").ok().map(Value::Text),
        None => return Array::read(cursor).ok().map(Value::Array),
    };
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let unsigned = u64::from_le_bytes(wide);
    Some(match kind {
        ValueKind::Bool => Value::Bool(unsigned != 0),
        ValueKind::F32 => Value::Float(f64::from(f32::from_bits(unsigned as u32))),
        ValueKind::F64 => Value::Float(f64::from_bits(unsigned)),
        ValueKind::I8 => Value::Signed(i64::from(unsigned as i8)),
        ValueKind::I16 => Value::Signed(i64::from(unsigned as i16)),
        ValueKind::I32 => Value::Signed(i64::from(unsigned as i32)),
        ValueKind::I64 => Value::Signed(unsigned as i64),
        _ => Value::Unsigned(unsigned),
    })
}

impl<'a> Value<'a> {
    /// The value whose bytes these are.
    pub(super) fn at(kind: ValueKind, bytes: &'a [u8]) -> Option<Self> {
        read(&mut Cursor { bytes, at: 0, path: Path::new("") }, kind)
    }

    /// A whole number from 0 up.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(number),
            Self::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            _ => None,
        }
    }

    /// True or false.
    pub fn as_bool(self) -> Option<bool> {
        if let Self::Bool(yes) = self { Some(yes) } else { None }
    }

    /// A text.
    pub fn as_text(self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// An array.
    pub fn as_array(self) -> Option<Array<'a>> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }
}

impl<'a> Array<'a> {
    /// Reads type and length, and goes over the items, which were walked over before.
    fn read(cursor: &mut Cursor<'a>) -> Result<Self, Error> {
        let start = cursor.at;
        let kind = ValueKind::read(cursor)?;
        let len = cursor.u64("")?;
        let items = cursor.at;
        cursor.at = start;
        skip(cursor, ValueKind::Array, 0)?;
        Ok(Self { kind, len, bytes: &cursor.bytes[items..cursor.at] })
    }

    /// The type of its items.
    pub fn kind(self) -> ValueKind {
        self.kind
    }

    /// How many items it has; each takes a byte of the file at least.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Its items, in order.
    pub fn iter(self) -> impl Iterator<Item = Value<'a>> {
        let mut cursor = Cursor { bytes: self.bytes, at: 0, path: Path::new("") };
        (0..self.len).map_while(move |_| read(&mut cursor, self.kind))
    }
}

impl fmt::Display for Value<'_> {
    /// On one line, cut where it is long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            // As in the file, where it is single precision for most: 1e-5 rather than 0.000009999999747.
            Self::Float(number) if f64::from(*number as f32) == *number => (*number as f32).fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(yes) => yes.fmt(f),
            Self::Text(text) => {
                let cut: String = text.chars().take(SHOWN_CHARACTERS).collect();
                let dots = if cut.len() < text.len() { "…" } else { "" };
                write!(f, "{cut:?}{dots}")
            }
            Self::Array(array) => {
                f.write_str("[")?;
                for (index, item) in array.iter().take(SHOWN_ITEMS as usize).enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                let rest = array.len.saturating_sub(SHOWN_ITEMS);
                if rest > 0 { write!(f, ", … {rest} more]") } else { f.write_str("]") }
            }
        }
    }
}
