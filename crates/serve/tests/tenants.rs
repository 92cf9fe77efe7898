//! Tenants by their keys: turns, places in the queue, and what is remembered of prompts.

mod support;

use luban_engine::{Answer, Engine, EngineOptions, Refused, Request};
use luban_serve::ApiKeys;
use serde_json::{Value, json};
use support::{Bench, Reply, start};

const ADA: &str = "sk-ada-0123456789abcdef";
const ADA_TOO: &str = "sk-ada-another-0123456789";
const BOB: &str = "sk-bob-0123456789abcdef";
const NOBODY: &str = "sk-of-no-tenant-0123456789";
const KEYS: [(&str, &str); 4] = [("ada", ADA), ("ada", ADA_TOO), ("bob", BOB), ("", NOBODY)];

fn bench(options: EngineOptions) -> Bench {
    start(options, |options| options.keys = ApiKeys::of_tenants(KEYS).unwrap())
}

fn complete(bench: &Bench, key: &str, body: &Value) -> Reply {
    let authorization = format!("Bearer {key}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    bench.ask("POST", "/v1/completions", &headers, &body.to_string())
}

#[test]
fn no_tenant_finds_what_another_has_asked() {
    let bench = bench(EngineOptions::default());
    let prompt: Vec<u32> = (0..150).map(|token| 1 + token % 200).collect();
    let reused = |key: &str| {
        let before = bench.server.engine().stats().reused_tokens;
        let reply = complete(&bench, key, &json!({"prompt": prompt, "max_tokens": 1, "temperature": 0}));
        assert_eq!(reply.status, 200, "{}", reply.body);
        (bench.server.engine().stats().reused_tokens - before, reply.json()["choices"].clone())
    };
    let (first, answer) = reused(ADA);
    assert_eq!(first, 0);
    for (key, expected) in [(ADA, 128), (ADA_TOO, 128), (BOB, 0), (NOBODY, 0), (BOB, 128), (NOBODY, 128)] {
        assert_eq!(reused(key), (expected, answer.clone()), "{key}");
    }
}

/// Requests of a tenant until there is no place for more.
fn fill(engine: &Engine, tenant: &str) -> Vec<Answer> {
    let long = || Request {
        tenant: tenant.into(),
        ignore_end: true,
        logprobs: Some(20),
        ..Request::greedy(vec![5, 6, 7], 3000)
    };
    let mut answers = Vec::new();
    loop {
        match engine.submit(long()) {
            Ok(answer) => answers.push(answer),
            Err(Refused::QueueFull { .. }) => return answers,
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn one_tenant_neither_takes_the_places_of_all_nor_keeps_the_others_waiting() {
    let options =
        EngineOptions { sequences_max: 1, queue_max: 32, tenant_queue_max: Some(6), ..EngineOptions::default() };
    let bench = bench(options);
    let short = json!({"prompt": "fn", "max_tokens": 1});
    // A machine that is busy elsewhere may let the first answers end before the others come; then once more.
    for _ in 0..100 {
        let answers = fill(bench.server.engine(), "ada");
        let before = bench.server.engine().stats().finished;
        let refused = complete(&bench, ADA_TOO, &short);
        let served = complete(&bench, BOB, &short);
        let finished = bench.server.engine().stats().finished - before;
        assert_eq!(served.status, 200, "{}", served.body);
        let count = answers.len() as u64;
        drop(answers);
        bench.wait_for(|stats| stats.live == 0 && stats.queued == 0);
        if refused.status == 429 && finished < count - 2 {
            assert_eq!(refused.error()["code"], "queue_full");
            assert_eq!(complete(&bench, ADA, &short).status, 200);
            return;
        }
    }
    panic!("Bob's answer always came after all of Ada's");
}
