//! The executor that serves: packed weights, cached attention, memory that is reused.

use std::ops::Range;
use std::sync::Arc;

use luban_kernels::attention::{self, Inputs, Shape};
use luban_kernels::quantized::{self, Activated, Map};
use luban_kernels::rotary::{self, Direction};
use luban_kernels::{activation, elementwise, loss, norm};
use luban_model::spec::{Activation, NormKind};
use luban_model::weights::{EmbeddingWeights, ExpertsWeights, HeadWeights, LinearWeights, MlpWeights, NormWeights};
use luban_model::{Batch, Error, Executor, Spec, executor};

use super::bytes::{self, Bytes};
use super::cache::{self, Cache};
use super::experts::Choices;
use super::rows::{Memory, Rows};
use super::{ServingAdapter, ServingModel, ServingWeight};
use crate::CacheFormat;

/// Positions that a rotary table is made for at first.
const ROTARY_POSITIONS_MIN: usize = 1024;

/// Runs a [`ServingModel`].
///
/// With a cache, the sequences of a batch may be pieces of longer ones, and [`Self::place`] must say before each
/// forward where they stand in it. Without, every sequence of a batch is whole. The bits of a row's result are the
/// same either way, whatever else is in the batch.
#[derive(Debug)]
pub struct ServingExecutor {
    model: Arc<ServingModel>,
    memory: Memory,
    cache: Option<Cache>,
    /// Room for rows that become bytes on their way into a product.
    bytes: Bytes,
    /// Room for what is between the maps of a feed-forward part, as bytes.
    between: quantized::Rows,
    /// Elements of a block where normalised rows become bytes.
    block: Option<usize>,
    /// Rows of the next batches that have adapters.
    adapted: Vec<(Range<usize>, Arc<ServingAdapter>)>,
    /// Which experts rows take.
    choices: Choices,
    /// The common rotation, and that of the layers that rotate apart.
    rotary: [Option<rotary::Table>; 2],
}

impl ServingExecutor {
    /// An executor, with a cache of so many blocks of 64 positions in f32 if any are asked for.
    pub fn new(model: Arc<ServingModel>, cache_blocks: Option<usize>) -> Self {
        let cache = cache_blocks.map(|blocks| Cache::new(model.spec(), CacheFormat::F32, blocks));
        Self::of(model, cache)
    }

    /// An executor with a cache of so many blocks of 64 positions.
    pub fn with_cache(model: Arc<ServingModel>, format: CacheFormat, blocks: usize) -> Self {
        let cache = Cache::new(model.spec(), format, blocks);
        Self::of(model, Some(cache))
    }

    fn of(model: Arc<ServingModel>, cache: Option<Cache>) -> Self {
        Self {
            memory: Memory::default(),
            cache,
            bytes: Bytes::default(),
            between: quantized::Rows::default(),
            block: bytes::block(model.weights()),
            adapted: Vec::new(),
            choices: Choices::default(),
            rotary: [None, None],
            model,
        }
    }

    /// Says which rows of the next batches have an adapter, one of this model; all others have none.
    pub fn adapt(&mut self, rows: impl IntoIterator<Item = (Range<usize>, Arc<ServingAdapter>)>) {
        self.adapted.clear();
        self.adapted.extend(rows);
    }

