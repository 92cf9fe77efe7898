//! Models written again: the same tensors under the same names, in one file or in several.

use std::fs;
use std::path::{Path, PathBuf};

use luban_artifact::safetensors::Weights;
use luban_artifact::{ArtifactWriter, Keys, Kind, ModelFiles};
use luban_kernels::quantize::rows_i8;
use luban_model::io::{self, Export, WeightData};
use luban_model::weights::Slot;
use serde_json::{Value, json};

const INDEX: &str = "model.safetensors.index.json";

fn vectors() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut folders: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() > 10);
    folders
}

/// Reads a model and writes it again, with files of at most so many bytes.
fn rewritten(from: &Path, home: &Path, file_bytes_max: usize) -> PathBuf {
    let source = io::read(&ModelFiles::open(from).unwrap()).unwrap();
    let target = home.join(file_bytes_max.to_string());
    let writer = ArtifactWriter::create(&target, Kind::Model).unwrap();
    let extra = json!({ "eos_token_id": 3, "model_type": "another" }).as_object().cloned().unwrap();
    let model = Export { family: source.family(), spec: source.spec(), extra, file_bytes_max };
    io::export_with(&writer, model, |slot: &Slot| source.weight(slot)).unwrap();
    writer.commit(&Keys::load_or_create(home).unwrap()).unwrap();
    target
}

