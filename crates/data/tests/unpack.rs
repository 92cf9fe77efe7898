//! Compressed files and tables.

mod common;

use std::collections::BTreeMap;
use std::io::Write;

use common::{Place, documents, text};
use flate2::Compression;
use flate2::write::GzEncoder;
use luban_base::digest;
use luban_data::{Error, Split};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

fn jsonl(numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| serde_json::json!({ "text": text(number), "license": "MIT" }).to_string() + "\n").collect()
}

fn csv(numbers: std::ops::Range<u64>, delimiter: char) -> String {
    let row = |number| format!("{number}{delimiter}\"{}\"{delimiter}MIT\n", text(number));
    format!("id{delimiter}text{delimiter}license\n") + &numbers.map(row).collect::<String>()
}

#[test]
fn every_format_gives_the_same_texts_packed_or_not() {
    let place = Place::new();
    place.write("a.txt", text(0));
    place.write("b.txt.gz", gzip(text(1).as_bytes()));
    place.write("c.md.zst", zstd(text(2).as_bytes()));
    place.write("d.jsonl.gz", gzip(jsonl(3..6).as_bytes()));
    // Members and frames one after another are one file, as `cat` and parallel packers leave them; some are no data.
    let skippable = [&0x184D_2A50_u32.to_le_bytes()[..], &3_u32.to_le_bytes(), b"abc"].concat();
    place.write("e.jsonl.zst", [zstd(jsonl(6..8).as_bytes()), skippable, zstd(jsonl(8..9).as_bytes())].concat());
    place.write("f.jsonl.gz", [gzip(jsonl(9..10).as_bytes()), gzip(jsonl(10..12).as_bytes())].concat());
    place.write("g.csv", csv(12..15, ','));
    place.write("h.tsv.zst", zstd(csv(15..18, '\t').as_bytes()));
    let numbers = "id,name,price\n1,a long enough name for a row of a table without any texts,2\n";
    place.write("i.csv", numbers);
    let artifact = place.build().unwrap();

    let both = [Split::Train, Split::Valid].map(|split| documents(&artifact, split)).concat();
    let found: BTreeMap<&str, &str> =
        both.iter().map(|document| (document.text.trim_end(), document.source.as_str())).collect();
    let files = [
        (0, "a.txt"),
        (1, "b.txt.gz"),
        (2, "c.md.zst"),
        (3, "d.jsonl.gz:1"),
        (5, "d.jsonl.gz:3"),
        (7, "e.jsonl.zst:2"),
        (8, "e.jsonl.zst:3"),
        (11, "f.jsonl.gz:3"),
        (12, "g.csv:1"),
        (14, "g.csv:3"),
        (17, "h.tsv.zst:3"),
    ];
    for (number, source) in files {
        assert_eq!(found.get(text(number).trim_end()), Some(&source), "{number}");
    }
    assert_eq!(both.len(), 19, "all of them, and the table without texts as text");
    assert!(both.iter().filter(|document| document.source.contains(':')).all(|document| document.license == "MIT"));

    let lines = String::from_utf8(artifact.read("sources.jsonl").unwrap()).unwrap();
    for line in lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        let bytes = std::fs::read(place.data().join(line["path"].as_str().unwrap())).unwrap();
        assert_eq!(line["bytes"], bytes.len());
        assert_eq!(line["sha256"], digest::of_bytes(&bytes).to_string(), "{}: the file's own digest", line["path"]);
    }
    let beside = std::fs::read_dir(place.target("corpus").parent().unwrap()).unwrap();
    let left: Vec<_> = beside.map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("unpacked")), "{left:?}");
}

#[test]
fn a_column_of_another_name_is_taken_when_named() {
    let place = Place::new();
    place.write("a.csv", csv(0..5, ',').replacen("text", "body", 1));
    let artifact = place.build_with(|options| options.text_field = Some("body".into())).unwrap();
    assert_eq!(documents(&artifact, Split::Train).len() + documents(&artifact, Split::Valid).len(), 5);
    let error = place.build_with(|options| options.text_field = Some("other".into())).unwrap_err().to_string();
    assert!(error.contains("a.csv") && error.contains("no column \"other\"; it has \"id\", \"body\""), "{error}");
}

