//! The forward, written once, over the few coarse operations that an executor provides.
//!
//! The operations are cut where an executor can fuse (a residual sum with the norm that follows, the maps that
//! share an input, the gate with what it gates) and where parallelism hooks in ([`Executor::combine`] is where
//! partial sums of a tensor-parallel group meet). What passes between them is the executor's own type.

use crate::batch::Batch;
use crate::error::Error;
use crate::spec::{NormPlace, Spec};
use crate::weights::{EmbeddingWeights, HeadWeights, LayerWeights, LinearWeights, ModelWeights, NormWeights};

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

    /// Attention of the given layer, rotary positions and cache included: rows × query width.
    fn attend(&mut self, layer: usize, qkv: [Self::Rows; 3], batch: &Batch) -> Result<Self::Rows, Error>;

    /// The non-linearity of `gate`, times `up` where the model is gated.
    fn activate(&mut self, gate: Self::Rows, up: Option<Self::Rows>) -> Result<Self::Rows, Error>;

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
    batch.check(spec)?;
    let embedded = executor.embed(&weights.embedding, batch)?;
    match (spec.norm.place, &weights.final_norm) {
        (NormPlace::Pre, Some(final_norm)) => {
            let (mut residual, mut branch) = (embedded, None);
            for (index, layer) in weights.layers.iter().enumerate() {
                let (sum, normed) = executor.add_norm(residual, branch, &layer.attention_norm)?;
                let attended = attention(executor, index, layer, &normed, batch)?;
                let (sum, normed) = executor.add_norm(sum, Some(attended), &layer.ffn_norm)?;
                branch = Some(feed_forward(executor, layer, &normed)?);
                residual = sum;
            }
            Ok(executor.add_norm(residual, branch, final_norm)?.1)
        }
        _ => {
            let mut hidden = embedded;
            for (index, layer) in weights.layers.iter().enumerate() {
                let attended = attention(executor, index, layer, &hidden, batch)?;
                hidden = executor.add_norm(hidden, Some(attended), &layer.attention_norm)?.1;
                let fed = feed_forward(executor, layer, &hidden)?;
                hidden = executor.add_norm(hidden, Some(fed), &layer.ffn_norm)?.1;
            }
            Ok(hidden)
        }
    }
}

fn attention<E: Executor>(
    executor: &mut E,
    index: usize,
    layer: &LayerWeights<E::Weight>,
    input: &E::Rows,
    batch: &Batch,
) -> Result<E::Rows, Error> {
    let qkv = executor.linear_group(input, [&layer.q, &layer.k, &layer.v])?;
    let attended = executor.attend(index, qkv, batch)?;
    let [out] = executor.linear_group(&attended, [&layer.out])?;
    executor.combine(out)
}

fn feed_forward<E: Executor>(
    executor: &mut E,
    layer: &LayerWeights<E::Weight>,
    input: &E::Rows,
) -> Result<E::Rows, Error> {
    let active = match &layer.gate {
        Some(gate) => {
            let [gate, up] = executor.linear_group(input, [gate, &layer.up])?;
            executor.activate(gate, Some(up))?
        }
        None => {
            let [up] = executor.linear_group(input, [&layer.up])?;
            executor.activate(up, None)?
        }
    };
    let [down] = executor.linear_group(&active, [&layer.down])?;
    executor.combine(down)
}
