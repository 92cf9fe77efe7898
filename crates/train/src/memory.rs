//! The memory of a run, planned before it.

use luban_base::memory::resident_bytes;
use luban_model::Spec;
use luban_model::lora::Lora;
use luban_model::plan::{StepMemory, StepSetup};
use luban_model::spec::Head;
use luban_tensor::{Precision, storage};

use crate::objective::MASKED_SHARE;
use crate::optimizer::Settings;
use crate::settings::Plan;

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
    /// What trains it.
    pub optimizer: Settings,
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
            optimizer_bytes: self.optimizer.bytes(self.spec, self.lora),
            optimizer_working_bytes: self.optimizer.working_bytes(self.spec, self.lora),
        };
        StepMemory::of(self.spec, &setup)
    }
}

/// Bytes that this process holds which no run can have: all but those of tensors, which the next run takes over.
pub fn held_by_others() -> u64 {
    resident_bytes().unwrap_or(0).saturating_sub(storage::usage().held as u64)
}

/// The bytes of the fullest moment of a run's steps, in a process that held so many before it.
pub fn planned(plan: &Plan, recompute: bool, held_before: u64) -> StepMemory {
    Step {
        spec: &plan.spec,
        tokens: plan.batch_tokens(),
        at_once: plan.sequences_at_once * plan.context,
        precision: plan.precision,
        recompute,
        lora: None,
        optimizer: plan.optimizer_settings(),
    }
    .memory()
    .beside(held_before)
}

/// One line for people.
pub fn describe(memory: &StepMemory) -> String {
    let mb = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
    format!(
        "memory: about {} at the fullest moment of a step: weights {}, optimizer {}, gradients {}, activations {}, \
         the operation at hand {}, the program itself {}",
        mb(memory.total()),
        mb(memory.weights),
        mb(memory.optimizer),
        mb(memory.gradients),
        mb(memory.activations),
        mb(memory.working),
        mb(memory.process),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_process_holds_beside_tensors_counts() {
        const MIB: usize = 1 << 20;
        if resident_bytes().is_none() {
            return;
        }
        let before = held_by_others();
        let own = vec![1u8; 256 * MIB];
        let tensors = storage::Buffer::zeroed(32 * MIB);
        let more = held_by_others().saturating_sub(before);
        assert!(
            more > 192 * MIB as u64 && more < 320 * MIB as u64,
            "{more} bytes of {}",
            own.len() + tensors.len() * 4
        );
    }

    #[test]
    fn a_run_in_a_process_that_holds_much_is_planned_beside_it() {
        let alone = StepMemory { weights: 7, process: 1 << 20, ..StepMemory::default() };
        assert!(alone.beside(1 << 30).total() >= 7 + (1 << 30));
        let large = StepMemory { process: 1 << 30, ..alone };
        assert_eq!(large.beside(1 << 10), large);
    }
}
