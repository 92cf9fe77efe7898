//! The most memory that this program's own training step holds at once, by following its buffers.
//!
//! A gradient comes into being when the backward pass reaches its weight, and stands where activations were that the
//! pass has done with. So the peak is not the sum of everything, but that of the fullest moment: the loss, some block's
//! backward pass, or the optimizer's.

use luban_tensor::{Precision, ops};
use serde::Serialize;

use super::parameters::Parameters;
use crate::lora::{Lora, Target};
use crate::spec::{Head, NormKind, NormPlace, Spec};
use crate::weights::trained_slots;

/// Bytes of an f32.
const F32: u64 = 4;
/// What the process holds besides: the program itself, its threads, and [`RUN`].
const PROCESS: u64 = 32 << 20;
/// What of that comes with a run: its loader, and the space in which products pack their factors.
const RUN: u64 = 12 << 20;

/// One optimizer step, as far as memory is concerned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSetup<'a> {
    /// Tokens that go through the model at once.
    pub rows: usize,
    /// Those of them that predict something.
    pub predicting: f64,
    /// Whether a step is more than one such part, whose gradients are added up.
    pub parts: bool,
    /// What the products round their factors to.
    pub precision: Precision,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// The adapters, where only they are trained.
    pub lora: Option<&'a Lora>,
    /// Bytes of the optimizer's state.
    pub optimizer_bytes: u64,
    /// Bytes that the optimizer works with besides.
    pub optimizer_working_bytes: u64,
}

/// Bytes of the fullest moment of a step, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StepMemory {
    /// The weights, in f32.
    pub weights: u64,
    /// The optimizer's state.
    pub optimizer: u64,
    /// Gradients that are there at that moment.
    pub gradients: u64,
    /// What blocks keep for their backward pass, as far as that is still to come.
    pub activations: u64,
    /// What the operation at hand works with: logits and their gradient, or those of a block's inner rows.
    pub working: u64,
    /// The program, its loader and the space of its products.
    pub process: u64,
}

impl StepMemory {
    /// Counts for a spec and a step.
    pub fn of(spec: &Spec, setup: &StepSetup<'_>) -> Self {
        let count = Count { spec, setup };
        let moments =
            (1..=spec.layers).map(|block| count.in_block(block)).chain([count.in_loss(), count.in_optimizer()]);
        moments.max_by_key(Self::total).unwrap_or_default()
    }

    /// The same in a process that, before the run, holds so many bytes that do not serve it.
    pub fn beside(self, bytes: u64) -> Self {
        Self { process: self.process.max(bytes + RUN), ..self }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.optimizer + self.gradients + self.activations + self.working + self.process
    }
}

struct Count<'a> {
    spec: &'a Spec,
    setup: &'a StepSetup<'a>,
}

