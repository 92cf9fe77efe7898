//! Bytes that a model takes, in training and in serving, by counting.

use serde::Serialize;

use super::parameters::Parameters;
use crate::spec::{Head, NormPlace, Spec};
use crate::weights::{Role, Slot, slots};

/// Columns that share one scale in 4-bit weights: the usual group of the `compressed-tensors` layout.
const INT4_GROUP: u64 = 128;
/// Bytes of a single-precision number: scales, vectors, logits.
const F32_BYTES: u64 = 4;

/// How numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Precision {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point with 8 bits of exponent.
    Bf16,
    /// 8-bit integers, one f32 scale for each output channel.
    Int8,
    /// 4-bit integers, one bf16 scale for each group of 128 weights.
    Int4,
}

impl Precision {
    /// Every precision, widest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::Bf16, Self::Int8, Self::Int4];

    /// The name used in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// Bytes of a plain number of this precision; two 4-bit integers share a byte.
    pub fn bytes(self) -> f64 {
        match self {
            Self::F32 => 4.0,
            Self::Bf16 => 2.0,
            Self::Int8 => 1.0,
            Self::Int4 => 0.5,
        }
    }
}

/// Bytes that training keeps for each parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StateBytes {
    /// The weights that the forward pass reads.
    pub weights: u64,
    /// The f32 copy that the optimizer changes, where the weights are narrower.
    pub master: u64,
    /// Gradients.
    pub gradients: u64,
    /// Adam's two moments.
    pub moments: f64,
}

/// Bytes of two moments in 8 bits: a byte each, and an f32 scale for each block of 256.
pub const MOMENTS_8BIT_BYTES: f64 = 2.0 * (1.0 + 4.0 / 256.0);

impl StateBytes {
    /// Everything in f32: 16 bytes a parameter.
    pub const F32: Self = Self { weights: 4, master: 0, gradients: 4, moments: 8.0 };
    /// bf16 weights and gradients beside f32 masters and moments: also 16 bytes a parameter, as Rajbhandari et al.
    /// 2020 (arXiv 1910.02054, section 3.1) count mixed precision.
    pub const MIXED: Self = Self { weights: 2, master: 4, gradients: 2, moments: 8.0 };
    /// Everything in bf16, without masters.
    pub const BF16: Self = Self { weights: 2, master: 0, gradients: 2, moments: 4.0 };

    /// Master copy and moments: what ZeRO calls the optimizer's state.
    pub fn optimizer(&self) -> f64 {
        self.master as f64 + self.moments
    }

    /// Bytes a parameter in all.
    pub fn total(&self) -> f64 {
        (self.weights + self.gradients) as f64 + self.optimizer()
    }

    /// The same with moments in 8 bits ([`MOMENTS_8BIT_BYTES`]).
    pub fn with_moments_in_8_bits(self) -> Self {
        Self { moments: MOMENTS_8BIT_BYTES, ..self }
    }
}

/// How a model is trained, as far as memory is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TrainingSetup {
    /// Sequences that go through a device at once.
    pub sequences: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Bytes kept for each parameter.
    pub state: StateBytes,
    /// What activations are kept in.
    pub activations: Precision,
}

/// Bytes of training one replica.
///
/// A layer keeps for the backward pass: its input and the input of its feed-forward part, both as they came and
/// normalised (4 d); queries, keys and values and the mixed values (2 q + 2 kv); the log-sum-exp of each head; the
/// inner rows before and after the activation (2 f, or 3 f when gated); with norms after each part too, what those
/// read (2 d), and with norms of each head, queries and keys before them (q + kv). For GPT's shape that is 16 d numbers a
/// token, 32 d bytes in bf16; Korthikanti et al. 2022 (arXiv 2205.05198, equation 2) count 34 d with dropout masks,
/// and `5 a s² b` more for the scores, which a fused attention does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TrainingMemory {
    /// The weights that the forward pass reads.
    pub weights: u64,
    /// Gradients.
    pub gradients: u64,
    /// The optimizer's moments and, in mixed precision, its f32 copy of the weights.
    pub optimizer: u64,
    /// What all layers keep for the backward pass.
    pub activations: u64,
    /// The same when only each layer's input is kept and one layer at a time is computed again.
    pub activations_recomputed: u64,
    /// The head's input and its logits, which turn into their own gradient.
    pub logits: u64,
}

