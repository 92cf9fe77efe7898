//! The engine with a small random model, from outside.

mod support;

use std::time::{Duration, Instant};

use luban_base::random::Stream;
use luban_engine::{
    Answer, Engine, EngineOptions, Event, FinishReason, Origin, Refused, Request, Sampling, Stats, Usage,
};
use support::{decoders, f32_model, i8_model, tokenizer, tokens};

fn engine(options: EngineOptions) -> Engine {
    Engine::start(f32_model(&decoders()[0]), tokenizer(), Origin::default(), options).unwrap()
}

fn request(number: u64) -> Request {
    let random = Stream::new(number, &[]);
    let temperature = if number.is_multiple_of(3) { 0.0 } else { 0.9 };
    Request {
        prompt: tokens(number, 1 + random.below_at(0, 120) as usize, 300),
        max_tokens: 1 + random.below_at(1, 60) as usize,
        sampling: Sampling { temperature, top_p: 0.95, top_k: 0, seed: number },
        logprobs: Some(2),
        ..Request::default()
    }
}

/// Everything that an answer says, log-probabilities bit by bit.
fn all(answer: Answer) -> Vec<Event> {
    answer.collect()
}

fn text(events: &[Event]) -> String {
    let text = |event: &Event| match event {
        Event::Token { text, .. } | Event::Finished { text, .. } => text.clone(),
        other => panic!("{other:?}"),
    };
    events.iter().map(text).collect()
}

