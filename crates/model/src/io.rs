//! A model read from a Hugging Face folder or a GGUF file, and laid out as such a folder.
//!
//! Weights may be f32, f16 or bf16, or int8 with one scale for each output as Hugging Face's `compressed-tensors`
//! lays them out: `NAME` in I8 beside `NAME_scale`. They lie in one file, or in several with an index. What GGUF
//! files hold says [`crate::gguf`].

use std::path::PathBuf;

use luban_artifact::safetensors::{Dtype, TensorView};
use luban_artifact::{ArtifactWriter, ModelFiles, Piece};
use luban_kernels::blocks::{self, BlockFormat};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::families::{Family, Layout, read_config};
use crate::gguf;
use crate::shards::{self, FileTensors, Shards};
use crate::spec::Spec;
use crate::weights::Slot;

/// The file of the configuration.
pub const CONFIG: &str = "config.json";
/// The file of the weights.
pub const WEIGHTS: &str = "model.safetensors";
/// Bytes of weights that one file takes, as Hugging Face long had it.
const FILE_BYTES_MAX: usize = 5_000_000_000;
/// What the name of a quantized weight's scales ends with.
const SCALE_SUFFIX: &str = "_scale";

/// The values of one weight, matrices as outputs × inputs, row by row.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightData {
    /// As they are.
    F32(Vec<f32>),
    /// Each row is its whole numbers times its scale.
    I8 {
        /// rows × columns.
        values: Vec<i8>,
        /// One for each row.
        scales: Vec<f32>,
    },
    /// In blocks, row after row, as GGUF files hold them.
    Blocks {
        /// Their format.
        format: BlockFormat,
        /// rows × columns, in whole blocks.
        bytes: Piece,
    },
}

impl WeightData {
    /// How many values there are.
    pub fn elements(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::I8 { values, .. } => values.len(),
            Self::Blocks { format, bytes } => bytes.len() / format.block_bytes() * format.block_len(),
        }
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match self {
            Self::F32(values) => 4 * values.len(),
            Self::I8 { values, scales } => values.len() + 4 * scales.len(),
            Self::Blocks { bytes, .. } => bytes.len(),
        }
    }

    /// The values as f32, scales applied.
    pub fn into_f32(self) -> Vec<f32> {
        match self {
            Self::F32(values) => values,
            Self::I8 { values, scales } => {
                let columns = values.len() / scales.len().max(1);
                let row =
                    |(row, scale): (&[i8], f32)| row.iter().map(move |&v| f32::from(v) * scale).collect::<Vec<_>>();
                values.chunks(columns.max(1)).zip(scales).flat_map(row).collect()
            }
            Self::Blocks { format, ref bytes } => {
                let mut values = vec![0.0; self.elements()];
                blocks::dequantize(format, bytes, &mut values);
                values
            }
        }
    }
}

/// A model's folder or file, opened and checked: every weight of the spec is there in its shape.
#[derive(Debug)]
pub struct Source {
    family: &'static Family,
    spec: Spec,
    config: Value,
    weights: Weights,
    path: PathBuf,
}

/// Where weights lie.
#[derive(Debug)]
enum Weights {
    /// In safetensors.
    Folder(Shards),
    /// In a GGUF file.
    Gguf(gguf::Weights),
}

/// Opens a model's folder or file.
///
/// # Errors
/// If the configuration is not one that this program knows, or a weight is missing or of another shape.
pub fn read(files: &ModelFiles) -> Result<Source, Error> {
    let path = files.dir().to_owned();
    if let Some(file) = files.gguf()? {
        let gguf::Read { family, spec, config, weights } = gguf::read(file)?;
        crate::weights::slots(&spec).iter().try_for_each(|slot| weights.check(slot))?;
        return Ok(Source { family, spec, config, weights: Weights::Gguf(weights), path });
    }
    let (family, spec, config) = read_config(&files.read(CONFIG)?)?;
    let shards = Shards::open(files)?;
    for slot in crate::weights::slots(&spec) {
        locate(family, &shards, &slot)?;
    }
    Ok(Source { family, spec, config, weights: Weights::Folder(shards), path })
}

