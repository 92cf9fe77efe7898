//! Byte-pair encoding (Sennrich et al., 2016): join the most frequent pair of tokens, again and again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use luban_base::progress::{Event, Observer};
use luban_base::random::mix;

use super::TrainOptions;
use crate::{Error, Result};

/// Longest token: keeps rulers such as `// ------` from eating the vocabulary.
const TOKEN_BYTES_MAX: usize = 48;
/// A pair that occurs once is no pattern.
const COUNT_MIN: i64 = 2;
/// Merges between two progress events.
const REPORT_EVERY: usize = 64;

/// Two neighbouring symbols; a symbol is an index into [`Rules::tokens`].
type Pair = (u32, u32);
type PairMap<V> = HashMap<Pair, V, BuildHasherDefault<PairHasher>>;
type PairSet = HashSet<Pair, BuildHasherDefault<PairHasher>>;

/// What training found. Symbols 0 to 255 are the bytes, the others are merged ones in the order they were learnt.
#[derive(Debug)]
pub(super) struct Rules {
    tokens: Vec<Vec<u8>>,
    pairs: Vec<Pair>,
}

impl Rules {
    /// The bytes of each symbol.
    pub(super) fn tokens(&self) -> &[Vec<u8>] {
        &self.tokens
    }

    /// The merges, the first learnt first.
    pub(super) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Tokens of the finished tokenizer, its special one included.
    pub(super) fn vocab_size(&self) -> usize {
        self.tokens.len() + 1
    }
}

/// Learns merges from words and their counts, until the vocabulary is full or no pair occurs twice.
pub(super) fn learn(words: &[(&str, u64)], options: &TrainOptions, observer: &dyn Observer) -> Result<Rules> {
    let tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    let symbols = tokens.iter().cloned().zip(0..).collect();
    let rules = Rules { tokens, pairs: Vec::new() };
    let mut state = Learner { symbols, corpus: Corpus::new(words), merged: PairSet::default(), rules };
    let total = (options.vocab_size - state.rules.vocab_size()) as u64;
    while state.rules.vocab_size() < options.vocab_size {
        if options.cancel.is_raised() {
            return Err(Error::Cancelled);
        }
        let Some(pair) = state.corpus.most_frequent() else { break };
        state.merge(pair);
        if state.rules.pairs.len().is_multiple_of(REPORT_EVERY) {
            let done = (state.rules.vocab_size() as u64 + total).saturating_sub(options.vocab_size as u64);
            observer.event(&Event::Progress { what: "learning merges", done, total, unit: "tokens" });
        }
    }
    observer.event(&Event::Progress { what: "learning merges", done: total, total, unit: "tokens" });
    Ok(state.rules)
}

struct Learner {
    symbols: HashMap<Vec<u8>, u32>,
    corpus: Corpus,
    merged: PairSet,
    rules: Rules,
}

impl Learner {
    fn merge(&mut self, pair: Pair) {
        let Rules { tokens, pairs } = &mut self.rules;
        let bytes = [tokens[pair.0 as usize].as_slice(), &tokens[pair.1 as usize]].concat();
        if bytes.len() > TOKEN_BYTES_MAX {
            self.corpus.too_long.insert(pair);
            return;
        }
        // Two ways to the same bytes (`ab`+`c`, `a`+`bc`) share a token, and the vocabulary does not grow.
        let symbol = *self.symbols.entry(bytes).or_insert_with_key(|bytes| {
            tokens.push(bytes.clone());
            tokens.len() as u32 - 1
        });
        // A shared token can bring back a pair that was merged before; its first rank is the one that counts.
        if self.merged.insert(pair) {
            pairs.push(pair);
        }
        self.corpus.merge(pair, symbol);
    }
}

/// The words as symbols, and for each pair its count and where it may stand.
struct Corpus {
    words: Vec<Word>,
    pairs: PairMap<Occurrences>,
    /// Candidates by count, then by the smaller pair. An entry whose count is out of date is dropped or put back.
    queue: BinaryHeap<(i64, Reverse<Pair>)>,
    /// Pairs that must not be merged.
    too_long: PairSet,
}

struct Word {
    symbols: Vec<u32>,
    count: i64,
}

#[derive(Default)]
struct Occurrences {
    count: i64,
    /// Indices of words; may name a word twice, or one that lost the pair since.
    words: Vec<u32>,
}

impl Corpus {
    fn new(words: &[(&str, u64)]) -> Self {
        let words: Vec<Word> = words
            .iter()
            .map(|(word, count)| Word { symbols: word.bytes().map(u32::from).collect(), count: *count as i64 })
            .collect();
        let mut pairs: PairMap<Occurrences> = PairMap::default();
        for (index, word) in (0_u32..).zip(&words) {
            for pair in word.symbols.windows(2) {
                let found = pairs.entry((pair[0], pair[1])).or_default();
                found.count += word.count;
                if found.words.last() != Some(&index) {
                    found.words.push(index);
                }
            }
        }
        let queue = pairs.iter().map(|(&pair, found)| (found.count, Reverse(pair))).collect();
        Self { words, pairs, queue, too_long: PairSet::default() }
    }

    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            let now = self.pairs.get(&pair).map_or(0, |found| found.count);
            if now < COUNT_MIN || self.too_long.contains(&pair) {
                continue;
            }
            if count == now {
                return Some(pair);
            }
            // A count that grew was queued when it grew; one that shrank has to be queued again.
            if count > now {
                self.queue.push((now, Reverse(pair)));
            }
        }
        None
    }

    fn merge(&mut self, pair: Pair, symbol: u32) {
        let mut places = self.pairs.get_mut(&pair).map(|found| std::mem::take(&mut found.words)).unwrap_or_default();
        places.sort_unstable();
        places.dedup();
        let mut grown = Vec::new();
        for place in places {
            let word = &mut self.words[place as usize];
            let count = word.count;
            merge_word(&mut word.symbols, pair, symbol, |changed, by| {
                let found = self.pairs.entry(changed).or_default();
                found.count += by * count;
                if by > 0 {
                    found.words.push(place);
                    grown.push(changed);
                }
            });
        }
        grown.sort_unstable();
        grown.dedup();
        for pair in grown {
            self.queue.push((self.pairs[&pair].count, Reverse(pair)));
        }
        if self.pairs.get(&pair).is_some_and(|found| found.words.is_empty()) {
            self.pairs.remove(&pair);
        }
    }
}