fn vector(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn columns_of_parquet_are_texts_as_those_of_other_tables() {
    let place = Place::new();
    let file = vector("zstd.parquet");
    place.write("a.parquet", &file);
    place.write("b.parquet.gz", gzip(&vector("snappy.parquet")));
    let artifact = place.build_with(|options| options.keep_all = true).unwrap();
    let both = [Split::Train, Split::Valid].map(|split| documents(&artifact, split)).concat();
    assert!(both.len() >= 2 * 51, "{} of 60 rows of each have a text", both.len());
    for (source, row) in [("a.parquet:1", 0), ("b.parquet.gz:9", 8)] {
        let document = both.iter().find(|document| document.source == source).unwrap();
        assert!(document.text.starts_with(&format!("row {row}: word")), "{document:?}");
        assert_eq!(document.license, "Apache-2.0");
    }
    let lines = String::from_utf8(artifact.read("sources.jsonl").unwrap()).unwrap();
    assert!(lines.contains(&digest::of_bytes(&file).to_string()), "the file's own digest");
    let error = place.build_with(|options| options.text_field = Some("body".into())).unwrap_err().to_string();
    assert!(error.contains("a.parquet cannot be unpacked: it has no column \"body\"; it has \"id\""), "{error}");
}

#[test]
fn damage_and_bombs_are_refused() {
    let (gz, zst) = (gzip(jsonl(0..20).as_bytes()), zstd(jsonl(0..20).as_bytes()));
    let flipped = |bytes: &[u8], place: usize| {
        let mut bytes = bytes.to_vec();
        bytes[place] ^= 0x10;
        bytes
    };
    let zeros = vec![b'\n'; 24 << 20];
    let cases = [
        ("cut.jsonl.gz", gz[..gz.len() / 2].to_vec()),
        ("cut.jsonl.zst", zst[..zst.len() / 2].to_vec()),
        ("crc.jsonl.gz", flipped(&gz, gz.len() - 6)),
        ("checksum.jsonl.zst", flipped(&zst, zst.len() - 2)),
        ("none.jsonl.gz", b"this is no gzip at all".to_vec()),
        ("none.jsonl.zst", b"this is no zstd at all".to_vec()),
        ("skip.jsonl.zst", [&0x184D_2A50_u32.to_le_bytes()[..], &u32::MAX.to_le_bytes(), b"abc"].concat()),
        ("cut.parquet", vector("zstd.parquet")[..4000].to_vec()),
        ("none.parquet", b"this is no table at all".to_vec()),
        ("bomb.parquet", vector("bomb.parquet")),
        ("bomb.txt.gz", gzip(&zeros)),
        ("bomb.txt.zst", zstd(&zeros)),
        ("bomb.csv.zst", zstd(("text\n".to_owned() + &"x\n".repeat(12 << 20)).as_bytes())),
    ];
    for (name, bytes) in cases {
        let place = Place::new();
        place.write(name, bytes);
        let error = place.build().unwrap_err();
        assert!(matches!(&error, Error::Packed { path, .. } if path.ends_with(name)), "{name}: {error}");
        assert_eq!(error.to_string().contains("more than 200 times"), name.starts_with("bomb"), "{name}: {error}");
    }
}

#[test]
fn flipped_bytes_never_panic_or_hang() {
    let draws = luban_base::random::Stream::new(4, &[]);
    for (name, bytes) in [("a.jsonl.gz", gzip(jsonl(0..4).as_bytes())), ("a.jsonl.zst", zstd(jsonl(0..4).as_bytes()))] {
        for case in 0..25 {
            let mut bytes = bytes.clone();
            for flip in 0..3 {
                let place = draws.below_at(8 * case + flip, bytes.len() as u64) as usize;
                bytes[place] ^= 1 << draws.below_at(8 * case + flip + 4, 8);
            }
            let place = Place::new();
            place.write(name, bytes);
            // Bytes of a name or time in the header may change without harm; nothing else may pass.
            if let Ok(artifact) = place.build() {
                assert!(!documents(&artifact, Split::Train).is_empty());
            }
        }
    }
}
