//! A model laid out for inference: weights packed for the kernels, activations in memory that is reused.

mod adapter;
mod bytes;
mod cache;
mod executor;
mod experts;
mod precision;
mod rows;
mod score;
mod weight;

use std::path::Path;

use luban_artifact::ModelFiles;
use luban_kernels::attention::HEAD_WIDTH_MAX;
use luban_kernels::matmul;
use luban_model::families::Family;
use luban_model::io::WeightData;
use luban_model::spec::Head;
use luban_model::weights::{Role, Slot};
use luban_model::{ModelWeights, Spec, io};

use crate::error::{Error, Result};

pub use adapter::ServingAdapter;
pub(crate) use cache::block_bytes;
pub use executor::ServingExecutor;
pub use precision::Precision;
pub use rows::Rows;
pub use score::{Question, Window};
use weight::Matrix;
pub use weight::ServingWeight;

/// A model ready to run; shared by its executors.
#[derive(Debug)]
pub struct ServingModel {
    spec: Spec,
    /// Whose names the files have, or would have, that it came from.
    family: Option<&'static Family>,
    weights: ModelWeights<ServingWeight>,
    bytes: u64,
    step_bytes: u64,
    precision: &'static str,
}

impl ServingModel {
    /// Reads a model and packs its weights, one tensor after another. Where they are small whole numbers with scales,
    /// activations become bytes block by block on their way into a product; where they are bf16, bf16; else f32.
    ///
    /// # Errors
    /// A folder that is no model, or damaged.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        Self::load_as(files, Precision::Stored)
    }

    /// As [`ServingModel::load`], with the f32 weights of linear maps turned to another precision on the way.
    ///
    /// # Errors
    /// As there, and weights that are NaN or infinite where they are to become whole numbers.
    pub fn load_as(files: &ModelFiles, precision: Precision) -> Result<Self> {
        Self::of_source(&io::read(files)?, precision)
    }

    /// As [`ServingModel::load_as`], of a folder or file that is open.
    ///
    /// # Errors
    /// As there.
    pub fn of_source(source: &io::Source, precision: Precision) -> Result<Self> {
        let model = Self::build(source.spec().clone(), precision, |slot| Ok(source.weight(slot)?))?;
        Ok(Self { family: Some(source.family()), ..model })
    }

    /// Packs the weights that `read` gives for each slot.
    ///
    /// # Errors
    /// Those of `read`; a spec that no model can have; weights of another shape.
    pub fn from_weights(spec: Spec, read: impl FnMut(&Slot) -> Result<WeightData>) -> Result<Self> {
        Self::build(spec, Precision::Stored, read)
    }

    fn build(spec: Spec, precision: Precision, mut read: impl FnMut(&Slot) -> Result<WeightData>) -> Result<Self> {
        spec.validate()?;
        if spec.head_width > HEAD_WIDTH_MAX {
            let why = format!("its heads are {} wide; at most {HEAD_WIDTH_MAX} are supported", spec.head_width);
            return Err(Error::Unsupported { what: "be served", why });
        }
        check_packing(&spec)?;
        // Heads that score every token by its embedding multiply with that table.
        let tied = matches!(spec.head, Head::Vocabulary { tied: true } | Head::MaskedToken);
        let (mut bytes, mut step_bytes, mut matrices) = (0, 0, Vec::new());
        let weights = ModelWeights::build(&spec, |slot| {
            let data = read(slot)?;
            check_length(slot, &data)?;
            let packed = match &data {
                // What chooses experts keeps its precision: a hair may decide.
                WeightData::F32(values) if !matches!(slot.role, Role::Embedding | Role::Router) => {
                    precision::pack(values, slot, precision)?
                }
                _ => None,
            };
            if slot.shape.len() == 2 {
                let name = packed.as_ref().and(precision.name()).unwrap_or(name_of(&data));
                matrices.push((name, slot.len()));
            }
            let weight = match (slot.shape.as_slice(), slot.role) {
                (&[rows, width], Role::Embedding) => {
                    ServingWeight::table(data, rows, width, tied && slot.name == TOKENS)
                }
                (&[outputs, inputs], _) => {
                    let matrix = packed.unwrap_or_else(|| Matrix::pack(data, outputs, inputs));
                    ServingWeight::matrix(matrix, matrices.len())
                }
                _ => ServingWeight::Vector(data.into_f32()),
            };
            bytes += weight.bytes();
            step_bytes += match &spec.experts {
                // On the average; which a token takes is its own affair.
                Some(experts) if slot.name.contains(".experts.") => {
                    weight.step_bytes() * experts.per_token as u64 / experts.count as u64
                }
                _ => weight.step_bytes(),
            };
            Ok::<_, Error>(weight)
        })?;
        let family = Family::for_spec(&spec);
        Ok(Self { spec, family, weights, bytes, step_bytes, precision: commonest(&matrices) })
    }

    /// Reads an adapter that was trained for the model, and packs it: a folder as PEFT writes it, or a GGUF file.
    ///
    /// # Errors
    /// If it is neither, damaged, of a kind that is not supported, or made for another model.
    pub fn load_adapter(&self, path: &Path) -> Result<ServingAdapter> {
        let Some(family) = self.family else {
            let why = "no family of models is known whose names it has".into();
            return Err(Error::Unsupported { what: "take adapters", why });
        };
        ServingAdapter::pack(self, &luban_model::adapter::read(path, family, &self.spec)?)
    }

    /// What the model is.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The packed weights.
    pub fn weights(&self) -> &ModelWeights<ServingWeight> {
        &self.weights
    }

    /// Bytes that the weights take in memory.
    pub fn weight_bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of weights that a step reads that takes one token: all of them, but of tables that only look tokens up one
    /// row.
    pub fn step_bytes(&self) -> u64 {
        self.step_bytes
    }

    /// The number format of most of its weights.
    pub fn precision(&self) -> &'static str {
        self.precision
    }
}

