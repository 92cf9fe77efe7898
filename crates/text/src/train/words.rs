//! How often each word occurs in the sample.

use std::collections::HashMap;

use luban_base::cancel::Cancel;

use crate::cut::{OURS, Step, cut};
use crate::{Error, Result};

/// Words longer than this (base64, rulers) are left out of the counts: they teach nothing, and each merge would
/// have to walk them.
const WORD_BYTES_MAX: usize = 512;
/// More threads than this gain nothing on a sample of some megabytes.
const THREADS_MAX: usize = 8;

/// The words with their counts, sorted by their bytes.
pub(super) fn count<'a>(sample: &'a [String], cancel: &Cancel) -> Result<Vec<(&'a str, u64)>> {
    let threads = luban_base::threads::wanted().min(THREADS_MAX);
    let share = sample.len().div_ceil(threads).max(1);
    let counted: Vec<HashMap<&str, u64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = sample.chunks(share).map(|part| scope.spawn(move || count_part(part, cancel))).collect();
        workers.into_iter().map(|worker| worker.join().expect("counting words does not panic")).collect()
    });
    if cancel.is_raised() {
        return Err(Error::Cancelled);
    }
    let mut total: HashMap<&str, u64> = HashMap::new();
    for (word, count) in counted.into_iter().flatten() {
        *total.entry(word).or_default() += count;
    }
    let mut words: Vec<_> = total.into_iter().collect();
    words.sort_unstable();
    Ok(words)
}

fn count_part<'a>(texts: &'a [String], cancel: &Cancel) -> HashMap<&'a str, u64> {
    let mut counts = HashMap::new();
    for text in texts.iter().take_while(|_| !cancel.is_raised()) {
        cut(&[Step::Words(OURS)], text, &mut |word| {
            if word.len() <= WORD_BYTES_MAX {
                *counts.entry(word).or_default() += 1;
            }
        });
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        cut(&[Step::of_pattern(super::super::SPLIT).unwrap()], text, &mut |word| words.push(word));
        words
    }

    #[test]
    fn the_pattern_suits_code_and_prose() {
        let cases: &[(&str, &[&str])] = &[
            (
                "fn main() {\n    let x = 12345;\n}\n",
                &["fn", " main", "()", " {\n    ", "let", " x", " =", " ", "123", "45", ";\n", "}\n"],
            ),
            ("self.max_len::<u8>", &["self", ".max", "_len", "::<", "u", "8", ">"]),
            ("a  b\tc", &["a", "  ", "b", "\tc"]),
            ("It's é, e\u{301}x 东风夜放花千树。更", &["It", "'s", " é", ",", " e\u{301}x", " 东风夜放花千树", "。更"]),
            ("\r\n\r\n  x", &["\r\n\r\n  ", "x"]),
        ];
        for (text, expected) in cases {
            assert_eq!(&words(text), expected);
            assert_eq!(words(text).concat(), *text, "nothing is lost");
        }
    }

    #[test]
    fn counts_are_sums_over_all_texts() {
        let sample: Vec<String> = (0..40).map(|i| format!("one two{}", " two".repeat(i % 2))).collect();
        let counts = count(&sample, &Cancel::new()).unwrap();
        assert_eq!(counts, [(" two", 60), ("one", 40)]);
    }
}