fn wait_for(engine: &Engine, state: impl Fn(&Stats) -> bool) -> Stats {
    let start = Instant::now();
    loop {
        let stats = engine.stats();
        if state(&stats) {
            return stats;
        }
        assert!(start.elapsed() < Duration::from_secs(180), "{stats:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_same_request_gets_the_same_answer_in_any_company() {
    let count = support::number("LUBAN_FAULT_PROMPTS", 12);
    let alone = engine(EngineOptions { sequences_max: 1, threads: Some(1), ..EngineOptions::default() });
    let expected: Vec<Vec<Event>> = (0..count).map(|number| all(alone.submit(request(number)).unwrap())).collect();
    let crowds = [
        EngineOptions { threads: Some(2), ..EngineOptions::default() },
        EngineOptions { step_tokens_max: 5, threads: Some(1), ..EngineOptions::default() },
    ];
    for options in crowds {
        let together = engine(EngineOptions { queue_max: count as usize, ..options });
        let answers = together.submit_all((0..count).map(request).collect()).unwrap();
        let found: Vec<Vec<Event>> = answers.into_iter().map(all).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn int8_models_generate() {
    let spec = decoders().remove(1);
    let engine = Engine::start(i8_model(&spec), tokenizer(), Origin::default(), EngineOptions::default()).unwrap();
    assert_eq!(engine.info().precision, "int8");
    let answer = all(engine.submit(request(3)).unwrap());
    assert!(matches!(answer.last(), Some(Event::Finished { .. })));
}

#[test]
fn a_seed_decides_the_answer() {
    let engine = engine(EngineOptions::default());
    let with_seed =
        |seed| engine.generate("fn area", 30, Sampling { temperature: 1.0, seed, ..Sampling::GREEDY }).unwrap();
    assert_eq!(with_seed(1), with_seed(1));
    assert_ne!(with_seed(1), with_seed(2));
    assert_eq!(engine.generate("", 30, Sampling::GREEDY).unwrap(), engine.generate("", 30, Sampling::GREEDY).unwrap());
}

#[test]
fn stop_strings_end_an_answer_and_are_not_in_it() {
    let engine = engine(EngineOptions::default());
    let mut tried = 0;
    for seed in 0..30 {
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::GREEDY };
        let whole = Request { max_tokens: 40, sampling, ..Request::greedy(engine.encode_prompt("fn").unwrap(), 1) };
        let answer = text(&all(engine.submit(whole.clone()).unwrap()));
        let chars: Vec<char> = answer.chars().collect();
        if chars.len() < 12 {
            continue;
        }
        // A piece from the middle, most likely across the border of tokens.
        let stop: String = chars[7..10].iter().collect();
        let expected = answer.split(&stop).next().unwrap().to_string();
        let stopped = all(engine.submit(Request { stop: vec!["never there".into(), stop], ..whole }).unwrap());
        assert_eq!(text(&stopped), expected);
        assert!(matches!(stopped.last(), Some(Event::Finished { reason: FinishReason::Stop, .. })));
        tried += 1;
    }
    assert!(tried > 10);
}

#[test]
fn leaving_gives_back_every_block() {
    let engine = engine(EngineOptions { sequences_max: 4, ..EngineOptions::default() });
    let start = engine.stats();
    assert_eq!(start.blocks_free, start.blocks_total);
    let count = support::number("LUBAN_FAULT_LEAVERS", 200);
    for number in 0..count {
        let long = Request { max_tokens: 150, prompt: tokens(number, 40, 300), ..request(number) };
        let mut answer = engine.submit(long).unwrap();
        for _ in 0..number % 4 {
            answer.next();
        }
    }
    let end = wait_for(&engine, |stats| stats.live == 0 && stats.queued == 0);
    assert_eq!(end.blocks_free, start.blocks_total);
    assert_eq!(end.finished + end.cancelled, count);
}

#[test]
fn too_much_is_refused_at_once() {
    let engine = engine(EngineOptions { sequences_max: 1, queue_max: 3, ..EngineOptions::default() });
    let long = || Request { max_tokens: 150, ..Request::greedy(vec![5; 20], 1) };
    assert_eq!(engine.submit_all(vec![long(); 4]).unwrap_err(), Refused::QueueFull { max: 3 });
    assert_eq!(engine.stats().queued, 0);
    // However slowly this thread runs, answers of 150 tokens fall behind requests sooner or later.
    let mut answers = Vec::new();
    let refused = loop {
        match engine.submit(long()) {
            Ok(answer) => answers.push(answer),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused, Refused::QueueFull { max: 3 });
    assert!(answers.len() >= 3, "{}", answers.len());
    for answer in answers {
        assert!(matches!(answer.last(), Some(Event::Finished { .. })));
    }
    let tokens = vec![1; 201];
    assert_eq!(
        engine.submit(Request::greedy(tokens, 1)).unwrap_err(),
        Refused::PromptTooLong { tokens: 201, max: 200 }
    );
    assert!(matches!(engine.submit(Request::greedy(vec![300], 1)), Err(Refused::Invalid { field: "prompt", .. })));
}

#[test]
fn draining_finishes_what_was_taken() {
    let engine = engine(EngineOptions { sequences_max: 2, ..EngineOptions::default() });
    let answers = engine.submit_all((0..6).map(request).collect()).unwrap();
    engine.begin_drain(Duration::from_secs(60));
    assert_eq!(engine.submit(request(9)).unwrap_err(), Refused::ShuttingDown);
    assert!(!engine.is_open());
    engine.drain(Duration::from_secs(60));
    for answer in answers {
        assert!(matches!(
            answer.last(),
            Some(Event::Finished { reason: FinishReason::Length | FinishReason::Stop, .. })
        ));
    }
}

#[test]
fn dropping_the_engine_ends_every_answer() {
    let engine = engine(EngineOptions { sequences_max: 2, ..EngineOptions::default() });
    let answers = engine.submit_all((0..10).map(|n| Request { max_tokens: 150, ..request(n) }).collect()).unwrap();
    drop(engine);
    for answer in answers {
        assert!(matches!(answer.last(), Some(Event::Finished { .. } | Event::Failed(_))));
    }
}

#[test]
fn the_context_and_the_cache_bound_an_answer() {
    let options = EngineOptions { context: Some(70), cache_bytes_max: 1, ..EngineOptions::default() };
    let engine = engine(options);
    assert_eq!((engine.info().context, engine.stats().blocks_total), (70, 2));
    let greedy = Request { max_tokens: 70, ..Request::greedy(vec![7; 60], 1) };
    match all(engine.submit(greedy).unwrap()).last() {
        Some(Event::Finished { usage: Usage { completion_tokens, .. }, .. }) => assert!(*completion_tokens <= 11),
        other => panic!("{other:?}"),
    }
}

#[test]
fn models_that_cannot_generate_are_refused() {
    let encoder = luban_model::Spec::bert(24, 1, 2, 300);
    let refused = Engine::start(f32_model(&encoder), tokenizer(), Origin::default(), EngineOptions::default());
    assert!(refused.unwrap_err().to_string().contains("cannot generate text"));
    let small = luban_model::Spec { vocab: 100, ..decoders().remove(0) };
    let refused = Engine::start(f32_model(&small), tokenizer(), Origin::default(), EngineOptions::default());
    assert!(refused.unwrap_err().to_string().contains("tokens"));
    let options = EngineOptions { sequences_max: 0, ..EngineOptions::default() };
    assert!(Engine::start(f32_model(&decoders()[0]), tokenizer(), Origin::default(), options).is_err());
}
