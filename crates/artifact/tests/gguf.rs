//! GGUF files: written and read back, and files that lie. Each target is a plain function over bytes: it may refuse
//! them, never panic, and what it accepts must be consistent.
//!
//! Attacks tried: every header byte with every value; every truncation; counts of entries, tensors, items and
//! characters up to all ones; types and versions that are none; keys and names twice; arrays in arrays beyond the
//! limit; texts that are not UTF-8; truths that are neither; dimensions of zero, or whose product overflows, to the
//! right size too; rows that do not fill blocks; places off the alignment, beyond the file, wrapping around, and
//! within one another; alignments that are no power of two; headers filled with entries, items, dimensions or names.

use std::fs;
use std::process::Command;

use luban_artifact::gguf::{Entry, Gguf, TensorSpec, Value, ValueKind, write_streaming};
use luban_artifact::{Error, ModelFiles};
use luban_base::random::Stream;
use luban_kernels::blocks::BlockFormat;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A small file with every kind of value.
fn valid() -> Vec<u8> {
    let entries = [
        Entry::text("general.architecture", "llama"),
        Entry::u32("llama.block_count", 1),
        Entry::f32("llama.rope.freq_base", 1e4),
        Entry::bool("tokenizer.ggml.add_bos_token", true),
        Entry::texts("tokenizer.ggml.tokens", &["a", "", "ñ"]),
        Entry::i32s("tokenizer.ggml.token_type", &[1, -3, 3]),
        Entry::f32s("tokenizer.ggml.scores", &[-0.5, 0.0]),
        Entry::bools("llama.pattern", &[true, false]),
    ];
    let specs = [
        TensorSpec::new("norm", BlockFormat::F32, [3]),
        TensorSpec::new("map", BlockFormat::Q4_0, [2, 64]),
        TensorSpec::new("table", BlockFormat::Q6K, [1, 256]),
        TensorSpec::new("one", BlockFormat::Bf16, []),
    ];
    let mut file = Vec::new();
    write_streaming(&mut file, &entries, &specs, |spec, out| spec.put(out, &bytes_of(spec))).unwrap();
    file
}

/// Bytes that tell a tensor's from another's.
fn bytes_of(spec: &TensorSpec) -> Vec<u8> {
    (0..spec.bytes().unwrap()).map(|at| (at + spec.name.len()) as u8).collect()
}

fn target(data: &[u8]) {
    let Ok(gguf) = Gguf::open(data.to_vec().into()) else { return };
    let keys: Vec<&str> = gguf.keys().collect();
    for key in keys {
        let value = gguf.get(key).expect("a key that was listed");
        assert!(value.to_string().len() < 2000, "values are cut to be shown");
        if let Value::Array(array) = value {
            assert_eq!(array.iter().count(), array.len());
        }
        assert!(gguf.entry(key).is_some());
    }
    for name in gguf.names() {
        let view = gguf.tensor(name).expect("a name that was listed");
        assert_eq!(Some(view.data.len()), view.format.bytes_of(view.elements()));
        assert_eq!(view.to_f32().len(), view.elements());
    }
}

