//! The executor that keeps what the backward pass needs.

use std::sync::Arc;

use luban_base::random;
use luban_kernels::attention::Shape;
use luban_kernels::dropout::Run;
use luban_kernels::rotary::Table;
use luban_tensor::{Precision, Tape, Tensor, Var, ops};

use crate::batch::Batch;
use crate::error::Error;
use crate::executor::{Block, Executor, Stream};
use crate::spec::{NormKind, Spec};
use crate::training::refuse_experts;
use crate::weights::{EmbeddingWeights, ExpertsWeights, HeadWeights, LinearWeights, LoraWeights, NormWeights};

/// Records a forward on a tape.
pub struct Recording {
    settings: Settings,
    /// The tape; its `backward` ends the recording.
    pub tape: Tape,
    /// Branches so far whose elements may fall out.
    dropping: u64,
}

/// How a forward is recorded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the model is.
    pub spec: Arc<Spec>,
    /// Its rotations, made once for many recordings.
    pub rotary: RotaryTables,
    /// What matrix products round their factors to.
    pub precision: Precision,
    /// Factor of what adapters add.
    pub lora_scale: f32,
    /// Whether blocks keep their inputs only, and are recorded in the backward pass again. Changes no bit.
    pub recompute: bool,
    /// Which elements fall out.
    pub dropout: Option<Dropout>,
}

/// Elements of activations that fall out in training (Srivastava et al. 2014): of the embedding, and of what each part
/// of a block adds to the residual stream.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// The probability of each, in parts of 65536; see [`luban_kernels::dropout::probability`].
    pub dropped: u16,
    /// Whose rows the batch has, one after another.
    pub samples: Arc<[Sample]>,
}

/// Rows of one sample, and what decides which of their elements fall out.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How many.
    pub rows: usize,
    /// Of the same seed for all samples of a batch; operations are labels further down.
    pub draws: random::Stream,
}

impl Recording {
    /// Starts a recording.
    pub fn new(settings: Settings) -> Self {
        let tape = Tape::with_precision(settings.precision);
        Self { settings, tape, dropping: 0 }
    }

    /// Which elements of the next branch fall out.
    fn next_dropout(&mut self) -> Option<ops::Dropout> {
        let Dropout { dropped, samples } = self.settings.dropout.as_ref().filter(|dropout| dropout.dropped > 0)?;
        let operation = self.dropping;
        self.dropping += 1;
        let run = |sample: &Sample| Run { rows: sample.rows, path: sample.draws.child(operation).path() };
        let key = samples.first()?.draws.key();
        Some(ops::Dropout { dropped: *dropped, key, runs: samples.iter().map(run).collect() })
    }

    /// The hidden states that the head multiplies with the vocabulary: those of the given rows, through BERT's
    /// transform where there is one.
    pub fn head_input(&mut self, hidden: &Var, rows: &[usize], head: &HeadWeights<Var>) -> Result<Var, Error> {
        let all = rows.len() == hidden.value().rows() && rows.iter().enumerate().all(|(index, &row)| index == row);
        let chosen = if all { hidden.clone() } else { ops::gather_rows(&mut self.tape, hidden, rows) };
        let HeadWeights::MaskedToken { transform, norm, .. } = head else { return Ok(chosen) };
        let [mapped] = self.linear_group(&chosen, [transform])?;
        let active = self.activate(mapped, None)?;
        Ok(self.add_norm(active, None, norm)?.1)
    }
}

/// The rotations of every position of a spec's context, where it has any.
#[derive(Clone, Debug)]
pub struct RotaryTables {
    common: Option<Arc<Table>>,
    apart: Option<Arc<Table>>,
}

impl RotaryTables {
    /// The tables of those rotations that some layer has.
    pub fn new(spec: &Spec) -> Self {
        let table = |apart: bool| {
            let used = (0..spec.layers).any(|layer| spec.rotates_apart(layer) == apart);
            let frequencies = if used { spec.rotary_frequencies(apart) } else { None };
            frequencies.map(|frequencies| Arc::new(Table::from_frequencies(&frequencies, spec.context)))
        };
        Self { common: table(false), apart: table(true) }
    }

