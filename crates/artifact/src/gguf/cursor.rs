//! A place in the bytes of a file that moves on as they are read, and never beyond them.

use std::path::Path;

use crate::error::{Error, Result};

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    pub path: &'a Path,
}

impl<'a> Cursor<'a> {
    /// The next bytes.
    pub fn take(&mut self, count: u64, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(count).ok().and_then(|count| rest.get(..count));
        let taken = taken.ok_or_else(|| {
            let found = format!("{} up to the file's end", rest.len());
            Error::corrupt(self.path, format!("{what} at byte {}", self.at), format!("{count} bytes"), found)
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    /// The next bytes, as many as an array has.
    pub fn array<const COUNT: usize>(&mut self, what: &str) -> Result<[u8; COUNT]> {
        let mut array = [0; COUNT];
        array.copy_from_slice(self.take(COUNT as u64, what)?);
        Ok(array)
    }

    pub fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A text with its length before it.
    pub fn text(&mut self, bytes_max: usize, what: &str) -> Result<&'a str> {
        let at = self.at;
        let length = self.u64(what)?;
        if length > bytes_max as u64 {
            return Err(self.error(at, what, format!("at most {bytes_max} bytes"), length));
        }
        let bytes = self.take(length, what)?;
        std::str::from_utf8(bytes).map_err(|error| self.error(at, what, "text in UTF-8", error))
    }

    pub fn error(&self, at: usize, what: &str, expected: impl ToString, found: impl ToString) -> Error {
        Error::corrupt(self.path, format!("{what} at byte {at}"), expected, found)
    }
}