#[test]
fn what_is_written_is_read() {
    let file = valid();
    let gguf = Gguf::open(file.clone().into()).unwrap();
    assert_eq!((gguf.version(), gguf.len(), gguf.keys().count()), (3, 4, 8));
    assert_eq!(gguf.text("general.architecture").unwrap(), "llama");
    assert_eq!(gguf.count("llama.block_count").unwrap(), 1);
    assert_eq!(gguf.number("llama.rope.freq_base").unwrap(), 1e4);
    let shown = |key: &str| gguf.get(key).unwrap().to_string();
    assert_eq!(shown("tokenizer.ggml.add_bos_token"), "true");
    assert_eq!(shown("tokenizer.ggml.tokens"), r#"["a", "", "ñ"]"#);
    assert_eq!(shown("tokenizer.ggml.token_type"), "[1, -3, 3]");
    assert_eq!(shown("tokenizer.ggml.scores"), "[-0.5, 0]");
    assert_eq!(shown("llama.pattern"), "[true, false]");
    let wrong = gguf.count("general.architecture").unwrap_err().to_string();
    assert!(wrong.contains("expected a whole number from 0 up, found \"llama\""), "{wrong}");
    for (name, format, shape) in [
        ("norm", BlockFormat::F32, vec![3]),
        ("map", BlockFormat::Q4_0, vec![2, 64]),
        ("one", BlockFormat::Bf16, vec![]),
    ] {
        let view = gguf.tensor(name).unwrap();
        assert_eq!((view.format, view.shape), (format, shape.as_slice()));
        assert_eq!(view.data, bytes_of(&TensorSpec::new(name, format, shape)));
    }
    // Entries copied as they are make the same file.
    let order = ["general.architecture", "llama.block_count", "llama.rope.freq_base", "tokenizer.ggml.add_bos_token"];
    let rest = ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.scores", "llama.pattern"];
    let entries: Vec<Entry> = order.iter().chain(&rest).map(|key| gguf.entry(key).unwrap()).collect();
    let specs: Vec<TensorSpec> = ["norm", "map", "table", "one"]
        .map(|name| gguf.tensor(name).map(|view| TensorSpec::new(name, view.format, view.shape)).unwrap())
        .into();
    let mut again = Vec::new();
    let fill = |spec: &TensorSpec, out: &mut dyn std::io::Write| spec.put(out, gguf.tensor(&spec.name)?.data);
    write_streaming(&mut again, &entries, &specs, fill).unwrap();
    assert_eq!(again, file);
}

#[test]
fn tensors_begin_where_the_alignment_says() {
    let specs = [1, 2].map(|rows| TensorSpec::new(format!("map {rows}"), BlockFormat::F32, [rows, 3]));
    let write = |entry: Entry| {
        let mut file = Vec::new();
        let put = |spec: &TensorSpec, out: &mut dyn std::io::Write| spec.put(out, &bytes_of(spec));
        write_streaming(&mut file, &[entry], &specs, put).map(|()| file)
    };
    for alignment in [8, 64, 4096] {
        let gguf = Gguf::open(write(Entry::u32("general.alignment", alignment)).unwrap().into()).unwrap();
        for spec in &specs {
            assert_eq!(gguf.tensor(&spec.name).unwrap().data, bytes_of(spec), "{} by {alignment}", spec.name);
        }
    }
    for entry in
        [Entry::u32("general.alignment", 48), Entry::u32("general.alignment", 0), Entry::text("general.alignment", "8")]
    {
        let message = write(entry).unwrap_err().to_string();
        assert!(message.contains("general.alignment"), "{message}");
    }
}

#[test]
fn impossible_files_are_not_written() {
    let specs = |specs: &[TensorSpec]| {
        write_streaming(&mut Vec::new(), &[], specs, |spec, out| spec.put(out, &bytes_of(spec))).unwrap_err()
    };
    let q4 = |name: &str, shape: &[usize]| TensorSpec::new(name, BlockFormat::Q4_0, shape);
    for (expected, found) in [
        ("rows of a multiple of 32 in Q4_0", specs(&[q4("a", &[32, 33])])),
        ("each name once", specs(&[q4("a", &[32]), q4("a", &[32])])),
        ("at most 4 dimensions", specs(&[q4("a", &[1, 1, 1, 1, 32])])),
    ] {
        assert!(found.to_string().contains(expected), "{found}");
    }
    let twice = [Entry::u32("a", 1), Entry::u32("a", 2)];
    assert!(write_streaming(&mut Vec::new(), &twice, &[], |_, _| Ok::<_, Error>(())).is_err());
    let short = write_streaming(&mut Vec::new(), &[], &[q4("a", &[32])], |spec, out| spec.put(out, &[0; 17]));
    assert!(short.unwrap_err().to_string().contains("expected 18 bytes, got 17 bytes"));
}

#[test]
fn a_file_is_a_model_without_a_manifest() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.gguf");
    fs::write(&path, valid()).unwrap();
    let files = ModelFiles::open(&path).unwrap();
    assert!(!files.is_managed() && !files.exists("model.gguf") && files.dir() == path);
    assert_eq!(files.gguf().unwrap().unwrap().len(), 4);
    assert_eq!(files.digest().unwrap(), luban_base::digest::of_bytes(&valid()));
    let folder = ModelFiles::open(place.path()).unwrap();
    assert_eq!(folder.gguf().unwrap().unwrap().len(), 4);
    fs::write(place.path().join("other.GGUF"), valid()).unwrap();
    assert!(folder.gguf().unwrap_err().to_string().contains("several models"));
    fs::write(&path, &valid()[..100]).unwrap();
    assert!(matches!(ModelFiles::open(&path), Err(Error::Corrupt { .. })));
}

