//! Guessing by what followed the last few tokens before: summaries, edits and code repeat what they are about.

/// Shortest match that counts.
const MATCH_MIN: usize = 2;
/// Matches are not followed further back than this.
const MATCH_MAX: usize = 16;

/// Adds at most `most` guesses of what follows `tokens` to `guesses`: what followed at the latest of the places where
/// most of the last tokens stand in the same order. The number of tokens that match, if any do.
pub(crate) fn lookup(tokens: &[u32], most: usize, guesses: &mut Vec<u32>) -> Option<usize> {
    let (&last, before) = tokens.split_last()?;
    let mut best = (MATCH_MIN - 1, 0);
    for end in (1..=before.len()).rev() {
        if before[end - 1] != last {
            continue;
        }
        let matched = matched(tokens, end);
        if matched > best.0 {
            best = (matched, end);
            if matched >= MATCH_MAX {
                break;
            }
        }
    }
    let (matched, start) = best;
    if matched < MATCH_MIN {
        return None;
    }
    // Where the guesses come to the end of the text, they go on with themselves: it repeats.
    let period = tokens.len() - start;
    guesses.extend((0..most).map(|index| tokens[start + index % period]));
    Some(matched)
}

/// How many tokens before `end` equal the last ones.
fn matched(tokens: &[u32], end: usize) -> usize {
    let pairs = tokens[..end].iter().rev().zip(tokens.iter().rev());
    pairs.take(MATCH_MAX).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesses(tokens: &[u32], most: usize) -> (Vec<u32>, Option<usize>) {
        let mut guesses = Vec::new();
        let matched = lookup(tokens, most, &mut guesses);
        (guesses, matched)
    }

    #[test]
    fn what_followed_before_is_guessed() {
        assert_eq!(guesses(&[1, 2, 3, 4, 5, 1, 2], 2), (vec![3, 4], Some(2)));
        assert_eq!(guesses(&[1, 2, 3, 9, 1, 2, 4, 7, 1, 2], 1), (vec![4], Some(2)), "the latest of equal matches");
        assert_eq!(guesses(&[7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2], 1), (vec![3], Some(3)), "the longest of all");
    }

    #[test]
    fn a_text_that_repeats_is_guessed_as_far_as_asked_for() {
        assert_eq!(guesses(&[5, 5, 5], 4), (vec![5; 4], Some(2)));
        assert_eq!(guesses(&[8, 1, 2, 3, 1, 2, 3], 5), (vec![1, 2, 3, 1, 2], Some(3)));
    }

    #[test]
    fn nothing_is_guessed_from_nothing() {
        for tokens in [&[][..], &[1], &[1, 2], &[1, 1], &[2, 1, 3, 1]] {
            assert_eq!(guesses(tokens, 4), (vec![], None), "{tokens:?}");
        }
    }
}
