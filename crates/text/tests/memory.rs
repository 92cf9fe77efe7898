//! Training's memory does not grow with the text. Each measurement is a process of its own, as the system keeps one
//! highest figure for each.
#![cfg(target_os = "linux")]

use std::env;
use std::process::Command;

use luban_base::memory::resident_bytes_max;
use luban_base::progress::Silent;
use luban_base::random::Stream;
use luban_text::train::Kind;
use luban_text::{Tokenizer, TrainOptions};

const CHILD: &str = "LUBAN_TEST_TRAINING_CHILD";
/// Texts of the smaller corpus, of half a kilobyte each: three times the sample.
const TEXTS: u64 = 6000;

/// Words of a language in which some are frequent.
fn text(number: u64) -> String {
    let draws = Stream::new(5, &[number]);
    let word = |place: u64| format!("w{:x} ", (2e4 * draws.uniform_at(place).powi(4)) as u64 * 2_654_435_761 % 0xFFFF);
    (0..90).map(word).collect()
}

/// What a child does, and no test of its own: it trains on so many texts, made one at a time.
#[test]
fn child() {
    let Ok(asked) = env::var(CHILD) else { return };
    let (kind, texts) = asked.split_once(' ').unwrap();
    let kind = if kind == "bpe" { Kind::Bpe } else { Kind::Characters };
    let options = TrainOptions { kind, vocab_size: 1000, sample_bytes: 1 << 20, ..TrainOptions::default() };
    let tokenizer = Tokenizer::train((0..texts.parse().unwrap()).map(text), &options, &Silent).unwrap();
    println!("{} tokens, memory {} bytes", tokenizer.vocab_size(), resident_bytes_max().unwrap());
}

fn measured(kind: &str, texts: u64) -> u64 {
    let mut command = Command::new(env::current_exe().unwrap());
    let output =
        command.args(["child", "--exact", "--nocapture"]).env(CHILD, format!("{kind} {texts}")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("tokens, memory")).unwrap_or_else(|| panic!("{output:?}"));
    line.split_whitespace().filter_map(|word| word.parse().ok()).nth(1).unwrap()
}

#[test]
fn ten_times_the_text_trains_in_the_same_memory() {
    for kind in ["bpe", "characters"] {
        let [small, large] = [TEXTS, 10 * TEXTS].map(|texts| measured(kind, texts));
        let ratio = large as f64 / small as f64;
        println!("{kind}: {small} and {large} bytes of memory, {ratio:.3} times");
        assert!(ratio <= 1.1, "{kind}: {small}, {large}");
    }
}
