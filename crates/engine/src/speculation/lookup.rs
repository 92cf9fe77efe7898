//! Guessing by what followed the last few tokens before: summaries, edits and code repeat what they are about.

/// Shortest match that counts.
const MATCH_MIN: usize = 2;
/// Matches are not followed further back than this.
const MATCH_MAX: usize = 16;

/// How far from where it was expected a text is looked for again, when it has strayed from what it repeats.
const NEAR: usize = 6;

/// A place from which on a text is expected to go on as it does there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The first token that is guessed.
    pub(crate) start: usize,
    /// How many tokens before it equal the last ones.
    pub(crate) matched: usize,
}

/// What follows the latest of the places where most of the last tokens stand in the same order, at least two.
pub(crate) fn find(tokens: &[u32]) -> Option<Place> {
    let (&last, before) = tokens.split_last()?;
    let mut best = Place { start: 0, matched: MATCH_MIN - 1 };
    for start in (1..=before.len()).rev() {
        if before[start - 1] != last {
            continue;
        }
        let matched = matched(tokens, start);
        if matched > best.matched {
            best = Place { start, matched };
            if matched >= MATCH_MAX {
                break;
            }
        }
    }
    (best.matched >= MATCH_MIN).then_some(best)
}

/// Where a text goes on that repeated an earlier part and has strayed from it, so that its next token should stand at
/// `expected`: behind the last token, if that stands nearby, since something was put in or left out; or there, since one
/// token stands for another.
pub(crate) fn near(tokens: &[u32], expected: usize) -> Option<Place> {
    let &last = tokens.last()?;
    let within = 1..tokens.len();
    let around = (0..=NEAR).flat_map(|distance| [expected + distance, expected.saturating_sub(distance)]);
    let behind = around.filter(|start| within.contains(start)).find(|&start| tokens[start - 1] == last);
    match behind {
        Some(start) => Some(Place { start, matched: 1 }),
        None => within.contains(&expected).then_some(Place { start: expected, matched: 0 }),
    }
}

/// The tokens from a place on. Where they come to the end of the text, they go on with themselves: it repeats.
pub(crate) fn from_there(tokens: &[u32], start: usize) -> impl Iterator<Item = u32> {
    tokens[start..].iter().copied().cycle()
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
        let place = find(tokens);
        let guesses = place.map(|place| from_there(tokens, place.start).take(most).collect());
        (guesses.unwrap_or_default(), place.map(|place| place.matched))
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

    #[test]
    fn a_text_that_strayed_is_found_again() {
        let place = |tokens: &[u32], expected| near(tokens, expected).map(|place| (place.start, place.matched));
        // 1 2 3 4 5 6 was repeated as far as 2; then came …
        assert_eq!(place(&[1, 2, 3, 4, 5, 6, 7, 1, 2, 9], 3), Some((3, 0)), "something else");
        assert_eq!(place(&[1, 2, 3, 4, 5, 6, 7, 1, 2, 9, 3], 4), Some((3, 1)), "and 3, for it was put in");
        assert_eq!(
            place(&[1, 2, 3, 4, 5, 6, 7, 1, 2, 5], 3),
            Some((5, 1)),
            "what stands behind it, for some was left out"
        );
        for (tokens, expected) in [(&[][..], 0), (&[1], 0), (&[1, 2], 2), (&[1, 2], 9)] {
            assert_eq!(place(tokens, expected), None, "{tokens:?}, {expected}");
        }
    }
}
