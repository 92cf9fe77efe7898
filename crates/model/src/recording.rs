//! The executor that keeps what the backward pass needs.

use std::sync::Arc;

use luban_base::random::Stream;
use luban_kernels::attention::Shape;
use luban_kernels::dropout::Run;
use luban_kernels::rotary::Table;
use luban_tensor::{Precision, Tape, Tensor, Var, ops};

use crate::batch::Batch;
use crate::error::Error;
use crate::executor::Executor;
use crate::spec::{NormKind, Spec};
use crate::weights::{EmbeddingWeights, HeadWeights, LinearWeights, NormWeights};

/// Records a forward on a tape.
pub struct Recording<'a> {
    spec: &'a Spec,
    /// The tape; its `backward` ends the recording.
    pub tape: Tape,
    rotary: RotaryTables,
    dropout: Option<&'a Dropout<'a>>,
    /// Operations so far whose results elements may fall out of.
    dropping: u64,
}

/// Elements of activations that fall out in training (Srivastava et al. 2014): of the embedding, and of what each part
/// of a block adds to the residual stream.
#[derive(Clone, Copy, Debug)]
pub struct Dropout<'a> {
    /// The probability of each, in parts of 65536; see [`luban_kernels::dropout::probability`].
    pub dropped: u16,
    /// Whose rows the batch has, one after another.
    pub samples: &'a [Sample],
}

/// Rows of one sample, and what decides which of their elements fall out.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// How many.
    pub rows: usize,
    /// The same seed for all samples of a batch; operations are labels further down.
    pub draws: Stream,
}

impl<'a> Recording<'a> {
    /// Starts a recording. `rotary` is made once for many recordings.
    pub fn new(spec: &'a Spec, rotary: RotaryTables, precision: Precision) -> Self {
        Self { spec, tape: Tape::with_precision(precision), rotary, dropout: None, dropping: 0 }
    }

    /// The same recording, in which elements fall out.
    pub fn with_dropout(self, dropout: Option<&'a Dropout<'a>>) -> Self {
        Self { dropout: dropout.filter(|dropout| dropout.dropped > 0), ..self }
    }

    /// Which elements of the next operation's result fall out.
    fn next_dropout(&mut self) -> Option<ops::Dropout> {
        let Dropout { dropped, samples } = *self.dropout?;
        let operation = self.dropping;
        self.dropping += 1;
        let run = |sample: &Sample| Run { rows: sample.rows, path: sample.draws.child(operation).path() };
        let key = samples.first()?.draws.key();
        Some(ops::Dropout { dropped, key, runs: samples.iter().map(run).collect() })
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

impl Executor for Recording<'_> {
    type Weight = Var;
    type Rows = Var;
    type Logits = Var;

    fn embed(&mut self, weights: &EmbeddingWeights<Var>, batch: &Batch) -> Result<Var, Error> {
        let mut sum = ops::embed(&mut self.tape, &weights.tokens, batch.tokens());
        if self.spec.embedding_scale != 1.0 {
            sum = ops::scale(&mut self.tape, &sum, self.spec.embedding_scale);
        }
        let positions = batch.table_positions(self.spec.position_offset);
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
        let epsilon = self.spec.norm.epsilon;
        let weight = &norm.weight;
        let no_bias;
        let kind = match (self.spec.norm.kind, &norm.bias) {
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
        Ok(ops::linear_group(&mut self.tape, input, weights.map(|map| (&map.weight, map.bias.as_ref()))))
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
        let attention = ops::Attention {
            shape: attention_shape(self.spec, layer),
            rotary: self.rotary.of(self.spec, layer),
            positions: batch.positions().into(),
            sequences: batch.sequences().into(),
        };
        Ok(ops::attend(&mut self.tape, qkv, attention))
    }

    fn activate(&mut self, gate: Var, up: Option<Var>) -> Result<Var, Error> {
        Ok(ops::activate(&mut self.tape, self.spec.activation.into(), gate, up))
    }

    fn head(&mut self, hidden: &Var, rows: &[usize], head: &HeadWeights<Var>, tokens: &Var) -> Result<Var, Error> {
        let input = self.head_input(hidden, rows, head)?;
        let (matrix, bias) = vocabulary(head, tokens)?;
        Ok(ops::logits(&mut self.tape, &input, ops::Vocabulary { matrix, bias }))
    }
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
