//! Log-probabilities, by the model's own distribution.

use super::candidates::likeliest_in_order;
use super::{Sampler, Unusable};
use crate::request::Logprobs;
use luban_kernels::loss::log_sum_exp;
use luban_kernels::sampling::likeliest;

impl Sampler {
    /// The log-probabilities of `chosen` and of the `count` likeliest tokens.
    pub(crate) fn logprobs(&mut self, logits: &[f32], chosen: u32, count: usize) -> Result<Logprobs, Unusable> {
        let (_, peak) = likeliest(logits).ok_or(Unusable)?;
        // Relative to the peak, where no digits are lost.
        let log_sum = log_sum_exp(logits, peak);
        let logprob = |id: u32| (logits[id as usize] - peak) - log_sum;
        likeliest_in_order(logits, count.min(logits.len()), &mut self.candidates, &mut self.ids);
        Ok(Logprobs { chosen: logprob(chosen), top: self.ids.iter().map(|&id| (id, logprob(id))).collect() })
    }
}
