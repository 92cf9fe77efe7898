//! Drawing the next token from the model's logits.
//!
//! A draw depends on the logits, the request's seed and the token's position in its sequence, and on nothing else:
//! the same request gets the same answer alone or in company, today or tomorrow.

use luban_base::random::Stream;

use crate::request::{Logprobs, Sampling};

/// Names this use of the random streams.
const LABEL: u64 = 0x7361_6d70_6c65;
/// Candidates that are looked at first when the likeliest tokens of a certain total probability are wanted.
const NUCLEUS_FIRST: usize = 128;

/// The logits of a position contain a NaN or an infinity, or allow no token at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no usable probabilities (not a number, or infinite)")]
pub(crate) struct Unusable;

/// Draws tokens; keeps its working memory between draws.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    candidates: Vec<u32>,
    weights: Vec<f32>,
}

impl Sampler {
    /// The token for `position` (counted from the start of the sequence).
    pub(crate) fn choose(&mut self, logits: &[f32], sampling: &Sampling, position: usize) -> Result<u32, Unusable> {
        let (best, peak) = likeliest(logits)?;
        if sampling.temperature == 0.0 || sampling.top_k == 1 {
            return Ok(best);
        }
        let uniform = uniform(sampling.seed, position);
        let weight = |logit: f32| ((logit - peak) / sampling.temperature).exp();
        self.weights.clear();
        self.weights.extend(logits.iter().map(|&logit| weight(logit)));
        let all = sampling.top_k == 0 || sampling.top_k >= logits.len();
        if all && sampling.top_p >= 1.0 {
            return Ok(draw(self.weights.iter().copied().enumerate(), uniform).unwrap_or(best as usize) as u32);
        }
        let most = if all { logits.len() } else { sampling.top_k };
        let kept = self.nucleus(most, sampling.top_p);
        let pairs = self.candidates[..kept].iter().map(|&id| (id as usize, self.weights[id as usize]));
        Ok(draw(pairs, uniform).unwrap_or(best as usize) as u32)
    }

    /// Sorts the likeliest candidates, at most `most`, to the front; the number that reaches `top_p` together.
    fn nucleus(&mut self, most: usize, top_p: f32) -> usize {
        let mut size = if top_p < 1.0 { NUCLEUS_FIRST.min(most) } else { most };
        loop {
            top(&self.weights, size, &mut self.candidates);
            // Top-p is a share of what top-k left.
            let total: f64 = match most == self.weights.len() {
                true => self.weights.iter().copied().map(f64::from).sum(),
                false if size == most => self.sum_of_candidates(),
                false => f64::INFINITY,
            };
            let goal = f64::from(top_p) * total;
            let mut sum = 0.0;
            for (index, &id) in self.candidates.iter().enumerate() {
                sum += f64::from(self.weights[id as usize]);
                if sum >= goal {
                    return index + 1;
                }
            }
            if size == most {
                return size;
            }
            size = size.saturating_mul(8).min(most);
        }
    }

    fn sum_of_candidates(&self) -> f64 {
        self.candidates.iter().map(|&id| f64::from(self.weights[id as usize])).sum()
    }

    /// The log-probabilities of `chosen` and of the `count` likeliest tokens.
    pub(crate) fn logprobs(&mut self, logits: &[f32], chosen: u32, count: usize) -> Result<Logprobs, Unusable> {
        let (_, peak) = likeliest(logits)?;
        let log_sum = logits.iter().map(|&logit| f64::from(logit - peak).exp()).sum::<f64>().ln();
        let logprob = |id: u32| (f64::from(logits[id as usize] - peak) - log_sum) as f32;
        top(logits, count.min(logits.len()), &mut self.candidates);
        Ok(Logprobs { chosen: logprob(chosen), top: self.candidates.iter().map(|&id| (id, logprob(id))).collect() })
    }
}

/// The first of the largest logits, and its value.
fn likeliest(logits: &[f32]) -> Result<(u32, f32), Unusable> {
    let mut best = (0, f32::NEG_INFINITY);
    let mut broken = false;
    for (id, &logit) in logits.iter().enumerate() {
        broken |= logit.is_nan();
        if logit > best.1 {
            best = (id as u32, logit);
        }
    }
    match broken || !best.1.is_finite() {
        true => Err(Unusable),
        false => Ok(best),
    }
}

/// Fills `ids` with the `count` largest values' indices, largest first, equal ones in order.
fn top(values: &[f32], count: usize, ids: &mut Vec<u32>) {
    let order = |a: &u32, b: &u32| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b));
    ids.clear();
    if count == 0 {
        return;
    }
    ids.extend(0..values.len() as u32);
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
        ids.truncate(count);
    }
    ids.sort_unstable_by(order);
}

