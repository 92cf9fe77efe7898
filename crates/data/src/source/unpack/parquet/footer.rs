//! What a Parquet file says of itself, at its end: columns, and where their values lie.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::Result;
use super::thrift::{Kind, Reader};

/// What a file begins and ends with.
const MAGIC: &[u8; 4] = b"PAR1";
/// The same where the footer is encrypted.
const MAGIC_ENCRYPTED: &[u8; 4] = b"PARE";
/// The footer's length and the magic after it.
const TAIL: u64 = 8;
/// Largest footer.
const FOOTER_BYTES_MAX: u64 = 32 << 20;
/// Most columns, and the longest name and deepest place of one.
const COLUMNS_MAX: usize = 20_000;
const NAME_BYTES_MAX: usize = 256;
const DEPTH_MAX: usize = 16;
/// The physical type of texts.
pub(super) const BYTE_ARRAY: i64 = 6;
const REPEATED: i64 = 2;
const REQUIRED: i64 = 0;

/// The columns of a file and its groups of rows.
#[derive(Debug)]
pub(super) struct Footer {
    pub(super) columns: Vec<Column>,
    pub(super) groups: Vec<Group>,
}

/// A column that holds values, not other columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    /// Its name after those of the columns around it, with dots between.
    pub(super) name: String,
    /// The physical type.
    pub(super) kind: i64,
    /// The level of a value that is there: how many of its columns may be missing.
    pub(super) level: u32,
    /// Whether a row may have several values of it.
    pub(super) repeated: bool,
}

/// Some rows: a chunk of each column.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) rows: u64,
    pub(super) chunks: Vec<Chunk>,
}

/// Where the values of a column lie.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    pub(super) codec: i64,
    pub(super) values: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// Reads the end of a file.
pub(super) fn read(mut file: &File) -> Result<Footer> {
    let length = file.seek(SeekFrom::End(0)).map_err(|error| error.to_string())?;
    let no_parquet = || "it is no Parquet file, or its end is missing".to_owned();
    let content = length.checked_sub(TAIL + MAGIC.len() as u64).ok_or_else(no_parquet)?;
    let mut tail = [0; TAIL as usize];
    read_at(file, length - TAIL, &mut tail)?;
    let (size, magic) = (u32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]]), &tail[4..]);
    match magic {
        magic if magic == MAGIC => {}
        magic if magic == MAGIC_ENCRYPTED => return Err("it is encrypted".to_owned()),
        _ => return Err(no_parquet()),
    }
    let size = u64::from(size);
    if size > content.min(FOOTER_BYTES_MAX) {
        return Err(format!(
            "its footer is said to have {size} bytes; expected at most {}",
            content.min(FOOTER_BYTES_MAX)
        ));
    }
    let mut bytes = vec![0; size as usize];
    let start = length - TAIL - size;
    read_at(file, start, &mut bytes)?;
    parse(&bytes, start).map_err(|reason| format!("its footer is damaged: {reason}"))
}

/// Reads bytes at a place.
pub(super) fn read_at(mut file: &File, place: u64, bytes: &mut [u8]) -> Result<()> {
    let read = file.seek(SeekFrom::Start(place)).and_then(|_| file.read_exact(bytes));
    read.map_err(|error| format!("{} bytes at {place} cannot be read: {error}", bytes.len()))
}

/// `content` is where values end.
fn parse(bytes: &[u8], content: u64) -> Result<Footer> {
    let mut reader = Reader::new(bytes);
    let (mut elements, mut groups) = (Vec::new(), Vec::new());
    reader.fields(|reader, number, kind| match number {
        2 => reader.list(kind, |reader, _| {
            elements.push(Element::read(reader)?);
            match elements.len() <= 2 * COLUMNS_MAX {
                true => Ok(()),
                false => Err(format!("it has more than {COLUMNS_MAX} columns")),
            }
        }),
        4 => reader.list(kind, |reader, _| {
            groups.push(Group::read(reader, content)?);
            Ok(())
        }),
        8 => Err("its columns are encrypted".to_owned()),
        _ => reader.skip(kind),
    })?;
    let columns = columns(&elements)?;
    if let Some(group) = groups.iter().find(|group| group.chunks.len() != columns.len()) {
        return Err(format!("a group of rows has {} columns, the file {}", group.chunks.len(), columns.len()));
    }
    Ok(Footer { columns, groups })
}

/// A column, or a column of columns, as the file lists them: each before those in it.
#[derive(Debug, Default)]
struct Element {
    name: String,
    kind: i64,
    repetition: i64,
    children: u64,
}

impl Element {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut element = Self::default();
        reader.fields(|reader, number, kind| {
            match number {
                1 => element.kind = reader.whole(kind)?,
                3 => element.repetition = reader.whole(kind)?,
                4 => element.name = name(reader.binary(kind)?)?,
                5 => element.children = count(reader, kind)?,
                _ => reader.skip(kind)?,
            }
            Ok(())
        })?;
        Ok(element)
    }
}

