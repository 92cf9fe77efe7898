//! Parquet files, whose column of texts becomes lines of JSON.
//!
//! The format keeps a table by columns, each cut into pages that are compressed by themselves. Of a file we read its
//! footer and the pages of the column with the texts, and of that with licences if there is one, a page of each at a
//! time: memory does not grow with the file. What it says of sizes is held against the file and bounds before memory
//! is asked for.

mod codec;
mod footer;
mod pages;
mod thrift;
mod values;

use std::fs::File;
use std::io::Write;

use footer::{BYTE_ARRAY, Column, Group};
use pages::Values;

use super::table::{ROW_BYTES_MAX, write_row};
use crate::source::jsonl::{LICENSE_FIELD, TEXT_FIELDS};

/// The error says what is wrong with the file.
type Result<T> = std::result::Result<T, String>;

/// What a line takes beside its text and licence, about.
const LINE_BYTES: u64 = 28;
/// Columns that an error lists.
const COLUMNS_SHOWN: usize = 12;

/// Writes one line for each row, with its text and licence; the text is empty where the row has none. `written` is
/// told about how many bytes each line takes, before it is written, and may end the work.
pub(super) fn write_records(
    file: &File,
    field: Option<&str>,
    out: &mut impl Write,
    mut written: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let footer = footer::read(file)?;
    let text = text_column(&footer.columns, field)?;
    let license = footer.columns.iter().position(|column| column.name == LICENSE_FIELD && is_text(column));
    for group in &footer.groups {
        let rows = Rows { file, columns: &footer.columns, text, license };
        rows.write(group, out, &mut written)?;
    }
    Ok(())
}

/// The rows of a file, as far as they are asked for.
struct Rows<'a> {
    file: &'a File,
    columns: &'a [Column],
    text: usize,
    license: Option<usize>,
}

impl Rows<'_> {
    fn write(&self, group: &Group, out: &mut impl Write, written: &mut impl FnMut(u64) -> Result<()>) -> Result<()> {
        let mut texts = self.values(group, self.text)?;
        let mut licenses = self.license.map(|column| self.values(group, column)).transpose()?;
        let bytes_max = ROW_BYTES_MAX as usize;
        for _ in 0..group.rows {
            let license = match (&mut licenses, self.license) {
                (Some(licenses), Some(column)) => licenses.next(bytes_max).map_err(|error| self.of(column, error))?,
                _ => None,
            };
            let license = license.and_then(|license| std::str::from_utf8(license).ok());
            let text = texts.next(bytes_max).map_err(|error| self.of(self.text, error))?.unwrap_or_default();
            written(LINE_BYTES + text.len() as u64 + license.map_or(0, str::len) as u64)?;
            write_row(text, license, out).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn values(&self, group: &Group, column: usize) -> Result<Values<'_>> {
        let chunk = group.chunks[column];
        match chunk.values == group.rows {
            true => Ok(Values::new(self.file, &self.columns[column], chunk)),
            false => Err(self.of(column, format!("it has {} values for {} rows", chunk.values, group.rows))),
        }
    }

    fn of(&self, column: usize, error: String) -> String {
        format!("column {:?}: {error}", self.columns[column].name)
    }
}

fn text_column(columns: &[Column], field: Option<&str>) -> Result<usize> {
    let find = |name: &str| columns.iter().position(|column| column.name == name);
    let found = field.map_or_else(|| TEXT_FIELDS.into_iter().find_map(find), find);
    let Some(found) = found else {
        let wanted = field.map_or_else(|| "\"text\" or \"content\"".to_owned(), |field| format!("{field:?}"));
        let known = columns.iter().take(COLUMNS_SHOWN).map(|column| format!("{:?}", column.name));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(format!("it has no column {wanted}; it has {known} (text-field names the one to take)"));
    };
    match is_text(&columns[found]) {
        true => Ok(found),
        false => Err(format!("its column {:?} holds no texts, one a row", columns[found].name)),
    }
}

fn is_text(column: &Column) -> bool {
    column.kind == BYTE_ARRAY && !column.repeated
}

#[cfg(test)]
mod tests;
