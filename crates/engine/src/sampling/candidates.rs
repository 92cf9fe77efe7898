//! The tokens that may still be drawn.

use luban_kernels::sampling::exponentials;

/// Tokens with their logits and weights, in the order of their ids but after a selection of the likeliest.
///
/// A weight is exp(logit − peak): proportional to the probability at temperature 1, and 1 for the likeliest.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    ids: Vec<u32>,
    logits: Vec<f32>,
    weights: Vec<f32>,
    peak: f32,
    /// Working memory of [`Self::keep_cheapest`]: a cost for each candidate, and those that are looked at closely.
    costs: Vec<f32>,
    close: Vec<Priced>,
}

/// A candidate by what keeping it costs.
#[derive(Clone, Copy, Debug)]
struct Priced {
    cost: f32,
    id: u32,
    weight: f32,
}

impl Priced {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.cost.total_cmp(&other.cost).then(self.id.cmp(&other.id))
    }
}

/// Costs up to which candidates are looked at first: where probability is concentrated, few are.
const BOUNDS: [f32; 4] = [2.0, 5.0, 9.0, 14.0];

impl Candidates {
    /// All tokens that are possible at all.
    pub(super) fn fill(&mut self, logits: &[f32], peak: f32) {
        self.ids.clear();
        self.ids.extend(0..logits.len() as u32);
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.weigh(peak);
        // Tokens that a grammar rules out must not be mistaken for very unlikely ones.
        if self.logits.contains(&f32::NEG_INFINITY) {
            let possible: Vec<bool> = self.logits.iter().map(|&logit| logit > f32::NEG_INFINITY).collect();
            let mut possible = possible.into_iter();
            self.retain(|_, _| possible.next() == Some(true));
        }
    }

    /// The `count` likeliest tokens, equal ones in the order of their ids.
    pub(super) fn fill_top(&mut self, logits: &[f32], peak: f32, count: usize) {
        select(logits, count, &mut self.close);
        self.close.retain(|candidate| candidate.cost < f32::INFINITY);
        self.close.sort_unstable_by_key(|candidate| candidate.id);
        self.ids.clear();
        self.ids.extend(self.close.iter().map(|candidate| candidate.id));
        self.logits.clear();
        self.logits.extend(self.ids.iter().map(|&id| logits[id as usize]));
        self.weigh(peak);
    }

    fn weigh(&mut self, peak: f32) {
        self.peak = peak;
        self.weights.resize(self.logits.len(), 0.0);
        exponentials(&self.logits, peak, 1.0, &mut self.weights);
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }

    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The nats by which each logit lies below the peak.
    pub(super) fn depths(&self) -> impl Iterator<Item = f32> {
        self.logits.iter().map(|&logit| self.peak - logit)
    }

    /// The sum of all weights.
    pub(super) fn total(&self) -> f64 {
        sum(&self.weights)
    }

    /// The largest weight.
    pub(super) fn heaviest(&self) -> f32 {
        self.weights.iter().copied().fold(0.0, f32::max)
    }

    /// Weighs by exp((logit − peak) / temperature) from here on.
    pub(super) fn reheat(&mut self, temperature: f32) {
        exponentials(&self.logits, self.peak, temperature, &mut self.weights);
    }