fn name_of(data: &WeightData) -> &'static str {
    match data {
        WeightData::F32(_) => "f32",
        WeightData::I8 { .. } => "int8",
        WeightData::Blocks { format, .. } => format.name(),
    }
}

/// The format that most weights have.
fn commonest(matrices: &[(&'static str, usize)]) -> &'static str {
    let weights = |name: &str| matrices.iter().filter(|(own, _)| *own == name).map(|(_, len)| len).sum::<usize>();
    matrices.iter().map(|(name, _)| *name).max_by_key(|name| weights(name)).unwrap_or("f32")
}

/// Elements that packing may add to a model, beyond as many as it has.
const PADDING_MAX: u64 = 16 << 20;

/// Packed matrices have whole panels of outputs. That is next to nothing in honest models; one whose every matrix has
/// a single output would grow many times over.
fn check_packing(spec: &Spec) -> Result<()> {
    let (mut plain, mut packed) = (0u64, 0u64);
    for slot in luban_model::weights::slots(spec) {
        plain += slot.len() as u64;
        packed += match *slot.shape.as_slice() {
            [outputs, inputs] => matmul::packed_len(inputs, outputs) as u64,
            _ => slot.len() as u64,
        };
    }
    if packed <= 2 * plain + PADDING_MAX {
        return Ok(());
    }
    let why = format!("its {plain} weights would take room for {packed}, since its matrices are too narrow");
    Err(Error::Unsupported { what: "be served", why })
}

/// The canonical name of the token embedding.
const TOKENS: &str = "embedding.tokens";

fn check_length(slot: &Slot, data: &WeightData) -> Result<()> {
    let (found, scales) = match data {
        WeightData::I8 { values, scales } => (values.len(), Some(scales.len())),
        other => (other.elements(), None),
    };
    if found == slot.len() && scales.is_none_or(|scales| scales == slot.shape[0]) {
        return Ok(());
    }
    Err(Error::Model(luban_model::Error::Weight {
        name: slot.name.clone(),
        expected: format!("{:?}", slot.shape),
        found: format!("{found} values, {} scales", scales.unwrap_or(0)),
    }))
}
