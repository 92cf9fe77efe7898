//! Slow and clear definitions of the stages, which the fast ones are tested against.

use std::collections::BTreeMap;

use super::settings::Sampling;
use super::{Past, dry, uniform};

/// A token and its logit.
pub(super) type Entry = (u32, f64);

/// What bias, penalties and DRY make of logits.
pub(super) fn edit(
    logits: &[f32],
    past: Past<'_>,
    sampling: &Sampling,
    bias: &[(u32, f32)],
    breakers: &[u32],
) -> Vec<f32> {
    let mut logits = logits.to_vec();
    for &(token, value) in bias {
        logits[token as usize] += value;
    }
    let longest = repetitions(past.tokens, sampling, breakers);
    for (token, logit) in logits.iter_mut().enumerate() {
        let stands = |tokens: &[u32]| tokens.iter().filter(|&&other| other as usize == token).count();
        if stands(past.tokens) > 0 {
            *logit = match *logit > 0.0 {
                true => *logit / sampling.repetition_penalty,
                false => *logit * sampling.repetition_penalty,
            };
        }
        let times = stands(&past.tokens[past.prompt..]);
        if times > 0 {
            *logit -= sampling.presence_penalty + sampling.frequency_penalty * times as f32;
        }
        if let Some(&length) = longest.get(&(token as u32)) {
            *logit -= dry::penalty(sampling, length);
        }
    }
    logits
}

/// For each token, the longest end of the past that stands before it somewhere in the past.
fn repetitions(tokens: &[u32], sampling: &Sampling, breakers: &[u32]) -> BTreeMap<u32, usize> {
    let mut longest = BTreeMap::new();
    if sampling.dry_multiplier == 0.0 {
        return longest;
    }
    let start = if sampling.dry_range == 0 { 0 } else { tokens.len().saturating_sub(sampling.dry_range) };
    let recent = &tokens[start..];
    for place in 0..recent.len() {
        let next = recent[place];
        let same = |length: &usize| recent[..place].ends_with(&recent[recent.len() - length..]);
        let whole = |length: &usize| !recent[recent.len() - length..].iter().any(|token| breakers.contains(token));
        let length = (1..=place).filter(same).filter(whole).max().unwrap_or(0);
        if length >= sampling.dry_allowed_length && !breakers.contains(&next) {
            let entry = longest.entry(next).or_insert(0);
            *entry = length.max(*entry);
        }
    }
    longest
}

/// The tokens that are left after all truncations, in the order of their ids, with their probabilities.
pub(super) fn distribution(logits: &[f32], sampling: &Sampling, position: usize) -> Vec<(u32, f64)> {
    let mut entries: Vec<Entry> = (0..).zip(logits.iter().map(|&logit| f64::from(logit))).collect();
    entries.retain(|entry| entry.1 > f64::NEG_INFINITY);
    top_k(&mut entries, sampling.top_k);
    typical(&mut entries, f64::from(sampling.typical_p));
    top_p(&mut entries, f64::from(sampling.top_p));
    min_p(&mut entries, f64::from(sampling.min_p));
    xtc(&mut entries, sampling, position);
    entries.sort_by_key(|entry| entry.0);
    let heated: Vec<Entry> =
        entries.iter().map(|&(token, logit)| (token, logit / f64::from(sampling.temperature))).collect();
    heated.iter().map(|entry| entry.0).zip(probabilities(&heated)).collect()
}

fn probabilities(entries: &[Entry]) -> Vec<f64> {
    let peak = entries.iter().map(|entry| entry.1).fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = entries.iter().map(|entry| (entry.1 - peak).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// Likeliest first.
fn sort(entries: &mut [Entry]) {
    entries.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
}

fn top_k(entries: &mut Vec<Entry>, count: usize) {
    sort(entries);
    if count > 0 {
        entries.truncate(count);
    }
}

fn typical(entries: &mut Vec<Entry>, share: f64) {
    if share < 1.0 {
        let p = probabilities(entries);
        let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
        let far = |index: usize| (-p[index].ln() - entropy).abs();
        let mut order: Vec<usize> = (0..entries.len()).collect();
        // Surprises that are equal but for rounding go by their ids.
        order.sort_by(|&a, &b| match (far(a) - far(b)).abs() < 1e-9 {
            true => entries[a].0.cmp(&entries[b].0),
            false => far(a).total_cmp(&far(b)),
        });
        keep_until(entries, &order, &p, share);
    }
}

fn top_p(entries: &mut Vec<Entry>, share: f64) {
    if share < 1.0 {
        sort(entries);
        let order: Vec<usize> = (0..entries.len()).collect();
        let p = probabilities(entries);
        keep_until(entries, &order, &p, share);
    }
}

/// Keeps the first entries in an order that together reach a probability.
fn keep_until(entries: &mut Vec<Entry>, order: &[usize], p: &[f64], share: f64) {
    let mut sum = 0.0;
    let mut kept = Vec::new();
    for &index in order {
        kept.push(entries[index]);
        sum += p[index];
        if sum >= share {
            break;
        }
    }
    *entries = kept;
}

fn min_p(entries: &mut Vec<Entry>, share: f64) {
    let p = probabilities(entries);
    let best = p.iter().copied().fold(0.0, f64::max);
    let mut p = p.into_iter();
    entries.retain(|_| p.next().is_some_and(|p| p >= share * best));
}

fn xtc(entries: &mut Vec<Entry>, sampling: &Sampling, position: usize) {
    if uniform(sampling.seed, super::xtc::LABEL, position) < f64::from(sampling.xtc_probability) {
        sort(entries);
        let enough = |&p: &f64| p >= f64::from(sampling.xtc_threshold);
        let count = probabilities(entries).iter().filter(|p| enough(p)).count();
        entries.drain(..count.saturating_sub(1));
    }
}

/// The token at which the probabilities, in the order of their ids, pass a uniform number.
pub(super) fn pick(distribution: &[(u32, f64)], uniform: f64) -> u32 {
    let mut sum = 0.0;
    let passes = |&&(_, p): &&(u32, f64)| {
        sum += p;
        sum > uniform
    };
    distribution.iter().find(passes).or(distribution.last()).unwrap().0
}
