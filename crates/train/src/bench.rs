//! The speed of training: the loop's own step on models of known shapes and random tokens.

use luban_base::clock::Clock;
use luban_model::Spec;
use luban_model::lora::{Lora, Target};
use luban_model::plan::{Flops, StepMemory};
use luban_model::spec::{Head, Position};
use luban_model::training::TrainableModel;
use luban_tensor::Precision;
use serde::Serialize;

use crate::choose::random_examples;
use crate::error::{Error, Result};
use crate::memory;
use crate::objective::MASKED_SHARE;
use crate::optimizer::{AdamWSettings, Optimizer, Settings};
use crate::step::{StepInput, train_step};

/// A model, and the batch that it is measured with. The shapes are those that PyTorch is measured with, so that the
/// figures compare.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What the command line calls it.
    pub name: &'static str,
    /// The model.
    pub spec: Spec,
    /// Sequences of a step.
    pub sequences: usize,
    /// Tokens of a sequence.
    pub length: usize,
    /// Its adapters, where only they are trained.
    pub lora: Option<Lora>,
}

/// Every shape.
pub fn shapes() -> Vec<Shape> {
    let gpt = |width, layers, heads, vocab| Spec { context: 512, ..Spec::gpt2(width, layers, heads, vocab) };
    let bert = Spec { head: Head::MaskedToken, token_types: 0, ..Spec::bert(768, 12, 12, 30_522) };
    let llama = Spec {
        kv_heads: 3,
        ffn_width: 1536,
        context: 512,
        position: Position::Rotary { theta: 1e5 },
        ..Spec::llama(576, 30, 9, 49_152)
    };
    let lora = Lora { rank: 8, alpha: 16.0, targets: Target::ATTENTION.to_vec() };
    vec![
        Shape { name: "tiny", spec: gpt(128, 4, 4, 256), sequences: 32, length: 128, lora: None },
        Shape { name: "small", spec: gpt(384, 6, 6, 4096), sequences: 16, length: 256, lora: None },
        Shape { name: "gpt2_b4", spec: gpt(768, 12, 12, 50_257), sequences: 4, length: 256, lora: None },
        Shape { name: "bert", spec: bert, sequences: 8, length: 128, lora: None },
        Shape { name: "llama", spec: llama.clone(), sequences: 2, length: 512, lora: None },
        Shape { name: "llama_lora", spec: llama, sequences: 2, length: 512, lora: Some(lora) },
    ]
}

/// The shape of a name.
///
/// # Errors
/// If there is none.
pub fn shape(name: &str) -> Result<Shape> {
    let shapes = shapes();
    let known = shapes.iter().map(|shape| shape.name).collect::<Vec<_>>().join(", ");
    shapes.into_iter().find(|shape| shape.name == name).ok_or_else(|| Error::Setting {
        name: "config",
        found: name.to_owned(),
        expected: format!("one of {known}"),
    })
}

impl Shape {
    /// Floating-point operations of forward and backward for one token, as the literature counts: six for each
    /// weight of the blocks, and of the head in the rows that predict; attention at half where it is causal.
    pub fn flops_per_token(&self) -> f64 {
        let share = if self.spec.head == Head::MaskedToken { f64::from(MASKED_SHARE) } else { 1.0 };
        // BERT's transform before the vocabulary is left out, as in the figures that these compare with.
        let head = 2.0 * (self.spec.vocab * self.spec.width) as f64 * share;
        let flops = Flops { head, ..Flops::per_token(&self.spec, self.length) };
        match self.lora {
            None => flops.training(),
            // Frozen matrices have no gradient; the adapters' own products are not counted, as in the peers' figures.
            Some(_) => 2.0 * (flops.forward() - flops.attention) + 3.0 * flops.attention,
        }
    }

    /// The bytes of a step's fullest moment.
    pub fn memory(&self, conditions: Conditions) -> StepMemory {
        let tokens = self.sequences * self.length;
        let Conditions { precision, recompute, .. } = conditions;
        memory::Step { spec: &self.spec, tokens, at_once: tokens, precision, recompute, lora: self.lora.as_ref() }
            .memory()
    }
}

