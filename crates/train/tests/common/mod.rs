//! A small corpus, a tokenizer for it, and runs on them.
#![allow(dead_code, reason = "each test program uses its part")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
use luban_base::cancel::Cancel;
use luban_base::clock::SystemClock;
use luban_base::progress::{Event, Observer, Silent};
use luban_base::random::Stream;
use luban_text::{Tokenizer, TrainOptions};
use luban_train::objective::{Causal, Example, Objective, Passage};
use luban_train::{Context, Materials, Outcome, PretrainOptions, Result, pretrain};

/// What tests train with.
pub struct Fixture {
    pub dir: PathBuf,
    pub keys: Keys,
    pub corpus: Artifact,
    pub mix: Vec<Artifact>,
    pub tokenizer: Artifact,
}

const WORDS: [&str; 16] = [
    "let", "mut", "value", "index", "count", "return", "match", "self", "push", "width", "rows", "if", "else", "for",
    "in", "item",
];

/// Lines of words that follow one another by habit, so that there is something to learn.
fn document(number: u64) -> String {
    let draws = Stream::new(11, &[number]);
    let mut text = format!("fn work_{number}(rows: usize) -> usize {{\n");
    let mut word = number as usize % WORDS.len();
    for line in 0..20 {
        text.push_str("    ");
        for place in 0..6 {
            word = match draws.uniform_at(8 * line + place) < 0.8 {
                true => (word * 5 + 3) % WORDS.len(),
                false => draws.below_at(1000 + 8 * line + place, 16) as usize,
            };
            text.push_str(WORDS[word]);
            text.push(' ');
        }
        text.push_str(";\n");
    }
    text + "}\n"
}

impl Fixture {
    /// Makes everything anew in an empty folder.
    pub fn create(dir: &Path) -> Self {
        let keys = Keys::load_or_create(&dir.join("home")).unwrap();
        let texts: Vec<String> = (0..60).map(document).collect();
        write_corpus(&dir.join("corpus"), &texts, &keys);
        let options = TrainOptions { vocab_size: 320, ..TrainOptions::default() };
        let tokenizer = Tokenizer::train(texts.iter().cloned(), &options, &Silent).unwrap();
        let writer = ArtifactWriter::create(&dir.join("tokenizer"), Kind::Tokenizer).unwrap();
        for (name, bytes) in tokenizer.hub_files(None) {
            writer.write(name, &bytes).unwrap();
        }
        writer.commit(&keys).unwrap();
        Self::open(dir)
    }

    /// Gives the tokenizer a mask token.
    pub fn with_mask_token(self) -> Self {
        self.with_special_tokens(&["[MASK]"])
    }

    /// Gives the tokenizer special tokens.
    pub fn with_special_tokens(mut self, tokens: &[&str]) -> Self {
        let mut json: serde_json::Value =
            serde_json::from_slice(&self.tokenizer.read("tokenizer.json").unwrap()).unwrap();
        for (content, id) in tokens.iter().zip(320..) {
            let mut token = json["added_tokens"][0].clone();
            token["content"] = (*content).into();
            token["id"] = id.into();
            json["added_tokens"].as_array_mut().unwrap().push(token);
        }
        let writer = ArtifactWriter::create(&self.dir.join("tokenizer"), Kind::Tokenizer).unwrap();
        writer.write("tokenizer.json", json.to_string().as_bytes()).unwrap();
        self.tokenizer = writer.commit(&self.keys).unwrap();
        self
    }

    /// Adds a corpus of other texts.
    pub fn with_other_corpus(mut self, name: &str, texts: &[String]) -> Self {
        write_corpus(&self.dir.join(name), texts, &self.keys);
        self.mix.push(Artifact::open(&self.dir.join(name)).unwrap());
        self
    }

    /// Opens what [`Fixture::create`] left.
    pub fn open(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            keys: Keys::load_or_create(&dir.join("home")).unwrap(),
            corpus: Artifact::open(&dir.join("corpus")).unwrap(),
            mix: Vec::new(),
            tokenizer: Artifact::open(&dir.join("tokenizer")).unwrap(),
        }
    }

    /// Runs to the end, or until the observer's cancellation.
    pub fn run(&self, options: &PretrainOptions, name: &str, observer: &Watcher) -> Result<Outcome> {
        let context = Context { keys: &self.keys, observer, cancel: &observer.cancel, clock: &SystemClock::default() };
        let materials = Materials { corpus: &self.corpus, mix: &self.mix, tokenizer: &self.tokenizer };
        pretrain(options, materials, &self.dir.join(name), context)
    }

    /// Runs to the end.
    pub fn finish(&self, options: &PretrainOptions, name: &str) -> Artifact {
        match self.run(options, name, &Watcher::default()) {
            Ok(Outcome::Finished(artifact)) => *artifact,
            other => panic!("the run did not end: {other:?}"),
        }
    }

    /// The weights that a finished run left.
    pub fn weights(&self, name: &str) -> Vec<u8> {
        Artifact::open(&self.dir.join(name)).unwrap().read("model.safetensors").unwrap()
    }
}