    /// Says which cache blocks hold the sequences of the next batch, in their order.
    pub fn place<'a>(&mut self, sequences: impl IntoIterator<Item = &'a [u32]>) {
        if let Some(cache) = &mut self.cache {
            cache.place(sequences.into_iter());
        }
    }

    /// Copies what a cache block holds to another.
    pub fn copy_block(&mut self, from: u32, to: u32) {
        if let Some(cache) = &mut self.cache {
            cache.copy_block(from, to);
        }
    }

    /// The logits of some rows of the hidden states: rows × vocabulary.
    ///
    /// # Errors
    /// A model without a head.
    pub fn logits(&mut self, hidden: &Rows, rows: &[usize]) -> Result<Rows, Error> {
        let model = Arc::clone(&self.model);
        self.head(hidden, rows, &model.weights().head, &model.weights().embedding.tokens)
    }

    fn spec(&self) -> &Spec {
        self.model.spec()
    }

    fn norm_of<'w>(&self, weights: &'w NormWeights<ServingWeight>) -> norm::Norm<'w> {
        let centered = self.spec().norm.kind == NormKind::Layer;
        let bias = if centered { weights.bias.as_ref().map(ServingWeight::vector) } else { None };
        norm::Norm { weight: weights.weight.vector(), bias, eps: self.spec().norm.epsilon, centered }
    }

    /// Adds a branch to rows and normalises the sum, which becomes bytes on the way where the layers' maps take them.
    fn sum_norm(&mut self, x: &mut Rows, branch: Option<&Rows>, weights: &NormWeights<ServingWeight>) -> Rows {
        let mut y = self.memory.rows(x.rows(), x.width());
        let norm = self.norm_of(weights);
        let bytes = self.block.map(|block| (self.bytes.room(), block));
        norm::add_norm(x.values_mut(), branch.map(Rows::values), norm, y.values_mut(), bytes);
        if self.block.is_some() {
            self.bytes.hold(&y);
        }
        y
    }

    fn linear(&mut self, input: &Rows, weights: &LinearWeights<ServingWeight>) -> Rows {
        let map = weights.weight.map();
        let mut output = self.memory.rows(input.rows(), map.outputs());
        map.apply(input.values(), self.bytes.room(), bias(weights), output.values_mut());
        output
    }

    /// Maps of bytes, whose common input becomes bytes once.
    fn linear_bytes<const N: usize>(
        &mut self,
        input: &Rows,
        weights: [&LinearWeights<ServingWeight>; N],
        maps: [&quantized::Weight; N],
    ) -> [Rows; N] {
        let block = maps[0].layout().block;
        let mut outputs = maps.map(|map| self.memory.rows(input.rows(), map.outputs()));
        let mut each = outputs.iter_mut();
        let mut biases = weights.into_iter().map(bias);
        let mut maps = maps.map(|weight| {
            let out = each.next().map_or(&mut [][..], Rows::values_mut);
            Map { weight, bias: biases.next().flatten(), out }
        });
        quantized::products(self.bytes.of(input, block), &mut maps);
        outputs
    }

    /// A feed-forward part whose inner rows are bytes from the start, where its maps take that.
    fn mlp_bytes(&mut self, input: &Rows, weights: &MlpWeights<ServingWeight>) -> Option<Rows> {
        if weights.gate.is_some() || !self.adapted.is_empty() {
            return None;
        }
        let (up, down) = (weights.up.weight.map().as_bytes()?, weights.down.weight.map().as_bytes()?);
        let kind = self.activation();
        let map = Activated { weight: up, bias: bias(&weights.up), kind, block: down.layout().block };
        if !map.fits() {
            return None;
        }
        quantized::products_activated(self.bytes.of(input, up.layout().block), &map, &mut self.between);
        let mut out = self.memory.rows(input.rows(), down.outputs());
        let down = Map { weight: down, bias: bias(&weights.down), out: out.values_mut() };
        quantized::products(&self.between, &mut [down]);
        Some(out)
    }

    fn activation(&self) -> activation::Kind {
        match self.spec().activation {
            Activation::Silu => activation::Kind::Silu,
            Activation::GeluTanh => activation::Kind::GeluTanh,
            Activation::GeluErf => activation::Kind::GeluErf,
            Activation::Relu => activation::Kind::Relu,
        }
    }

    /// Turns queries and keys by their positions.
    fn rotate(&mut self, layer: usize, q: &mut Rows, k: &mut Rows, batch: &Batch) {
        let spec = self.model.spec();
        let apart = spec.rotates_apart(layer);
        let table = &mut self.rotary[usize::from(apart)];
        let needed = batch.positions().iter().max().map_or(0, |&last| last as usize + 1);
        if needed > table.as_ref().map_or(0, rotary::Table::positions) {
            // In powers of two, so that a growing sequence seldom makes a new one; entries do not depend on the size.
            let size = needed.next_power_of_two().max(ROTARY_POSITIONS_MIN).min(spec.context).max(needed);
            let frequencies = spec.rotary_frequencies(apart);
            *table = frequencies.map(|frequencies| rotary::Table::from_frequencies(&frequencies, size));
        }
        if let Some(table) = table {
            rotary::apply(q.values_mut(), spec.heads, batch.positions(), table, Direction::Forward);
            rotary::apply(k.values_mut(), spec.kv_heads, batch.positions(), table, Direction::Forward);
        }
    }
}

