//! The texts in one column of a table, for measurements on them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::error::Context;
use crate::source::jsonl;
use crate::source::unpack::write_records;
use crate::{Error, Result};

/// The longest table that is read.
const TABLE_BYTES_MAX: u64 = 256 << 20;

/// The column of that name of a CSV file with names in its first row, in the order of the rows.
///
/// # Errors
/// A file that cannot be read, is too long, is no table, has no such column, or holds other bytes than UTF-8 in it.
pub fn column(path: &Path, name: &str) -> Result<Vec<String>> {
    let fail = |reason: String| Error::Packed { path: path.to_owned(), reason };
    let file = File::open(path).context("read", path)?;
    let bytes = file.metadata().context("read", path)?.len();
    if bytes > TABLE_BYTES_MAX {
        return Err(fail(format!("it has {bytes} bytes; tables of at most {TABLE_BYTES_MAX} are read")));
    }
    let mut lines = Vec::new();
    write_records(BufReader::new(file), b',', Some(name), &mut lines).map_err(fail)?;
    let texts = lines.lines().enumerate().map(|(index, line)| {
        let line = line.context("read", path)?;
        let record = jsonl::parse(&line, None);
        record.map(|record| record.text).map_err(|reason| jsonl::fault(path, index as u64 + 2, reason))
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_in_order_and_faults_are_named() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("texts.csv");
        std::fs::write(&path, "question,kind\nHow?,1\n\"Where, and\n when?\",2\n").unwrap();
        assert_eq!(column(&path, "question").unwrap(), ["How?", "Where, and\n when?"]);
        let fault = column(&path, "text").unwrap_err().to_string();
        assert!(fault.contains("no column \"text\"") && fault.contains("\"kind\""), "{fault}");
        std::fs::write(&path, b"text\n\xFF\n").unwrap();
        assert!(column(&path, "text").is_err());
        assert!(column(&place.path().join("none.csv"), "text").is_err());
    }
}