impl Source {
    /// The family whose layout the folder has, or would have.
    pub fn family(&self) -> &'static Family {
        self.family
    }

    /// What the model is.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The whole configuration.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The folder or file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Bytes of all tensors in the files.
    pub fn weight_bytes(&self) -> u64 {
        match &self.weights {
            Weights::Folder(shards) => shards.bytes(),
            Weights::Gguf(weights) => weights.bytes(),
        }
    }

    /// The format that a weight has in a GGUF file; `None` in a folder.
    pub fn block_format(&self, slot: &Slot) -> Option<BlockFormat> {
        match &self.weights {
            Weights::Folder(_) => None,
            Weights::Gguf(weights) => weights.format(slot),
        }
    }

    /// Reads one weight.
    ///
    /// # Errors
    /// If its type is not one that this program reads.
    pub fn weight(&self, slot: &Slot) -> Result<WeightData, Error> {
        let shards = match &self.weights {
            Weights::Folder(shards) => shards,
            Weights::Gguf(weights) => return weights.weight(slot),
        };
        let (name, layout, view) = locate(self.family, shards, slot)?;
        let data = read_tensor(shards, &name, view, layout, slot);
        shards.release(&name);
        data
    }

    /// Reads a tensor that is no weight of the spec, by its name in the files of a folder; those of the bare body may
    /// leave out [`Family::body_prefix`].
    ///
    /// # Errors
    /// If it is not there, or of another shape or type.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let fail = |found: String| Error::Weight { name: name.to_owned(), expected: format!("{shape:?}"), found };
        let Weights::Folder(shards) = &self.weights else { return Err(fail("a GGUF file, which has none".into())) };
        let bare = name.strip_prefix(self.family.body_prefix);
        let name = bare.filter(|bare| !shards.contains(name) && shards.contains(bare)).unwrap_or(name);
        if !shards.contains(name) {
            return Err(fail("no such tensor".into()));
        }
        let found = shards.tensor(name)?.shape;
        if found != shape {
            return Err(fail(format!("{found:?}")));
        }
        let values = shards.to_f32(name)?;
        shards.release(name);
        Ok(values)
    }
}

/// A tensor's values as the canonical weight has them.
fn read_tensor(
    shards: &Shards,
    name: &str,
    view: TensorView<'_>,
    layout: Layout,
    slot: &Slot,
) -> Result<WeightData, Error> {
    if let Some(values) = view.to_i8() {
        let scales = scales(shards, name, layout, slot.shape[0])?;
        return Ok(WeightData::I8 { values: arranged(values, view.shape, layout, slot), scales });
    }
    let mut values = view.to_f32().ok_or_else(|| Error::Weight {
        name: name.to_owned(),
        expected: "F32, F16, BF16 or I8 with scales".into(),
        found: format!("{:?}", view.dtype),
    })?;
    if layout == Layout::OneLess {
        values.iter_mut().for_each(|value| *value += 1.0);
    }
    Ok(WeightData::F32(arranged(values, view.shape, layout, slot)))
}

/// A weight's name, layout and tensor, its shape checked.
fn locate<'a>(family: &Family, shards: &'a Shards, slot: &Slot) -> Result<(String, Layout, TensorView<'a>), Error> {
    let place = family.place(slot);
    let bare = place.name.strip_prefix(family.body_prefix);
    let name = match bare {
        Some(bare) if !shards.contains(&place.name) && shards.contains(bare) => bare.to_owned(),
        _ => place.name,
    };
    let expected = file_shape(slot, place.layout);
    let fail = |found: String| Error::Weight { name: name.clone(), expected: format!("{expected:?}"), found };
    if !shards.contains(&name) {
        return Err(fail("no such tensor".into()));
    }
    let view = shards.tensor(&name)?;
    if view.shape != expected {
        return Err(fail(format!("{:?}", view.shape)));
    }
    Ok((name, place.layout, view))
}

fn scales(shards: &Shards, name: &str, layout: Layout, rows: usize) -> Result<Vec<f32>, Error> {
    let name = format!("{name}{SCALE_SUFFIX}");
    let all = match shards.contains(&name) {
        true => shards.to_f32(&name)?,
        false => Vec::new(),
    };
    let (start, expected) = match layout {
        Layout::TransposedThird { part } => (part * rows, 3 * rows),
        Layout::Part { part, of } => (part * rows, of * rows),
        _ => (0, rows),
    };
    if all.len() != expected || all.iter().any(|scale| !scale.is_finite()) {
        let found = if all.is_empty() { "no such tensor".into() } else { format!("{} values", all.len()) };
        return Err(Error::Weight { name, expected: format!("{expected} finite scales"), found });
    }
    Ok(all[start..start + rows].to_vec())
}

/// The shape that a weight has in the family's files.
fn file_shape(slot: &Slot, layout: Layout) -> Vec<usize> {
    match (layout, slot.shape.as_slice()) {
        (Layout::Transposed, &[outputs, inputs]) => vec![inputs, outputs],
        (Layout::TransposedThird { .. }, &[outputs, inputs]) => vec![inputs, 3 * outputs],
        (Layout::TransposedThird { .. }, &[length]) => vec![3 * length],
        (Layout::Part { of, .. }, &[first, ref rest @ ..]) => [&[of * first], rest].concat(),
        (_, shape) => shape.to_vec(),
    }
}

