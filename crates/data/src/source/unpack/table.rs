//! Tables with a column of texts, as lines of JSON.

use std::cell::Cell;
use std::io::{self, Read, Write};

use csv::{ByteRecord, ReaderBuilder, StringRecord};
use serde_json::json;

use crate::source::jsonl::{LICENSE_FIELD, TEXT_FIELDS};

/// Longest row. An open quote swallows all rows after it, which memory need not hold. Written as JSON, each of its
/// bytes may take six.
pub(super) const ROW_BYTES_MAX: u64 = 8 << 20;
/// Columns that an error lists.
const COLUMNS_SHOWN: usize = 12;

/// Writes one line for each row, with its text and licence; false, and nothing written, if no column is named as texts
/// usually are and the user named none. The error says what is wrong.
pub(crate) fn write_records(
    input: impl Read,
    delimiter: u8,
    field: Option<&str>,
    out: &mut impl Write,
) -> Result<bool, String> {
    let left = Cell::new(ROW_BYTES_MAX);
    let mut rows = ReaderBuilder::new().delimiter(delimiter).from_reader(Bounded { reader: input, left: &left });
    let names = match rows.headers() {
        Ok(names) => names.clone(),
        // Whatever it is, it is no table of ours; as text, the rules judge it.
        Err(_) if field.is_none() => return Ok(false),
        Err(error) => return Err(error.to_string()),
    };
    let column = |name: &str| names.iter().position(|known| known == name);
    let Some(text) = field.map_or_else(|| TEXT_FIELDS.into_iter().find_map(column), column) else {
        return if field.is_some() { Err(missing(field.unwrap_or_default(), &names)) } else { Ok(false) };
    };
    let (license, mut row) = (column(LICENSE_FIELD), ByteRecord::new());
    loop {
        left.set(ROW_BYTES_MAX);
        if !rows.read_byte_record(&mut row).map_err(|error| error.to_string())? {
            return Ok(true);
        }
        let license = license.and_then(|column| std::str::from_utf8(&row[column]).ok());
        write_row(&row[text], license, out).map_err(|error| error.to_string())?;
    }
}

fn missing(field: &str, names: &StringRecord) -> String {
    let known = names.iter().take(COLUMNS_SHOWN).map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    format!("it has no column {field:?}; it has {known}")
}

pub(super) fn write_row(text: &[u8], license: Option<&str>, out: &mut impl Write) -> io::Result<()> {
    match std::str::from_utf8(text) {
        Ok(text) => serde_json::to_writer(&mut *out, &json!({ "text": text, LICENSE_FIELD: license }))?,
        // Kept in one line, it is dropped there by the rule that drops such text everywhere.
        Err(_) => {
            out.write_all(&text.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }).collect::<Vec<_>>())?
        }
    }
    out.write_all(b"\n")
}

/// A reader that gives no more than what is left.
struct Bounded<'a, R> {
    reader: R,
    left: &'a Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let left = self.left.get().checked_sub(count as u64);
        let too_long =
            || io::Error::other(format!("a row is longer than {ROW_BYTES_MAX} bytes; is a quote left open?"));
        self.left.set(left.ok_or_else(too_long)?);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(input: &[u8], field: Option<&str>) -> Result<String, String> {
        let mut out = Vec::new();
        let written = write_records(input, b',', field, &mut out)?;
        Ok(if written { String::from_utf8_lossy(&out).into_owned() } else { "none".to_owned() })
    }

    #[test]
    fn rows_become_lines() {
        let plain = b"id,text,license\n1,one,MIT\n2,\"two, and\n \"\"more\"\"\",\n";
        let lines =
            "{\"text\":\"one\",\"license\":\"MIT\"}\n{\"text\":\"two, and\\n \\\"more\\\"\",\"license\":\"\"}\n";
        assert_eq!(records(plain, None).unwrap(), lines);
        assert_eq!(records(b"\xEF\xBB\xBFbody\r\nx\r\n", Some("body")).unwrap(), "{\"text\":\"x\",\"license\":null}\n");
        assert_eq!(records(b"text\n\xFF\n", None).unwrap(), "\u{FFFD}\n");
        assert_eq!(records(b"id,name\n1,2\n", None).unwrap(), "none");
        assert_eq!(records(b"", None).unwrap(), "none");
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!(records(b"id,name\n", Some("text")).unwrap_err(), r#"it has no column "text"; it has "id", "name""#);
        let ragged = records(b"id,text\n1\n", None).unwrap_err();
        assert!(ragged.contains("line: 2") && ragged.contains("1 fields"), "{ragged}");
        let open = format!("text\n\"{}", "never closed\n".repeat(1 << 20));
        assert!(records(open.as_bytes(), None).unwrap_err().contains("quote"));
    }
}
