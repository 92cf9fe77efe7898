//! The values of a column's chunk, a page at a time.

use std::fs::File;
use std::ops::Range;

use flate2::Crc;

use super::footer::{Chunk, Column, read_at};
use super::thrift::{Kind, Reader};
use super::values::{Runs, lengths};
use super::{Result, codec};

/// Largest page, packed or not.
const PAGE_BYTES_MAX: u64 = 128 << 20;
/// The part of a file in which a page's description is looked for at first, and at most: it may hold values.
const HEADER_BYTES: u64 = 4 << 10;
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// Encodings, by their numbers.
const PLAIN: i64 = 0;
const PLAIN_DICTIONARY: i64 = 2;
const RUNS: i64 = 3;
const DELTA_LENGTHS: i64 = 6;
const DELTA_STRINGS: i64 = 7;
const RUNS_DICTIONARY: i64 = 8;
/// Kinds of pages.
const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_2: i64 = 3;

/// The values of one chunk, in turn.
pub(super) struct Values<'a> {
    file: &'a File,
    chunk: Chunk,
    level: u32,
    /// Where the next page begins.
    place: u64,
    dictionary: Option<Dictionary>,
    page: Page,
}

/// The distinct values of a chunk.
struct Dictionary {
    page: Vec<u8>,
    values: Vec<Range<u32>>,
}

/// A page that is being read.
#[derive(Default)]
struct Page {
    bytes: Vec<u8>,
    values_left: u64,
    /// Tell whether a value is there; not needed where all are.
    levels: Option<Runs>,
    next: Next,
}

/// Where the next value is.
enum Next {
    /// Its length, then its bytes, at this place.
    Plain(usize),
    Entry(Runs),
    /// Lengths in turn; bytes from a place on.
    Long(std::vec::IntoIter<u32>, usize),
    /// The bytes that are as the value before, then the same; and that value.
    Continued {
        same: std::vec::IntoIter<u32>,
        more: std::vec::IntoIter<u32>,
        place: usize,
        before: Vec<u8>,
    },
}

impl Default for Next {
    fn default() -> Self {
        Self::Plain(0)
    }
}

impl<'a> Values<'a> {
    pub(super) fn new(file: &'a File, column: &Column, chunk: Chunk) -> Self {
        Self { file, chunk, level: column.level, place: chunk.start, dictionary: None, page: Page::default() }
    }

    /// The next value; nothing where the row has none. An error after the last, and for a value over `bytes_max`.
    pub(super) fn next(&mut self, bytes_max: usize) -> Result<Option<&[u8]>> {
        while self.page.values_left == 0 {
            self.next_page()?;
        }
        self.page.values_left -= 1;
        let Page { bytes, levels, next, .. } = &mut self.page;
        if let Some(levels) = levels
            && levels.next(bytes)? != self.level
        {
            return Ok(None);
        }
        let value = match next {
            Next::Plain(place) => plain(bytes, place)?,
            Next::Entry(numbers) => {
                let number = numbers.next(bytes)?;
                let dictionary = self.dictionary.as_ref().ok_or("a dictionary is missing")?;
                let range = dictionary.values.get(number as usize).ok_or_else(|| {
                    format!("value {number} of a dictionary is asked for, which has {}", dictionary.values.len())
                })?;
                &dictionary.page[range.start as usize..range.end as usize]
            }
            Next::Long(lengths, place) => {
                let length = lengths.next().ok_or("a page has too few lengths")?;
                taken(bytes, place, length)?
            }
            Next::Continued { same, more, place, before } => {
                let (Some(same), Some(more)) = (same.next(), more.next()) else {
                    return Err("a page has too few lengths".to_owned());
                };
                let more = taken(bytes, place, more)?;
                if same as usize > before.len() || same as usize + more.len() > bytes_max {
                    return Err(format!("a value begins as the first {same} bytes of one of {}", before.len()));
                }
                before.truncate(same as usize);
                before.extend_from_slice(more);
                before
            }
        };
        match value.len() <= bytes_max {
            true => Ok(Some(value)),
            false => Err(format!("a value has {} bytes; expected at most {bytes_max}", value.len())),
        }
    }