/// How to train, and how long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// What matrix products round their factors to.
    pub precision: Precision,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// The constants of the optimizer.
    pub optimizer: Settings,
    /// Steps before the first that is timed.
    pub warmup: usize,
    /// Steps that are timed at least.
    pub steps_min: usize,
    /// Seconds of timed steps, at least.
    pub seconds_min: f64,
    /// Seconds after which no further step begins.
    pub seconds_max: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            precision: Precision::F32,
            recompute: false,
            optimizer: AdamWSettings::default().into(),
            warmup: 1,
            steps_min: 5,
            seconds_min: 3.0,
            seconds_max: 40.0,
        }
    }
}

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The shape.
    pub config: &'static str,
    /// Parameters.
    pub parameters: usize,
    /// Tokens of a step.
    pub tokens: usize,
    /// Tokens a second, by the median step.
    pub tok_s: f64,
    /// Milliseconds of the median step.
    pub step_ms: f64,
    /// Steps that were timed.
    pub steps: usize,
    /// 10^9 operations a second.
    pub gflops: f64,
    /// Bytes that the process was planned to hold at the fullest moment of a step.
    pub planned_memory: u64,
    /// Loss of the first step and of the last: the batch is the same, so it falls.
    pub loss_first: f64,
    /// See above.
    pub loss_last: f64,
}

/// Measures the training step of a shape: forward, backward, clipping and optimizer, on one batch of random tokens.
///
/// # Errors
/// If the model cannot be trained.
pub fn measure(shape: &Shape, conditions: Conditions, clock: &dyn Clock) -> Result<Measured> {
    let mut model = TrainableModel::init(shape.spec.clone(), 0)?.with_precision(conditions.precision);
    model.set_recompute(conditions.recompute);
    if let Some(lora) = &shape.lora {
        model = model.with_lora(lora.clone(), 0);
    }
    let mut optimizer = Optimizer::new(conditions.optimizer, &model);
    let examples = random_examples(&shape.spec, shape.sequences, shape.length);
    let input = StepInput { examples: &examples, at_once: examples.len(), learning_rate: 1e-4, dropout: None };
    let mut losses = Vec::new();
    let mut seconds = Vec::new();
    let mut run = |model: &mut TrainableModel| -> Result<f64> {
        let before = clock.elapsed();
        losses.push(train_step(model, &mut optimizer, input)?.loss);
        Ok((clock.elapsed() - before).as_secs_f64())
    };
    for _ in 0..conditions.warmup {
        run(&mut model)?;
    }
    let start = clock.elapsed();
    loop {
        seconds.push(run(&mut model)?);
        let passed = (clock.elapsed() - start).as_secs_f64();
        if (seconds.len() >= conditions.steps_min && passed >= conditions.seconds_min)
            || passed > conditions.seconds_max
        {
            break;
        }
    }
    seconds.sort_by(f64::total_cmp);
    let step_s = seconds[seconds.len() / 2].max(1e-9);
    let tokens = shape.sequences * shape.length;
    let tok_s = tokens as f64 / step_s;
    Ok(Measured {
        config: shape.name,
        parameters: shape.spec.parameters(),
        tokens,
        tok_s,
        step_ms: 1e3 * step_s,
        steps: seconds.len(),
        gflops: tok_s * shape.flops_per_token() / 1e9,
        planned_memory: shape.memory(conditions).total(),
        loss_first: losses.first().copied().unwrap_or(f64::NAN),
        loss_last: losses.last().copied().unwrap_or(f64::NAN),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_as_the_peers_count() {
        let flops = |name| shape(name).unwrap().flops_per_token();
        let blocks = 12.0 * 12.0 * 768.0 * 768.0;
        assert_eq!(flops("gpt2_b4"), 6.0 * (blocks + 50_257.0 * 768.0) + 6.0 * 12.0 * 256.0 * 768.0);
        let head = 30_522.0 * 768.0 * f64::from(MASKED_SHARE);
        assert_eq!(flops("bert"), 6.0 * (blocks + head) + 12.0 * 12.0 * 128.0 * 768.0);
        assert!(shape("huge").unwrap_err().to_string().contains("gpt2_b4"));
    }
}
