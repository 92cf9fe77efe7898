//! Requests that make no sense: always an answer below 500, and never a word about the inside.

mod support;

use std::io::{Read, Write};

use luban_base::random::Stream;
use luban_engine::EngineOptions;
use support::{connect, parse, start, start_default};

/// Requests, unless `LUBAN_FAULT_REQUESTS` says more.
const REQUESTS: usize = 400;
const SEED: u64 = 20_260_101;

const BODIES: &[&str] = &[
    r#"{"model": "tiny-model", "prompt": "fn area", "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "n": 2, "stream": false, "logprobs": 2, "echo": true, "stop": ["\n", "x"], "seed": 7}"#,
    r#"{"prompt": [1, 2, 3], "max_tokens": 3, "stream": true, "stream_options": {"include_usage": true}}"#,
    r#"{"prompt": ["a", "b"], "max_tokens": 2, "top_k": 3, "logit_bias": {"5": 1.5}, "user": "someone", "best_of": 1, "min_p": 0.1, "dry_multiplier": 0.5, "xtc_probability": 0.5}"#,
    r##"{"prompt": "a", "max_tokens": 4, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {"a": {"enum": [1, "x", null]}, "b": {"type": "array", "items": {"$ref": "#"}, "maxItems": 3}}}}}}"##,
    r#"{"prompt": "a", "max_tokens": 4, "structured_outputs": {"regex": "(a|b)+[0-9]{2,5}x?"}}"#,
];
const PIECES: &[&str] = &[
    "null",
    "-1",
    "1e999",
    "99999999999999999999999",
    "\"\"",
    "{}",
    "[]",
    "[[]]",
    "true",
    "\u{0}",
    "\\ud800",
    "\"\\u0000\"",
    "[[[[[[[[",
    "{\"a\":",
    ",",
    "\u{feff}",
    "NaN",
    "Infinity",
    "-0",
    "1.5",
    "\"prompt\"",
    "\"max_tokens\": 4097",
    "\"n\": 1000000",
    "\"stop\": \"\"",
    "\"temperature\": -1",
];

/// Changes some bytes, or puts in something odd.
fn mutate(text: &str, random: &Stream) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in 0..=random.below_at(0, 4) {
        let at = |salt: u64, bound: usize| random.below_at(1 + change * 10 + salt, bound.max(1) as u64) as usize;
        let start = at(0, bytes.len());
        match at(1, 5) {
            0 => bytes[start] = at(2, 256) as u8,
            1 => drop(bytes.drain(start..(start + at(2, 12)).min(bytes.len()))),
            2 => bytes.truncate(start.max(1)),
            3 => drop(bytes.splice(start..start, PIECES[at(2, PIECES.len())].bytes())),
            _ => {
                let end = (start + at(2, 20)).min(bytes.len());
                let copy = bytes[start..end].repeat(1 + at(3, 3));
                drop(bytes.splice(start..start, copy));
            }
        }
        if bytes.is_empty() {
            bytes.push(b'{');
        }
    }
    bytes
}

/// Numbers in place of numbers, one field at a time.
fn with_extremes(text: &str, random: &Stream) -> Vec<u8> {
    let mut value: serde_json::Value = serde_json::from_str(text).unwrap();
    let fields: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    let field = &fields[random.below_at(0, fields.len() as u64) as usize];
    let extremes =
        ["-9223372036854775808", "18446744073709551615", "1e308", "-1e-308", "4096", "0", "[0]", "\"x\"", "{\"\":0}"];
    let extreme = extremes[random.below_at(1, extremes.len() as u64) as usize];
    value[field] = serde_json::from_str(extreme).unwrap();
    value.to_string().into_bytes()
}

fn check(status: u16, body: &str, what: &str) {
    assert!(status < 500, "{status} for {what}: {body}");
    for inside in ["panicked", ".rs:", "unwrap", "/home/", "RUST_BACKTRACE", "thread '"] {
        assert!(!body.contains(inside), "{inside:?} in {body}");
    }
}

#[test]
fn mutated_bodies_never_break_the_server() {
    let bench = start(EngineOptions { sequences_max: 4, ..EngineOptions::default() }, |_| {});
    let mut statuses = std::collections::BTreeMap::new();
    let requests = support::number("LUBAN_FAULT_REQUESTS", REQUESTS) as u64;
    for number in 0..requests {
        let random = Stream::new(SEED, &[number]);
        let text = BODIES[number as usize % BODIES.len()];
        let body = if number % 4 == 3 { with_extremes(text, &random) } else { mutate(text, &random) };
        let json = [("content-type", "application/json")];
        let reply = support::ask(bench.address(), "POST", "/v1/completions", &json, &body);
        check(reply.status, &reply.body, &String::from_utf8_lossy(&body));
        if reply.status >= 400 {
            reply.error();
        }
        *statuses.entry(reply.status).or_insert(0u64) += 1;
    }
    println!("seed {SEED}: {statuses:?}");
    assert!(statuses[&400] > requests / 4, "seed {SEED}: {statuses:?}");
    assert_eq!(bench.get("/readyz").status, 200);
}

#[test]
fn mutated_requests_never_break_the_server() {
    let bench = start(EngineOptions::default(), |options| {
        let short = std::time::Duration::from_millis(60);
        options.timeouts.first_byte = short;
        options.timeouts.headers = short;
        options.timeouts.body = short;
        options.timeouts.idle = short;
    });
    let body = r#"{"prompt": "x", "max_tokens": 1}"#;
    let whole = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    for number in 0..support::number("LUBAN_FAULT_REQUESTS", REQUESTS) as u64 / 2 {
        let bytes = mutate(&whole, &Stream::new(SEED + 1, &[number]));
        let mut stream = connect(bench.address());
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if !answer.is_empty() {
            let reply = parse(&answer);
            check(reply.status, &reply.body, &String::from_utf8_lossy(&bytes));
        }
    }
    assert_eq!(bench.get("/healthz").status, 200);
}

#[test]
fn deep_nesting_is_refused() {
    let bench = start_default();
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [100, 1000, 100_000] {
            let body = format!("{{\"prompt\": {}1{}}}", open.repeat(depth), close.repeat(depth));
            assert_eq!(bench.post("/v1/completions", &body).status, 400);
            let unknown = format!("{{\"prompt\": \"x\", \"extra\": {}1{}}}", open.repeat(depth), close.repeat(depth));
            assert!(bench.post("/v1/completions", &unknown).status <= 400);
        }
    }
    assert_eq!(bench.post("/v1/completions", "").status, 400);
    assert_eq!(bench.post("/v1/completions", "[]").status, 400);
}
