//! One optimizer step: what the loop runs, and what `bench train` measures.

use luban_base::random::Stream;
use luban_kernels::dropout::probability;
use luban_model::Spec;
use luban_model::plan::Flops;
use luban_model::spec::Head;
use luban_model::training::{Dropout, Sample, Targets, TrainableModel};

use crate::error::Result;
use crate::objective::{Assembled, Example, MASKED_SHARE};
use crate::optimizer::Optimizer;
use crate::settings::Plan;

/// Label of the random streams of what falls out.
const DROPOUT: u64 = 0xD209;

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
    /// Which elements of activations fall out.
    pub dropout: Option<StepDropout>,
}

/// Elements of activations that fall out of a step: a function of each sample's number, of the operation and of the
/// element, so that neither the examples at once nor a resume changes it.
#[derive(Clone, Copy, Debug)]
pub struct StepDropout {
    /// The probability of each.
    pub probability: f64,
    /// The random stream of all samples of the run.
    pub draws: Stream,
    /// The number of the step's first sample in the run.
    pub first_sample: u64,
}

impl StepDropout {
    /// That of a step, counted from 0; nothing where nothing falls out.
    pub fn of(plan: &Plan, step: u64) -> Option<Self> {
        let (probability, first_sample) = (plan.dropout, step * plan.sequences as u64);
        let draws = Stream::new(plan.seed, &[DROPOUT]);
        (probability > 0.0).then_some(Self { probability, draws, first_sample })
    }

    /// That of a part of the batch, whose first example has a number within the step.
    fn of_part(&self, first: usize, examples: &[Example]) -> Dropout {
        let numbered = examples.iter().zip(self.first_sample + first as u64..);
        let sample =
            |(example, number): (&Example, u64)| Sample { rows: example.inputs.len(), draws: self.draws.child(number) };
        Dropout { dropped: probability(self.probability), samples: numbered.map(sample).collect() }
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Mean loss over the targets, nats.
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
pub fn train_step(model: &mut TrainableModel, optimizer: &mut Optimizer, input: StepInput<'_>) -> Result<StepReport> {
    let loss = scaled_gradients(model, input, optimizer.scaling().scale)?;
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

/// The gradient of the mean loss, added to each parameter's; gives the mean loss.
///
/// # Errors
/// If the batch does not suit the model.
pub fn gradients(model: &mut TrainableModel, examples: &[Example], at_once: usize) -> Result<f64> {
    scaled_gradients(model, StepInput { examples, at_once, learning_rate: 0.0, dropout: None }, 1.0)
}

/// As [`gradients`], of the mean loss times a scale; the loss that it gives is not scaled.
fn scaled_gradients(model: &mut TrainableModel, input: StepInput<'_>, scale: f64) -> Result<f64> {
    let StepInput { examples, at_once, dropout, .. } = input;
    let targets: usize = examples.iter().map(|example| example.targets.len()).sum();
    let scale = scale as f32 / targets.max(1) as f32;
    let mut nats = 0.0;
    let at_once = at_once.max(1);
    for (index, part) in examples.chunks(at_once).enumerate() {
        let Assembled { batch, rows, targets } = Assembled::of(part);
        if rows.is_empty() {
            continue;
        }
        let dropout = dropout.map(|dropout| dropout.of_part(index * at_once, part));
        let targets = Targets { rows: &rows, tokens: &targets, scale };
        nats += model.accumulate_dropping(&batch, &targets, dropout)?.nats;
    }
    Ok(nats / targets.max(1) as f64)
}

/// Floating-point operations of training on one token in sequences of `length`, matrix products only. The head is
/// counted for the rows that predict: all of a decoder's, the masked share of an encoder's.
pub fn flops_per_token(spec: &Spec, length: usize) -> f64 {
    let share = if spec.head == Head::MaskedToken { f64::from(MASKED_SHARE) } else { 1.0 };
    Flops::with_head_share(spec, length, share).training()
}
