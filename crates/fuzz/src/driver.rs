//! The driver: many changed inputs, one after another.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use luban_base::random::Stream;

use crate::corpus::INPUT_BYTES_MAX;
use crate::mutate::mutate;
use crate::{Target, Verdict};

/// Inputs that are changed further, at most.
const POOL_MAX: usize = 4096;
/// What of a verdict tells it from another.
const SIGNATURE_CHARACTERS: usize = 60;
/// Of so many inputs one is changed that came of a change; the others are of the corpus.
const OFFSPRING_EVERY: u64 = 3;

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Inputs that were tried.
    pub tried: u64,
    /// Those that were accepted.
    pub accepted: u64,
    /// Different things that were said of them.
    pub verdicts: usize,
    /// Inputs of which something was said that had not been said before.
    pub found: Vec<Vec<u8>>,
    /// The longest that one took.
    pub slowest: Duration,
    /// Inputs on which the target panicked, with its words.
    pub failures: Vec<(Vec<u8>, String)>,
}

/// Runs a target on each input of a corpus, and then on `rounds` changed ones. The same corpus, rounds and seed try the
/// same inputs.
pub fn run(target: &Target, corpus: Vec<Vec<u8>>, rounds: u64, seed: u64) -> Report {
    let mut report = Report::default();
    let (mut signatures, mut pool) = (BTreeSet::new(), Vec::new());
    for input in corpus {
        attempt(target, &input, &mut report, &mut signatures);
        pool.push(input);
    }
    report.found.clear();
    if pool.is_empty() {
        pool.push(Vec::new());
    }
    let given = pool.len();
    for round in 0..rounds {
        let random = Stream::new(seed, &[round]);
        let among = if round % OFFSPRING_EVERY == 0 { pool.len() } else { given };
        let pick = |index: u64| &pool[random.below_at(index, among as u64) as usize];
        let input = mutate(pick(0), pick(1), target.words, &random.child(0), INPUT_BYTES_MAX);
        if attempt(target, &input, &mut report, &mut signatures) {
            report.found.push(input.clone());
            if pool.len() < POOL_MAX {
                pool.push(input);
            }
        }
    }
    report.verdicts = signatures.len();
    report
}

/// Tries one input; whether something new was said of it.
fn attempt(target: &Target, input: &[u8], report: &mut Report, signatures: &mut BTreeSet<String>) -> bool {
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| target.run(input)));
    report.slowest = report.slowest.max(start.elapsed());
    report.tried += 1;
    match outcome {
        Ok(verdict) => {
            report.accepted += u64::from(verdict.is_ok());
            signatures.insert(signature(&verdict))
        }
        Err(panic) => {
            report.failures.push((input.to_vec(), words_of(&*panic)));
            false
        }
    }
}

/// A verdict without its numbers and what it quotes.
fn signature(verdict: &Verdict) -> String {
    let Err(words) = verdict else { return "accepted".into() };
    let (mut signature, mut quoted, mut escaped) = (String::new(), None, false);
    for character in words.lines().next().unwrap_or_default().chars() {
        match (quoted, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(mark), character) if mark == character => quoted = None,
            (Some(_), _) => {}
            (None, '"' | '`' | '\'') => quoted = Some(character),
            (None, character) if character.is_ascii_digit() || !character.is_ascii() => {}
            (None, character) => signature.push(character),
        }
        if signature.len() >= SIGNATURE_CHARACTERS {
            break;
        }
    }
    signature
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    said.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy(input: &[u8]) -> Verdict {
        match input {
            [b'a', b'b', ..] => panic!("found"),
            [b'a', ..] => Err(format!("byte {} is \"x\"", input.len())),
            _ => Ok(()),
        }
    }

    #[test]
    fn what_is_said_leads_on_and_panics_are_reported() {
        let target = Target { name: "toy", run: toy, seeds: || vec![b"xy".to_vec()], words: &["a", "b"] };
        let report = run(&target, target.seeds(), 3000, 1);
        assert_eq!((report.tried, report.verdicts), (3001, 2));
        assert!(report.accepted > 500 && !report.found.is_empty());
        assert!(report.failures.iter().all(|(input, words)| input.starts_with(b"ab") && words == "found"));
        assert!(!report.failures.is_empty());
        assert_eq!(signature(&Err("byte 17 of \"any name\" is 3".into())), "byte  of  is ");
    }
}
