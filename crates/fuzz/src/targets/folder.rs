//! A model's folder: its configuration, a line end, and its weights.

use std::fs;

use luban_artifact::{ArtifactWriter, Kind, ModelFiles};
use luban_engine::serving::ServingModel;
use luban_model::families::Family;
use luban_model::io::{self, CONFIG, WEIGHTS, WeightData};
use luban_model::weights::{Slot, slots};

use super::{put, said, scratch, specs, values};
use crate::{Target, Verdict};

/// Configuration and weights together.
pub(crate) const TARGET: Target = Target { name: "folder", run, seeds, words: super::config::WORDS };

fn run(input: &[u8]) -> Verdict {
    let end = input.iter().position(|&byte| byte == b'\n').ok_or("there is no line end")?;
    let folder = scratch().join("folder");
    fs::create_dir_all(&folder).expect("the temporary folder takes folders");
    put(&folder, CONFIG, &input[..end]);
    put(&folder, WEIGHTS, &input[end + 1..]);
    let files = ModelFiles::open(&folder).map_err(said)?;
    let source = io::read(&files).map_err(said)?;
    for slot in slots(source.spec()) {
        let data = source.weight(&slot).map_err(said)?;
        assert_eq!(data.elements(), slot.len(), "{}", slot.name);
    }
    ServingModel::load(&files).map_err(said)?;
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    let bytes = |slot: &Slot| {
        let values = values(slot);
        match slot.shape.as_slice() {
            [rows, _] => WeightData::I8 {
                values: values.iter().map(|value| (value * 100.0) as i8).collect(),
                scales: vec![0.01; *rows],
            },
            _ => WeightData::F32(values),
        }
    };
    let [llama, _, gpt2, bert] = &specs()[..] else { return Vec::new() };
    let floats = |slot: &Slot| WeightData::F32(values(slot));
    vec![written(llama, floats), written(llama, bytes), written(gpt2, floats), written(bert, floats)]
}

fn written(spec: &luban_model::Spec, weight: impl Fn(&Slot) -> WeightData) -> Vec<u8> {
    let place = tempfile::tempdir().expect("a temporary folder");
    let family = Family::for_spec(spec).expect("a family for every example");
    let keys = luban_artifact::Keys::from_seed(&[7; 32]);
    let path = place.path().join("model");
    let writer = ArtifactWriter::create(&path, Kind::Model).expect("a new folder");
    io::export(&writer, family, spec, serde_json::Map::new(), |slot| Ok(weight(slot))).expect("it is written");
    writer.commit(&keys).expect("it is written");
    let config = serde_json::to_vec(&(family.config)(spec)).expect("JSON is written");
    let weights = fs::read(path.join(WEIGHTS)).expect("it was written");
    [config, b"\n".to_vec(), weights].concat()
}