/// The bytes of a file, written by hand.
#[derive(Clone)]
struct Hand {
    version: u32,
    tensor_count: u64,
    entry_count: u64,
    entries: Vec<u8>,
    tensors: Vec<u8>,
    data: usize,
}

impl Hand {
    fn new() -> Self {
        Self { version: 3, tensor_count: 0, entry_count: 0, entries: Vec::new(), tensors: Vec::new(), data: 0 }
    }

    fn entry(mut self, key: &[u8], kind: u32, value: &[u8]) -> Self {
        self.entry_count += 1;
        self.entries.extend([&text(key), &kind.to_le_bytes()[..], value].concat());
        self
    }

    fn tensor(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        self.tensor_count += 1;
        let dims_bytes: Vec<u8> = dims.iter().flat_map(|size| size.to_le_bytes()).collect();
        let rank = (dims.len() as u32).to_le_bytes();
        let parts = [&text(name.as_bytes()), &rank[..], &dims_bytes, &kind.to_le_bytes(), &offset.to_le_bytes()];
        self.tensors.extend(parts.concat());
        self
    }

    fn data(mut self, bytes: usize) -> Self {
        self.data = bytes;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let counts = [self.tensor_count.to_le_bytes(), self.entry_count.to_le_bytes()].concat();
        let mut file = [b"GGUF", &self.version.to_le_bytes()[..], &counts, &self.entries, &self.tensors].concat();
        file.resize(file.len().next_multiple_of(32) + self.data, 0);
        file
    }
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// An array of items of a type, with the count that it claims.
fn array(kind: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes(), &count.to_le_bytes()[..], items].concat()
}