impl TrainingMemory {
    /// Counts for a spec and a setup.
    pub fn of(spec: &Spec, setup: &TrainingSetup) -> Self {
        let parameters = Parameters::of(spec).total();
        let layer = layer_activation_bytes(spec, setup);
        let layers = spec.layers as u64;
        Self {
            weights: parameters * setup.state.weights,
            gradients: parameters * setup.state.gradients,
            optimizer: (parameters as f64 * setup.state.optimizer()) as u64,
            activations: layers * layer,
            activations_recomputed: layers * layer_input_bytes(spec, setup) + layer,
            logits: logits_bytes(spec, setup),
        }
    }

    /// Everything, with the chosen way of keeping activations.
    pub fn total(&self, recompute: bool) -> u64 {
        let activations = if recompute { self.activations_recomputed } else { self.activations };
        self.weights + self.gradients + self.optimizer + activations + self.logits
    }
}

/// What one layer keeps for the backward pass of one micro-batch.
pub(super) fn layer_activation_bytes(spec: &Spec, setup: &TrainingSetup) -> u64 {
    let width = spec.experts.as_ref().map_or(spec.ffn_width, |experts| experts.per_token * experts.width);
    let inner = if spec.gated { 3 } else { 2 } * width;
    let mut rows = 4 * spec.width + 2 * spec.query_width() + 2 * spec.kv_width() + inner;
    if spec.norm.place == NormPlace::Sandwich {
        rows += 2 * spec.width;
    }
    if spec.qk_norm {
        rows += spec.query_width() + spec.kv_width();
    }
    let token = rows as f64 * setup.activations.bytes() + (spec.heads as u64 * F32_BYTES) as f64;
    (token * tokens(setup) as f64) as u64
}

/// What one layer keeps when it is computed again in the backward pass: its input.
pub(super) fn layer_input_bytes(spec: &Spec, setup: &TrainingSetup) -> u64 {
    (spec.width as f64 * setup.activations.bytes() * tokens(setup) as f64) as u64
}

/// The head's input and f32 logits of one micro-batch.
pub(super) fn logits_bytes(spec: &Spec, setup: &TrainingSetup) -> u64 {
    let logits = if spec.head == Head::None { 0 } else { spec.vocab as u64 * F32_BYTES };
    tokens(setup) * logits + layer_input_bytes(spec, setup)
}

fn tokens(setup: &TrainingSetup) -> u64 {
    (setup.sequences * setup.length) as u64
}

/// Bytes of serving one copy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ServingMemory {
    /// The precision of matrices; norms, biases and tables of positions stay in f32 when it is an integer one.
    pub precision: Precision,
    /// All weights, scales included.
    pub weights: u64,
    /// Keys and values of one token when they are kept in this precision.
    pub cache_per_token: f64,
}

impl ServingMemory {
    /// Counts for one precision.
    pub fn of(spec: &Spec, precision: Precision) -> Self {
        let numbers = if spec.causal { 2 * spec.layers * spec.kv_width() } else { 0 };
        Self {
            precision,
            weights: slots(spec).iter().map(|slot| slot_bytes(slot, precision)).sum(),
            cache_per_token: numbers as f64 * precision.bytes(),
        }
    }

    /// Counts for every precision, widest first.
    pub fn all(spec: &Spec) -> [Self; 4] {
        Precision::ALL.map(|precision| Self::of(spec, precision))
    }
}