fn bias(weights: &LinearWeights<ServingWeight>) -> Option<&[f32]> {
    weights.bias.as_ref().map(ServingWeight::vector)
}

impl Executor for ServingExecutor {
    type Weight = ServingWeight;
    type Rows = Rows;
    type Logits = Rows;

    fn embed(&mut self, weights: &EmbeddingWeights<ServingWeight>, batch: &Batch) -> Result<Rows, Error> {
        let width = self.spec().width;
        let mut sum = self.memory.rows(batch.rows(), width);
        weights.tokens.rows().gather(batch.tokens(), sum.values_mut());
        if self.spec().embedding_scale != 1.0 {
            elementwise::scale(sum.values_mut(), self.spec().embedding_scale);
        }
        let positions = batch.table_positions(self.spec().position_offset);
        let others = [(&weights.positions, &*positions), (&weights.token_types, batch.token_types())];
        for (table, ids) in others {
            if let Some(table) = table {
                let mut rows = self.memory.rows(batch.rows(), width);
                table.rows().gather(ids, rows.values_mut());
                elementwise::add_assign(sum.values_mut(), rows.values());
            }
        }
        Ok(match &weights.norm {
            Some(norm) => self.sum_norm(&mut sum, None, norm),
            None => sum,
        })
    }

    fn add_norm(
        &mut self,
        mut residual: Rows,
        branch: Option<Rows>,
        norm: &NormWeights<ServingWeight>,
    ) -> Result<(Rows, Rows), Error> {
        let normed = self.sum_norm(&mut residual, branch.as_ref(), norm);
        Ok((residual, normed))
    }

    fn linear_group<const N: usize>(
        &mut self,
        input: &Rows,
        weights: [&LinearWeights<ServingWeight>; N],
    ) -> Result<[Rows; N], Error> {
        let maps = weights.map(|weights| weights.weight.map().as_bytes());
        let block = |map: &Option<&quantized::Weight>| map.map(|map| map.layout().block);
        let alike = maps.iter().all(|map| map.is_some() && block(map) == block(&maps[0]));
        let mut outputs = match alike {
            true => self.linear_bytes(input, weights, maps.map(|map| map.expect("all were looked at"))),
            false => weights.map(|weights| self.linear(input, weights)),
        };
        if let Some(place) = weights.first().and_then(|first| first.weight.map().place()) {
            let groups = self.adapted.iter().filter_map(|(rows, adapter)| Some((rows, adapter.group(place)?)));
            groups.for_each(|(rows, group)| group.add(rows, input, &mut outputs, &self.memory));
        }
        Ok(outputs)
    }

    fn norm_heads(&mut self, mut rows: Rows, norm: &NormWeights<ServingWeight>) -> Result<Rows, Error> {
        // The kernel takes rows of the norm's own length, and heads lie one after another.
        let mut normed = self.memory.rows(rows.rows(), rows.width());
        norm::add_norm(rows.values_mut(), None, self.norm_of(norm), normed.values_mut(), None);
        Ok(normed)
    }

