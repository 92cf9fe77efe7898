//! The loss of each step of a run of which everything is given: first weights, tokens and schedule. So training is
//! held against another program's, step by step (`luban bench curve`, `bench/curve.py`).

use std::path::Path;

use luban_artifact::safetensors::{Dtype, TensorView, Weights};
use luban_artifact::{Error as FileError, Mapped, ModelFiles};
use luban_base::random::Stream;
use luban_model::io;
use luban_model::spec::Head;
use luban_model::training::TrainableModel;
use luban_tensor::Precision;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::objective::{Causal, Example, Objective};
use crate::optimizer::{Optimizer, Settings};
use crate::schedule::Schedule;
use crate::step::{StepInput, train_step};

/// The sequences of each step of a run.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Sequences of a step.
    sequences: usize,
    /// Tokens of a sequence, the last target included.
    length: usize,
    /// Step after step, sequence after sequence.
    ids: Vec<u32>,
}

impl Tokens {
    /// Reads a safetensors file with one tensor of token ids: steps × sequences × (length + 1), I32 or I64.
    ///
    /// # Errors
    /// If the file is not such.
    pub fn open(path: &Path) -> Result<Self> {
        let unsupported = |what, expected: &str, found: String| FileError::Unsupported {
            path: path.to_owned(),
            what,
            expected: expected.to_owned(),
            found,
        };
        let file = Weights::open_named(Mapped::open(path)?, path)?;
        let mut names = file.names();
        let (Some(name), None) = (names.next(), names.next()) else {
            return Err(unsupported("a file of tokens", "one tensor", format!("{} tensors", file.len())).into());
        };
        let view = file.tensor(name)?;
        let &[_, sequences @ 1..=usize::MAX, length @ 2..=usize::MAX] = view.shape else {
            let expected = "steps × sequences × (length + 1)";
            return Err(unsupported("the shape of tokens", expected, format!("{:?}", view.shape)).into());
        };
        let whole = whole_numbers(&view);
        let whole = whole.ok_or_else(|| unsupported("the type of tokens", "I32 or I64", view.dtype.to_string()))?;
        let id = |number: i64| u32::try_from(number).map_err(|_| number);
        let ids = whole.into_iter().map(id).collect::<Result<Vec<u32>, i64>>();
        let ids = ids.map_err(|number| FileError::Corrupt {
            path: path.to_owned(),
            what: "a token".to_owned(),
            expected: "a number from 0 to 4294967295".to_owned(),
            found: number.to_string(),
        })?;
        Ok(Self { sequences, length, ids })
    }

    /// Steps that there are tokens for.
    pub fn steps(&self) -> u64 {
        (self.ids.len() / (self.sequences * self.length)) as u64
    }

    /// The batch of a step, counted from 0: each token predicts the next.
    fn examples(&self, step: u64) -> Option<Vec<Example>> {
        let batch = self.ids.chunks_exact(self.sequences * self.length).nth(usize::try_from(step).ok()?)?;
        let unused = Stream::new(0, &[]);
        Some(batch.chunks(self.length).map(|sequence| Causal.example(sequence, unused)).collect())
    }
}

fn whole_numbers(view: &TensorView<'_>) -> Option<Vec<i64>> {
    match view.dtype {
        Dtype::I64 => Some(view.data.as_chunks::<8>().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()),
        Dtype::I32 => {
            Some(view.data.as_chunks::<4>().0.iter().map(|&bytes| i32::from_le_bytes(bytes).into()).collect())
        }
        _ => None,
    }
}

/// How a run learns.
#[derive(Clone, Copy, Debug)]
pub struct CurveOptions {
    /// The learning rate of each step, and the number of steps.
    pub schedule: Schedule,
    /// The constants of the optimizer.
    pub optimizer: Settings,
    /// Sequences that go through the model at once; all of a step's when not given.
    pub at_once: Option<usize>,
    /// What matrix products round their factors to.
    pub precision: Precision,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The step, counted from 1.
    pub step: u64,
    /// Its learning rate.
    pub learning_rate: f64,
    /// Mean loss over its targets, before it changed the weights; nats.
    pub loss: f64,
    /// Norm of its gradient before clipping.
    pub gradient_norm: f64,
}

/// A run on its way: an iterator over its steps.
#[derive(Debug)]
pub struct Curve {
    model: TrainableModel,
    optimizer: Optimizer,
    tokens: Tokens,
    options: CurveOptions,
    step: u64,
}

impl Curve {
    /// Reads the first weights from a model's folder.
    ///
    /// # Errors
    /// If the model cannot be read or predicts no next token, or there are tokens for fewer steps than are asked for.
    pub fn open(files: &ModelFiles, tokens: Tokens, options: CurveOptions) -> Result<Self> {
        let steps = options.schedule.steps;
        if steps > tokens.steps() {
            let expected = format!("at most {}, what there are tokens for", tokens.steps());
            return Err(Error::Setting { name: "steps", found: steps.to_string(), expected });
        }
        let source = io::read(files)?;
        let spec = source.spec().clone();
        if !(spec.causal && matches!(spec.head, Head::Vocabulary { .. })) {
            let found = format!("a {} without a head for the next token", source.family().name);
            return Err(Error::Setting { name: "model", found, expected: "a decoder".to_owned() });
        }
        let model = TrainableModel::from_weights(spec, |slot| Ok(source.weight(slot)?.into_f32()))?;
        let model = model.with_precision(options.precision);
        let optimizer = Optimizer::new(options.optimizer, &model);
        Ok(Self { model, optimizer, tokens, options, step: 0 })
    }

    fn advance(&mut self, examples: &[Example]) -> Result<Point> {
        let learning_rate = self.options.schedule.at(self.step);
        let at_once = self.options.at_once.unwrap_or(examples.len());
        let report = train_step(
            &mut self.model,
            &mut self.optimizer,
            StepInput { examples, at_once, learning_rate, dropout: None },
        )?;
        self.step += 1;
        let (loss, gradient_norm, step) = (report.loss, report.gradient_norm, self.step);
        match report.is_finite() || report.skipped {
            true => Ok(Point { step, learning_rate, loss, gradient_norm }),
            false => Err(Error::Diverged { step, loss, gradient_norm, advice: "a lower learning rate may do".into() }),
        }
    }
}

impl Iterator for Curve {
    type Item = Result<Point>;

    /// Does a step; nothing after the last one or a failure.
    fn next(&mut self) -> Option<Self::Item> {
        if self.step >= self.options.schedule.steps {
            return None;
        }
        let examples = self.tokens.examples(self.step)?;
        let point = self.advance(&examples);
        if point.is_err() {
            self.step = self.options.schedule.steps;
        }
        Some(point)
    }
}