    fn next_page(&mut self) -> Result<()> {
        let left = self.chunk.end.saturating_sub(self.place);
        if left == 0 {
            return Err(format!("it ends before its {} values do", self.chunk.values));
        }
        let header = self.header(left)?;
        let (packed, size) = (header.packed, header.unpacked);
        let left = self.chunk.end - self.place;
        if packed > left.min(PAGE_BYTES_MAX) || size > PAGE_BYTES_MAX {
            let most = left.min(PAGE_BYTES_MAX);
            return Err(format!("a page has {packed} bytes, unpacked {size}; expected at most {most}"));
        }
        let mut bytes = vec![0; packed as usize];
        read_at(self.file, self.place, &mut bytes)?;
        self.place += packed;
        header.check(&bytes)?;
        match header.kind {
            DATA => self.page = self.data(&header, &bytes)?,
            DATA_2 => self.page = self.data_2(&header, &bytes)?,
            DICTIONARY if self.dictionary.is_some() => return Err("it has two dictionaries".to_owned()),
            DICTIONARY => self.dictionary = Some(self.entries(&header, &bytes)?),
            INDEX => {}
            other => return Err(format!("a page is of the unknown kind {other}")),
        }
        Ok(())
    }

    /// Reads a page's description, and goes to what it describes.
    fn header(&mut self, left: u64) -> Result<Header> {
        let mut window = HEADER_BYTES;
        loop {
            let mut bytes = vec![0; window.min(left) as usize];
            read_at(self.file, self.place, &mut bytes)?;
            let mut reader = Reader::new(&bytes);
            match Header::read(&mut reader) {
                Ok(header) => {
                    self.place += (bytes.len() - reader.left()) as u64;
                    return Ok(header);
                }
                Err(_) if window < left.min(HEADER_BYTES_MAX) => window *= 8,
                Err(reason) => return Err(format!("a page's description is damaged: {reason}")),
            }
        }
    }

    fn entries(&self, header: &Header, packed: &[u8]) -> Result<Dictionary> {
        if ![PLAIN, PLAIN_DICTIONARY].contains(&header.encoding) {
            return Err(format!("its dictionary has encoding {}; expected {PLAIN}", header.encoding));
        }
        let page = codec::unpack(self.chunk.codec, packed, header.unpacked as usize)?;
        let (mut place, mut values) = (0, Vec::new());
        for _ in 0..header.values {
            let length = plain(&page, &mut place)?.len();
            values.push((place - length) as u32..place as u32);
        }
        Ok(Dictionary { page, values })
    }

    /// A page whose levels are packed with its values.
    fn data(&self, header: &Header, packed: &[u8]) -> Result<Page> {
        let bytes = codec::unpack(self.chunk.codec, packed, header.unpacked as usize)?;
        let (mut place, mut levels) = (0, None);
        if self.level > 0 {
            if header.level_encoding != RUNS {
                return Err(format!("its levels have encoding {}; expected {RUNS}", header.level_encoding));
            }
            let length = plain(&bytes, &mut place)?.len();
            levels = Some(self.levels(place - length, place)?);
        }
        self.page(header, bytes, place, levels)
    }

    /// A page whose levels stand before it, as they are.
    fn data_2(&self, header: &Header, packed: &[u8]) -> Result<Page> {
        let place = header.levels.saturating_add(header.repetitions) as usize;
        let (levels, values) = packed.split_at_checked(place).ok_or("a page is shorter than its levels")?;
        let mut bytes = levels.to_vec();
        let size = (header.unpacked as usize).checked_sub(place).ok_or("a page is shorter than its levels")?;
        match header.is_packed {
            true if size > 0 => bytes.append(&mut codec::unpack(self.chunk.codec, values, size)?),
            _ => bytes.extend_from_slice(values),
        }
        let levels = match self.level {
            0 => None,
            _ => Some(self.levels(header.repetitions as usize, place)?),
        };
        self.page(header, bytes, place, levels)
    }

    fn levels(&self, place: usize, end: usize) -> Result<Runs> {
        Runs::new(place, end, u32::BITS - self.level.leading_zeros())
    }