fn name(bytes: &[u8]) -> Result<String> {
    match bytes.len() <= NAME_BYTES_MAX {
        true => Ok(String::from_utf8_lossy(bytes).into_owned()),
        false => Err(format!("a column's name has {} bytes; expected at most {NAME_BYTES_MAX}", bytes.len())),
    }
}

fn count(reader: &mut Reader<'_>, kind: Kind) -> Result<u64> {
    let value = reader.whole(kind)?;
    u64::try_from(value).map_err(|_| format!("{value} stands where a count should"))
}

/// Walks the tree that the elements are.
fn columns(elements: &[Element]) -> Result<Vec<Column>> {
    let Some((root, elements)) = elements.split_first() else { return Err("it has no columns".to_owned()) };
    // The columns that are open: children to come, name with a dot, level, repeated.
    let mut open = vec![(root.children, String::new(), 0, false)];
    let mut columns = Vec::new();
    for element in elements {
        while open.last().is_some_and(|(children, ..)| *children == 0) {
            open.pop();
        }
        let depth = open.len();
        let Some((children, prefix, level, repeated)) = open.last_mut() else { break };
        *children -= 1;
        let name = format!("{prefix}{}", element.name);
        let level = *level + u32::from(element.repetition != REQUIRED);
        let repeated = *repeated || element.repetition == REPEATED;
        if element.children == 0 {
            columns.push(Column { name, kind: element.kind, level, repeated });
        } else if depth < DEPTH_MAX {
            open.push((element.children, name + ".", level, repeated));
        } else {
            return Err(format!("its columns are nested more than {DEPTH_MAX} deep"));
        }
    }
    Ok(columns)
}

impl Group {
    fn read(reader: &mut Reader<'_>, content: u64) -> Result<Self> {
        let mut group = Self { rows: 0, chunks: Vec::new() };
        reader.fields(|reader, number, kind| match number {
            1 => reader.list(kind, |reader, _| {
                group.chunks.push(Chunk::read(reader, content)?);
                Ok(())
            }),
            3 => count(reader, kind).map(|rows| group.rows = rows),
            _ => reader.skip(kind),
        })?;
        Ok(group)
    }
}

impl Chunk {
    fn read(reader: &mut Reader<'_>, content: u64) -> Result<Self> {
        let mut found = None;
        reader.fields(|reader, number, kind| match number {
            1 => Err("a column's values lie in another file".to_owned()),
            3 => Self::described(reader, kind).map(|chunk| found = Some(chunk)),
            8 => Err("a column is encrypted".to_owned()),
            _ => reader.skip(kind),
        })?;
        let chunk = found.ok_or("a column does not say where its values lie")?;
        match chunk.start >= MAGIC.len() as u64 && chunk.end <= content {
            true => Ok(chunk),
            false => Err(format!("a column lies at {} to {}, values end at {content}", chunk.start, chunk.end)),
        }
    }

    fn described(reader: &mut Reader<'_>, kind: Kind) -> Result<Self> {
        let (mut chunk, mut bytes, mut data, mut dictionary) = (Self::default(), 0, 0, 0);
        reader.structure(kind, |reader, number, kind| {
            match number {
                4 => chunk.codec = reader.whole(kind)?,
                5 => chunk.values = count(reader, kind)?,
                7 => bytes = count(reader, kind)?,
                9 => data = count(reader, kind)?,
                11 => dictionary = count(reader, kind)?,
                _ => reader.skip(kind)?,
            }
            Ok(())
        })?;
        // A dictionary stands before the values; zero is what some writers say where there is none.
        chunk.start = if (1..data).contains(&dictionary) { dictionary } else { data };
        chunk.end = chunk.start.saturating_add(bytes);
        Ok(chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(name: &str, repetition: i64, children: u64) -> Element {
        Element { name: name.to_owned(), kind: BYTE_ARRAY, repetition, children }
    }

    #[test]
    fn columns_have_the_names_and_levels_of_those_around_them() {
        let elements = [
            element("schema", 0, 3),
            element("id", 0, 0),
            element("meta", 1, 2),
            element("lines", 2, 0),
            element("title", 1, 0),
            element("text", 1, 0),
        ];
        let found = columns(&elements).unwrap();
        let found: Vec<_> = found.iter().map(|column| (&*column.name, column.level, column.repeated)).collect();
        assert_eq!(found, [("id", 0, false), ("meta.lines", 2, true), ("meta.title", 2, false), ("text", 1, false)]);
        assert!(columns(&[]).is_err());
        let deep: Vec<Element> = (0..40).map(|_| element("a", 1, 1)).collect();
        assert!(columns(&deep).unwrap_err().contains("deep"));
    }
}
