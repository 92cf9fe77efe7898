//! One optimizer step: what the loop runs, and what `bench train` measures.

use luban_model::Spec;
use luban_model::plan::Flops;
use luban_model::spec::Head;
use luban_model::training::{Targets, TrainableModel};

use crate::error::Result;
use crate::objective::{Assembled, Example, MASKED_SHARE};
use crate::optimizer::AdamW;

/// What a step trains on.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    /// The whole batch.
    pub examples: &'a [Example],
    /// Examples that go through the model at once. The others follow, and their gradients are added up: to the same
    /// bits, but for a token embedding that is the head's matrix too, where the order of its two sources changes.
    pub at_once: usize,
    /// The step's learning rate.
    pub learning_rate: f64,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Weighted mean loss over the targets, nats.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens that the model saw.
    pub tokens: u64,
    /// Whether the step was skipped for an overflow that a smaller scale of the loss may cure: the weights have not
    /// been changed, and the run goes on.
    pub skipped: bool,
}

impl StepReport {
    /// Whether loss and gradient are numbers. Where they are not, the weights have not been changed.
    pub fn is_finite(&self) -> bool {
        self.loss.is_finite() && self.gradient_norm.is_finite()
    }
}

/// Forward, backward and optimizer on one batch.
///
/// # Errors
/// If the batch does not suit the model.
pub fn train_step(model: &mut TrainableModel, optimizer: &mut AdamW, input: StepInput<'_>) -> Result<StepReport> {
    let loss = scaled_gradients(model, input.examples, input.at_once, optimizer.scaling().scale)?;
    let tokens = input.examples.iter().map(|example| example.inputs.len() as u64).sum();
    let gradient_norm = match loss.is_finite() {
        true => optimizer.step(model, input.learning_rate),
        false => {
            optimizer.skip(model);
            f64::NAN
        }
    };
    let skipped = !gradient_norm.is_finite() && !optimizer.scaling().is_exhausted();
    Ok(StepReport { loss, gradient_norm, tokens, skipped })
}

/// The gradient of the weighted mean loss, added to each parameter's; gives that loss.
///
/// # Errors
/// If the batch does not suit the model.
pub fn gradients(model: &mut TrainableModel, examples: &[Example], at_once: usize) -> Result<f64> {
    scaled_gradients(model, examples, at_once, 1.0)
}

/// As [`gradients`], of the mean loss times a scale; the loss that it gives is not scaled.
fn scaled_gradients(model: &mut TrainableModel, examples: &[Example], at_once: usize, scale: f64) -> Result<f64> {
    let total: f64 = examples.iter().map(Example::total_weight).sum();
    let total = if total > 0.0 { total } else { 1.0 };
    let scale = scale as f32 / total as f32;
    let mut nats = 0.0;
    for part in examples.chunks(at_once.max(1)) {
        let Assembled { batch, rows, targets, weights } = Assembled::of(part);
        if !rows.is_empty() {
            let targets = Targets { rows: &rows, tokens: &targets, weights: &weights, scale };
            nats += model.accumulate(&batch, &targets)?.nats;
        }
    }
    Ok(nats / total)
}

/// Floating-point operations of training on one token in sequences of `length`, matrix products only. The head is
/// counted for the rows that predict: all of a decoder's, the masked share of an encoder's.
pub fn flops_per_token(spec: &Spec, length: usize) -> f64 {
    let share = if spec.head == Head::MaskedToken { f64::from(MASKED_SHARE) } else { 1.0 };
    Flops::with_head_share(spec, length, share).training()
}
