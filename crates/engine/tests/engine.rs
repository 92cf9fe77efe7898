//! The engine with a small random model, from outside.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use luban_base::random::Stream;
use luban_engine::{
    Answer, BeamSearch, CacheFormat, Drafter, Engine, EngineOptions, Event, FinishReason, Grammar, Origin, Refused,
    Request, Sampling, Speculation, Stats, Usage,
};
use luban_model::Spec;
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
        sampling: Sampling { temperature, top_p: 0.95, seed: number, ..Sampling::GREEDY },
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

/// Options that must not show in any answer from a cache of this format.
fn crowds(cache: CacheFormat) -> Vec<(&'static str, EngineOptions)> {
    let guessing = |lookup, drafter, always| Speculation { tokens_max: 6, lookup, drafter, always };
    let plain = EngineOptions { cache, ..EngineOptions::default() };
    let with = |speculation| EngineOptions { speculation, ..plain.clone() };
    let other = Arc::new(f32_model(&Spec { layers: 1, ..decoders()[0].clone() }));
    let small_cache =
        EngineOptions { cache_bytes_max: 4 * block_bytes(cache), ..with(guessing(true, Drafter::None, true)) };
    vec![
        ("two threads", EngineOptions { threads: Some(2), ..plain.clone() }),
        ("small chunks", EngineOptions { step_tokens_max: 5, threads: Some(1), ..plain.clone() }),
        ("two at a time", EngineOptions { sequences_max: 2, ..plain.clone() }),
        ("no prefix cache", EngineOptions { prefix_cache: false, ..with(Speculation::NONE) }),
        ("a cache that is too small for all", small_cache),
        ("guesses from the text", with(guessing(true, Drafter::None, true))),
        ("guesses from the text and the first layer", with(guessing(true, Drafter::Early(1), true))),
        ("guesses from the first layer where they pay", with(guessing(false, Drafter::Early(1), false))),
        ("guesses from another model", with(guessing(false, Drafter::Model(other), true))),
    ]
}

/// Bytes that 64 positions take in the cache of the model under test.
fn block_bytes(cache: CacheFormat) -> u64 {
    let engine = engine(EngineOptions { context: Some(64), sequences_max: 1, cache, ..EngineOptions::default() });
    engine.info().cache_block_bytes
}

/// Requests of which some begin alike, and some repeat themselves.
fn requests(count: u64) -> Vec<Request> {
    let beginning = tokens(77, 80, 300);
    let vary = |number: u64| {
        let mut request = request(number);
        match number % 4 {
            1 => request.prompt.splice(0..0, beginning[..64 + number as usize % 16].iter().copied()).for_each(drop),
            2 => request.prompt = request.prompt.iter().take(30).copied().cycle().take(100).collect(),
            _ => {}
        }
        request
    };
    (0..count).map(vary).collect()
}

#[test]
fn the_same_request_gets_the_same_answer_in_any_company() {
    for cache in CacheFormat::ALL {
        in_any_company(cache);
    }
}

fn in_any_company(cache: CacheFormat) {
    let count = support::number("LUBAN_FAULT_PROMPTS", 12);
    let plain =
        EngineOptions { prefix_cache: false, speculation: Speculation::NONE, cache, ..EngineOptions::default() };
    let alone = engine(EngineOptions { sequences_max: 1, threads: Some(1), ..plain });
    let one = |request| all(alone.submit(request).unwrap());
    let expected: Vec<Vec<Event>> = requests(count).into_iter().map(one).collect();
    for (name, options) in crowds(cache) {
        let together = engine(EngineOptions { queue_max: count as usize, ..options });
        // The second time, all prompts are in the cache.
        for time in ["first", "second"] {
            let answers = together.submit_all(requests(count)).unwrap();
            for (index, (answer, expected)) in answers.into_iter().zip(&expected).enumerate() {
                assert_eq!(&all(answer), expected, "{name}, {time} time, request {index}, cache in {cache}");
            }
        }
        let stats = together.stats();
        assert_eq!(stats.reused_tokens > 0, name != "no prefix cache", "{name}");
        assert!(stats.guessed_tokens > 0 || !name.starts_with("guesses from") || name.ends_with("pay"), "{name}");
        assert!(stats.paused > 0 || !name.contains("too small"), "{name}");
    }
}

