//! Thrift's compact protocol, as far as Parquet's metadata needs it.

use super::Result;

/// Deepest nesting of structures and lists that is passed over.
const DEPTH_MAX: usize = 24;

/// What stands next, by its number in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    const TRUE: Self = Self(1);
    const FALSE: Self = Self(2);
    const BYTE: Self = Self(3);
    const DOUBLE: Self = Self(7);
    const BINARY: Self = Self(8);
    const LIST: Self = Self(9);
    const SET: Self = Self(10);
    const MAP: Self = Self(11);
    const STRUCT: Self = Self(12);

    fn is_whole(self) -> bool {
        (4..=6).contains(&self.0)
    }
}

/// Reads from the front of some bytes; whatever they are, it neither panics nor allocates.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    /// Calls `each` with the number and kind of every field of a structure; it reads the field or passes over it.
    pub(super) fn fields(&mut self, mut each: impl FnMut(&mut Self, i64, Kind) -> Result<()>) -> Result<()> {
        let mut number = 0_i64;
        loop {
            let byte = self.byte()?;
            let kind = Kind(byte & 15);
            if kind.0 == 0 {
                return Ok(());
            }
            number = match byte >> 4 {
                0 => zigzag(self.varint()?),
                delta => number.saturating_add(i64::from(delta)),
            };
            each(self, number, kind)?;
        }
    }

    /// The same for a field that should be a structure.
    pub(super) fn structure(&mut self, kind: Kind, each: impl FnMut(&mut Self, i64, Kind) -> Result<()>) -> Result<()> {
        expect(kind == Kind::STRUCT, "a structure", kind)?;
        self.fields(each)
    }

    /// Calls `each` with the kind of every item of a list.
    pub(super) fn list(&mut self, kind: Kind, mut each: impl FnMut(&mut Self, Kind) -> Result<()>) -> Result<()> {
        expect(kind == Kind::LIST, "a list", kind)?;
        let (count, items) = self.list_head()?;
        (0..count).try_for_each(|_| each(self, items))
    }

    pub(super) fn whole(&mut self, kind: Kind) -> Result<i64> {
        expect(kind.is_whole(), "a whole number", kind)?;
        Ok(zigzag(self.varint()?))
    }

    pub(super) fn flag(&mut self, kind: Kind) -> Result<bool> {
        expect(kind == Kind::TRUE || kind == Kind::FALSE, "a flag", kind)?;
        Ok(kind == Kind::TRUE)
    }

    pub(super) fn binary(&mut self, kind: Kind) -> Result<&'a [u8]> {
        expect(kind == Kind::BINARY, "bytes", kind)?;
        let count = self.varint()?;
        self.take(count)
    }

    /// Passes over a field that nobody needs.
    pub(super) fn skip(&mut self, kind: Kind) -> Result<()> {
        self.skip_within(kind, DEPTH_MAX)
    }

    fn skip_within(&mut self, kind: Kind, depth: usize) -> Result<()> {
        let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
        match kind {
            Kind::TRUE | Kind::FALSE => Ok(()),
            Kind::BYTE => self.byte().map(drop),
            Kind::DOUBLE => self.take(8).map(drop),
            Kind::BINARY => self.binary(kind).map(drop),
            Kind::LIST | Kind::SET => {
                let (count, items) = self.list_head()?;
                (0..count).try_for_each(|_| self.skip_item(items, depth))
            }
            Kind::MAP => {
                let count = self.varint()?;
                let kinds = if count == 0 { 0 } else { self.byte()? };
                self.check_count(count)?;
                (0..count).try_for_each(|_| {
                    self.skip_item(Kind(kinds >> 4), depth)?;
                    self.skip_item(Kind(kinds & 15), depth)
                })
            }
            Kind::STRUCT => self.fields(|reader, _, kind| reader.skip_within(kind, depth)),
            kind if kind.is_whole() => self.varint().map(drop),
            Kind(other) => Err(format!("it has a field of the unknown kind {other}")),
        }
    }

    /// In lists, flags are a byte each.
    fn skip_item(&mut self, kind: Kind, depth: usize) -> Result<()> {
        let kind = if kind == Kind::TRUE || kind == Kind::FALSE { Kind::BYTE } else { kind };
        self.skip_within(kind, depth)
    }

    fn list_head(&mut self) -> Result<(u64, Kind)> {
        let byte = self.byte()?;
        let count = if byte >> 4 == 15 { self.varint()? } else { u64::from(byte >> 4) };
        self.check_count(count)?;
        Ok((count, Kind(byte & 15)))
    }

    /// Every item takes a byte at least.
    fn check_count(&self, count: u64) -> Result<()> {
        match count <= self.bytes.len() as u64 {
            true => Ok(()),
            false => Err(format!("a list of {count} items stands where {} bytes are left", self.bytes.len())),
        }
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8]> {
        let parts = usize::try_from(count).ok().and_then(|count| self.bytes.split_at_checked(count));
        let (taken, left) = parts.ok_or_else(|| format!("{count} bytes are promised, {} left", self.bytes.len()))?;
        self.bytes = left;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8> {
        let (&byte, left) = self.bytes.split_first().ok_or("it ends too early")?;
        self.bytes = left;
        Ok(byte)
    }

    /// A number in groups of seven bits, the lowest first.
    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number has more than 64 bits".to_owned())
    }
}

/// Signed numbers as unsigned ones, small where they are near zero.
pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

fn expect(is: bool, what: &str, found: Kind) -> Result<()> {
    if is { Ok(()) } else { Err(format!("{what} was expected, kind {} found", found.0)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_passed_over() {
        // Field 1: 300; field 3: true; field 4: a list of two structures, each with a flag; field 20: "ab".
        let bytes = [0x16, 0xD8, 0x04, 0x21, 0x19, 0x2C, 0x11, 0x00, 0x12, 0x00, 0x08, 0x28, 2, b'a', b'b', 0, 9];
        let (mut reader, mut seen) = (Reader::new(&bytes), Vec::new());
        reader
            .fields(|reader, number, kind| {
                match number {
                    1 => seen.push(reader.whole(kind)?),
                    20 => seen.push(reader.binary(kind)?.len() as i64),
                    _ => reader.skip(kind)?,
                }
                Ok(())
            })
            .unwrap();
        assert_eq!((seen, reader.left()), (vec![300, 2], 1));
        assert_eq!([0, 1, 2, u64::MAX].map(zigzag), [0, -1, 1, i64::MIN]);
    }

    #[test]
    fn lies_about_sizes_are_seen() {
        let all = |bytes: &[u8]| Reader::new(bytes).fields(|reader, _, kind| reader.skip(kind)).unwrap_err();
        assert_eq!(all(&[0x18, 0xFF, 0xFF, 0x03, 1]), "65535 bytes are promised, 1 left");
        assert!(all(&[0x19, 0xFC, 0xFF, 0xFF, 0x03]).contains("a list of 65535 items"));
        assert!(all(&[0x1C; 60]).contains("too deeply"));
        assert_eq!(all(&[0x15]), "it ends too early");
        assert!(all(&[0x1D]).contains("unknown kind 13"));
        assert!(all(&[0x16, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]).contains("64 bits"));
    }
}
