//! Files that pyarrow wrote (`bench/parquet_vectors.py`), whole and damaged.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use luban_base::random::Stream;
use serde_json::{Value, json};

use super::*;

const ROWS: u64 = 60;

fn vector(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/vectors/{name}.parquet"))
}

/// As in the script.
fn text(row: u64) -> String {
    if row % 7 == 3 {
        return String::new();
    }
    let words: Vec<String> = (0..8 + row % 5).map(|place| format!("word{}", (row * 31 + place * 17) % 97)).collect();
    format!("row {row}: {}{}", words.join(" "), if row.is_multiple_of(4) { " äöü 漢字\n" } else { "" })
}

/// Reads with a bound of the bytes that come out.
fn read(file: &File, field: Option<&str>) -> Result<Vec<Value>> {
    let (mut out, mut left) = (Vec::new(), 4_u64 << 20);
    write_records(file, field, &mut out, |bytes| {
        left = left.checked_sub(bytes).ok_or("too much")?;
        Ok(())
    })?;
    let lines = String::from_utf8_lossy(&out).into_owned();
    Ok(lines.lines().map(|line| serde_json::from_str(line).unwrap_or(json!(line))).collect())
}

fn read_bytes(bytes: &[u8]) -> Result<Vec<Value>> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    read(&file, None)
}

#[test]
fn every_codec_and_encoding_gives_the_same_rows() {
    let license = |row: u64| if row.is_multiple_of(2) { "Apache-2.0" } else { "MIT" };
    let expected: Vec<Value> = (0..ROWS).map(|row| json!({ "text": text(row), "license": license(row) })).collect();
    for name in ["none", "snappy", "gzip", "brotli", "zstd", "lz4", "plain", "required", "lengths", "strings", "second"]
    {
        let found = read(&File::open(vector(name)).unwrap(), None).unwrap();
        assert!(found == expected, "{name}: {found:?}");
    }
}

#[test]
fn a_column_within_another_is_named_with_a_dot() {
    for name in ["snappy", "strings"] {
        let found = read(&File::open(vector(name)).unwrap(), Some("meta.title")).unwrap();
        let title = |row: u64| {
            if !row.is_multiple_of(2) && !row.is_multiple_of(5) { format!("title {row}") } else { String::new() }
        };
        assert!(found.iter().zip(0..).all(|(line, row)| line["text"] == title(row)), "{name}: {found:?}");
        assert_eq!(found.len() as u64, ROWS);
    }
}

#[test]
fn what_is_no_column_of_texts_is_said() {
    let file = File::open(vector("zstd")).unwrap();
    let reason = |field| read(&file, Some(field)).unwrap_err();
    assert!(reason("body").contains(r#"no column "body"; it has "id", "text", "license", "meta.title", "#));
    assert_eq!(reason("id"), r#"its column "id" holds no texts, one a row"#);
    assert_eq!(reason("lines.list.element"), r#"its column "lines.list.element" holds no texts, one a row"#);
    assert_eq!(read_bytes(b"PAR1").unwrap_err(), "it is no Parquet file, or its end is missing");
    assert_eq!(read_bytes(b"PAR1 and more PARE").unwrap_err(), "it is encrypted");
    let lying = [&b"PAR1"[..], &u32::MAX.to_le_bytes(), b"PAR1"].concat();
    assert!(read_bytes(&lying).unwrap_err().contains("footer is said to have 4294967295 bytes"));
}

#[test]
fn a_file_that_says_more_than_it_holds_ends_with_its_bound() {
    let file = File::open(vector("bomb")).unwrap();
    assert_eq!(read(&file, None).unwrap_err(), "too much");
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let whole = fs::read(vector("plain")).unwrap();
    for cut in (0..whole.len()).step_by(7) {
        assert!(read_bytes(&whole[..cut]).is_err(), "{cut}");
    }
    // The middle is missing: the footer is whole, and points beyond it.
    let footer = whole.len() - 3000;
    for missing in [1, 100, 4000] {
        let cut = [&whole[..footer - missing], &whole[footer..]].concat();
        assert!(read_bytes(&cut).is_err(), "{missing}");
    }
}

#[test]
fn flipped_bytes_never_panic_or_hang_and_checksums_see_them() {
    let rounds = std::env::var("LUBAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400);
    for (number, name) in ["plain", "lz4", "strings", "lengths", "second", "brotli", "snappy"].iter().enumerate() {
        let whole = fs::read(vector(name)).unwrap();
        let draws = Stream::new(7, &[number as u64]);
        for round in 0..rounds {
            let mut bytes = whole.clone();
            for flip in 0..1 + round % 3 {
                let place = draws.below_at(8 * round + flip, bytes.len() as u64) as usize;
                bytes[place] ^= 1 << draws.below_at(8 * round + flip + 4, 8);
            }
            // A number that nobody needs may change without harm; an error is a sentence.
            if let Err(reason) = read_bytes(&bytes) {
                assert!(reason.len() > 10 && !reason.contains('\n'), "{name}, round {round}: {reason:?}");
            }
        }
    }
    // Pages of this file have checksums, so no byte of the texts can change; what is said of them elsewhere can.
    let whole = fs::read(vector("plain")).unwrap();
    let places = (0..whole.len() - 7).filter(|&place| &whole[place..place + 7] == b"row 12:");
    let refused = places.filter(|&place| {
        let mut bytes = whole.clone();
        bytes[place] ^= 1;
        read_bytes(&bytes).is_err_and(|reason| reason.contains("checksum"))
    });
    assert_eq!(refused.count(), 1, "where the text itself stands");
}