    fn attend(&mut self, layer: usize, qkv: [Rows; 3], batch: &Batch) -> Result<Rows, Error> {
        let [mut q, mut k, v] = qkv;
        self.rotate(layer, &mut q, &mut k, batch);
        let mut out = self.memory.rows(q.rows(), q.width());
        match &mut self.cache {
            Some(cache) => cache.attend(layer, batch, [q.values(), k.values(), v.values()], out.values_mut()),
            None => {
                let inputs = Inputs { q: q.values(), k: k.values(), v: v.values() };
                let shape = cache::shape(self.model.spec(), layer);
                let shapes = [shape, Shape { causal: false, ..shape }];
                for (shape, sequences) in shapes.iter().zip(batch.sequences_by_sight()) {
                    attention::forward(shape, &sequences, inputs, out.values_mut(), None);
                }
            }
        }
        Ok(out)
    }

    fn activate(&mut self, gate: Rows, up: Option<Rows>) -> Result<Rows, Error> {
        let kind = self.activation();
        let mut active = self.memory.rows(gate.rows(), gate.width());
        activation::forward(kind, gate.values(), up.as_ref().map(Rows::values), active.values_mut());
        Ok(active)
    }

    fn mlp(&mut self, input: &Rows, weights: &MlpWeights<ServingWeight>) -> Result<Rows, Error> {
        match self.mlp_bytes(input, weights) {
            Some(rows) => Ok(rows),
            None => executor::mlp(self, weights, input),
        }
    }

    /// Every expert's product runs once, over the rows that take it; so each row sums its experts in their order.
    fn experts(&mut self, input: &Rows, weights: &ExpertsWeights<ServingWeight>) -> Result<Rows, Error> {
        let mut shares = self.linear(input, &weights.router);
        loss::softmax(shares.values_mut(), weights.experts.len());
        let mut choices = std::mem::take(&mut self.choices);
        let model = Arc::clone(&self.model);
        let experts = model.spec().experts.as_ref().expect("a model with experts says so");
        choices.choose(shares.values(), experts);
        let mut sum = self.memory.rows(input.rows(), input.width());
        sum.values_mut().fill(0.0);
        for taken in choices.by_expert() {
            let mut rows = self.memory.rows(taken.len(), input.width());
            for (to, choice) in rows.values_mut().chunks_exact_mut(input.width()).zip(taken) {
                to.copy_from_slice(input.row(choice.row));
            }
            let fed = self.mlp(&rows, &weights.experts[taken[0].expert])?;
            for (index, choice) in taken.iter().enumerate() {
                let to = &mut sum.values_mut()[choice.row * input.width()..][..input.width()];
                elementwise::mix(to, 1.0, fed.row(index), choice.share);
            }
        }
        self.choices = choices;
        Ok(sum)
    }

    fn head(
        &mut self,
        hidden: &Rows,
        rows: &[usize],
        head: &HeadWeights<ServingWeight>,
        tokens: &ServingWeight,
    ) -> Result<Rows, Error> {
        let (matrix, bias) = luban_model::recording::vocabulary(head, tokens)?;
        let mut input = self.memory.rows(rows.len(), hidden.width());
        for (to, &row) in input.values_mut().chunks_exact_mut(hidden.width()).zip(rows) {
            to.copy_from_slice(hidden.row(row));
        }
        if let HeadWeights::MaskedToken { transform, norm, .. } = head {
            let mapped = self.linear(&input, transform);
            let mut active = self.activate(mapped, None)?;
            input = self.sum_norm(&mut active, None, norm);
        }
        let matrix = matrix.map();
        let mut logits = self.memory.rows(input.rows(), matrix.outputs());
        matrix.apply(input.values(), self.bytes.room(), bias.map(ServingWeight::vector), logits.values_mut());
        Ok(logits)
    }
}