/// Joins every `pair` of a word, from the left, and tells how often each pair became more or less frequent.
fn merge_word(symbols: &mut Vec<u32>, pair: Pair, joined: u32, mut changed: impl FnMut(Pair, i64)) {
    let mut end = 0;
    let mut next = 0;
    while next < symbols.len() {
        if next + 1 < symbols.len() && (symbols[next], symbols[next + 1]) == pair {
            changed(pair, -1);
            if end > 0 {
                changed((symbols[end - 1], pair.0), -1);
                changed((symbols[end - 1], joined), 1);
            }
            if let Some(&right) = symbols.get(next + 2) {
                changed((pair.1, right), -1);
                changed((joined, right), 1);
            }
            symbols[end] = joined;
            next += 2;
        } else {
            symbols[end] = symbols[next];
            next += 1;
        }
        end += 1;
    }
    symbols.truncate(end);
}

/// A fast hash of a pair; the keys are ours, so nobody can choose collisions for long.
#[derive(Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.0 = self.0 << 32 ^ u64::from(word) ^ self.0 >> 32;
    }

    fn finish(&self) -> u64 {
        mix(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use luban_base::progress::Silent;
    use luban_base::random::Stream;
    use std::collections::BTreeMap;

    /// The slow way: count everything anew before each merge.
    fn learn_slowly(words: &[(&str, u64)], vocab_size: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut corpus: Vec<(Vec<u32>, i64)> =
            words.iter().map(|(word, count)| (word.bytes().map(u32::from).collect(), *count as i64)).collect();
        let mut tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let mut rules = Vec::new();
        while tokens.len() + 1 < vocab_size {
            let mut counts: BTreeMap<Pair, i64> = BTreeMap::new();
            for (symbols, count) in &corpus {
                for pair in symbols.windows(2) {
                    *counts.entry((pair[0], pair[1])).or_default() += count;
                }
            }
            let best = counts.iter().max_by_key(|(pair, count)| (**count, Reverse(**pair)));
            let Some((&pair, _)) = best.filter(|(_, count)| **count >= COUNT_MIN) else { break };
            let bytes = [tokens[pair.0 as usize].as_slice(), &tokens[pair.1 as usize]].concat();
            let symbol = tokens.iter().position(|token| *token == bytes).unwrap_or(tokens.len());
            let rule = (tokens[pair.0 as usize].clone(), tokens[pair.1 as usize].clone());
            if !rules.contains(&rule) {
                rules.push(rule);
            }
            if symbol == tokens.len() {
                tokens.push(bytes);
            }
            for (symbols, _) in &mut corpus {
                merge_word(symbols, pair, symbol as u32, |_, _| ());
            }
        }
        rules
    }

    #[test]
    fn the_queue_finds_what_counting_anew_finds() {
        for seed in 0..40 {
            let draws = Stream::new(seed, &[]);
            let letters = 2 + seed % 5;
            let texts: Vec<String> = (0..60)
                .map(|word| {
                    let length = 1 + draws.below_at(word * 100, 12);
                    (0..length).map(|i| char::from(b'a' + draws.below_at(word * 100 + 1 + i, letters) as u8)).collect()
                })
                .collect();
            let words: Vec<(&str, u64)> =
                texts.iter().enumerate().map(|(i, text)| (text.as_str(), 1 + i as u64 % 7)).collect();
            let options = TrainOptions { vocab_size: 257 + 60, ..TrainOptions::default() };
            let rules = learn(&words, &options, &Silent).unwrap();
            let found: Vec<_> = rules
                .pairs()
                .iter()
                .map(|&(left, right)| (rules.tokens[left as usize].clone(), rules.tokens[right as usize].clone()))
                .collect();
            assert_eq!(found, learn_slowly(&words, options.vocab_size), "seed {seed}");
        }
    }

    #[test]
    fn long_rulers_do_not_become_tokens() {
        let ruler = "-".repeat(300);
        let options = TrainOptions { vocab_size: 400, ..TrainOptions::default() };
        let rules = learn(&[(&ruler, 50)], &options, &Silent).unwrap();
        assert!(rules.tokens.iter().all(|token| token.len() <= TOKEN_BYTES_MAX));
        assert!(rules.vocab_size() > 257);
    }

    #[test]
    fn a_raised_flag_stops_the_training() {
        let options = TrainOptions::default();
        options.cancel.raise();
        assert!(matches!(learn(&[("aaaa", 9)], &options, &Silent), Err(Error::Cancelled)));
    }
}
