//! The worker against a model that is a formula, so that every fault can be made to happen.

use std::time::Duration;

use luban_base::progress::Silent;
use luban_base::random::Stream;
use luban_text::{Tokenizer, TrainOptions};

use super::*;
use crate::answer::{Answer, channel};
use crate::error::Error;
use crate::inbox::QueueLimits;
use crate::request::{FinishReason, Priority, Request};
use crate::sampling::settings::Sampling;

const VOCAB: usize = 300;
/// A model that reads this token panics.
const POISON: u32 = 290;
/// After this token there are no usable logits.
const BROKEN: u32 = 291;
/// Reading this token takes a while.
const SLOW: u32 = 292;
const BLOCKS: usize = 8;

/// The next token follows from the sum of all tokens so far; a cache of those sums stands in the blocks.
struct Formula {
    cache: Vec<[u64; 64]>,
    logits: Vec<f32>,
    /// Sequences in the largest step.
    widest: usize,
    /// Tokens read.
    read: usize,
    reads: Reads,
    /// What the drafter has read, if it has a cache of its own.
    draft_cache: Vec<[u64; 64]>,
}

/// Reads a piece with a cache of sums; each token with the sum up to it.
fn sums(cache: &mut [[u64; 64]], piece: &Work<'_>, mut each: impl FnMut(usize, u32, u64)) {
    for (index, &token) in piece.tokens.iter().enumerate() {
        let position = piece.first_position + index;
        let at = |position: usize| (piece.blocks[position / 64] as usize, position % 64);
        let before = position.checked_sub(1).map_or(0, |last| cache[at(last).0][at(last).1]);
        cache[at(position).0][at(position).1] = before + u64::from(token);
        each(index, token, before + u64::from(token));
    }
}

/// The logits after a sum. The tokens with a meaning of their own never follow by themselves.
fn logits(sum: u64) -> impl Iterator<Item = f32> {
    let logit = move |id: u64| if id < 290 { ((sum * 31 + id * 17) % 251) as f32 / 25.0 } else { -100.0 };
    (0..VOCAB as u64).map(logit)
}