/// The rule at its full width: greedy answers alone, in batches of 2 to 16, with 1 and 2 threads, in f32 and int8.
#[test]
fn greedy_answers_are_the_same_in_batches_of_every_size() {
    let count = support::number("LUBAN_FAULT_PROMPTS", 12);
    let greedy = |request: Request| Request { sampling: Sampling::GREEDY, logprobs: None, ..request };
    let spec = &decoders()[3];
    for model in [f32_model, i8_model] {
        let start = |options| Engine::start(model(spec), tokenizer(), Origin::default(), options).unwrap();
        let alone = start(EngineOptions { sequences_max: 1, prefix_cache: false, ..EngineOptions::default() });
        let one = |request| all(alone.submit(greedy(request)).unwrap());
        let expected: Vec<Vec<Event>> = requests(count).into_iter().map(one).collect();
        for sequences_max in [2, 3, 5, 8, 16] {
            for threads in [1, 2] {
                let options = EngineOptions { sequences_max, threads: Some(threads), ..EngineOptions::default() };
                let together = start(EngineOptions { queue_max: count as usize, ..options });
                let answers = together.submit_all(requests(count).into_iter().map(greedy).collect()).unwrap();
                for (index, (answer, expected)) in answers.into_iter().zip(&expected).enumerate() {
                    let place = format!("request {index}, {sequences_max} at a time, {threads} threads");
                    assert_eq!(&all(answer), expected, "{place}");
                }
            }
        }
    }
}

#[test]
fn a_drafter_must_fit() {
    let start = |drafter| {
        let speculation = Speculation { drafter, ..Speculation::default() };
        let options = EngineOptions { speculation, ..EngineOptions::default() };
        Engine::start(f32_model(&decoders()[0]), tokenizer(), Origin::default(), options).map(drop)
    };
    let other = |change: fn(&mut Spec)| {
        let mut spec = decoders().remove(0);
        change(&mut spec);
        Drafter::Model(Arc::new(f32_model(&spec)))
    };
    start(Drafter::Early(1)).unwrap();
    start(other(|spec| spec.layers = 1)).unwrap();
    assert!(start(Drafter::Early(2)).unwrap_err().to_string().contains("layers"));
    assert!(start(Drafter::Early(0)).unwrap_err().to_string().contains("layers"));
    assert!(start(other(|spec| spec.vocab = 400)).unwrap_err().to_string().contains("vocabulary"));
    assert!(start(other(|spec| spec.context = 100)).unwrap_err().to_string().contains("context"));
}

#[test]
fn answers_to_one_prompt_share_its_reading() {
    let engine = engine(EngineOptions::default());
    let prompt = tokens(5, 100, 300);
    let choice = |seed| Request {
        sampling: Sampling { temperature: 0.9, seed, ..Sampling::GREEDY },
        ..Request::greedy(prompt.clone(), 20)
    };
    let together = engine.submit_all((0..8).map(choice).collect()).unwrap();
    let found: Vec<Vec<Event>> = together.into_iter().map(all).collect();
    assert_eq!(engine.stats().prompt_tokens, 100);
    for (seed, found) in found.into_iter().enumerate() {
        assert_eq!(all(engine.submit(choice(seed as u64)).unwrap()), found);
    }
}

#[test]
fn tenants_share_no_prompts() {
    let engine = engine(EngineOptions::default());
    let ask = |tenant: &str| Request { tenant: tenant.into(), ..Request::greedy(tokens(5, 130, 300), 8) };
    let answers = ["one", "other", "one"].map(|tenant| {
        let before = engine.stats().reused_tokens;
        let answer = all(engine.submit(ask(tenant)).unwrap());
        (answer, wait_for(&engine, |stats| stats.live == 0).reused_tokens - before)
    });
    assert_eq!(answers.each_ref().map(|(_, reused)| *reused), [0, 0, 128]);
    assert!(answers.iter().all(|(answer, _)| *answer == answers[0].0));
    let mixed = vec![ask("one"), ask("other")];
    assert!(matches!(engine.submit_all(mixed), Err(Refused::Invalid { field: "tenant", .. })));
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
    let encoder = Spec::bert(24, 1, 2, 300);
    let refused = Engine::start(f32_model(&encoder), tokenizer(), Origin::default(), EngineOptions::default());
    assert!(refused.unwrap_err().to_string().contains("cannot generate text"));
    let small = Spec { vocab: 100, ..decoders().remove(0) };
    let refused = Engine::start(f32_model(&small), tokenizer(), Origin::default(), EngineOptions::default());
    assert!(refused.unwrap_err().to_string().contains("tokens"));
    let options = EngineOptions { sequences_max: 0, ..EngineOptions::default() };
    assert!(Engine::start(f32_model(&decoders()[0]), tokenizer(), Origin::default(), options).is_err());
}