    fn page(&self, header: &Header, bytes: Vec<u8>, place: usize, levels: Option<Runs>) -> Result<Page> {
        let next = match header.encoding {
            PLAIN => Next::Plain(place),
            PLAIN_DICTIONARY | RUNS_DICTIONARY => {
                // A page without values may have no width either.
                let width = bytes.get(place).copied().unwrap_or(0);
                Next::Entry(Runs::new(place + 1, bytes.len(), width.into())?)
            }
            DELTA_LENGTHS => {
                let (lengths, place) = lengths(&bytes, place)?;
                Next::Long(lengths.into_iter(), place)
            }
            DELTA_STRINGS => {
                let (same, place) = lengths(&bytes, place)?;
                let (more, place) = lengths(&bytes, place)?;
                Next::Continued { same: same.into_iter(), more: more.into_iter(), place, before: Vec::new() }
            }
            other => return Err(format!("its values have encoding {other}, which texts have not")),
        };
        Ok(Page { bytes, values_left: header.values, levels, next })
    }
}

/// A value with its length before it; goes on behind it.
fn plain<'a>(bytes: &'a [u8], place: &mut usize) -> Result<&'a [u8]> {
    let length = bytes.get(*place..).and_then(|bytes| bytes.first_chunk::<4>()).ok_or("a page has too few values")?;
    *place += length.len();
    taken(bytes, place, u32::from_le_bytes(*length))
}

fn taken<'a>(bytes: &'a [u8], place: &mut usize, length: u32) -> Result<&'a [u8]> {
    let end = place.saturating_add(length as usize);
    let value = bytes.get(*place..end).ok_or_else(|| format!("a value of {length} bytes goes beyond its page"))?;
    *place = end;
    Ok(value)
}

/// What a page says of itself.
#[derive(Debug, Default)]
struct Header {
    kind: i64,
    unpacked: u64,
    packed: u64,
    checksum: Option<u32>,
    values: u64,
    encoding: i64,
    level_encoding: i64,
    /// Bytes of levels and repetitions, where these stand before the values.
    levels: u64,
    repetitions: u64,
    is_packed: bool,
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut header = Self { is_packed: true, ..Self::default() };
        reader.fields(|reader, number, kind| {
            match number {
                1 => header.kind = reader.whole(kind)?,
                2 => header.unpacked = size(reader, kind)?,
                3 => header.packed = size(reader, kind)?,
                4 => header.checksum = Some(reader.whole(kind)? as u32),
                5 | 7 => header.numbers(reader, kind)?,
                8 => header.numbers_2(reader, kind)?,
                _ => reader.skip(kind)?,
            }
            Ok(())
        })?;
        Ok(header)
    }

    /// Of a page of values, or of a dictionary, whose numbers are the same.
    fn numbers(&mut self, reader: &mut Reader<'_>, kind: Kind) -> Result<()> {
        reader.structure(kind, |reader, number, kind| {
            match number {
                1 => self.values = size(reader, kind)?,
                2 => self.encoding = reader.whole(kind)?,
                3 if self.kind == DATA => self.level_encoding = reader.whole(kind)?,
                _ => reader.skip(kind)?,
            }
            Ok(())
        })
    }

    fn numbers_2(&mut self, reader: &mut Reader<'_>, kind: Kind) -> Result<()> {
        reader.structure(kind, |reader, number, kind| {
            match number {
                1 => self.values = size(reader, kind)?,
                4 => self.encoding = reader.whole(kind)?,
                5 => self.levels = size(reader, kind)?,
                6 => self.repetitions = size(reader, kind)?,
                7 => self.is_packed = reader.flag(kind)?,
                _ => reader.skip(kind)?,
            }
            Ok(())
        })
    }

    fn check(&self, bytes: &[u8]) -> Result<()> {
        let Some(expected) = self.checksum else { return Ok(()) };
        let mut crc = Crc::new();
        crc.update(bytes);
        match crc.sum() == expected {
            true => Ok(()),
            false => Err(format!("a page's checksum is {:08x}; expected {expected:08x}", crc.sum())),
        }
    }
}

fn size(reader: &mut Reader<'_>, kind: Kind) -> Result<u64> {
    let value = reader.whole(kind)?;
    u64::try_from(value).map_err(|_| format!("{value} stands where a size should"))
}