fn slot_bytes(slot: &Slot, precision: Precision) -> u64 {
    let count = slot.len() as u64;
    let matrix = match slot.role {
        Role::Linear | Role::ResidualLinear => true,
        Role::Embedding => slot.name == "embedding.tokens",
        Role::Router | Role::NormWeight | Role::Bias | Role::LoraA | Role::LoraB => false,
    };
    let (rows, columns) = match slot.shape[..] {
        [rows, columns] => (rows as u64, columns as u64),
        _ => (1, count),
    };
    match precision {
        Precision::F32 => count * 4,
        Precision::Bf16 => count * 2,
        Precision::Int8 if matrix => count + rows * F32_BYTES,
        Precision::Int4 if matrix => rows * (columns.div_ceil(2) + columns.div_ceil(INT4_GROUP) * 2),
        Precision::Int8 | Precision::Int4 => count * F32_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Norm;

    fn setup(state: StateBytes, activations: Precision) -> TrainingSetup {
        TrainingSetup { sequences: 1, length: 1024, state, activations }
    }

    #[test]
    fn state_is_sixteen_bytes_a_parameter() {
        let spec = Spec::gpt2(768, 12, 12, 50_257);
        for (state, activations) in [(StateBytes::F32, Precision::F32), (StateBytes::MIXED, Precision::Bf16)] {
            let memory = TrainingMemory::of(&spec, &setup(state, activations));
            let held = memory.weights + memory.gradients + memory.optimizer;
            assert_eq!(held, 16 * spec.parameters() as u64);
            let eighth = TrainingMemory::of(&spec, &setup(state.with_moments_in_8_bits(), activations));
            let saved = memory.optimizer - eighth.optimizer;
            assert_eq!(saved, (spec.parameters() as f64 * (8.0 - 2.03125)).ceil() as u64);
        }
    }

    #[test]
    fn activations_agree_with_the_published_count() {
        // Korthikanti et al.: 34 s b h bytes a layer in 16 bits without scores; 2 s b h of it are dropout masks.
        let spec = Spec::gpt2(768, 12, 12, 50_257);
        let memory = TrainingMemory::of(&spec, &setup(StateBytes::MIXED, Precision::Bf16));
        let log_sum_exp = 12 * 4 * 1024;
        assert_eq!(memory.activations, 12 * (32 * 1024 * 768 + log_sum_exp));
        assert!(memory.activations_recomputed < memory.activations / 5);
        assert!(memory.total(true) < memory.total(false));
    }

    #[test]
    fn more_norms_keep_more() {
        let plain = Spec { kv_heads: 2, ..Spec::llama(64, 1, 4, 100) };
        let sandwich = Norm { place: NormPlace::Sandwich, ..plain.norm };
        let kept = |spec: &Spec| TrainingMemory::of(spec, &setup(StateBytes::F32, Precision::F32)).activations;
        let more = kept(&Spec { qk_norm: true, norm: sandwich, ..plain.clone() }) - kept(&plain);
        assert_eq!(more, 4 * 1024 * (2 * 64 + 64 + 32));
    }

    #[test]
    fn int8_files_are_nearly_four_times_smaller() {
        let spec = Spec::llama(256, 4, 4, 2048);
        let [wide, half, eighth, quarter] = ServingMemory::all(&spec).map(|memory| memory.weights as f64);
        assert_eq!(wide, 4.0 * spec.parameters() as f64);
        assert_eq!(half, wide / 2.0);
        assert!((3.5..4.0).contains(&(wide / eighth)));
        assert!((6.5..8.0).contains(&(wide / quarter)));
    }

    #[test]
    fn the_cache_counts_key_and_value_heads() {
        // Llama 3 8B: 32 layers, 8 heads of 128, keys and values, 2 bytes: 128 KiB a token.
        let spec = Spec { kv_heads: 8, ..Spec::llama(4096, 32, 32, 128_256) };
        assert_eq!(ServingMemory::of(&spec, Precision::Bf16).cache_per_token, 131_072.0);
        assert_eq!(ServingMemory::of(&Spec::bert(64, 2, 2, 10), Precision::F32).cache_per_token, 0.0);
    }
}
