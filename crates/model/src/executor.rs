//! The forward, written once, over the few coarse operations that an executor provides.
//!
//! The operations are cut where an executor can fuse (a residual sum with the norm that follows, the maps that
//! share an input, the gate with what it gates) and where parallelism hooks in ([`Executor::combine`] is where
//! partial sums of a tensor-parallel group meet). What passes between them is the executor's own type.

use crate::batch::Batch;
use crate::error::Error;
use crate::spec::{NormPlace, Spec};
use crate::weights::{
    EmbeddingWeights, ExpertsWeights, FeedForwardWeights, HeadWeights, LayerWeights, LinearWeights, MlpWeights,
    ModelWeights, NormWeights,
};

/// The operations of a transformer's forward, over rows of activations.
pub trait Executor {
    /// What a weight is here.
    type Weight;
    /// Rows of activations, one for each token of the batch.
    type Rows;
    /// What the head gives.
    type Logits;

    /// Looks up and adds the tables, and normalises the sum where the spec says so: rows × width.
    fn embed(&mut self, weights: &EmbeddingWeights<Self::Weight>, batch: &Batch) -> Result<Self::Rows, Error>;

    /// Adds a branch to the residual stream and normalises: the sum, and the normalised sum.
    fn add_norm(
        &mut self,
        residual: Self::Rows,
        branch: Option<Self::Rows>,
        norm: &NormWeights<Self::Weight>,
    ) -> Result<(Self::Rows, Self::Rows), Error>;

    /// Linear maps that share an input.
    fn linear_group<const N: usize>(
        &mut self,
        input: &Self::Rows,
        weights: [&LinearWeights<Self::Weight>; N],
    ) -> Result<[Self::Rows; N], Error>;

    /// Normalises each head of the rows by itself; the heads are as wide as the norm.
    fn norm_heads(&mut self, rows: Self::Rows, norm: &NormWeights<Self::Weight>) -> Result<Self::Rows, Error>;

    /// Attention of the given layer, rotary positions and cache included: rows × query width.
    fn attend(&mut self, layer: usize, qkv: [Self::Rows; 3], batch: &Batch) -> Result<Self::Rows, Error>;

    /// The non-linearity of `gate`, times `up` where the model is gated.
    fn activate(&mut self, gate: Self::Rows, up: Option<Self::Rows>) -> Result<Self::Rows, Error>;

    /// The few of several feed-forward parts that each row takes, summed by its shares: rows × width.
    fn experts(&mut self, input: &Self::Rows, weights: &ExpertsWeights<Self::Weight>) -> Result<Self::Rows, Error>;

    /// One feed-forward part: rows × width; here is where an executor may fuse its maps.
    fn mlp(&mut self, input: &Self::Rows, weights: &MlpWeights<Self::Weight>) -> Result<Self::Rows, Error>
    where
        Self: Sized,
    {
        mlp(self, weights, input)
    }

    /// Runs one block; here is where an executor may wrap it.
    fn block(&mut self, block: Block<'_, Self::Weight>, stream: Stream<Self::Rows>) -> Result<Stream<Self::Rows>, Error>
    where
        Self: Sized,
    {
        block.run(self, stream)
    }

    /// Completes a sum whose parts several ranks may hold.
    fn combine(&mut self, partial: Self::Rows) -> Result<Self::Rows, Error> {
        Ok(partial)
    }

    /// The head on the given rows of the hidden states. `tokens` is the token embedding, for tied heads.
    fn head(
        &mut self,
        hidden: &Self::Rows,
        rows: &[usize],
        head: &HeadWeights<Self::Weight>,
        tokens: &Self::Weight,
    ) -> Result<Self::Logits, Error>;
}

/// The hidden states after the last block (and the final norm, where there is one).
pub fn forward<E: Executor>(
    spec: &Spec,
    weights: &ModelWeights<E::Weight>,
    executor: &mut E,
    batch: &Batch,
) -> Result<E::Rows, Error> {
    forward_through(spec, weights, executor, batch, weights.layers.len())
}

/// As [`forward`], through the first `layers` blocks only: the hidden states of the model that would remain if the
/// others were cut out.
pub fn forward_through<E: Executor>(
    spec: &Spec,
    weights: &ModelWeights<E::Weight>,
    executor: &mut E,
    batch: &Batch,
    layers: usize,
) -> Result<E::Rows, Error> {
    batch.check(spec)?;
    let mut stream = Stream { residual: executor.embed(&weights.embedding, batch)?, branch: None };
    for (index, weights) in weights.layers.iter().enumerate().take(layers) {
        let block = Block { index, place: spec.norm.place, weights, batch };
        stream = executor.block(block, stream)?;
    }
    match &weights.final_norm {
        Some(norm) => Ok(executor.add_norm(stream.residual, stream.branch, norm)?.1),
        None => Ok(stream.residual),
    }
}

/// What flows from block to block: the residual stream, and a branch that is still to be added to it.
#[derive(Clone, Debug)]
pub struct Stream<R> {
    /// Rows × width.
    pub residual: R,
    /// Rows × width; the norm that comes next adds it.
    pub branch: Option<R>,
}

/// A block of the model, and what it is run on.
#[derive(Debug)]
pub struct Block<'a, W> {
    /// Which one, from 0.
    pub index: usize,
    /// Where its norms stand.
    pub place: NormPlace,
    /// Its weights.
    pub weights: &'a LayerWeights<W>,
    /// The batch.
    pub batch: &'a Batch,
}

