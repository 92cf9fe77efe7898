//! Low-rank adapters laid out for the executor.
//!
//! An adapter adds `b · a · x` to the outputs of a linear map. Maps that share an input have their `a`s side by side in
//! one matrix, so that the input is read once for all of them; each map's `b`, packed, goes on from the outputs that are
//! there. Both products are those of [`luban_kernels::matmul`], whatever the format of the model's own weights, so a
//! row's bits depend on its own row and adapter only.

use std::ops::Range;

use luban_kernels::buffer::Buffer;
use luban_kernels::matmul::{self, Accumulate, MatRef, Shape};
use luban_model::adapter::{Adapter, LowRank, RANK_MAX};
use luban_model::weights::{FeedForwardWeights, LayerWeights, LinearWeights};

use super::rows::{Memory, Rows};
use super::weight::Matrix;
use super::{ServingModel, ServingWeight};
use crate::error::{Error, Result};

/// An adapter of a [`ServingModel`], packed.
#[derive(Debug)]
pub struct ServingAdapter {
    /// By the place of the first map of each group; shorter than there are maps.
    groups: Vec<Option<Group>>,
    maps: usize,
    rank_max: usize,
    bytes: u64,
}

/// What is added to the outputs of maps that share an input.
#[derive(Debug)]
pub(super) struct Group {
    inputs: usize,
    /// All ranks together, and columns of zeros up to where products of few rows read the matrix as it lies.
    inner: usize,
    /// The `a`s side by side: inputs × inner.
    a: Buffer<f32>,
    parts: Vec<Part>,
}

/// What is added to the outputs of one map.
#[derive(Debug)]
struct Part {
    /// Which map of the group.
    map: usize,
    /// Its columns of the inner rows.
    columns: Range<usize>,
    outputs: usize,
    /// Packed: rank × outputs.
    b: Buffer<f32>,
}

impl ServingAdapter {
    /// Packs an adapter for a model.
    ///
    /// # Errors
    /// An adapter of a map that the model has not, or that is of another shape.
    pub fn pack(model: &ServingModel, adapter: &Adapter) -> Result<Self> {
        let mut packed = Self { groups: Vec::new(), maps: 0, rank_max: 0, bytes: 0 };
        for (index, layer) in model.weights().layers.iter().enumerate() {
            for maps in sharing_inputs(layer) {
                packed.add_group(index, &maps, adapter)?;
            }
        }
        match packed.maps == adapter.maps.len() {
            true => Ok(packed),
            false => {
                let (found, all) = (packed.maps, adapter.maps.len());
                let why = format!("it has only {found} of the {all} maps that the adapter is for");
                Err(Error::Unsupported { what: "take the adapter", why })
            }
        }
    }

    /// Maps that it changes.
    pub fn maps(&self) -> usize {
        self.maps
    }

    /// The highest of its ranks.
    pub fn rank_max(&self) -> usize {
        self.rank_max
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it adds to the maps that share an input, of which the first has this place.
    pub(super) fn group(&self, place: usize) -> Option<&Group> {
        self.groups.get(place)?.as_ref()
    }

    fn add_group(&mut self, layer: usize, maps: &[(&str, &Matrix)], adapter: &Adapter) -> Result<()> {
        let mut found: Vec<(usize, &LowRank)> = Vec::new();
        for (map, (name, matrix)) in maps.iter().enumerate() {
            let name = format!("layers.{layer}.{name}.weight");
            if let Some(low_rank) = adapter.maps.get(&name) {
                check(&name, low_rank, matrix)?;
                found.push((map, low_rank));
            }
        }
        let Some((place, inputs)) = maps.first().and_then(|(_, first)| Some((first.place()?, first.inputs()))) else {
            return Ok(());
        };
        if found.is_empty() {
            return Ok(());
        }
        let group = Group::pack(inputs, &found, |map| maps[map].1.outputs());
        self.maps += found.len();
        self.rank_max = found.iter().map(|(_, low_rank)| low_rank.rank).fold(self.rank_max, usize::max);
        self.bytes += group.bytes();
        self.groups.resize_with(self.groups.len().max(place + 1), || None);
        self.groups[place] = Some(group);
        Ok(())
    }
}

/// The maps of a block by what they read, as the forward asks for them together.
fn sharing_inputs(layer: &LayerWeights<ServingWeight>) -> Vec<Vec<(&'static str, &Matrix)>> {
    fn named<'w>(name: &'static str, map: &'w LinearWeights<ServingWeight>) -> (&'static str, &'w Matrix) {
        (name, map.weight.map())
    }
    let attention = vec![named("q", &layer.q), named("k", &layer.k), named("v", &layer.v)];
    let mut groups = vec![attention, vec![named("out", &layer.out)]];
    if let FeedForwardWeights::Dense(mlp) = &layer.feed_forward {
        let gate = mlp.gate.as_ref().map(|gate| named("gate", gate));
        groups.push(gate.into_iter().chain([named("up", &mlp.up)]).collect());
        groups.push(vec![named("down", &mlp.down)]);
    }
    groups
}

