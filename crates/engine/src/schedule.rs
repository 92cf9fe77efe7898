//! Which tokens go into the next step.

/// What a sequence could contribute.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// Tokens that the cache does not hold yet; at least one.
    pub(crate) tokens: usize,
    /// Whether it has begun to answer: then it waits for one token only, and goes first.
    pub(crate) decoding: bool,
    /// Most of its tokens that one step may take.
    pub(crate) chunk_max: usize,
}

/// How many tokens of each sequence the next step takes: one of each that is decoding, then as much of the prompts,
/// the oldest first, as `budget` leaves. Sequences are given in the order of their arrival.
///
/// Any division gives the same answers; the budget bounds how long the others wait while a long prompt is read.
pub(crate) fn plan(pending: &[Pending], budget: usize, chunks: &mut Vec<usize>) {
    chunks.clear();
    chunks.extend(pending.iter().map(|sequence| usize::from(sequence.decoding)));
    let mut left = budget.saturating_sub(chunks.iter().sum());
    for (chunk, sequence) in chunks.iter_mut().zip(pending).filter(|(_, sequence)| !sequence.decoding) {
        *chunk = sequence.tokens.min(left).min(sequence.chunk_max);
        left -= *chunk;
    }
    // Prompts are read even when decoding alone uses the budget up, if slowly.
    if let Some(first) = pending.iter().position(|sequence| !sequence.decoding) {
        chunks[first] = chunks[first].max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(pending: &[(usize, bool)], budget: usize) -> Vec<usize> {
        let pending: Vec<Pending> =
            pending.iter().map(|&(tokens, decoding)| Pending { tokens, decoding, chunk_max: 32 }).collect();
        let mut chunks = Vec::new();
        plan(&pending, budget, &mut chunks);
        chunks
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
    }
}
