//! The constants of the optimizers.

use luban_kernels::optim::blocks::BLOCK;
use luban_kernels::optim::muon;
use luban_model::Spec;
use luban_model::lora::Lora;
use luban_model::weights::{Slot, trained_slots};
use luban_tensor::Parameter;
use serde::{Deserialize, Serialize};

use super::Memory;

/// The constants of AdamW. Learning rates come from the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AdamWSettings {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean of squares.
    pub epsilon: f64,
    /// Share of itself that a matrix loses in a step of learning rate 1; biases and norms lose nothing.
    pub weight_decay: f64,
    /// A longer gradient is scaled down to this norm.
    pub clip_norm: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1, clip_norm: 1.0 }
    }
}

/// The constants of Muon.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MuonSettings {
    /// Its learning rate over that of AdamW, at every step.
    pub times: f64,
    /// Decay of the mean of gradients.
    pub momentum: f64,
    /// Share of itself that a matrix loses in a step of (Muon's) learning rate 1.
    pub weight_decay: f64,
}

impl MuonSettings {
    /// A learning rate of `times` that of AdamW. Its steps are longer; what a matrix loses to decay in one is the same.
    pub fn new(times: f64, adamw: &AdamWSettings) -> Self {
        Self { times, momentum: MUON_MOMENTUM, weight_decay: adamw.weight_decay / times }
    }
}

/// Muon's highest learning rate, where none is given: Jordan's, with his rule for the shape of a matrix
/// ([`luban_kernels::optim::muon::scale`]).
pub const MUON_LEARNING_RATE: f64 = 0.02;
/// Muon's decay of the mean of gradients.
pub const MUON_MOMENTUM: f64 = 0.95;

/// Which optimizer trains the matrices inside blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// AdamW, as for everything else.
    #[default]
    Adamw,
    /// Muon.
    Muon,
}

impl Kind {
    /// Its constants, where Muon has `times` AdamW's learning rate.
    pub fn settings(self, adamw: AdamWSettings, times: f64) -> Settings {
        Settings { muon: (self == Self::Muon).then(|| MuonSettings::new(times, &adamw)), ..adamw.into() }
    }
}

/// What the optimizer's states are kept in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum States {
    /// f32.
    #[default]
    #[serde(rename = "f32")]
    F32,
    /// A byte each, and a scale for 256 of them: see [`luban_kernels::optim::blocks`]. What parameters of fewer than
    /// [`BITS8_LENGTH_MIN`] numbers need (norms and biases mostly) stays f32: it is little, and touchy.
    #[serde(rename = "8bit")]
    Bits8,
}

/// Numbers that a parameter has at least whose states are kept in 8 bits.
pub const BITS8_LENGTH_MIN: usize = 4096;

impl States {
    /// What those of a parameter of so many numbers are kept in.
    fn of(self, length: usize) -> Self {
        if length < BITS8_LENGTH_MIN { Self::F32 } else { self }
    }

    /// Bytes of one for each of so many numbers.
    fn bytes(self, length: usize) -> u64 {
        match self {
            Self::F32 => 4 * length as u64,
            Self::Bits8 => (length.next_multiple_of(BLOCK) + 4 * length.div_ceil(BLOCK)) as u64,
        }
    }
}

/// All constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Of AdamW, and of clipping.
    pub adamw: AdamWSettings,
    /// Of Muon, where it is used.
    pub muon: Option<MuonSettings>,
    /// What the states are kept in.
    pub states: States,
    /// Decides how states in 8 bits are rounded.
    pub seed: u64,
}

impl From<AdamWSettings> for Settings {
    fn from(adamw: AdamWSettings) -> Self {
        Self { adamw, muon: None, states: States::F32, seed: 0 }
    }
}

impl Settings {
    /// What is to be remembered of a parameter before the first step.
    pub(super) fn memory(&self, parameter: &Parameter) -> Memory {
        let length = parameter.value.len();
        let states = self.states.of(length);
        match self.trains_by_muon(&parameter.name, parameter.value.shape()) {
            true => Memory::muon(states, length),
            false => Memory::adamw(states, length),
        }
    }

    /// Matrices inside blocks are; embeddings and heads are none, whose rows are told apart by tokens.
    fn trains_by_muon(&self, name: &str, shape: &[usize]) -> bool {
        self.muon.is_some() && name.starts_with("layers.") && shape.len() == 2
    }

    /// Bytes of what is remembered of a model, or of its adapters where only they are trained.
    pub fn bytes(&self, spec: &Spec, lora: Option<&Lora>) -> u64 {
        let of = |slot: &Slot| {
            let means = if self.trains_by_muon(&slot.name, &slot.shape) { 1 } else { 2 };
            means * self.states.of(slot.len()).bytes(slot.len())
        };
        trained_slots(spec, lora).iter().map(of).sum()
    }

    /// Bytes that changing one parameter needs besides, at most.
    pub fn working_bytes(&self, spec: &Spec, lora: Option<&Lora>) -> u64 {
        let of = |slot: &Slot| match slot.shape[..] {
            [rows, columns] if self.trains_by_muon(&slot.name, &slot.shape) => {
                4 * (rows * columns + muon::scratch_len([rows, columns])) as u64
            }
            _ => 0,
        };
        trained_slots(spec, lora).iter().map(of).max().unwrap_or(0)
    }
}
