//! A random sample of whole documents in one pass and bounded memory.

use std::collections::BinaryHeap;

use luban_base::random::Stream;

use super::TrainOptions;
use crate::{Error, Result};

/// Largest document of the sample: longer ones are cut, so that a single huge file cannot break the bound.
const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// The label of the random stream; changing it changes every tokenizer that is trained on a part of its texts.
const SAMPLE: u64 = 1;
/// How many documents pass between two looks at the stop flag.
const CANCEL_EVERY: u64 = 256;

/// Keeps the documents with the smallest random keys that fit into `sample_bytes`: each document's key depends on
/// the seed and its number alone, so the choice does not depend on anything but the order of the texts. Returned in
/// the order they came.
pub(super) fn draw(texts: impl Iterator<Item = String>, options: &TrainOptions) -> Result<Vec<String>> {
    let keys = Stream::new(options.seed, &[SAMPLE]);
    let mut kept: BinaryHeap<(u64, u64, String)> = BinaryHeap::new();
    let mut bytes = 0;
    for (number, mut text) in (0_u64..).zip(texts) {
        if number.is_multiple_of(CANCEL_EVERY) && options.cancel.is_raised() {
            return Err(Error::Cancelled);
        }
        cut(&mut text);
        bytes += text.len();
        kept.push((keys.u64_at(number), number, text));
        // One document always stays, else a small bound would leave nothing to learn from.
        while bytes > options.sample_bytes && kept.len() > 1 {
            bytes -= kept.pop().map_or(0, |(_, _, text)| text.len());
        }
    }
    let mut kept: Vec<_> = kept.into_iter().map(|(_, number, text)| (number, text)).collect();
    kept.sort_unstable();
    if kept.iter().all(|(_, text)| text.is_empty()) {
        return Err(Error::NoText);
    }
    Ok(kept.into_iter().map(|(_, text)| text).collect())
}

fn cut(text: &mut String) {
    let end = text.floor_char_boundary(DOCUMENT_BYTES_MAX);
    text.truncate(end);
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(count: usize, sample_bytes: usize, seed: u64) -> Vec<String> {
        let options = TrainOptions { sample_bytes, seed, ..TrainOptions::default() };
        draw((0..count).map(|i| format!("{i:010}")), &options).unwrap()
    }

    #[test]
    fn keeps_all_that_fits_and_a_fair_share_otherwise() {
        assert_eq!(sampled(100, 1000, 1).len(), 100);
        let some = sampled(1000, 1000, 1);
        assert_eq!(some.len(), 100);
        assert!(some.is_sorted(), "order of the texts is kept");
        let second_half = some.iter().filter(|text| text.parse::<usize>().unwrap() >= 500).count();
        assert!((30..70).contains(&second_half), "not only from one end: {second_half}");
        assert_eq!(some, sampled(1000, 1000, 1));
        assert_ne!(some, sampled(1000, 1000, 2));
    }

    #[test]
    fn nothing_to_learn_from_is_an_error() {
        assert!(matches!(draw(std::iter::empty(), &TrainOptions::default()), Err(Error::NoText)));
        let blank = std::iter::repeat_n(String::new(), 3);
        assert!(matches!(draw(blank, &TrainOptions::default()), Err(Error::NoText)));
    }
}
