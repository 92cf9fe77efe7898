//! The memory of a run, planned before it.

use luban_model::Spec;
use luban_model::lora::Lora;
use luban_model::plan::{StepMemory, StepSetup};
use luban_model::spec::Head;
use luban_tensor::Precision;

use crate::objective::MASKED_SHARE;
use crate::settings::Plan;

/// Bytes of AdamW's two moments for each parameter.
const ADAMW_BYTES: f64 = 8.0;

/// A step, as far as its memory is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The model.
    pub spec: &'a Spec,
    /// Tokens of a step.
    pub tokens: usize,
    /// Tokens that go through the model at once.
    pub at_once: usize,
    /// What matrix products round their factors to.
    pub precision: Precision,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// The adapters, where only they are trained.
    pub lora: Option<&'a Lora>,
}

impl Step<'_> {
    /// The bytes of its fullest moment.
    pub fn memory(&self) -> StepMemory {
        let predicting = if self.spec.head == Head::MaskedToken { f64::from(MASKED_SHARE) } else { 1.0 };
        let setup = StepSetup {
            rows: self.at_once.min(self.tokens),
            predicting,
            parts: self.at_once < self.tokens,
            precision: self.precision,
            recompute: self.recompute,
            lora: self.lora,
            optimizer_bytes: ADAMW_BYTES,
        };
        StepMemory::of(self.spec, &setup)
    }
}

/// The bytes of the fullest moment of a run's steps.
pub fn planned(plan: &Plan, recompute: bool) -> StepMemory {
    Step {
        spec: &plan.spec,
        tokens: plan.batch_tokens(),
        at_once: plan.sequences_at_once * plan.context,
        precision: plan.precision,
        recompute,
        lora: None,
    }
    .memory()
}

/// One line for people.
pub fn describe(memory: &StepMemory) -> String {
    let mb = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    format!(
        "memory: about {} at the fullest moment of a step: weights {}, optimizer {}, gradients {}, activations {}, \
         the operation at hand {}",
        mb(memory.total()),
        mb(memory.weights),
        mb(memory.optimizer),
        mb(memory.gradients),
        mb(memory.activations),
        mb(memory.working),
    )
}