impl<W> Block<'_, W> {
    /// Runs the block.
    ///
    /// # Errors
    /// Those of the executor.
    pub fn run<E: Executor<Weight = W>>(
        &self,
        executor: &mut E,
        stream: Stream<E::Rows>,
    ) -> Result<Stream<E::Rows>, Error> {
        match self.place {
            NormPlace::Pre | NormPlace::Sandwich => self.norms_first(executor, stream),
            NormPlace::Post => self.norms_last(executor, stream),
        }
    }

    fn norms_first<E: Executor<Weight = W>>(
        &self,
        executor: &mut E,
        Stream { residual, branch }: Stream<E::Rows>,
    ) -> Result<Stream<E::Rows>, Error> {
        let &Self { index, weights: layer, batch, .. } = self;
        let (sum, attended) = match &layer.attention_norm {
            Some(norm) => {
                let (sum, normed) = executor.add_norm(residual, branch, norm)?;
                (sum, attention(executor, index, layer, &normed, batch)?)
            }
            // Only the first block may have none, and there is no branch to add yet.
            None => {
                let attended = attention(executor, index, layer, &residual, batch)?;
                (residual, attended)
            }
        };
        let (residual, normed) = executor.add_norm(sum, Some(attended), &layer.ffn_norm)?;
        Ok(Stream { residual, branch: Some(feed_forward(executor, layer, &normed)?) })
    }

    fn norms_last<E: Executor<Weight = W>>(
        &self,
        executor: &mut E,
        Stream { residual: hidden, .. }: Stream<E::Rows>,
    ) -> Result<Stream<E::Rows>, Error> {
        let &Self { index, weights: layer, batch, .. } = self;
        let norm = layer.attention_norm.as_ref().expect("norms after the sums stand in every block");
        let attended = attention(executor, index, layer, &hidden, batch)?;
        let hidden = executor.add_norm(hidden, Some(attended), norm)?.1;
        let fed = feed_forward(executor, layer, &hidden)?;
        Ok(Stream { residual: executor.add_norm(hidden, Some(fed), &layer.ffn_norm)?.1, branch: None })
    }
}

/// A branch through the norm that stands between it and its residual sum, where there is one.
fn normed<E: Executor>(
    executor: &mut E,
    branch: E::Rows,
    norm: Option<&NormWeights<E::Weight>>,
) -> Result<E::Rows, Error> {
    match norm {
        Some(norm) => Ok(executor.add_norm(branch, None, norm)?.1),
        None => Ok(branch),
    }
}

fn attention<E: Executor>(
    executor: &mut E,
    index: usize,
    layer: &LayerWeights<E::Weight>,
    input: &E::Rows,
    batch: &Batch,
) -> Result<E::Rows, Error> {
    let [mut q, mut k, v] = executor.linear_group(input, [&layer.q, &layer.k, &layer.v])?;
    if let (Some(q_norm), Some(k_norm)) = (&layer.q_norm, &layer.k_norm) {
        q = executor.norm_heads(q, q_norm)?;
        k = executor.norm_heads(k, k_norm)?;
    }
    let attended = executor.attend(index, [q, k, v], batch)?;
    let [out] = executor.linear_group(&attended, [&layer.out])?;
    let whole = executor.combine(out)?;
    normed(executor, whole, layer.attention_out_norm.as_ref())
}

fn feed_forward<E: Executor>(
    executor: &mut E,
    layer: &LayerWeights<E::Weight>,
    input: &E::Rows,
) -> Result<E::Rows, Error> {
    let fed = match &layer.feed_forward {
        FeedForwardWeights::Dense(weights) => executor.mlp(input, weights)?,
        FeedForwardWeights::Experts(weights) => executor.experts(input, weights)?,
    };
    let whole = executor.combine(fed)?;
    normed(executor, whole, layer.ffn_out_norm.as_ref())
}

/// One feed-forward part: rows × width.
///
/// # Errors
/// Those of the executor.
pub fn mlp<E: Executor>(executor: &mut E, weights: &MlpWeights<E::Weight>, input: &E::Rows) -> Result<E::Rows, Error> {
    let active = match &weights.gate {
        Some(gate) => {
            let [gate, up] = executor.linear_group(input, [gate, &weights.up])?;
            executor.activate(gate, Some(up))?
        }
        None => {
            let [up] = executor.linear_group(input, [&weights.up])?;
            executor.activate(up, None)?
        }
    };
    let [down] = executor.linear_group(&active, [&weights.down])?;
    Ok(down)
}