/// A file's values as the canonical weight has them.
fn arranged<T: Copy>(values: Vec<T>, file_shape: &[usize], layout: Layout, slot: &Slot) -> Vec<T> {
    let rows = slot.shape[0];
    let first = if let Layout::TransposedThird { part } = layout { part * rows } else { 0 };
    match (layout, file_shape) {
        (Layout::Same | Layout::OneLess, _) => values,
        (Layout::Part { part, .. }, _) => values[part * slot.len()..][..slot.len()].to_vec(),
        (_, &[inputs, columns]) => {
            let values = &values;
            let row = |output: usize| (0..inputs).map(move |input| values[input * columns + output]);
            (first..first + rows).flat_map(row).collect()
        }
        _ => values[first..first + rows].to_vec(),
    }
}

/// Writes a model's configuration and weights into an artifact, as the family lays them out. `extra` fields are
/// added to the configuration where the family has none of the name; `weight` gives each weight when it is its turn.
///
/// # Errors
/// Those of `weight`, or of the disk.
pub fn export(
    writer: &ArtifactWriter,
    family: &Family,
    spec: &Spec,
    extra: Map<String, Value>,
    weight: impl FnMut(&Slot) -> Result<WeightData, Error>,
) -> Result<(), Error> {
    let model = Export { family, spec, extra, file_bytes_max: FILE_BYTES_MAX };
    export_with(writer, model, weight)
}

/// A model to be written.
#[derive(Debug)]
pub struct Export<'a> {
    /// Whose layout it gets.
    pub family: &'a Family,
    /// What it is.
    pub spec: &'a Spec,
    /// More fields of its configuration.
    pub extra: Map<String, Value>,
    /// Bytes of weights that one file takes; there are several files and an index where that is not enough.
    pub file_bytes_max: usize,
}

/// As [`export`], with a limit on the size of files.
///
/// # Errors
/// Those of [`export`].
pub fn export_with(
    writer: &ArtifactWriter,
    model: Export<'_>,
    mut weight: impl FnMut(&Slot) -> Result<WeightData, Error>,
) -> Result<(), Error> {
    let Export { family, spec, extra, file_bytes_max } = model;
    let mut config = (family.config)(spec);
    if let Some(fields) = config.as_object_mut() {
        for (name, value) in extra {
            fields.entry(name).or_insert(value);
        }
    }
    let config = serde_json::to_vec_pretty(&config).map_err(|error| Error::Config(error.to_string()))?;
    writer.write(CONFIG, &config)?;
    let mut tensors = FileTensors::new();
    for slot in crate::weights::slots(spec) {
        place(&mut tensors, family, &slot, weight(&slot)?);
    }
    shards::write(writer, &tensors, file_bytes_max)
}

/// Enters a weight among the tensors of a file; parts of a fused one side by side.
fn place(tensors: &mut FileTensors, family: &Family, slot: &Slot, data: WeightData) {
    let place = family.place(slot);
    match data {
        WeightData::Blocks { .. } => self::place(tensors, family, slot, WeightData::F32(data.into_f32())),
        WeightData::F32(mut values) => {
            if place.layout == Layout::OneLess {
                values.iter_mut().for_each(|value| *value -= 1.0);
            }
            insert(tensors, place.name, Dtype::F32, slot, place.layout, &values, |v| v.to_le_bytes());
        }
        WeightData::I8 { values, scales } => {
            let scale_slot = Slot { shape: vec![scales.len(), 1], ..slot.clone() };
            let scale_name = format!("{}{SCALE_SUFFIX}", place.name);
            insert(tensors, scale_name, Dtype::F32, &scale_slot, place.layout, &scales, |v| v.to_le_bytes());
            insert(tensors, place.name, Dtype::I8, slot, place.layout, &values, |v| v.to_le_bytes());
        }
    }
}

fn insert<T: Copy, const BYTES: usize>(
    tensors: &mut FileTensors,
    name: String,
    dtype: Dtype,
    slot: &Slot,
    layout: Layout,
    values: &[T],
    bytes: impl Fn(T) -> [u8; BYTES],
) {
    let shape = file_shape(slot, layout);
    let length = shape.iter().product::<usize>() * BYTES;
    let (_, _, target) = tensors.entry(name).or_insert_with(|| (dtype, shape.clone(), vec![0; length]));
    let mut put = |element: usize, value: T| {
        target[element * BYTES..(element + 1) * BYTES].copy_from_slice(&bytes(value));
    };
    let first = if let Layout::TransposedThird { part } = layout { part * slot.shape[0] } else { 0 };
    match (layout, shape.as_slice()) {
        (Layout::Part { part, .. }, _) => {
            values.iter().enumerate().for_each(|(at, &v)| put(part * values.len() + at, v));
        }
        (Layout::Same | Layout::OneLess, _) | (Layout::Transposed, [_]) => {
            values.iter().enumerate().for_each(|(at, &v)| put(at, v))
        }
        (_, &[inputs, columns]) => values.iter().enumerate().for_each(|(at, &value)| {
            put((at % inputs) * columns + first + at / inputs, value);
        }),
        _ => values.iter().enumerate().for_each(|(at, &value)| put(first + at, value)),
    }
}