fn check(name: &str, low_rank: &LowRank, matrix: &Matrix) -> Result<()> {
    let LowRank { rank, a, b } = low_rank;
    let (inputs, outputs) = (matrix.inputs(), matrix.outputs());
    let fits = |len: usize, other: usize| rank.checked_mul(other) == Some(len);
    if (1..=RANK_MAX).contains(rank) && fits(a.len(), inputs) && fits(b.len(), outputs) {
        return Ok(());
    }
    Err(Error::Model(luban_model::Error::Weight {
        name: name.to_owned(),
        expected: format!("an adapter of {inputs} inputs, {outputs} outputs and a rank from 1 to {RANK_MAX}"),
        found: format!("rank {rank} with {} and {} values", a.len(), b.len()),
    }))
}

impl Group {
    fn pack(inputs: usize, found: &[(usize, &LowRank)], outputs: impl Fn(usize) -> usize) -> Self {
        let inner = matmul::columns_in_place(found.iter().map(|(_, low_rank)| low_rank.rank).sum());
        let mut a = Buffer::zeroed(inputs * inner);
        let rows = found.iter().flat_map(|(_, low_rank)| low_rank.a.chunks_exact(inputs));
        for (column, row) in rows.enumerate() {
            a[column..].iter_mut().step_by(inner).zip(row).for_each(|(to, &number)| *to = number);
        }
        let mut end = 0;
        let part = |&(map, low_rank): &(usize, &LowRank)| {
            let columns = end..end + low_rank.rank;
            end = columns.end;
            let outputs = outputs(map);
            Part { map, columns, outputs, b: packed(&low_rank.b, outputs, low_rank.rank) }
        };
        let parts = found.iter().map(part).collect();
        Self { inputs, inner, a, parts }
    }

    fn bytes(&self) -> u64 {
        let floats = self.a.len() + self.parts.iter().map(|part| part.b.len()).sum::<usize>();
        4 * floats as u64
    }

    /// Adds what it says of some rows of the input to the same rows of the maps' outputs.
    pub(super) fn add(&self, rows: &Range<usize>, input: &Rows, outputs: &mut [Rows], memory: &Memory) {
        let count = rows.len();
        let mut inner = memory.rows(count, self.inner);
        let x = &input.values()[rows.start * self.inputs..rows.end * self.inputs];
        let (x, a) = (MatRef::row_major(x, count, self.inputs), MatRef::row_major(&self.a, self.inputs, self.inner));
        matmul::matmul(x, a, inner.values_mut(), Accumulate::Overwrite);
        for Part { map, columns, outputs: width, b } in &self.parts {
            let rank = columns.len();
            let own = (rank < self.inner).then(|| columns_of(&inner, columns, memory));
            let y = &mut outputs[*map].values_mut()[rows.start * width..rows.end * width];
            let shape = Shape { rows: count, inputs: rank, outputs: *width };
            matmul::matmul_packed(own.as_ref().unwrap_or(&inner).values(), b, shape, None, y, Accumulate::Add);
        }
    }
}

/// A matrix of outputs × inputs, packed.
fn packed(values: &[f32], outputs: usize, inputs: usize) -> Buffer<f32> {
    let mut packed = Buffer::zeroed(matmul::packed_len(inputs, outputs));
    matmul::pack(MatRef::row_major(values, outputs, inputs).transposed(), &mut packed);
    packed
}

fn columns_of(rows: &Rows, columns: &Range<usize>, memory: &Memory) -> Rows {
    let mut own = memory.rows(rows.rows(), columns.len());
    let to = own.values_mut().chunks_exact_mut(columns.len());
    for (to, from) in to.zip(rows.values().chunks_exact(rows.width())) {
        to.copy_from_slice(&from[columns.clone()]);
    }
    own
}