/// Picks an index with a probability proportional to its weight.
fn draw(weights: impl Iterator<Item = (usize, f32)> + Clone, uniform: f64) -> Option<usize> {
    let total: f64 = weights.clone().map(|(_, weight)| f64::from(weight)).sum();
    let goal = uniform * total;
    let mut sum = 0.0;
    let mut last = None;
    for (index, weight) in weights.filter(|&(_, weight)| weight > 0.0) {
        sum += f64::from(weight);
        last = Some(index);
        if sum > goal {
            break;
        }
    }
    last
}

/// Uniform in [0, 1) with 53 bits.
fn uniform(seed: u64, position: usize) -> f64 {
    let word = Stream::new(seed, &[LABEL]).u64_at(position as u64);
    (word >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_p: f32, top_k: usize, seed: u64) -> Sampling {
        Sampling { temperature, top_p, top_k, seed }
    }

    fn counts(logits: &[f32], make: impl Fn(u64) -> Sampling) -> Vec<usize> {
        let mut sampler = Sampler::default();
        let mut counts = vec![0; logits.len()];
        for seed in 0..20_000 {
            counts[sampler.choose(logits, &make(seed), 7).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [1.0f32, 0.0, 2.0, -1.0];
        for temperature in [0.7, 1.0, 1.5] {
            let weights: Vec<f64> = logits.iter().map(|&l| f64::from(l / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            let counts = counts(&logits, |seed| sampling(temperature, 1.0, 0, seed));
            for (count, weight) in counts.iter().zip(&weights) {
                let expected = weight / total;
                let found = *count as f64 / 20_000.0;
                assert!((found - expected).abs() < 0.015, "{found} instead of {expected}");
            }
        }
    }

    #[test]
    fn truncation_keeps_the_likeliest() {
        let logits = [1.0f32, 0.0, 2.0, -1.0];
        let top_two = counts(&logits, |seed| sampling(1.0, 1.0, 2, seed));
        assert!(top_two[0] > 0 && top_two[2] > top_two[0] && top_two[1] == 0 && top_two[3] == 0);
        // The likeliest has 0.64 of the whole, the next 0.24.
        let nucleus = counts(&logits, |seed| sampling(1.0, 0.7, 0, seed));
        assert!(nucleus[0] > 0 && nucleus[2] > nucleus[0] && nucleus[1] == 0 && nucleus[3] == 0);
        let narrow = counts(&logits, |seed| sampling(1.0, 0.6, 0, seed));
        assert_eq!(narrow[2], 20_000);
        // Of the two that top-k keeps, the likelier has 0.73.
        let both = counts(&logits, |seed| sampling(1.0, 0.72, 2, seed));
        assert_eq!(both[2], 20_000);
    }

    #[test]
    fn a_wide_nucleus_equals_sorting_everything() {
        let random = Stream::new(5, &[]);
        let logits: Vec<f32> = (0..5000).map(|i| random.normal_at(i)).collect();
        let mut sampler = Sampler::default();
        for seed in 0..50 {
            let found = sampler.choose(&logits, &sampling(1.0, 0.9, 0, seed), 3).unwrap();
            let mut ids: Vec<u32> = (0..5000).collect();
            ids.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]));
            let (_, peak) = likeliest(&logits).unwrap();
            let weight = |id: u32| (logits[id as usize] - peak).exp();
            let total: f64 = (0..5000).map(|id| f64::from(weight(id))).sum();
            let mut sum = 0.0;
            let kept = ids.iter().position(|&id| {
                sum += f64::from(weight(id));
                sum >= f64::from(0.9f32) * total
            });
            let pairs = ids[..=kept.unwrap()].iter().map(|&id| (id as usize, weight(id)));
            assert_eq!(draw(pairs, uniform(seed, 3)), Some(found as usize));
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut sampler = Sampler::default();
        assert_eq!(sampler.choose(&[0.0, 3.0, 3.0], &Sampling::GREEDY, 0), Ok(1));
        assert_eq!(sampler.choose(&[0.0, f32::NEG_INFINITY, 3.0], &sampling(1.0, 1.0, 1, 0), 0), Ok(2));
    }

    #[test]
    fn broken_logits_are_refused() {
        let mut sampler = Sampler::default();
        for logits in [[0.0, f32::NAN], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            assert_eq!(sampler.choose(&logits, &Sampling::GREEDY, 0), Err(Unusable));
            assert_eq!(sampler.choose(&logits, &sampling(1.0, 0.5, 0, 1), 0), Err(Unusable));
            assert_eq!(sampler.logprobs(&logits, 0, 1), Err(Unusable));
        }
    }

    #[test]
    fn logprobs_sum_to_one_and_come_in_order() {
        let logits = [1.0f32, 0.0, 2.0, -1.0];
        let found = Sampler::default().logprobs(&logits, 3, 4).unwrap();
        assert_eq!(found.top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [2, 0, 1, 3]);
        let total: f64 = found.top.iter().map(|&(_, logprob)| f64::from(logprob).exp()).sum();
        assert!((total - 1.0).abs() < 1e-6);
        assert_eq!(found.chosen, found.top[3].1);
        assert!(Sampler::default().logprobs(&logits, 3, 0).unwrap().top.is_empty());
    }
}
