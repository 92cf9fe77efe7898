//! How likely a model finds given texts.

use std::sync::Arc;

use luban_kernels::loss;
use luban_model::{Batch, forward};

use super::{ServingExecutor, ServingModel};
use crate::error::{Error, Result};

/// Tokens that go through the model at a time.
const BATCH_ROWS: usize = 1024;
/// Logits that exist at a time, 16 MiB of them.
const LOGITS_MAX: usize = 1 << 22;

/// Tokens and, for each, the one that should follow.
pub type Window = (Vec<u32>, Vec<u32>);

/// Tokens and what some of their rows should predict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// What the model sees.
    pub tokens: Vec<u32>,
    /// Rows, ascending.
    pub rows: Vec<usize>,
    /// The token that each of them should predict.
    pub targets: Vec<u32>,
    /// Whether each position sees both sides, in a model that is causal too.
    pub open: bool,
}

impl ServingModel {
    /// The negative log-likelihood, in nats, of each window's targets given the tokens up to them. `each` is called
    /// with every window's number and its nats, one a target, in order.
    ///
    /// # Errors
    /// A window that is longer than the context, holds tokens that are not in the vocabulary, or has not one target a
    /// token; a model without a head.
    pub fn score(self: &Arc<Self>, windows: &[Window], each: impl FnMut(usize, &[f32])) -> Result<()> {
        let question = |(tokens, targets): &Window| {
            let (tokens, targets, rows) = (tokens.clone(), targets.clone(), (0..tokens.len()).collect());
            Question { tokens, rows, targets, open: false }
        };
        self.answer(&windows.iter().map(question).collect::<Vec<_>>(), each)
    }

    /// The negative log-likelihood, in nats, of each question's targets. `each` is called with every question's number
    /// and its nats, one a target, in order.
    ///
    /// # Errors
    /// A question that is longer than the context, holds tokens that are not in the vocabulary or rows that it has not,
    /// or has not one target a row; a model without a head.
    pub fn answer(self: &Arc<Self>, questions: &[Question], mut each: impl FnMut(usize, &[f32])) -> Result<()> {
        let mut executor = ServingExecutor::new(Arc::clone(self), None);
        let mut nats = Vec::new();
        let mut start = 0;
        while start < questions.len() {
            let group = self.group(&questions[start..])?;
            self.answer_group(&mut executor, group, &mut nats)?;
            let mut rest = nats.as_slice();
            for (index, question) in group.iter().enumerate() {
                let (own, others) = rest.split_at(question.targets.len());
                each(start + index, own);
                rest = others;
            }
            start += group.len();
        }
        Ok(())
    }

    /// The first questions, as many as go into one batch and at least one.
    fn group<'q>(&self, questions: &'q [Question]) -> Result<&'q [Question]> {
        let (mut tokens, mut count) = (0, 0);
        for question in questions {
            self.check(question)?;
            tokens += question.tokens.len();
            if count > 0 && tokens > BATCH_ROWS {
                break;
            }
            count += 1;
        }
        Ok(&questions[..count])
    }

    fn check(&self, question: &Question) -> Result<()> {
        let Question { tokens, rows, targets, .. } = question;
        let fail = |what, found: usize, expected| Err(Error::Option { what, found: found.to_string(), expected });
        if rows.len() != targets.len() {
            let expected = format!("it must be that of its tokens, {}", rows.len());
            return fail("a window's number of targets", targets.len(), expected);
        }
        if let Some(&row) = rows.iter().find(|&&row| row >= tokens.len()) {
            return fail("a window's row", row, format!("it must be below {}", tokens.len()));
        }
        let vocab = self.spec().vocab;
        match targets.iter().find(|&&target| target as usize >= vocab) {
            Some(&target) => fail("a window's target", target as usize, format!("it must be below {vocab}")),
            None => Ok(()),
        }
    }

    fn answer_group(&self, executor: &mut ServingExecutor, group: &[Question], nats: &mut Vec<f32>) -> Result<()> {
        let (mut batch, mut rows, mut targets) = (Batch::new(), Vec::new(), Vec::new());
        // A question without tokens has no rows; the batch keeps none of it.
        for question in group.iter().filter(|question| !question.tokens.is_empty()) {
            rows.extend(question.rows.iter().map(|row| batch.rows() + row));
            targets.extend_from_slice(&question.targets);
            match question.open {
                true => batch.push_open(&question.tokens),
                false => batch.push(&question.tokens, 0),
            }
        }
        nats.clear();
        nats.resize(targets.len(), 0.0);
        if targets.is_empty() {
            return Ok(());
        }
        let hidden = forward(self.spec(), self.weights(), executor, &batch)?;
        let chunk = (LOGITS_MAX / self.spec().vocab).clamp(1, BATCH_ROWS);
        let parts = rows.chunks(chunk).zip(targets.chunks(chunk)).zip(nats.chunks_mut(chunk));
        for ((rows, targets), nats) in parts {
            let logits = executor.logits(&hidden, rows)?;
            loss::negative_log_likelihood(logits.values(), targets, nats);
        }
        Ok(())
    }
}
