//! Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) that were trained for a model: read, and held against it.
//!
//! Two layouts are read: PEFT's, a folder with [`CONFIG`] and [`WEIGHTS`], and GGUF files. Either way an adapter
//! becomes a table from the canonical names of matrices to what is added to them. What would change more of a model
//! than the linear maps of its blocks is refused.

mod config;
mod peft;

use std::collections::BTreeMap;
use std::path::Path;

use luban_artifact::ModelFiles;
use luban_kernels::elementwise;

use crate::error::Error;
use crate::families::Family;
use crate::gguf;
use crate::spec::Spec;
use crate::weights::{Role, Slot, slots};

/// The file of an adapter's settings, as PEFT has it.
pub const CONFIG: &str = "adapter_config.json";
/// The file of an adapter's weights, as PEFT has it.
pub const WEIGHTS: &str = "adapter_model.safetensors";
/// Highest rank that is read.
pub const RANK_MAX: usize = 1 << 12;

/// What an adapter adds to a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Adapter {
    /// By the canonical names of the matrices, for example `layers.3.q.weight`.
    pub maps: BTreeMap<String, LowRank>,
}

/// What is added to a matrix: `b · a`.
#[derive(Clone, Debug, PartialEq)]
pub struct LowRank {
    /// Rows of `a`, columns of `b`.
    pub rank: usize,
    /// rank × inputs, row by row.
    pub a: Vec<f32>,
    /// outputs × rank, row by row; the adapter's scale is in it.
    pub b: Vec<f32>,
}

/// Reads an adapter of a model: a folder as PEFT writes it, or a GGUF file.
///
/// # Errors
/// If it is neither, damaged, made for another model, or of a kind that is not supported.
pub fn read(path: &Path, family: &Family, spec: &Spec) -> Result<Adapter, Error> {
    let files = ModelFiles::open(path)?;
    let adapter = if files.exists(CONFIG) {
        peft::read(&files, family, spec)?
    } else {
        match files.gguf()? {
            Some(gguf) => gguf::read_adapter(&gguf, family, spec)?,
            None => return Err(fail(path, format!("there is no {CONFIG} and no GGUF file"))),
        }
    };
    match adapter.maps.is_empty() {
        true => Err(fail(path, "there is no tensor in it".into())),
        false => Ok(adapter),
    }
}

/// An adapter that cannot be read.
fn fail(path: &Path, what: String) -> Error {
    Error::Adapter { path: path.to_owned(), what }
}

/// The matrices that can have adapters: the linear maps of the blocks, but for those of experts.
pub(crate) fn adaptable(spec: &Spec) -> Vec<Slot> {
    let mut slots = slots(spec);
    slots.retain(|slot| {
        let is_map = matches!(slot.role, Role::Linear | Role::ResidualLinear);
        is_map && slot.shape.len() == 2 && slot.name.starts_with("layers.") && !slot.name.contains(".experts.")
    });
    slots
}

/// One of the two matrices of an adapter, as a file has it.
pub(crate) struct Half<'a> {
    pub name: String,
    pub shape: &'a [usize],
    pub values: Vec<f32>,
}

/// What a slot adds, of halves whose outputs are those of `of` slots one after another, this one the `part`-th. `scale`
/// gives the factor for a rank.
pub(crate) fn joined(
    slot: &Slot,
    a: &Half<'_>,
    b: &Half<'_>,
    (part, of): (usize, usize),
    scale: impl FnOnce(usize) -> Result<f32, Error>,
) -> Result<LowRank, Error> {
    let (outputs, inputs) = (slot.shape[0], slot.shape[1]);
    let wrong = |half: &Half<'_>, expected: String| {
        let found = format!("{:?}", half.shape);
        Err(Error::Weight { name: half.name.clone(), expected, found })
    };
    let rank = match *a.shape {
        [rank, columns] if columns == inputs && (1..=RANK_MAX).contains(&rank) => rank,
        _ => return wrong(a, format!("[rank, {inputs}] with a rank from 1 to {RANK_MAX}")),
    };
    let rows = outputs.saturating_mul(of);
    if *b.shape != [rows, rank] {
        return wrong(b, format!("[{rows}, {rank}]"));
    }
    for half in [a, b] {
        if let Some(at) = elementwise::first_non_finite(&half.values) {
            let found = format!("{} at {at}", half.values[at]);
            return Err(Error::Weight { name: half.name.clone(), expected: "numbers that are finite".into(), found });
        }
    }
    let scale = scale(rank)?;
    let own = &b.values[part * outputs * rank..][..outputs * rank];
    Ok(LowRank { rank, a: a.values.clone(), b: own.iter().map(|value| value * scale).collect() })
}
