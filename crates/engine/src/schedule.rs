//! Which tokens go into the next step.

use std::sync::Arc;

use crate::request::Priority;

/// What a sequence could contribute.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Tokens that the cache does not hold yet; at least one.
    pub(crate) tokens: usize,
    /// Whether it waits for one token of its answer only: then it goes first.
    pub(crate) decoding: bool,
    /// How urgent it is.
    pub(crate) priority: Priority,
    /// On whose behalf it is.
    pub(crate) tenant: Arc<str>,
    /// Most of its tokens that one step may take.
    pub(crate) chunk_max: usize,
}

/// How many tokens of each sequence the next step takes: one of each that is decoding, then as much of the prompts as
/// `budget` leaves: the more urgent first; among those, tenants get equal parts, and each tenant's oldest goes first.
/// Sequences are given in the order of their arrival.
///
/// Any division gives the same answers; the budget bounds how long the others wait while a long prompt is read.
pub(crate) fn plan(pending: &[Pending], budget: usize, chunks: &mut Vec<usize>) {
    chunks.clear();
    chunks.extend(pending.iter().map(|sequence| usize::from(sequence.decoding)));
    let mut left = budget.saturating_sub(chunks.iter().sum());
    for class in Priority::ALL.into_iter().rev() {
        while left > 0 && share(pending, class, &mut left, chunks) {}
    }
    // Prompts are read even when decoding alone uses the budget up, if slowly.
    if chunks.iter().zip(pending).all(|(chunk, sequence)| sequence.decoding || *chunk == 0) {
        let reading = pending.iter().enumerate().filter(|(_, sequence)| !sequence.decoding);
        // The last of the greatest is the oldest of the most urgent.
        if let Some((first, _)) = reading.rev().max_by_key(|(_, sequence)| sequence.priority) {
            chunks[first] = 1;
        }
    }
}

/// Gives each tenant that has something to read in a class its part of what is left; false if none has.
fn share(pending: &[Pending], class: Priority, left: &mut usize, chunks: &mut [usize]) -> bool {
    let most = |sequence: &Pending| sequence.tokens.min(sequence.chunk_max);
    let wants = |&index: &usize| {
        let sequence = &pending[index];
        !sequence.decoding && sequence.priority == class && chunks[index] < most(sequence)
    };
    let reading: Vec<usize> = (0..pending.len()).filter(wants).collect();
    // Sequences of one tenant together, the tenants in the order of their oldest.
    let oldest = |index: usize| reading.iter().copied().find(|&other| pending[other].tenant == pending[index].tenant);
    let mut grouped: Vec<(Option<usize>, usize)> = reading.iter().map(|&index| (oldest(index), index)).collect();
    grouped.sort_unstable();
    let groups = || grouped.chunk_by(|a, b| a.0 == b.0);
    let part = *left / groups().count().max(1);
    for group in groups() {
        let mut part = part.max(1).min(*left);
        for &(_, index) in group {
            let given = (most(&pending[index]) - chunks[index]).min(part);
            chunks[index] += given;
            part -= given;
            *left -= given;
        }
    }
    !grouped.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(tokens: usize, decoding: bool) -> Pending {
        Pending { tokens, decoding, priority: Priority::Normal, tenant: "".into(), chunk_max: 32 }
    }

    fn chunks(pending: &[Pending], budget: usize) -> Vec<usize> {
        let mut chunks = Vec::new();
        plan(pending, budget, &mut chunks);
        chunks
    }

    fn planned(pending: &[(usize, bool)], budget: usize) -> Vec<usize> {
        chunks(&pending.iter().map(|&(tokens, decoding)| sequence(tokens, decoding)).collect::<Vec<_>>(), budget)
    }

    #[test]
    fn decoding_goes_first_and_prompts_share_the_rest_in_order() {
        assert_eq!(planned(&[], 8), [0usize; 0]);
        assert_eq!(planned(&[(20, false), (1, true), (5, false)], 16), [15, 1, 0]);
        assert_eq!(planned(&[(4, false), (1, true), (5, false)], 16), [4, 1, 5]);
        assert_eq!(planned(&[(100, false), (5, false)], 64), [32, 5]);
    }

    #[test]
    fn prompts_are_never_starved() {
        assert_eq!(planned(&[(1, true), (1, true), (9, false), (9, false)], 2), [1, 1, 1, 0]);
        let urgent = Pending { priority: Priority::Interactive, ..sequence(9, false) };
        assert_eq!(chunks(&[sequence(1, true), sequence(9, false), urgent.clone(), urgent], 1), [1, 0, 1, 0]);
    }

    #[test]
    fn tenants_share_a_step_and_the_urgent_go_before() {
        let of = |tenant: &str, tokens, priority| Pending {
            tenant: tenant.into(),
            priority,
            chunk_max: usize::MAX,
            ..sequence(tokens, false)
        };
        let normal = |tenant, tokens| of(tenant, tokens, Priority::Normal);
        assert_eq!(chunks(&[normal("a", 900), normal("a", 50), normal("b", 900)], 100), [50, 0, 50]);
        assert_eq!(chunks(&[normal("a", 20), normal("a", 50), normal("b", 900)], 100), [20, 30, 50]);
        assert_eq!(chunks(&[normal("a", 900), normal("b", 10), normal("c", 900)], 100), [45, 10, 45]);
        assert_eq!(chunks(&[normal("a", 900), normal("b", 900), normal("c", 900)], 2), [1, 1, 0]);
        let urgent = of("c", 60, Priority::Interactive);
        assert_eq!(chunks(&[normal("a", 900), normal("b", 900), urgent], 100), [20, 20, 60]);
    }
}