#[test]
fn lies_are_refused_in_a_sentence() {
    let good = || Hand::new().entry(b"k", 4, &[7, 0, 0, 0]).tensor("a", &[4], 0, 0).data(16);
    let nested = (0..4).fold(array(0, 1, &[1]), |inner, _| array(9, 1, &inner));
    let half = 1 << 63;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("", good().bytes()),
        ("", Hand { version: 2, ..good() }.bytes()),
        ("", Hand::new().tensor("a", &[4], 0, 32).tensor("b", &[8], 0, 0).data(48).bytes()),
        ("", good().entry(b"deep", 9, &nested[12..]).bytes()),
        ("the first four bytes at byte 0: expected 4 bytes, found 0", Vec::new()),
        ("expected \"GGUF\", found \"GGML\"", [b"GGML", &good().bytes()[4..]].concat()),
        ("expected version 2 or 3, little-endian, found version 1", Hand { version: 1, ..good() }.bytes()),
        ("found version 4", Hand { version: 4, ..good() }.bytes()),
        ("found a big-endian file", Hand { version: 3 << 24, ..good() }.bytes()),
        ("the number of tensors", Hand { tensor_count: u64::MAX, ..good() }.bytes()),
        ("the number of metadata entries", Hand { entry_count: 1 << 40, ..good() }.bytes()),
        ("the number of metadata entries", Hand { entry_count: 9, ..good() }.bytes()),
        ("each key once, found \"k\" twice", good().entry(b"k", 4, &[7, 0, 0, 0]).bytes()),
        ("a metadata key", good().entry(&[0xff], 4, &[7, 0, 0, 0]).bytes()),
        ("expected a number from 0 to 12, found 13", good().entry(b"x", 13, &[0; 8]).bytes()),
        ("expected 0 or 1, found 2", good().entry(b"x", 7, &[2]).bytes()),
        ("a text at byte", good().entry(b"x", 8, &u64::MAX.to_le_bytes()).bytes()),
        ("text in UTF-8", good().entry(b"x", 8, &text(&[0xc0, 0x80])).bytes()),
        ("an array at byte", good().entry(b"x", 9, &array(4, half, &[])).bytes()),
        ("an array at byte", good().entry(b"x", 9, &array(10, 1 << 61, &[])).bytes()),
        ("a boolean at byte", good().entry(b"x", 9, &array(7, u64::MAX, &[1; 64])).bytes()),
        ("a boolean at byte", good().entry(b"x", 9, &array(7, 2, &[1, 3])).bytes()),
        ("at most 4 in one another", good().entry(b"x", 9, &nested).bytes()),
        ("general.alignment", good().entry(b"general.alignment", 4, &[24, 0, 0, 0]).bytes()),
        ("general.alignment", good().entry(b"general.alignment", 4, &[0; 4]).bytes()),
        ("general.alignment", good().entry(b"general.alignment", 4, &u32::MAX.to_le_bytes()).bytes()),
        ("general.alignment", good().entry(b"general.alignment", 8, &text(b"32")).bytes()),
        ("each name once, found \"a\" twice", good().tensor("a", &[4], 0, 32).data(64).bytes()),
        ("a tensor's name", good().tensor(&"a".repeat(513), &[4], 0, 32).data(64).bytes()),
        ("at most 4, found 5", good().tensor("b", &[1, 1, 1, 1, 4], 0, 32).data(64).bytes()),
        ("at most 4, found 4294967295", {
            let rank = u32::MAX.to_le_bytes();
            let tensors = [text(b"a"), rank.to_vec()].concat();
            Hand { tensors, tensor_count: 1, ..Hand::new() }.data(64).bytes()
        }),
        ("sizes from 1 up, found 0", good().tensor("b", &[0], 0, 32).data(64).bytes()),
        ("sizes from 1 up", good().tensor("b", &[u64::MAX], 0, 32).data(64).bytes()),
        ("found type 16 in \"b\"", good().tensor("b", &[256], 16, 32).data(999).bytes()),
        ("found type 4294967295 in \"b\"", good().tensor("b", &[4], u32::MAX, 32).data(64).bytes()),
        ("rows of a multiple of 32 for Q4_0, found rows of 33", good().tensor("b", &[33], 2, 32).data(64).bytes()),
        ("one that can be counted", good().tensor("b", &[1 << 40, 1 << 40], 0, 32).data(64).bytes()),
        ("one that can be counted", good().tensor("b", &[1 << 32, 1 << 32, 4], 0, 32).data(64).bytes()),
        ("one that can be counted", good().tensor("b", &[1 << 62], 0, 32).data(64).bytes()),
        ("a multiple of 32, found 40", good().tensor("b", &[4], 0, 40).data(64).bytes()),
        ("the place of tensor \"b\"", good().tensor("b", &[4], 0, 64).data(64).bytes()),
        ("the place of tensor \"b\"", good().tensor("b", &[4], 0, u64::MAX - 31).data(64).bytes()),
        ("the size of tensor \"b\"", good().tensor("b", &[9], 0, u64::MAX - 31).data(64).bytes()),
        ("the place of tensor \"b\"", good().tensor("b", &[4], 0, (1 << 63) - 64).data(64).bytes()),
        ("\"a\" and \"b\" at bytes", good().tensor("b", &[4], 0, 0).data(64).bytes()),
        ("\"b\" and \"a\" at bytes", { Hand::new().tensor("a", &[4], 0, 32).tensor("b", &[9], 0, 0).data(64).bytes() }),
    ];
    for (expected, bytes) in &cases {
        target(bytes);
        match Gguf::open(bytes.clone().into()) {
            Ok(_) => assert!(expected.is_empty(), "accepted in place of: {expected}"),
            Err(error) => {
                let said = error.to_string();
                assert!(!expected.is_empty() && said.contains(expected), "expected {expected:?}, said {said}");
                assert!(said.len() < 400 && !said.contains('\n'), "{said}");
            }
        }
    }
}

#[test]
fn every_value_of_every_header_byte_is_survived() {
    let file = valid();
    let header = file.len() - 4 * 32 - 210;
    for at in 0..header {
        for value in 0..=255 {
            let mut bytes = file.clone();
            bytes[at] = value;
            target(&bytes);
        }
    }
    for length in 0..file.len() - 32 {
        assert!(Gguf::open(file[..length].to_vec().into()).is_err(), "cut to {length} bytes");
    }
}

