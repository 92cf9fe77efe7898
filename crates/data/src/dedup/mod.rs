//! Exact and near duplicates.

mod minhash;
pub(crate) mod shingles;

pub(crate) use minhash::{Bands, MinHash};

use std::collections::HashSet;

use luban_base::digest::Hasher;

/// Texts at least this alike (Jaccard similarity of their shingles) are near duplicates.
pub const LIKENESS_MIN: f64 = 0.8;
/// A text is compared with so many of the first ones of each band that it shares, and so many of the last. Larger
/// groups than that are boilerplate, most of which those comparisons remove.
const COMPARED_FIRST: usize = 16;
const COMPARED_LAST: usize = 16;

/// Identifies a text up to white space: 128 bits of SHA-256.
pub(crate) type Key = [u8; 16];

/// The key of a text: every run of white space counts as one space, that at the ends as none.
pub(crate) fn key(text: &str) -> Key {
    let mut hasher = Hasher::new();
    for (index, word) in text.split_whitespace().enumerate() {
        if index > 0 {
            hasher.update(b" ");
        }
        hasher.update(word.as_bytes());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finish().0[..16]);
    key
}

/// Which of the texts repeat an earlier one.
pub(crate) fn exact(keys: impl Iterator<Item = Key>) -> Vec<bool> {
    let mut seen = HashSet::new();
    keys.map(|key| !seen.insert(key)).collect()
}

/// Pairs (later, earlier) of texts that share a band, sorted; `texts` gives each text's number and bands.
pub(crate) fn candidates<'a>(texts: impl Iterator<Item = (u32, &'a Bands)> + Clone) -> Vec<(u32, u32)> {
    let mut pairs = Vec::new();
    for band in 0..minhash::BANDS {
        let mut bucketed: Vec<(u32, u32)> = texts.clone().map(|(number, bands)| (bands[band], number)).collect();
        bucketed.sort_unstable();
        for bucket in bucketed.chunk_by(|left, right| left.0 == right.0) {
            for (place, &(_, later)) in bucket.iter().enumerate() {
                let first = &bucket[..place.min(COMPARED_FIRST)];
                let last = &bucket[first.len().max(place.saturating_sub(COMPARED_LAST))..place];
                pairs.extend(first.iter().chain(last).map(|&(_, earlier)| (later, earlier)));
            }
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    pairs
}

/// The set of a text's shingles, sorted, for [`shingles::jaccard`].
pub(crate) fn shingle_set(text: &str) -> Vec<u64> {
    let mut set = shingles::of(text);
    set.sort_unstable();
    set.dedup();
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_does_not_make_a_text_another() {
        assert_eq!(key("fn main() {\n    x\n}\n"), key("fn main() {\r\n\tx }"));
        assert_ne!(key("fn main() { x }"), key("fn main() { xx }"));
        assert_ne!(key("a b"), key("ab"));
        assert_eq!(exact([key("a"), key("b"), key(" a ")].into_iter()), [false, false, true]);
    }

    #[test]
    fn pairs_come_once_with_the_later_first() {
        let hash = MinHash::new(1);
        let text: String = (0..100).map(|i| format!("word{i} ")).collect();
        let bands = [hash.bands(&text), hash.bands("something else entirely, without any of it"), hash.bands(&text)];
        let pairs = candidates((0..).zip(bands.iter()));
        assert_eq!(pairs, [(2, 0)]);
        let many = vec![hash.bands(&text); 500];
        let pairs = candidates((0..).zip(many.iter()));
        assert!(pairs.len() <= 500 * (COMPARED_FIRST + COMPARED_LAST), "large groups stay affordable");
        assert!((1..500).all(|later| pairs.contains(&(later, 0))), "each meets the first");
    }
}