    fn of(&self, spec: &Spec, layer: usize) -> Option<Arc<Table>> {
        if spec.rotates_apart(layer) { self.apart.clone() } else { self.common.clone() }
    }
}

/// The shape of a layer's attention, as the kernels take it.
pub fn attention_shape(spec: &Spec, layer: usize) -> Shape {
    Shape {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_width: spec.head_width,
        scale: spec.attention_scale(),
        causal: spec.causal,
        reach: spec.local.as_ref().filter(|_| spec.is_local(layer)).map(|local| local.reach),
    }
}

/// The matrix and the bias of a head over the vocabulary; nothing where the model has none.
pub fn vocabulary<'v, W>(head: &'v HeadWeights<W>, tokens: &'v W) -> Result<(&'v W, Option<&'v W>), Error> {
    match head {
        HeadWeights::None => Err(Error::Spec {
            field: "head",
            found: "none".into(),
            expected: "predicting tokens needs a head over the vocabulary".into(),
        }),
        HeadWeights::Tied => Ok((tokens, None)),
        HeadWeights::Vocabulary(weight) => Ok((weight, None)),
        HeadWeights::MaskedToken { bias, .. } => Ok((tokens, Some(bias))),
    }
}

impl Executor for Recording {
    type Weight = Var;
    type Rows = Var;
    type Logits = Var;

    fn experts(&mut self, _: &Var, _: &ExpertsWeights<Var>) -> Result<Var, Error> {
        refuse_experts(&self.settings.spec).map(|()| unreachable!("experts without a spec that has any"))
    }

    fn embed(&mut self, weights: &EmbeddingWeights<Var>, batch: &Batch) -> Result<Var, Error> {
        let mut sum = ops::embed(&mut self.tape, &weights.tokens, batch.tokens());
        if self.settings.spec.embedding_scale != 1.0 {
            sum = ops::scale(&mut self.tape, &sum, self.settings.spec.embedding_scale);
        }
        let positions = batch.table_positions(self.settings.spec.position_offset);
        let others = [(&weights.positions, &*positions), (&weights.token_types, batch.token_types())];
        for (table, ids) in others {
            if let Some(table) = table {
                let rows = ops::embed(&mut self.tape, table, ids);
                sum = ops::add(&mut self.tape, &sum, &rows);
            }
        }
        let embedded = match &weights.norm {
            Some(norm) => self.add_norm(sum, None, norm)?.1,
            None => sum,
        };
        Ok(match self.next_dropout() {
            Some(dropout) => ops::dropout(&mut self.tape, embedded, dropout),
            None => embedded,
        })
    }

    fn add_norm(&mut self, residual: Var, branch: Option<Var>, norm: &NormWeights<Var>) -> Result<(Var, Var), Error> {
        let dropout = branch.as_ref().and_then(|_| self.next_dropout());
        let epsilon = self.settings.spec.norm.epsilon;
        let weight = &norm.weight;
        let no_bias;
        let kind = match (self.settings.spec.norm.kind, &norm.bias) {
            (NormKind::Rms, _) => ops::Norm::Rms { weight, epsilon },
            (NormKind::Layer, Some(bias)) => ops::Norm::Layer { weight, bias, epsilon },
            (NormKind::Layer, None) => {
                no_bias = self.tape.leaf(Tensor::zeros(weight.value().shape()), false);
                ops::Norm::Layer { weight, bias: &no_bias, epsilon }
            }
        };
        Ok(ops::add_norm(&mut self.tape, residual, branch, kind, dropout))
    }

    fn linear_group<const N: usize>(
        &mut self,
        input: &Var,
        weights: [&LinearWeights<Var>; N],
    ) -> Result<[Var; N], Error> {
        let outputs = ops::linear_group(&mut self.tape, input, weights.map(|map| (&map.weight, map.bias.as_ref())));
        if weights.iter().all(|map| map.lora.is_none()) {
            return Ok(outputs);
        }
        let scale = self.settings.lora_scale;
        let adapters = weights.map(|map| map.lora.as_ref().map(|LoraWeights { a, b }| ops::Lora { a, b, scale }));
        Ok(ops::add_lora(&mut self.tape, input, outputs, adapters))
    }