#[test]
fn mutated_files_never_panic() {
    const NUMBERS: [u64; 8] = [0, 1, 31, 1 << 31, 1 << 32, 1 << 62, u64::MAX - 31, u64::MAX];
    let rounds = std::env::var("LUBAN_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(4000);
    let seed = 13;
    println!("{rounds} mutations, seed {seed}");
    let file = valid();
    for round in 0..rounds {
        let random = Stream::new(seed, &[round]);
        let mut bytes = file.clone();
        for step in 0..=random.below_at(0, 3) {
            let draw = |index: u64, bound: usize| random.child(step + 1).below_at(index, bound.max(1) as u64) as usize;
            let (at, len) = (draw(0, bytes.len()), draw(1, 40).min(bytes.len()));
            let to = (at + len).min(bytes.len());
            match draw(2, 6) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << draw(3, 8),
                1 => {
                    let number = NUMBERS[draw(3, NUMBERS.len())].to_le_bytes();
                    let end = (at + 8).min(bytes.len());
                    let count = end - at;
                    bytes[at..end].copy_from_slice(&number[..count]);
                }
                2 => drop(bytes.drain(at..to)),
                3 => bytes.extend_from_within(at..to),
                4 => bytes.truncate(at),
                _ => {
                    // A piece moved: names, shapes and places of one tensor under another's.
                    let from = draw(4, bytes.len());
                    let count = (to - at).min(bytes.len() - from);
                    bytes.copy_within(at..at + count, from);
                }
            }
        }
        target(&bytes);
    }
}

/// The environment variable that tells the child which file to read.
const CHILD: &str = "LUBAN_TEST_BOUNDED_GGUF";
const SLACK_BYTES: u64 = 64 << 20;

/// Not a test of its own: reads one file with a limit on memory.
#[test]
fn child_that_reads_with_bounded_memory() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let data = fs::read(path).unwrap();
    let kilobytes = |text: &str| text.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let used = status.lines().find(|line| line.starts_with("VmData")).and_then(kilobytes).unwrap() * 1024;
    // The copy that the target makes stands for the mapped file.
    let limit = used + data.len() as u64 + 4 * data.len() as u64 + SLACK_BYTES;
    let maximum = getrlimit(Resource::Data).maximum;
    setrlimit(Resource::Data, Rlimit { current: Some(limit), maximum }).unwrap();
    drop(Gguf::open(data.into()));
}

#[test]
fn no_header_makes_us_allocate_beyond_the_bound() {
    let number = |index: u64| format!("{index:x}");
    let entries = (0..65_536).fold(Hand::new(), |hand, i| hand.entry(number(i).as_bytes(), 0, &[1]));
    let tensors = (0..65_536).fold(Hand::new(), |hand, i| hand.tensor(&number(i), &[1, 1, 1, 1], 0, 32 * i));
    let empty_texts = array(8, 1 << 20, &vec![0; 8 << 20]);
    let empty_arrays = array(9, 700_000, &array(0, 0, &[]).repeat(700_000));
    let files = [
        ("entries", entries.bytes()),
        ("tensors", tensors.data(32 * 65_536).bytes()),
        ("empty texts", Hand::new().entry(b"x", 9, &empty_texts).bytes()),
        ("empty arrays", Hand::new().entry(b"x", 9, &empty_arrays).bytes()),
        ("one long text", Hand::new().entry(b"x", 8, &text(&vec![b'a'; 8 << 20])).bytes()),
    ];
    let place = tempfile::tempdir().unwrap();
    for (what, bytes) in files {
        assert!(Gguf::open(bytes.clone().into()).is_ok(), "{what}: a file that is whole");
        let path = place.path().join("file");
        fs::write(&path, bytes).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_reads_with_bounded_memory"])
            .env(CHILD, &path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(child.status.success(), "{what}: {said}\n{}", String::from_utf8_lossy(&child.stdout));
    }
}

#[test]
fn the_kind_of_an_array_is_told() {
    let gguf = Gguf::open(valid().into()).unwrap();
    let array = gguf.get("tokenizer.ggml.scores").and_then(Value::as_array).unwrap();
    assert_eq!((array.kind(), array.len(), array.is_empty()), (ValueKind::F32, 2, false));
    assert_eq!(array.iter().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>(), [-0.5, 0.0]);
}