#[test]
fn answers_that_keep_to_a_grammar_do_so_in_any_company() {
    let engine = engine(EngineOptions::default());
    let grammar = Arc::new(Grammar::Regex("[a-z]{2,4}(, [a-z]{2,4}){1,3}".into()));
    let ask = |seed| Request {
        grammar: Some(grammar.clone()),
        max_tokens: 100,
        sampling: Sampling { temperature: 1.0, seed, ..Sampling::GREEDY },
        ..Request::greedy(engine.encode_prompt("fn").unwrap(), 1)
    };
    let alone: Vec<String> = (0..12).map(|seed| text(&all(engine.submit(ask(seed)).unwrap()))).collect();
    for answer in &alone {
        let words: Vec<&str> = answer.split(", ").collect();
        assert!((2..=4).contains(&words.len()), "{answer}");
        let is_word = |word: &&str| (2..=4).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase());
        assert!(words.iter().all(is_word), "{answer}");
    }
    let mut requests: Vec<Request> = (0..12).map(ask).collect();
    requests.extend((0..6).map(request));
    let together = engine.submit_all(requests).unwrap();
    let found: Vec<String> = together.into_iter().take(12).map(|answer| text(&all(answer))).collect();
    assert_eq!(found, alone);
    let refused = engine.submit(Request { grammar: Some(Grammar::Regex("(".into()).into()), ..ask(0) }).unwrap_err();
    assert!(matches!(refused, Refused::Invalid { field: "grammar", .. }), "{refused}");
}

#[test]
fn several_answers_are_those_of_their_seeds() {
    let engine = engine(EngineOptions::default());
    let one = Request { sampling: Sampling { temperature: 1.0, seed: 9, ..Sampling::GREEDY }, ..request(1) };
    let together = engine.submit_all(one.clone().choices(3)).unwrap();
    let together: Vec<Vec<Event>> = together.into_iter().map(all).collect();
    let alone = |index| {
        let sampling = one.sampling.for_choice(index);
        all(engine.submit(Request { sampling, ..one.clone() }).unwrap())
    };
    for (index, events) in together.iter().enumerate() {
        assert_eq!(*events, alone(index));
    }
    assert_eq!(one.sampling.for_choice(0), one.sampling);
    assert_ne!(together[0], together[1]);
}

#[test]
fn a_wider_search_finds_likelier_answers() {
    let engine = engine(EngineOptions::default());
    let prompt = engine.encode_prompt("fn area").unwrap();
    let search = |width| {
        let search = BeamSearch { prompt: prompt.clone(), adapter: None, width, max_tokens: 6, length_penalty: 1.0 };
        engine.beam_search(&search).unwrap()
    };
    let greedy = Request { logprobs: Some(0), ..Request::greedy(prompt.clone(), 6) };
    let likeliest: Vec<u32> = all(engine.submit(greedy).unwrap())
        .iter()
        .filter_map(|event| if let Event::Token { id, .. } = event { Some(*id) } else { None })
        .collect();
    assert_eq!(search(1)[0].tokens, likeliest);
    let mut best = f32::NEG_INFINITY;
    for width in [1, 3, 10] {
        let beams = search(width);
        assert_eq!(beams.len(), width);
        assert!(beams.windows(2).all(|pair| pair[0].score >= pair[1].score));
        assert!(beams[0].score >= best - 1e-5, "{width}");
        best = beams[0].score;
        for beam in beams.iter().filter(|beam| beam.reason == FinishReason::Length) {
            // The model itself says how likely the answer is.
            let whole = [&prompt[..], &beam.tokens].concat();
            let ask = Request { prompt_logprobs: true, logprobs: Some(0), ..Request::greedy(whole, 0) };
            let Some(Event::Prompt(tokens)) = engine.submit(ask).unwrap().next() else { panic!("no scores") };
            let own = tokens[prompt.len()..].iter().map(|token| token.logprobs.as_ref().unwrap().chosen).sum::<f32>();
            assert!((own - beam.logprob).abs() < 1e-3, "{own} {}", beam.logprob);
        }
    }
    let wide = BeamSearch { prompt, adapter: None, width: 11, max_tokens: 6, length_penalty: 1.0 };
    assert!(engine.beam_search(&wide).unwrap_err().to_string().contains("width"));
}