fn write_corpus(target: &Path, texts: &[String], keys: &Keys) {
    let lines = |texts: &[String]| {
        let line = |(number, text): (usize, &String)| {
            let group = format!("group-{number}");
            serde_json::json!({ "text": text, "source": format!("{group}/lib.rs"), "group": group, "license": "MIT" })
        };
        texts.iter().enumerate().map(|text| format!("{}\n", line(text))).collect::<String>()
    };
    let (valid, train) = texts.split_at(5);
    let writer = ArtifactWriter::create(target, Kind::Corpus).unwrap();
    writer.write("train.jsonl", lines(train).as_bytes()).unwrap();
    writer.write("valid.jsonl", lines(valid).as_bytes()).unwrap();
    writer.write("sources.jsonl", b"").unwrap();
    writer.write("report.json", b"{}").unwrap();
    writer.commit(keys).unwrap();
}

/// A run of a few seconds.
pub fn tiny(steps: u64) -> PretrainOptions {
    PretrainOptions {
        steps: Some(steps),
        width: Some(32),
        layers: Some(1),
        heads: Some(2),
        context: Some(32),
        batch: Some(128),
        learning_rate: Some(1e-2),
        checkpoint_every: Some(5),
        ..PretrainOptions::default()
    }
}

/// Remembers what happened, and cancels after a given step.
#[derive(Default)]
pub struct Watcher {
    pub cancel: Cancel,
    pub cancel_after: Option<u64>,
    /// The same by the number of steps that were seen, whichever they are.
    pub cancel_after_steps: Option<u64>,
    pub on_checkpoint: Option<Box<dyn Fn(u64) + Send + Sync>>,
    pub seen: Arc<Mutex<Seen>>,
}

/// What a run reported.
#[derive(Default)]
pub struct Seen {
    pub losses: Vec<(u64, f64)>,
    pub validations: Vec<(u64, f64, f64)>,
    /// Perplexity and accuracy of each.
    pub told_right: Vec<(f64, f64)>,
    pub parts: Vec<(u64, String, f64)>,
    pub samples: Vec<String>,
    pub notes: Vec<String>,
    pub checkpoints: Vec<u64>,
}

impl Watcher {
    /// One that cancels after a step.
    pub fn cancelling(step: u64) -> Self {
        Self { cancel_after: Some(step), ..Self::default() }
    }
}

impl Observer for Watcher {
    fn event(&self, event: &Event<'_>) {
        let mut seen = self.seen.lock().unwrap();
        match event {
            Event::Step(step) => {
                seen.losses.push((step.step, step.loss));
                let seen = Some(seen.losses.len() as u64);
                if self.cancel_after == Some(step.step) || self.cancel_after_steps == seen {
                    self.cancel.raise();
                }
            }
            Event::Validation { step, loss, bits_per_byte, perplexity, accuracy } => {
                seen.validations.push((*step, *loss, *bits_per_byte));
                seen.told_right.push((*perplexity, *accuracy));
            }
            Event::ValidationPart { step, name, loss } => seen.parts.push((*step, (*name).to_owned(), *loss)),
            Event::Sample { text, .. } => seen.samples.push((*text).to_owned()),
            Event::Note(text) | Event::Warning(text) => seen.notes.push((*text).to_owned()),
            Event::Checkpoint { step } => {
                seen.checkpoints.push(*step);
                self.on_checkpoint.iter().for_each(|act| act(*step));
            }
            _ => {}
        }
    }
}

/// Tokens of [`sequences`].
pub const CHAIN_VOCAB: usize = 61;

/// Sequences of 32 in which a token mostly follows from the one before.
pub fn sequences(seed: u64, count: u64) -> Vec<Example> {
    let vocab = CHAIN_VOCAB as u64;
    let sequence = |number| {
        let draws = Stream::new(seed, &[number]);
        let mut token = draws.below_at(1000, vocab) as u32;
        let mut next = |place| {
            let follows = draws.uniform_at(place) < 0.8;
            token =
                if follows { (token * 5 + 3) % CHAIN_VOCAB as u32 } else { draws.below_at(100 + place, vocab) as u32 };
            token
        };
        let tokens: Vec<u32> = (0..33).map(&mut next).collect();
        Causal.example(&Passage::new(&tokens, draws))
    };
    (0..count).map(sequence).collect()
}