impl Count<'_> {
    /// While the loss goes through its logits; no block's gradient is there yet.
    fn in_loss(&self) -> StepMemory {
        let layers = self.spec.layers as u64;
        let gradients = if self.setup.parts { self.all_gradients() } else { self.head_gradients() };
        self.at(gradients, self.kept_by(layers), self.head_rows() + self.loss())
    }

    /// In the backward pass of a block, counted from 1; those above it have their gradients.
    fn in_block(&self, block: usize) -> StepMemory {
        let (block, layers) = (block as u64, self.spec.layers as u64);
        let gradients = match self.setup.parts {
            true => self.all_gradients(),
            false => self.head_gradients() + (layers + 1 - block) * self.layer_gradients(),
        };
        self.at(gradients, self.kept_by(block), self.backward_rows() * self.setup.rows as u64)
    }

    fn in_optimizer(&self) -> StepMemory {
        self.at(self.all_gradients(), 0, self.setup.optimizer_working_bytes)
    }

    fn at(&self, gradients: u64, activations: u64, working: u64) -> StepMemory {
        let frozen = if self.setup.lora.is_some() { Parameters::of(self.spec).total() } else { 0 };
        let trained = self.all_gradients() / F32;
        StepMemory {
            weights: F32 * (frozen + trained),
            optimizer: self.setup.optimizer_bytes,
            gradients,
            activations,
            working,
            process: PROCESS,
        }
    }

    fn all_gradients(&self) -> u64 {
        match self.setup.lora {
            None => F32 * Parameters::of(self.spec).total(),
            Some(_) => self.spec.layers as u64 * self.layer_gradients(),
        }
    }

    fn layer_gradients(&self) -> u64 {
        let slots = trained_slots(self.spec, self.setup.lora);
        let in_first = slots.iter().filter(|slot| slot.name.starts_with("layers.0."));
        F32 * in_first.map(|slot| slot.len() as u64).sum::<u64>()
    }

    /// The gradient of the matrix over the vocabulary.
    fn head_gradients(&self) -> u64 {
        if self.spec.head == Head::None || self.setup.lora.is_some() {
            return 0;
        }
        F32 * (self.spec.vocab * self.spec.width) as u64
    }

    /// What the first blocks keep, and the embedding's norm before them.
    fn kept_by(&self, blocks: u64) -> u64 {
        let spec = self.spec;
        let full = self.layer_rows();
        let block_rows = match self.setup.recompute {
            // All but the one at hand keep their inputs.
            true => (blocks - 1) * F32 * spec.width as u64 + full,
            false => blocks * full,
        };
        let embedding_rows = if spec.embedding_norm { F32 * spec.width as u64 } else { 0 };
        (block_rows + embedding_rows) * self.setup.rows as u64
    }

    /// Bytes that a block keeps of a token.
    fn layer_rows(&self) -> u64 {
        let spec = self.spec;
        let (width, inner) = (spec.width as u64, spec.ffn_width as u64);
        let (query, kv) = (spec.query_width() as u64, spec.kv_width() as u64);
        // Inputs of both norms; queries, keys, values, what was mixed; what the activation read.
        let mut numbers = 2 * width + 2 * query + 2 * kv + if spec.gated { 2 * inner } else { inner };
        if spec.norm.place == NormPlace::Sandwich {
            numbers += 2 * width;
        }
        if spec.qk_norm {
            numbers += query + kv;
        }
        let statistics = if spec.norm.kind == NormKind::Rms { 2 } else { 4 };
        F32 * (numbers + spec.heads as u64 + statistics) + self.factor_bytes() * self.factors()
    }

    /// Numbers of a token that a block keeps as factors of products with what is trained: both norms' outputs, what was
    /// mixed (which attention keeps too, as it was), and the activation's output.
    fn factors(&self) -> u64 {
        let reads = |targets: &[Target], numbers: usize| {
            let read = self.setup.lora.is_none_or(|lora| targets.iter().any(|&target| lora.adapts(target)));
            if read { numbers as u64 } else { 0 }
        };
        let spec = self.spec;
        let mixed = if self.setup.precision == Precision::F32 { 0 } else { spec.query_width() };
        reads(&[Target::Q, Target::K, Target::V], spec.width)
            + reads(&[Target::Out], mixed)
            + reads(&[Target::Gate, Target::Up], spec.width)
            + reads(&[Target::Down], spec.ffn_width)
    }

    /// Bytes that the backward pass of a block's feed-forward part works with, for a token: the gradients of the
    /// residual stream and of the inner rows, before and after the activation, one of them rounded; less the factor
    /// that is used up by then.
    fn backward_rows(&self) -> u64 {
        let (width, inner) = (self.spec.width as u64, self.spec.ffn_width as u64);
        let gradients = width + if self.spec.gated { 3 * inner } else { 2 * inner };
        F32 * gradients - self.factor_bytes().min(F32) * inner
    }

    /// Bytes of a number as the products read it.
    fn factor_bytes(&self) -> u64 {
        match self.setup.precision {
            Precision::F32 | Precision::Fp16 => F32,
            Precision::Bf16 | Precision::Fp8 | Precision::Fp8Tensor => F32 / 2,
            Precision::Int8 => F32 / 4,
        }
    }

    /// What leads from the last block to the logits: the last norm and its rows, or those of BERT's transform.
    fn head_rows(&self) -> u64 {
        let width = self.spec.width as u64;
        let predicting = self.predicting();
        match self.spec.head {
            Head::None => 0,
            Head::Vocabulary { .. } => F32 * width * self.setup.rows as u64,
            Head::MaskedToken => 3 * F32 * width * predicting + F32 * width * self.setup.rows as u64,
        }
    }

    /// Input, factor and gradient of the predicting rows, and the logits of some of them.
    fn loss(&self) -> u64 {
        if self.spec.head == Head::None {
            return 0;
        }
        let (width, vocab) = (self.spec.width as u64, self.spec.vocab as u64);
        let predicting = self.predicting();
        let factor = if self.setup.precision == Precision::F32 { 0 } else { self.factor_bytes() };
        let matrix = if self.setup.precision == Precision::Fp16 { F32 * vocab * width } else { 0 };
        let logits = F32 * vocab * predicting.min(ops::logits_rows(self.spec.vocab) as u64);
        (2 * F32 + factor) * width * predicting + matrix + logits
    }

    fn predicting(&self) -> u64 {
        (self.setup.rows as f64 * self.setup.predicting).ceil() as u64
    }
}