    /// Keeps those of which `keep`, called with id and weight, says so; the order stays.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(u32, f32) -> bool) {
        let mut kept = 0;
        for index in 0..self.ids.len() {
            if keep(self.ids[index], self.weights[index]) {
                self.ids[kept] = self.ids[index];
                self.logits[kept] = self.logits[index];
                self.weights[kept] = self.weights[index];
                kept += 1;
            }
        }
        self.ids.truncate(kept);
        self.logits.truncate(kept);
        self.weights.truncate(kept);
    }

    /// Keeps the cheapest candidates, equal ones in the order of their ids, whose weights together first reach `share`
    /// of all; at least one. `cost` is called with the nats by which a logit lies below the
    /// peak.
    pub(super) fn keep_cheapest(&mut self, share: f32, cost: impl Fn(f32) -> f32) {
        if share >= 1.0 || self.len() < 2 {
            return;
        }
        let peak = self.peak;
        self.costs.clear();
        self.costs.extend(self.logits.iter().map(|&logit| cost(peak - logit)));
        let goal = f64::from(share) * self.total();
        let bound = BOUNDS.into_iter().find(|&bound| self.total_within(bound) >= goal).unwrap_or(f32::INFINITY);
        self.close.clear();
        for (index, &cost) in self.costs.iter().enumerate() {
            if cost <= bound {
                self.close.push(Priced { cost, id: self.ids[index], weight: self.weights[index] });
            }
        }
        let Some(last) = crossing(&mut self.close, goal) else { return };
        let costs = std::mem::take(&mut self.costs);
        let mut index = 0;
        self.retain(|id, weight| {
            let candidate = Priced { cost: costs[index], id, weight };
            index += 1;
            candidate.order(&last).is_le()
        });
        self.costs = costs;
    }

    /// The weights of those that cost at most `bound`.
    fn total_within(&self, bound: f32) -> f64 {
        let kept = |cost: f32, weight: f32| if cost <= bound { weight } else { 0.0 };
        let mut lanes = [0.0f64; LANES];
        for (costs, weights) in self.costs.chunks(LANES).zip(self.weights.chunks(LANES)) {
            for (lane, (&cost, &weight)) in lanes.iter_mut().zip(costs.iter().zip(weights)) {
                *lane += f64::from(kept(cost, weight));
            }
        }
        lanes.iter().sum()
    }
}

/// Sums that run beside each other.
const LANES: usize = 8;

/// The sum of weights, in a fixed order.
pub(super) fn sum(weights: &[f32]) -> f64 {
    let mut lanes = [0.0f64; LANES];
    for part in weights.chunks(LANES) {
        for (lane, &weight) in lanes.iter_mut().zip(part) {
            *lane += f64::from(weight);
        }
    }
    lanes.iter().sum()
}

/// The candidate with which the weights, taken from the cheapest, reach `goal`; the dearest if they never do.
///
/// Halves the part in question by selection, so that nothing is sorted.
fn crossing(candidates: &mut [Priced], goal: f64) -> Option<Priced> {
    let mut rest = candidates;
    let mut missing = goal;
    while rest.len() > 1 {
        let middle = rest.len() / 2;
        rest.select_nth_unstable_by(middle, Priced::order);
        let (cheap, dear) = rest.split_at_mut(middle);
        let weight: f64 = cheap.iter().map(|candidate| f64::from(candidate.weight)).sum();
        if weight >= missing {
            rest = cheap;
        } else {
            missing -= weight;
            rest = dear;
        }
    }
    rest.first().copied()
}

/// The `count` likeliest tokens in no order, equal ones by their ids: one pass that keeps what is above the least of
/// those found so far.
fn select(logits: &[f32], count: usize, found: &mut Vec<Priced>) {
    found.clear();
    let room = (2 * count).max(64);
    let mut least = f32::NEG_INFINITY;
    for (id, &logit) in logits.iter().enumerate() {
        // Later tokens of the same logit come after those found, so being equal is not enough once there are `count`.
        if logit > least || found.len() < count {
            found.push(Priced { cost: 0.0 - logit, id: id as u32, weight: 0.0 });
            if found.len() >= room && count > 0 {
                found.select_nth_unstable_by(count - 1, Priced::order);
                found.truncate(count);
                least = 0.0 - found[count - 1].cost;
            }
        }
    }
    if found.len() > count {
        if count > 0 {
            found.select_nth_unstable_by(count - 1, Priced::order);
        }
        found.truncate(count);
    }
}

/// The `count` likeliest tokens, best first, equal ones in the order of their ids.
pub(super) fn likeliest_in_order(logits: &[f32], count: usize, candidates: &mut Candidates, ids: &mut Vec<u32>) {
    select(logits, count, &mut candidates.close);
    candidates.close.sort_unstable_by(Priced::order);
    ids.clear();
    ids.extend(candidates.close.iter().map(|candidate| candidate.id));
}