fn json_of(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_tensor_comes_back_under_its_name() {
    for folder in vectors() {
        let home = tempfile::tempdir().unwrap();
        let target = rewritten(&folder, home.path(), usize::MAX);
        let open = |dir: &Path| Weights::open(fs::read(dir.join(io::WEIGHTS)).unwrap().into()).unwrap();
        let (before, after) = (open(&folder), open(&target));
        for name in after.names() {
            // Checkpoints of a bare body leave out the start of the names.
            let bare = name.split_once('.').map_or(name, |(_, rest)| rest);
            let original = if before.contains(name) { name } else { bare };
            let (before, after) = (before.to_f32(original).unwrap(), after.to_f32(name).unwrap());
            // Norms of one plus the weight pass by way of the sum.
            let same = |(a, b): (&f32, &f32)| (a - b).abs() <= f32::EPSILON;
            assert!(before.iter().zip(&after).all(same), "{}: {name}", folder.display());
        }
        let unread = |name: &&str| !name.contains("pooler");
        assert_eq!(before.names().filter(unread).count(), after.len(), "{}", folder.display());
        let config = json_of(target.join(io::CONFIG));
        assert_eq!(config["eos_token_id"], 3);
        assert_eq!(config["model_type"], json_of(folder.join(io::CONFIG))["model_type"], "families write their own");
    }
}

#[test]
fn several_files_are_as_one() {
    for folder in vectors() {
        let home = tempfile::tempdir().unwrap();
        let [whole, parts] = [usize::MAX, 12_000].map(|bytes| rewritten(&folder, home.path(), bytes));
        assert!(!parts.join(io::WEIGHTS).exists() && !whole.join(INDEX).exists());
        let index = json_of(parts.join(INDEX));
        let [whole, parts] = [whole, parts].map(|dir| io::read(&ModelFiles::open(&dir).unwrap()).unwrap());
        assert_eq!(index["metadata"]["total_size"], whole.weight_bytes());
        assert_eq!(parts.weight_bytes(), whole.weight_bytes());
        assert_eq!(parts.spec(), whole.spec());
        let first = index["weight_map"].as_object().unwrap().values().min_by_key(|name| name.to_string()).unwrap();
        assert!(first.as_str().unwrap().starts_with("model-00001-of-000"), "{first}");
        for slot in luban_model::weights::slots(whole.spec()) {
            assert_eq!(parts.weight(&slot).unwrap(), whole.weight(&slot).unwrap(), "{}", slot.name);
        }
    }
}

/// The weight in int8 if it is a matrix.
fn quantized(slot: &Slot, data: WeightData) -> WeightData {
    let values = data.into_f32();
    if slot.shape.len() != 2 {
        return WeightData::F32(values);
    }
    let (mut whole, mut scales) = (vec![0; values.len()], vec![0.0; slot.shape[0]]);
    rows_i8(&values, slot.shape[0], &mut whole, &mut scales);
    WeightData::I8 { values: whole, scales }
}

#[test]
fn int8_comes_back_from_every_layout() {
    for folder in vectors() {
        let home = tempfile::tempdir().unwrap();
        let source = io::read(&ModelFiles::open(&folder).unwrap()).unwrap();
        let target = home.path().join("model");
        let writer = ArtifactWriter::create(&target, Kind::Model).unwrap();
        let weight = |slot: &Slot| Ok(quantized(slot, source.weight(slot)?));
        io::export(&writer, source.family(), source.spec(), Default::default(), weight).unwrap();
        writer.commit(&Keys::load_or_create(home.path()).unwrap()).unwrap();
        let read = io::read(&ModelFiles::open(&target).unwrap()).unwrap();
        for slot in luban_model::weights::slots(source.spec()) {
            let expected = quantized(&slot, source.weight(&slot).unwrap());
            match (read.weight(&slot).unwrap(), expected) {
                (WeightData::F32(found), WeightData::F32(expected)) => {
                    let same = |(a, b): (&f32, &f32)| (a - b).abs() <= f32::EPSILON;
                    assert!(found.iter().zip(&expected).all(same), "{}: {}", folder.display(), slot.name);
                }
                (found, expected) => assert_eq!(found, expected, "{}: {}", folder.display(), slot.name),
            }
        }
    }
}

/// A plain folder of several files, without the manifest that would notice a change.
fn plain_parts(home: &Path) -> PathBuf {
    let folder = vectors().into_iter().find(|folder| folder.ends_with("qwen3")).unwrap();
    let parts = rewritten(&folder, home, 12_000);
    fs::remove_file(parts.join("luban.json")).unwrap();
    parts
}

#[test]
fn hostile_indices_are_refused() {
    type Attack = fn(&mut Value);
    let attacks: [(Attack, &str); 7] = [
        (|index| *index = json!([]), "weight_map"),
        (|index| index["weight_map"] = json!("everything"), "weight_map"),
        (|index| index["weight_map"]["lm_head.weight"] = json!(3), "expected text"),
        (|index| index["weight_map"]["lm_head.weight"] = json!("../model/model.safetensors"), "../model"),
        (|index| index["weight_map"]["lm_head.weight"] = json!("/etc/passwd"), "passwd"),
        (|index| index["weight_map"]["model.norm.weight"] = json!("config.json"), "config.json"),
        (
            |index| {
                let map = index["weight_map"].as_object_mut().unwrap();
                (0..2000).for_each(|file| drop(map.insert(format!("w{file}"), json!(format!("{file}.safetensors")))));
            },
            "at most 1024",
        ),
    ];
    for (attack, expected) in attacks {
        let home = tempfile::tempdir().unwrap();
        let parts = plain_parts(home.path());
        let mut index = json_of(parts.join(INDEX));
        attack(&mut index);
        fs::write(parts.join(INDEX), index.to_string()).unwrap();
        let error = io::read(&ModelFiles::open(&parts).unwrap()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_missing_or_swapped_file_is_named() {
    let home = tempfile::tempdir().unwrap();
    let parts = plain_parts(home.path());
    let mut names: Vec<PathBuf> = fs::read_dir(&parts).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    names.sort();
    fs::copy(&names[0], &names[1]).unwrap();
    let read = || io::read(&ModelFiles::open(&parts).unwrap()).unwrap_err().to_string();
    assert!(read().contains("model-00002-of-"), "{}", read());
    fs::remove_file(&names[1]).unwrap();
    assert!(read().contains("model-00002-of-"), "{}", read());
}