impl Backend for Formula {
    fn step(&mut self, work: &[Work<'_>]) -> Result<&[f32], Error> {
        self.widest = work.len().max(self.widest);
        for (index, piece) in work.iter().enumerate() {
            let end = piece.first_position + piece.tokens.len();
            let written = &piece.blocks[piece.first_position / 64..end.div_ceil(64)];
            let others = work.iter().enumerate().filter(|(other, _)| *other != index);
            let mut held = others.flat_map(|(_, other)| other.blocks);
            assert!(held.all(|block| !written.contains(block)), "a block that is written has one owner");
        }
        self.read += work.iter().map(|piece| piece.tokens.len()).sum::<usize>();
        self.logits.clear();
        for piece in work {
            sums(&mut self.cache, piece, |index, token, sum| {
                assert_ne!(token, POISON, "poisoned");
                if token == SLOW {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let last = index + 1 == piece.tokens.len();
                if piece.wanted == Wanted::All || (piece.wanted == Wanted::Last && last) {
                    self.logits.extend(logits(sum).map(|logit| if token == BROKEN { f32::NAN } else { logit }));
                }
            });
        }
        Ok(&self.logits)
    }

    /// Guesses what the formula says, but now and then something else.
    fn draft(&mut self, work: &[Work<'_>]) -> Result<&[f32], Error> {
        self.logits.clear();
        for piece in work {
            let cache = if self.reads == Reads::Itself { &mut self.draft_cache } else { &mut self.cache };
            let mut last = 0;
            sums(cache, piece, |_, _, sum| last = sum);
            match piece.wanted {
                Wanted::None => {}
                _ => self.logits.extend(logits(last + u64::from(last % 4 == 1))),
            }
        }
        Ok(&self.logits)
    }

    fn reads(&self) -> Reads {
        self.reads
    }

    fn copy_block(&mut self, from: u32, to: u32) {
        self.cache[to as usize] = self.cache[from as usize];
        self.draft_cache[to as usize] = self.draft_cache[from as usize];
    }

    fn vocab(&self) -> usize {
        VOCAB
    }
}

struct Bench {
    inbox: Arc<Inbox>,
    counters: Arc<Counters>,
    thread: std::thread::JoinHandle<()>,
}

fn tokenizer() -> Arc<Tokenizer> {
    let texts = (0..20).map(|i| format!("word{i} and some more\n"));
    let options = TrainOptions { vocab_size: 260, ..TrainOptions::default() };
    Arc::new(Tokenizer::train(texts, &options, &Silent).unwrap())
}

fn worker(step_tokens_max: usize) -> Worker<Formula> {
    guessing(step_tokens_max, Reads::Nothing, Speculation::NONE)
}

fn guessing(step_tokens_max: usize, reads: Reads, speculation: Speculation) -> Worker<Formula> {
    let cache = vec![[0; 64]; BLOCKS];
    let draft_cache = cache.clone();
    Worker::new(Parts {
        backend: Formula { cache, logits: Vec::new(), widest: 0, read: 0, reads, draft_cache },
        blocks_total: BLOCKS,
        common: Common { tokenizer: tokenizer(), ends: vec![0], context: 256, remembers: true },
        limits: Limits { sequences_max: 4, step_tokens_max, logit_rows_max: 64 },
        speculation,
        inbox: Arc::new(Inbox::new(QueueLimits { total_max: 4096, tenant_max: 4096 })),
        counters: Arc::default(),
    })
}

fn start(step_tokens_max: usize) -> Bench {
    Bench::of(worker(step_tokens_max))
}

fn ask(inbox: &Inbox, request: Request) -> Answer {
    let (reply, answer) = channel();
    inbox.submit(vec![Submission::new(request, reply)], 1).unwrap();
    answer
}

/// Works in this thread until nothing is left to do.
fn work_off(worker: &mut Worker<Formula>) {
    while worker.inbox.len() > 0 || !worker.live.is_empty() || !worker.paused.is_empty() {
        round(worker);
    }
}

fn round(worker: &mut Worker<Formula>) {
    worker.forget_abandoned();
    worker.admit();
    worker.step();
    worker.publish();
}

impl Bench {
    fn of(mut worker: Worker<Formula>) -> Self {
        let (inbox, counters) = (Arc::clone(&worker.inbox), Arc::clone(&worker.counters));
        let thread = std::thread::spawn(move || worker.run());
        Self { inbox, counters, thread }
    }

    fn ask(&self, request: Request) -> Answer {
        ask(&self.inbox, request)
    }

    /// Ends the worker; afterwards nothing may be held.
    fn end(self) -> stats::Stats {
        self.inbox.drain(Instant::now() + Duration::from_secs(60));
        self.thread.join().unwrap();
        let stats = self.counters.snapshot(0, BLOCKS);
        assert_eq!((stats.live, stats.blocks_free), (0, BLOCKS));
        stats
    }
}

fn request(number: u32) -> Request {
    let length = 1 + (number as usize * 37) % 150;
    let prompt = (0..length as u32).map(|i| 1 + (i * number + number) % 250).collect();
    let sampling = Sampling { temperature: 0.8, seed: u64::from(number), ..Sampling::GREEDY };
    Request { max_tokens: 1 + number as usize % 40, sampling, ..Request::greedy(prompt, 0) }
}

fn outcome(answer: Answer) -> (Vec<u32>, Option<FinishReason>) {
    let mut tokens = Vec::new();
    let mut reason = None;
    for event in answer {
        match event {
            Event::Token { id, .. } => tokens.push(id),
            Event::Finished { reason: why, .. } => reason = Some(why),
            Event::Prompt(_) | Event::Failed(_) => {}
        }
    }
    (tokens, reason)
}

fn alone(request: Request) -> (Vec<u32>, Option<FinishReason>) {
    let bench = start(64);
    let outcome = outcome(bench.ask(request));
    bench.end();
    outcome
}

#[test]
fn answers_in_company_equal_those_alone() {
    for step_tokens_max in [1, 7, 64, 4096] {
        let mut worker = worker(step_tokens_max);
        let answers: Vec<Answer> = (1..20).map(|number| ask(&worker.inbox, request(number))).collect();
        work_off(&mut worker);
        for (number, answer) in (1..20).zip(answers) {
            assert_eq!(outcome(answer), alone(request(number)), "request {number}, {step_tokens_max} tokens a step");
        }
        assert!(worker.backend.widest > 1, "sequences share steps");
        assert_eq!((worker.counters.snapshot(0, BLOCKS).finished, worker.blocks.free()), (19, BLOCKS));
    }
}

#[test]
fn only_the_poisoned_request_fails() {
    let tries = std::env::var("LUBAN_FAULT_POISON").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    for seed in 0..tries {
        poison_one(seed);
    }
    println!("LUBAN_FAULT_POISON={tries}");
}

/// One request among eight makes the model panic or go wrong, in its prompt.
fn poison_one(seed: u64) {
    let random = Stream::new(seed, &[]);
    let mut requests: Vec<Request> = (0..8).map(|i| request(1 + random.below_at(i, 60) as u32)).collect();
    let victim = random.below_at(8, 8) as usize;
    let last = requests[victim].prompt.len() - 1;
    let place = random.below_at(9, last as u64 + 1) as usize;
    match seed % 2 {
        0 => requests[victim].prompt[place] = POISON,
        _ => requests[victim].prompt[last] = BROKEN,
    }
    let bench = Bench::of(guessing(64, DRAFTERS[seed as usize % 3], speculation(seed % 4 < 2, true)));
    let answers: Vec<Answer> = requests.iter().map(|request| bench.ask(request.clone())).collect();
    for (index, (request, answer)) in requests.into_iter().zip(answers).enumerate() {
        let found = outcome(answer);
        if index == victim {
            assert_eq!(found.1, None, "seed {seed}");
        } else {
            assert_eq!(found, alone(request), "seed {seed}, request {index}");
        }
    }
    let stats = bench.end();
    assert_eq!((stats.finished, stats.failed), (7, 1), "seed {seed}");
}

#[test]
fn requests_that_outgrow_the_cache_take_turns_and_lose_nothing() {
    let mut worker = worker(64);
    // Each comes to hold half of the cache.
    let long = |number| Request { max_tokens: 130, prompt: vec![number; 100], ..Request::default() };
    // All are there before the first is worked on.
    let answers: Vec<Answer> = (1..7).map(|number| ask(&worker.inbox, long(number))).collect();
    work_off(&mut worker);
    for (number, answer) in (1..7).zip(answers) {
        assert_eq!(outcome(answer), alone(long(number)), "request {number}");
    }
    assert_eq!(worker.blocks.free(), BLOCKS);
    let stats = worker.counters.snapshot(0, BLOCKS);
    assert_eq!(stats.finished, 6);
    assert!(stats.paused > 0, "some lose their place");
}

#[test]
fn a_prompt_that_was_read_before_is_not_read_again() {
    let mut worker = worker(64);
    let long: Vec<u32> = (1..=150).collect();
    let mut cost = |prompt: &[u32]| {
        let before = worker.backend.read;
        let request = Request::greedy(prompt.to_vec(), 4);
        let answer = ask(&worker.inbox, request.clone());
        work_off(&mut worker);
        let found = outcome(answer);
        assert_eq!(found, alone(request));
        // The last token of an answer is not read.
        worker.backend.read - before - (found.0.len() - 1)
    };
    assert_eq!(cost(&long), 150);
    assert_eq!(cost(&long), 150 - 128);
    assert_eq!(cost(&[&long[..100], &[7; 40]].concat()), 140 - 64, "a beginning in common");
    // Of a prompt that is known to its end, the last token gives the logits: its block is copied, not read again.
    assert_eq!(cost(&long[..128]), 1);
    assert_eq!(cost(&long[..128]), 1);
    assert_eq!(worker.blocks.free(), BLOCKS);
    assert_eq!(worker.counters.snapshot(0, BLOCKS).reused_tokens, 128 + 64 + 127 + 127);
}

#[test]
fn no_block_is_given_to_another_tenant() {
    let tries = std::env::var("LUBAN_FAULT_TENANTS").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    for seed in 0..tries {
        let random = Stream::new(seed, &[1]);
        let mut worker = worker(64);
        let mut answers = Vec::new();
        for number in 0..30 {
            let (tenant, prompt) = (random.below_at(number * 4, 3), random.below_at(number * 4 + 1, 3) as u32);
            let length = 1 + random.below_at(number * 4 + 2, 200);
            let tokens: Vec<u32> = (0..length as u32).map(|i| 1 + i + prompt).collect();
            let request = Request { tenant: format!("{tenant}").into(), ..Request::greedy(tokens, 3) };
            answers.push((request.clone(), ask(&worker.inbox, request)));
            for _ in 0..random.below_at(number * 4 + 3, 4) {
                round(&mut worker);
                let holders =
                    worker.live.iter().flat_map(|one| one.blocks.iter().map(move |block| (block, one.tenant())));
                let mut holders: Vec<_> = holders.collect();
                holders.sort();
                assert!(holders.windows(2).all(|pair| pair[0].0 != pair[1].0 || pair[0].1 == pair[1].1), "seed {seed}");
            }
        }
        work_off(&mut worker);
        for (request, answer) in answers {
            assert!(outcome(answer).1.is_some(), "{request:?}");
        }
        assert!(worker.counters.snapshot(0, BLOCKS).reused_tokens > 0);
    }
    println!("LUBAN_FAULT_TENANTS={tries}");
}

#[test]
fn a_tenant_finds_nothing_that_another_left() {
    let mut worker = worker(64);
    for tenant in ["a", "b", "a"] {
        let request = Request { tenant: tenant.into(), ..Request::greedy(vec![9; 130], 2) };
        let answer = ask(&worker.inbox, request);
        work_off(&mut worker);
        drop(answer);
        let reused = worker.counters.snapshot(0, BLOCKS).reused_tokens;
        worker.counters = Arc::default();
        assert_eq!((tenant, reused > 0), (tenant, tenant == "a" && worker.tickets == 3));
    }
}

#[test]
fn a_tenant_with_one_request_does_not_wait_for_twenty_of_another() {
    let mut worker = worker(64);
    let ask = |worker: &Worker<Formula>, tenant: &str, seed: u64| {
        ask(&worker.inbox, Request { tenant: tenant.into(), ..seeded(seed, 130, 40) })
    };
    let _many: Vec<Answer> = (0..20).map(|seed| ask(&worker, "many", seed)).collect();
    round(&mut worker);
    let single = ask(&worker, "single", 0);
    while worker.live.iter().all(|sequence| &**sequence.tenant() != "single") {
        round(&mut worker);
    }
    assert!(worker.inbox.len() >= 10, "{} still wait", worker.inbox.len());
    work_off(&mut worker);
    assert_eq!(outcome(single), alone(seeded(0, 130, 40)));
}

/// Several requests with one prompt, as one submission.
fn ask_together(inbox: &Inbox, requests: Vec<Request>) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut submissions = requests.into_iter().map(|request| {
        let (reply, answer) = channel();
        answers.push(answer);
        Submission::new(request, reply)
    });
    let mut first = submissions.next().unwrap();
    first.siblings = submissions.collect();
    let count = answers.len();
    inbox.submit(vec![first], count).unwrap();
    answers
}

fn seeded(seed: u64, prompt: usize, max_tokens: usize) -> Request {
    let sampling = Sampling { temperature: 1.0, seed, ..Sampling::GREEDY };
    Request { sampling, ..Request::greedy((1..=prompt as u32).collect(), max_tokens) }
}

#[test]
fn several_answers_to_a_prompt_read_it_once() {
    for prompt in [1, 63, 64, 100, 128, 130] {
        let mut worker = worker(64);
        // More answers than may be worked on at a time.
        let requests: Vec<Request> = (0..6).map(|seed| seeded(seed, prompt, 20)).collect();
        let answers = ask_together(&worker.inbox, requests.clone());
        while worker.live.is_empty() || worker.live[0].generated() == 0 {
            round(&mut worker);
        }
        assert_eq!(worker.backend.read, prompt);
        assert_eq!((worker.live.len(), worker.paused.len()), (4, 2));
        work_off(&mut worker);
        for (request, answer) in requests.into_iter().zip(answers) {
            assert_eq!(outcome(answer), alone(request), "prompt of {prompt}");
        }
        assert_eq!((worker.blocks.free(), worker.counters.snapshot(0, BLOCKS).finished), (BLOCKS, 6));
    }
}

#[test]
fn askers_of_one_prompt_may_leave_one_by_one() {
    for leavers in 1..=3 {
        let mut worker = worker(16);
        let requests: Vec<Request> = (0..3).map(|seed| seeded(seed, 100, 10)).collect();
        let mut answers = ask_together(&worker.inbox, requests.clone());
        round(&mut worker);
        answers.drain(..leavers);
        work_off(&mut worker);
        assert!(leavers < 3 || worker.backend.read == 16, "nobody reads a prompt that nobody asks about");
        for (request, answer) in requests[leavers..].iter().zip(answers) {
            assert_eq!(outcome(answer), alone(request.clone()));
        }
        let stats = worker.counters.snapshot(0, BLOCKS);
        assert_eq!((stats.finished, stats.cancelled), (3 - leavers as u64, leavers as u64));
        assert_eq!(worker.blocks.free(), BLOCKS);
    }
}

#[test]
fn the_urgent_take_the_place_of_the_patient_who_lose_nothing() {
    let mut worker = worker(64);
    let with = |priority, seed| Request { priority, ..seeded(seed, 70, 40) };
    let patient: Vec<_> = (0..6).map(|seed| with(Priority::Batch, seed)).collect();
    let patient: Vec<_> = patient.into_iter().map(|request| (request.clone(), ask(&worker.inbox, request))).collect();
    for _ in 0..10 {
        round(&mut worker);
    }
    assert_eq!(worker.live.len(), 4);
    let urgent = with(Priority::Interactive, 9);
    let answer = ask(&worker.inbox, urgent.clone());
    round(&mut worker);
    assert!(worker.live.iter().any(|sequence| sequence.rank == Priority::Interactive), "it is worked on at once");
    work_off(&mut worker);
    assert_eq!(outcome(answer), alone(urgent));
    for (request, answer) in patient {
        assert_eq!(outcome(answer), alone(request));
    }
    assert!(worker.counters.snapshot(0, BLOCKS).paused > 0);
}

const DRAFTERS: [Reads; 3] = [Reads::Nothing, Reads::WithModel, Reads::Itself];

fn speculation(lookup: bool, always: bool) -> Speculation {
    Speculation { tokens_max: 7, lookup, always, ..Speculation::NONE }
}

#[test]
fn guesses_change_no_answer() {
    let expected: Vec<_> = (1..20).map(|number| alone(request(number))).collect();
    for reads in DRAFTERS {
        for (lookup, always, step_tokens_max) in
            [(true, true, 64), (false, true, 9), (true, false, 64), (true, true, 5)]
        {
            let bench = Bench::of(guessing(step_tokens_max, reads, speculation(lookup, always)));
            let answers: Vec<Answer> = (1..20).map(|number| bench.ask(request(number))).collect();
            for (number, (answer, expected)) in (1..20).zip(answers.into_iter().zip(&expected)) {
                assert_eq!(&outcome(answer), expected, "request {number}, {reads:?}, {lookup}, {always}");
            }
            let stats = bench.end();
            // In parts of five tokens a drafter hardly comes to the end of a prompt.
            let guesses = always && reads != Reads::Nothing && step_tokens_max > 5;
            assert_eq!((stats.finished, stats.guessed_tokens > 0 || !guesses), (19, true));
        }
    }
}

#[test]
fn right_guesses_save_steps() {
    let steps = |reads, speculation| {
        let mut worker = guessing(64, reads, speculation);
        let answer = ask(&worker.inbox, Request::greedy(vec![5; 20], 100));
        work_off(&mut worker);
        (outcome(answer), worker.counters.snapshot(0, BLOCKS).steps)
    };
    let (expected, plain) = steps(Reads::Nothing, Speculation::NONE);
    for reads in [Reads::WithModel, Reads::Itself] {
        let (found, fewer) = steps(reads, speculation(false, true));
        assert_eq!(found, expected);
        assert!(2 * fewer < plain, "{fewer} steps instead of {plain}");
    }
}

#[test]
fn draws_with_guesses_follow_the_distribution() {
    let prompt = vec![4, 4, 4, 4, 4, 4];
    let sum: u64 = prompt.iter().map(|&token| u64::from(token)).sum();
    let tries = 4000;
    for reads in DRAFTERS {
        let mut worker = guessing(64, reads, speculation(true, true));
        let mut counts = vec![0; VOCAB];
        for seed in 0..tries {
            let sampling = Sampling { temperature: 1.0, top_k: 4, seed, ..Sampling::GREEDY };
            let answer = ask(&worker.inbox, Request { sampling, ..Request::greedy(prompt.clone(), 3) });
            work_off(&mut worker);
            let tokens = outcome(answer).0;
            // The second token follows from a guess wherever the first was guessed right.
            counts[*tokens.get(1).unwrap_or(&0) as usize] += 1;
        }
        let top = |sum: u64| {
            let mut best: Vec<(usize, f64)> = logits(sum).map(f64::from).enumerate().collect();
            best.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            best.truncate(4);
            let total: f64 = best.iter().map(|(_, logit)| logit.exp()).sum();
            best.into_iter().map(move |(id, logit)| (id, logit.exp() / total))
        };
        let mut expected = vec![0.0; VOCAB];
        for (first, chance) in top(sum) {
            top(sum + first as u64).for_each(|(second, further)| expected[second] += chance * further);
        }
        let distance: f64 =
            counts.iter().zip(&expected).map(|(&count, chance)| (f64::from(count) / tries as f64 - chance).abs()).sum();
        assert!(distance < 0.1, "{reads:?}: {distance}");
    }
}

#[test]
fn what_a_poisoned_sequence_left_serves_nobody() {
    let mut worker = worker(64);
    let mut poisoned: Vec<u32> = (1..=150).collect();
    poisoned[140] = BROKEN;
    let answer = ask(&worker.inbox, Request::greedy([&poisoned[..], &[BROKEN]].concat(), 5));
    work_off(&mut worker);
    assert_eq!(outcome(answer).1, None);
    assert_eq!((worker.blocks.free(), worker.blocks.remembered()), (BLOCKS, 0));
}

#[test]
fn an_asker_that_leaves_is_forgotten_before_the_next_step() {
    let mut worker = worker(64);
    let answer = ask(&worker.inbox, Request { max_tokens: 100, prompt: vec![5; 100], ..Request::default() });
    worker.admit();
    for _ in 0..4 {
        worker.step();
    }
    assert_eq!((worker.live.len(), worker.blocks.free()), (1, BLOCKS - 2));
    drop(answer);
    worker.forget_abandoned();
    assert_eq!((worker.live.len(), worker.blocks.free()), (0, BLOCKS));
}

#[test]
fn askers_that_leave_cost_the_others_nothing() {
    let bench = start(64);
    for number in 0..100 {
        let prompt = vec![1 + number % 7, SLOW, 3];
        let mut answer = bench.ask(Request { max_tokens: 250, prompt, ..Request::default() });
        if number % 3 > 0 {
            // In the middle of the answer; otherwise before it, or in the queue.
            answer.next();
        }
        drop(answer);
    }
    let last = bench.ask(request(5));
    assert_eq!(outcome(last), alone(request(5)));
    let stats = bench.end();
    assert_eq!((stats.finished + stats.cancelled, stats.failed), (101, 0));
    // How many depends on how busy the machine is.
    assert!(stats.cancelled > 0, "all ended by themselves");
}

#[test]
fn an_engine_that_stops_says_so() {
    let bench = start(64);
    let slow = || Request { max_tokens: 200, prompt: vec![SLOW; 40], ..Request::default() };
    let answers: Vec<Answer> = (0..8).map(|_| bench.ask(slow())).collect();
    bench.inbox.drain(Instant::now() + Duration::from_millis(30));
    let ends: Vec<Event> = answers.into_iter().filter_map(Iterator::last).collect();
    assert_eq!(ends.len(), 8);
    let stated =
        |event: &Event| matches!(event, Event::Failed(_) | Event::Finished { reason: FinishReason::Cancelled, .. });
    assert!(ends.iter().all(stated), "{ends:?}");
    assert_eq!(bench.end().cancelled, 8);
}

#[test]
fn a_prompt_is_scored_in_pieces() {
    let bench = start(50);
    let prompt: Vec<u32> = (0..100).map(|i| 1 + i % 200).collect();
    let ask =
        Request { prompt_logprobs: true, logprobs: Some(2), prompt: prompt.clone(), ..Request::greedy(vec![], 0) };
    let events: Vec<Event> = bench.ask(ask).collect();
    let [Event::Prompt(tokens), Event::Finished { reason: FinishReason::Length, usage, .. }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (100, 0));
    assert_eq!(tokens.iter().map(|token| token.id).collect::<Vec<_>>(), prompt);
    assert!(tokens[0].logprobs.is_none());
    for token in &tokens[1..] {
        let logprobs = token.logprobs.as_ref().unwrap();
        assert!(logprobs.top.len() == 2 && logprobs.chosen <= logprobs.top[0].1 && logprobs.chosen < 0.0);
    }
    bench.end();
}

#[test]
fn the_context_ends_an_answer() {
    let bench = start(64);
    let (tokens, reason) = outcome(bench.ask(Request { max_tokens: 256, prompt: vec![3; 256], ..Request::default() }));
    // The last position predicts one more token, which needs no position of its own.
    assert!(tokens.len() <= 1 && reason.is_some());
    bench.end();
}
