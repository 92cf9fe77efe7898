//! The measurements of speed, on a small random model: that they ask what they say, not how fast that is.

mod support;

use luban_base::clock::SystemClock;
use luban_engine::bench::{self, Guessed, Lengths, Way};
use luban_engine::{Engine, EngineOptions, Origin, Speculation};
use support::{decoders, f32_model, tokenizer};

fn engine(options: EngineOptions) -> Engine {
    Engine::start(f32_model(&decoders()[0]), tokenizer(), Origin::default(), options).unwrap()
}

#[test]
fn one_request_at_a_time_runs_to_its_full_length() {
    let engine = engine(EngineOptions { sequences_max: 1, ..EngineOptions::default() });
    let lengths = Lengths { prompt: 70, answer: 40, repetitions: 3 };
    let measured = bench::single(&engine, lengths, &SystemClock::default()).unwrap();
    assert!(measured.prompt_tokens_s > 0.0 && measured.answer_tokens_s > 0.0);
    let counted = engine.stats();
    assert_eq!((counted.prompt_tokens, counted.completion_tokens), (4 * 71, 4 * 41));
    let info = engine.info();
    assert!(info.step_bytes > 0 && info.step_bytes < info.weight_bytes, "of the token table a step reads one row");
}

#[test]
fn many_sequences_take_their_steps_together() {
    // A right guess would spare a step.
    let speculation = Speculation::NONE;
    let options =
        EngineOptions { sequences_max: 5, queue_max: 5, step_tokens_max: 50, speculation, ..EngineOptions::default() };
    let engine = engine(options);
    let lengths = Lengths { prompt: 10, answer: 20, repetitions: 1 };
    assert!(bench::together(&engine, 5, lengths, &SystemClock::default()).unwrap() > 0.0);
    let stats = engine.stats();
    assert_eq!((stats.completion_tokens, stats.prompt_tokens), (2 * 5 * 21, 2 * 5 * 10));
    // Steps hold all sequences, give or take those of submitting.
    assert!((42..60).contains(&stats.steps), "{} steps", stats.steps);
    assert!(bench::together(&engine, 6, lengths, &SystemClock::default()).is_err(), "the queue takes five");
}

#[test]
fn lengths_beyond_the_context_are_refused() {
    let engine = engine(EngineOptions::default());
    for (prompt, answer) in [(201, 1), (1, 201), (0, 5), (5, 0)] {
        let lengths = Lengths { prompt, answer, repetitions: 1 };
        let error = bench::single(&engine, lengths, &SystemClock::default()).unwrap_err().to_string();
        assert!(error.contains("200"), "{error}");
    }
}

#[test]
fn cosines_are_those_of_the_definition() {
    let vectors = [vec![3.0, 4.0], vec![1.0, 0.0]];
    let (least, mean) = bench::cosines(&vectors, &[vec![6.0, 8.0], vec![1.0, 1.0]]);
    assert!((least - 0.5f64.sqrt()).abs() < 1e-12 && (mean - (1.0 + 0.5f64.sqrt()) / 2.0).abs() < 1e-12);
}

#[test]
fn guessing_is_measured_on_the_same_answer() {
    let way =
        |name, speculation| Way { name, engine: engine(EngineOptions { speculation, ..EngineOptions::default() }) };
    let always = Speculation { always: true, tokens_max: 6, lookup: true, ..Speculation::NONE };
    let ways = [way("plain", Speculation::NONE), way("lookup", always)];
    let prompt: Vec<u32> = (0..60).map(|at| 20 + at % 6).collect();
    let found = bench::guessing(&ways, &prompt, 80, 2, &SystemClock::default()).unwrap();
    assert!(bench::identical(&found) && found.len() == 2);
    let [plain, lookup] = &found[..] else { unreachable!("two ways") };
    assert_eq!(
        (plain.name, plain.guesses, plain.right, plain.passes()),
        ("plain", 0, 0, plain.tokens.len() as u64 - 1)
    );
    assert!(lookup.guesses > lookup.right && lookup.passes() + lookup.right == plain.passes(), "{lookup:?}");
    // A greedy answer comes to repeat itself, which is then guessed.
    assert!(lookup.right > 10 && plain.tokens_s > 0.0 && lookup.tokens_s > 0.0, "{lookup:?}");
    let other = Guessed { tokens: vec![1, 2], ..plain.clone() };
    assert!(!bench::identical(&[plain.clone(), other]));
    assert!(bench::guessing(&ways, &prompt, 1, 1, &SystemClock::default()).is_err(), "one token has no speed");
}
