//! How fast this machine trains, measured with the very step that the run will take.

use luban_base::cancel::Cancel;
use luban_base::clock::Clock;
use luban_base::random::Stream;
use luban_model::Spec;
use luban_model::spec::Head;
use luban_model::training::TrainableModel;
use luban_tensor::Precision;

use crate::error::{Error, Result};
use crate::objective::{Causal, Example, Masked, Objective};
use crate::optimizer::{AdamWSettings, Optimizer, Settings};
use crate::settings::Plan;
use crate::step::{StepDropout, StepInput, flops_per_token, train_step};

/// Label of the random streams that the probe's tokens come from.
const PROBE: u64 = 0x9B0E;
/// Seconds that a measurement lasts at least.
const SECONDS_MIN: f64 = 3.0;
/// Steps that are timed at least, after one that is not.
const TIMED_STEPS_MIN: usize = 3;
/// Tokens of a step of the probe.
const PROBE_TOKENS: usize = 1024;

/// What measures speed; a machine, or a test's notion of one.
pub trait Speedometer {
    /// Operations a second of training a model of about this shape.
    ///
    /// # Errors
    /// If the model cannot be trained, or the run was cancelled.
    fn flops_per_second(&mut self, probe: &Spec, precision: Precision) -> Result<f64>;

    /// Seconds of one step of a plan.
    ///
    /// # Errors
    /// As above.
    fn step_seconds(&mut self, plan: &Plan) -> Result<f64>;
}

/// This machine. Everything that it trains is thrown away.
pub struct Machine<'a> {
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Ends a measurement early.
    pub cancel: &'a Cancel,
    /// Whether the run will compute blocks again in the backward pass, which costs time.
    pub recompute: bool,
}

impl Speedometer for Machine<'_> {
    fn flops_per_second(&mut self, probe: &Spec, precision: Precision) -> Result<f64> {
        let sequences = (PROBE_TOKENS / probe.context).max(1);
        let optimizer = AdamWSettings::default().into();
        let measured = Measured {
            spec: probe,
            precision,
            optimizer,
            sequences,
            at_once: sequences,
            length: probe.context,
            dropout: None,
        };
        let step_s = self.measure(measured)?;
        let tokens = (sequences * probe.context) as f64;
        Ok((flops_per_token(probe, probe.context) * tokens / step_s).clamp(1e6, 1e18))
    }

    fn step_seconds(&mut self, plan: &Plan) -> Result<f64> {
        let &Plan { ref spec, precision, sequences, sequences_at_once: at_once, context: length, .. } = plan;
        let (optimizer, dropout) = (plan.optimizer_settings(), StepDropout::of(plan, 0));
        self.measure(Measured { spec, precision, optimizer, sequences, at_once, length, dropout })
    }
}

/// What is measured.
struct Measured<'a> {
    spec: &'a Spec,
    precision: Precision,
    optimizer: Settings,
    sequences: usize,
    at_once: usize,
    length: usize,
    dropout: Option<StepDropout>,
}

impl Machine<'_> {
    /// The median seconds of a step.
    fn measure(&self, measured: Measured<'_>) -> Result<f64> {
        let Measured { spec, precision, optimizer, sequences, at_once, length, dropout } = measured;
        let mut model = TrainableModel::init(spec.clone(), 0)?.with_precision(precision);
        model.set_recompute(self.recompute);
        let mut optimizer = Optimizer::new(optimizer, &model);
        let examples = random_examples(spec, sequences, length);
        let mut seconds = Vec::new();
        let start = self.clock.elapsed();
        loop {
            let before = self.clock.elapsed();
            // The learning rate is small, so that no step can run off to infinities, which are slower.
            train_step(
                &mut model,
                &mut optimizer,
                StepInput { examples: &examples, at_once, learning_rate: 1e-5, dropout },
            )?;
            let now = self.clock.elapsed();
            seconds.push((now - before).as_secs_f64());
            let measured = (now - start).as_secs_f64() >= SECONDS_MIN || now == before;
            if self.cancel.is_raised() {
                return Err(Error::Cancelled);
            }
            if measured && seconds.len() > TIMED_STEPS_MIN {
                break;
            }
        }
        let timed = &mut seconds[1..];
        timed.sort_by(f64::total_cmp);
        Ok(timed[timed.len() / 2].max(1e-6))
    }
}

/// Examples of random tokens, for measuring speed.
pub fn random_examples(spec: &Spec, sequences: usize, length: usize) -> Vec<Example> {
    let masked = Masked { mask: 0, vocab: spec.vocab };
    let objective: &dyn Objective = if spec.head == Head::MaskedToken { &masked } else { &Causal };
    let example = |sample: u64| {
        let draws = Stream::new(0, &[PROBE, sample]);
        let token = |index| draws.below_at(index, spec.vocab as u64) as u32;
        let sequence: Vec<u32> = (0..=length as u64).map(token).collect();
        objective.example(&sequence, draws.child(1))
    };
    (0..sequences as u64).map(example).collect()
}
