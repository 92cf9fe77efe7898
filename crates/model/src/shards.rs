//! Weights in one file, or in several with an index, as Hugging Face lays them out.

use std::collections::BTreeMap;

use luban_artifact::safetensors::{self, Dtype, TensorView, Weights};
use luban_artifact::{ArtifactWriter, ModelFiles};
use serde_json::{Value, json};

use crate::error::Error;
use crate::io::WEIGHTS;

/// The file that says which file has which weight.
pub(crate) const INDEX: &str = "model.safetensors.index.json";
/// Most files that the weights of one model may lie in.
const SHARDS_MAX: usize = 1024;

/// Tensors to be written: type, shape and bytes of each name.
pub(crate) type FileTensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// All tensors of a model's folder.
#[derive(Debug)]
pub(crate) struct Shards {
    files: Vec<Weights>,
    /// Which file has a tensor of this name.
    places: BTreeMap<String, usize>,
}

impl Shards {
    /// Opens the one file of weights, or those that the index names.
    pub(crate) fn open(files: &ModelFiles) -> Result<Self, Error> {
        if files.exists(WEIGHTS) || !files.exists(INDEX) {
            let weights = Weights::open_named(files.map(WEIGHTS)?, &files.dir().join(WEIGHTS))?;
            let places = weights.names().map(|name| (name.to_owned(), 0)).collect();
            return Ok(Self { files: vec![weights], places });
        }
        let places = read_index(&files.read(INDEX)?)?;
        let mut numbers: BTreeMap<&str, usize> = places.values().map(|file| (file.as_str(), 0)).collect();
        if numbers.len() > SHARDS_MAX {
            return Err(Error::Index(format!("it names {} files; at most {SHARDS_MAX} are read", numbers.len())));
        }
        let mut opened = Vec::new();
        for (name, number) in &mut numbers {
            *number = opened.len();
            opened.push(Weights::open_named(files.map(name)?, &files.dir().join(name))?);
        }
        let place = |(name, file): (&String, &String)| Some((name.clone(), *numbers.get(file.as_str())?));
        let places = places.iter().filter_map(place).collect();
        Ok(Self { files: opened, places })
    }

    /// Bytes of all tensors.
    pub(crate) fn bytes(&self) -> u64 {
        self.places.keys().filter_map(|name| self.tensor(name).ok()).map(|view| view.data.len() as u64).sum()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    pub(crate) fn tensor(&self, name: &str) -> Result<TensorView<'_>, Error> {
        Ok(self.file(name)?.tensor(name)?)
    }

    pub(crate) fn to_f32(&self, name: &str) -> Result<Vec<f32>, Error> {
        Ok(self.file(name)?.to_f32(name)?)
    }

    /// Gives the memory back that a tensor of a mapped file takes.
    pub(crate) fn release(&self, name: &str) {
        if let Ok(file) = self.file(name) {
            file.release(name);
        }
    }

    fn file(&self, name: &str) -> Result<&Weights, Error> {
        let file = self.places.get(name).and_then(|&file| self.files.get(file));
        file.ok_or_else(|| Error::Weight {
            name: name.to_owned(),
            expected: "a tensor of this name".into(),
            found: "none".into(),
        })
    }
}

/// The `weight_map` of an index: the file of each tensor.
fn read_index(json: &[u8]) -> Result<BTreeMap<String, String>, Error> {
    let index: Value = serde_json::from_slice(json).map_err(|error| Error::Index(error.to_string()))?;
    let map = index["weight_map"].as_object().ok_or_else(|| Error::Index("it has no object weight_map".into()))?;
    map.iter()
        .map(|(name, file)| match file.as_str() {
            Some(file) => Ok((name.clone(), file.to_owned())),
            None => Err(Error::Index(format!("the file of {name:?} is {file}; expected text"))),
        })
        .collect()
}

/// Writes tensors into one file, or where they take more than `bytes_max`, into several with an index.
pub(crate) fn write(writer: &ArtifactWriter, tensors: &FileTensors, bytes_max: usize) -> Result<(), Error> {
    let shards = split(tensors, bytes_max);
    if let [all] = shards.as_slice() {
        return write_file(writer, WEIGHTS, tensors, all);
    }
    let mut map = serde_json::Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{:05}.safetensors", number + 1, shards.len());
        write_file(writer, &name, tensors, shard)?;
        map.extend(shard.iter().map(|&tensor| (tensor.to_owned(), Value::from(name.as_str()))));
    }
    let total: usize = tensors.values().map(|(_, _, bytes)| bytes.len()).sum();
    let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
    let index = serde_json::to_vec_pretty(&index).map_err(|error| Error::Index(error.to_string()))?;
    writer.write(INDEX, &index)?;
    Ok(())
}

/// The names of the tensors of each file, in order; one that is larger than a file may be has one of its own.
fn split(tensors: &FileTensors, bytes_max: usize) -> Vec<Vec<&str>> {
    let mut shards: Vec<Vec<&str>> = vec![Vec::new()];
    let mut held = 0;
    for (name, (_, _, bytes)) in tensors {
        if held > 0 && held + bytes.len() > bytes_max {
            shards.push(Vec::new());
            held = 0;
        }
        held += bytes.len();
        if let Some(shard) = shards.last_mut() {
            shard.push(name);
        }
    }
    shards
}

fn write_file(writer: &ArtifactWriter, file: &str, tensors: &FileTensors, names: &[&str]) -> Result<(), Error> {
    let of = |name: &&str| {
        let (dtype, shape, bytes) = tensors.get(*name)?;
        Some(((*name).to_owned(), *dtype, shape.clone(), bytes.as_slice()))
    };
    let tensors: Vec<_> = names.iter().filter_map(of).collect();
    let mut file = writer.file(file)?;
    safetensors::write(&mut file, &tensors, &[("format", "pt")])?;
    file.finish()?;
    Ok(())
}
