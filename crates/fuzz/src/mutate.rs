//! Changes to an input.

use luban_base::random::Stream;

/// Numbers at which sizes and places go wrong.
const EDGES: [u64; 10] = [0, 1, 2, 31, 255, 1 << 31, 1 << 32, 1 << 62, u64::MAX - 31, u64::MAX];
/// Longest piece that is moved, doubled or left out.
const PIECE_MAX: usize = 48;
/// Changes to one input at most.
const CHANGES_MAX: u64 = 3;

/// An input that came of `seed` by a few changes, some of which take a piece of `other` or a word over. The same stream
/// makes the same changes.
pub(crate) fn mutate(seed: &[u8], other: &[u8], words: &[&str], random: &Stream, bytes_max: usize) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in 0..1 + random.below_at(0, CHANGES_MAX) {
        apply(&mut bytes, other, words, &random.child(change + 1));
    }
    bytes.truncate(bytes_max);
    bytes
}

fn apply(bytes: &mut Vec<u8>, other: &[u8], words: &[&str], random: &Stream) {
    let draw = |index: u64, bound: usize| random.below_at(index, bound.max(1) as u64) as usize;
    let (at, to) = piece(bytes, [draw(0, bytes.len()), draw(1, PIECE_MAX)]);
    match draw(2, 10) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << draw(3, 8),
        1 if !bytes.is_empty() => bytes[at] = draw(3, 256) as u8,
        2 => number(bytes, at, EDGES[draw(3, EDGES.len())], [1, 4, 8][draw(4, 3)]),
        3 => drop(bytes.drain(at..to)),
        4 => bytes.extend_from_within(at..to),
        5 if draw(3, 4) == 0 => bytes.truncate(at),
        6 if !words.is_empty() => {
            let word = words[draw(3, words.len())].bytes();
            drop(bytes.splice(at..if draw(4, 2) == 0 { at } else { to }, word));
        }
        7 => {
            let (from, end) = piece(other, [draw(3, other.len()), draw(4, PIECE_MAX)]);
            drop(bytes.splice(at..to, other[from..end].iter().copied()));
        }
        8 if !bytes.is_empty() => {
            let from = draw(3, bytes.len());
            let count = (to - at).min(bytes.len() - from);
            bytes.copy_within(at..at + count, from);
        }
        _ => bytes.insert(at, draw(3, 256) as u8),
    }
}

/// A place and an end within some bytes.
fn piece(bytes: &[u8], [at, length]: [usize; 2]) -> (usize, usize) {
    let at = at.min(bytes.len());
    (at, (at + length).min(bytes.len()))
}

/// Writes the lowest bytes of a number over what stands there.
fn number(bytes: &mut [u8], at: usize, number: u64, width: usize) {
    let end = (at + width).min(bytes.len());
    let count = end - at;
    bytes[at..end].copy_from_slice(&number.to_le_bytes()[..count]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_stream_makes_the_same_changes_and_they_stay_bounded() {
        let (seed, other) = (b"some bytes to be changed".as_slice(), b"others".as_slice());
        let mut seen = std::collections::BTreeSet::new();
        for round in 0..500 {
            let random = Stream::new(1, &[round]);
            let changed = mutate(seed, other, &["word"], &random, 40);
            assert_eq!(changed, mutate(seed, other, &["word"], &random, 40));
            assert!(changed.len() <= 40);
            seen.insert(changed);
        }
        assert!(seen.len() > 300, "{} of 500 differ", seen.len());
        for round in 0..500 {
            let changed = mutate(&[], &[], &[], &Stream::new(2, &[round]), 40);
            assert!(changed.len() <= 40);
        }
    }
}
