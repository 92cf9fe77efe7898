//! Loading a model takes little more memory than the model. Each measurement is a process of its own, as the system
//! keeps one highest figure for each.
#![cfg(target_os = "linux")]

mod support;

use std::env;
use std::io::BufWriter;
use std::path::Path;
use std::process::Command;

use luban_artifact::{ArtifactWriter, Keys, Kind, ModelFiles};
use luban_base::memory::{resident_bytes, resident_bytes_max};
use luban_engine::serving::ServingModel;
use luban_kernels::blocks::BlockFormat;
use luban_model::Spec;
use luban_model::families::Family;
use luban_model::gguf::format_of;
use luban_model::io::{self, WeightData};
use luban_model::weights::{Slot, slots};
use support::quantized;

const CHILD: &str = "LUBAN_TEST_LOAD_CHILD";
/// What a process may take beside the model: threads, the allocator's remains.
const FREE_BYTES: u64 = 10 << 20;

/// What a child does, and no test of its own: it loads a model and computes its digest, as an engine does.
#[test]
fn child() {
    let Some(path) = env::var_os(CHILD) else { return };
    let before = resident_bytes().unwrap();
    let files = ModelFiles::open(Path::new(&path)).unwrap();
    let model = ServingModel::load(&files).unwrap();
    files.digest().unwrap();
    let taken = resident_bytes_max().unwrap() - before;
    println!("\nmemory {taken} for weights of {} bytes", model.weight_bytes());
}

/// Some fifty matrices, of which none is a large part of the whole.
fn spec() -> Spec {
    Spec { ffn_width: 2048, context: 64, ..Spec::llama(512, 8, 8, 2000) }
}

fn values(slot: &Slot) -> Vec<f32> {
    (0..slot.len()).map(|at| (at * 7919 % 2003) as f32 / 1000.0 - 1.0).collect()
}

/// The child's highest memory over what it began with, and the bytes of its weights.
fn measured(path: &Path) -> (u64, u64) {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact", "--nocapture"]).env(CHILD, path);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("memory ")).unwrap_or_else(|| panic!("{output:?}"));
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

/// `scratch`: how many bytes more than packed a weight takes while it is read.
fn check(what: &str, path: &Path, scratch: u64) {
    let (taken, weights) = measured(path);
    println!("{what}: {taken} bytes for weights of {weights}");
    let most = weights + weights / 10 + scratch + FREE_BYTES;
    assert!(weights > 2 * (scratch + FREE_BYTES), "{what}: weights of {weights} bytes show nothing");
    assert!(taken <= most, "{what}: {taken} bytes for weights of {weights}; at most {most} were expected");
}

#[test]
fn gguf_files_are_packed_from_the_map_and_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let largest = slots(&spec).iter().map(Slot::len).max().unwrap() as u64;
    for format in [BlockFormat::Q8_0, BlockFormat::Bf16] {
        let path = dir.path().join(format!("{format}.gguf"));
        let mut file = BufWriter::new(std::fs::File::create(&path).unwrap());
        let weight = |slot: &Slot| Ok(WeightData::F32(values(slot)));
        luban_model::gguf::export(&mut file, &spec, &[], |slot| format_of(slot, &spec, format), weight).unwrap();
        std::io::Write::flush(&mut file).unwrap();
        // The pages of one tensor, and a copy where its rows lie in another order.
        check(&format.to_string(), &path, 2 * format.bytes_of(largest as usize).unwrap() as u64);
    }
}

#[test]
fn folders_take_a_tensor_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec();
    let keys = Keys::load_or_create(&dir.path().join("home")).unwrap();
    let largest = slots(&spec).iter().map(Slot::len).max().unwrap() as u64;
    type Of = fn(&Slot) -> WeightData;
    let cases: [(&str, Of, u64); 2] =
        [("int8", |slot| quantized(slot, values(slot)), 1), ("f32", |slot| WeightData::F32(values(slot)), 4)];
    for (name, of, bytes) in cases {
        let path = dir.path().join(name);
        let writer = ArtifactWriter::create(&path, Kind::Model).unwrap();
        let family = Family::for_spec(&spec).unwrap();
        io::export(&writer, family, &spec, serde_json::Map::new(), |slot| Ok(of(slot))).unwrap();
        writer.commit(&keys).unwrap();
        // The pages of one tensor, and its values.
        check(name, &path, 2 * bytes * largest);
    }
}
