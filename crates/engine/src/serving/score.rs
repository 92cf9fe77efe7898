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

impl ServingModel {
    /// The negative log-likelihood, in nats, of each window's targets given the tokens up to them. `each` is called
    /// with every window's number and its nats, one a target, in order.
    ///
    /// # Errors
    /// A window that is longer than the context, holds tokens that are not in the vocabulary, or has not one target a
    /// token; a model without a head.
    pub fn score(self: &Arc<Self>, windows: &[Window], mut each: impl FnMut(usize, &[f32])) -> Result<()> {
        let mut executor = ServingExecutor::new(Arc::clone(self), None);
        let mut nats = Vec::new();
        let mut start = 0;
        while start < windows.len() {
            let group = self.group(&windows[start..])?;
            self.score_group(&mut executor, group, &mut nats)?;
            let mut rest = nats.as_slice();
            for (index, window) in group.iter().enumerate() {
                let (own, others) = rest.split_at(window.0.len());
                each(start + index, own);
                rest = others;
            }
            start += group.len();
        }
        Ok(())
    }

    /// The first windows, as many as go into one batch and at least one.
    fn group<'w>(&self, windows: &'w [Window]) -> Result<&'w [Window]> {
        let mut rows = 0;
        let mut count = 0;
        for (inputs, targets) in windows {
            if inputs.len() != targets.len() {
                return Err(Error::Option {
                    what: "a window's number of targets",
                    found: targets.len().to_string(),
                    expected: format!("it must be that of its tokens, {}", inputs.len()),
                });
            }
            let vocab = self.spec().vocab;
            if let Some(target) = targets.iter().find(|&&target| target as usize >= vocab) {
                return Err(Error::Option {
                    what: "a window's target",
                    found: target.to_string(),
                    expected: format!("it must be below {vocab}"),
                });
            }
            rows += inputs.len();
            if count > 0 && rows > BATCH_ROWS {
                break;
            }
            count += 1;
        }
        Ok(&windows[..count])
    }

    fn score_group(&self, executor: &mut ServingExecutor, group: &[Window], nats: &mut Vec<f32>) -> Result<()> {
        // An empty window has no rows; the batch keeps none of it.
        let batch = Batch::of(group.iter().map(|(inputs, _)| inputs.as_slice()).filter(|inputs| !inputs.is_empty()));
        let targets: Vec<u32> = group.iter().flat_map(|(_, targets)| targets.iter().copied()).collect();
        nats.clear();
        nats.resize(targets.len(), 0.0);
        if targets.is_empty() {
            return Ok(());
        }
        let hidden = forward(self.spec(), self.weights(), executor, &batch)?;
        let chunk = (LOGITS_MAX / self.spec().vocab).clamp(1, BATCH_ROWS);
        for (part, (targets, nats)) in targets.chunks(chunk).zip(nats.chunks_mut(chunk)).enumerate() {
            let rows: Vec<usize> = (part * chunk..part * chunk + targets.len()).collect();
            let logits = executor.logits(&hidden, &rows)?;
            loss::negative_log_likelihood(logits.values(), targets, nats);
        }
        Ok(())
    }
}