    fn norm_heads(&mut self, rows: Var, norm: &NormWeights<Var>) -> Result<Var, Error> {
        let shape = rows.value().shape().to_vec();
        let head_width = norm.weight.value().len();
        let heads = rows.value().len() / head_width;
        let heads = reshape(&mut self.tape, rows, &[heads, head_width]);
        let normed = self.add_norm(heads, None, norm)?.1;
        Ok(reshape(&mut self.tape, normed, &shape))
    }

    fn attend(&mut self, layer: usize, qkv: [Var; 3], batch: &Batch) -> Result<Var, Error> {
        let [sequences, open] = batch.sequences_by_sight();
        let attention = ops::Attention {
            shape: attention_shape(&self.settings.spec, layer),
            rotary: self.settings.rotary.of(&self.settings.spec, layer),
            positions: batch.positions().into(),
            sequences: sequences.into(),
            open: open.into(),
        };
        Ok(ops::attend(&mut self.tape, qkv, attention))
    }

    fn block(&mut self, block: Block<'_, Var>, stream: Stream<Var>) -> Result<Stream<Var>, Error> {
        // What the last block computes is needed right after it: nothing is gained by computing it again.
        if !self.settings.recompute || block.index + 1 == self.settings.spec.layers {
            return block.run(self, stream);
        }
        recomputed(self, block, stream)
    }

    fn activate(&mut self, gate: Var, up: Option<Var>) -> Result<Var, Error> {
        Ok(ops::activate(&mut self.tape, self.settings.spec.activation.into(), gate, up))
    }

    fn head(&mut self, hidden: &Var, rows: &[usize], head: &HeadWeights<Var>, tokens: &Var) -> Result<Var, Error> {
        let input = self.head_input(hidden, rows, head)?;
        let (matrix, bias) = vocabulary(head, tokens)?;
        Ok(ops::logits(&mut self.tape, &input, ops::Vocabulary { matrix, bias }))
    }
}

/// Runs a block of which only the input is kept. Its sum is made at once, so that it leaves one tensor, not two.
fn recomputed(recording: &mut Recording, block: Block<'_, Var>, stream: Stream<Var>) -> Result<Stream<Var>, Error> {
    let settings = Settings { recompute: false, ..recording.settings.clone() };
    let (weights, batch) = (block.weights.clone(), block.batch.clone());
    let (index, place) = (block.index, block.place);
    let has_branch = stream.branch.is_some();
    // The block adds the branch that it is given, that of its attention, and its own at the end.
    let dropping = recording.dropping;
    recording.dropping += 2 + u64::from(has_branch);
    let mut inputs = vec![stream.residual];
    inputs.extend(stream.branch);
    inputs.extend(block.weights.iter().cloned());
    let run = move |tape: &mut Tape, inputs: Vec<Var>| {
        let mut inputs = inputs.into_iter();
        let mut input = || inputs.next().expect("there is a leaf for each input");
        let stream = Stream { residual: input(), branch: has_branch.then(&mut input) };
        let mut weights = weights.clone();
        weights.iter_mut().for_each(|weight| *weight = input());
        let mut inner = Recording { settings: settings.clone(), tape: std::mem::take(tape), dropping };
        let block = Block { index, place, weights: &weights, batch: &batch };
        let Stream { residual, branch } = block.run(&mut inner, stream)?;
        let sum = match branch {
            Some(branch) => {
                let dropout = inner.next_dropout();
                ops::add_branch(&mut inner.tape, residual, branch, dropout)
            }
            None => residual,
        };
        *tape = inner.tape;
        Ok::<_, Error>(sum)
    };
    Ok(Stream { residual: ops::recompute(&mut recording.tape, inputs, run)?, branch: None })
}

/// The same elements in another shape, forwards and backwards.
fn reshape(tape: &mut Tape, rows: Var, shape: &[usize]) -> Var {
    let edge = rows.edge();
    let [reshaped] = tape.record(&[edge], [rows.into_value().reshaped(shape)], |pass| {
        if let Some(dy) = pass.take_output(0) {
            pass.give(0, dy);
        }
    });
    reshaped
}
