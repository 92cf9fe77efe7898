//! Slow, rude and vanishing clients, and the end of the server.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use luban_engine::EngineOptions;
use serde_json::json;
use support::{Bench, PATIENCE, connect, parse, request_bytes, start, start_default};

const SHORT: Duration = Duration::from_millis(150);

fn impatient() -> Bench {
    start(EngineOptions::default(), |options| {
        options.timeouts.first_byte = SHORT;
        options.timeouts.headers = 2 * SHORT;
        options.timeouts.body = 2 * SHORT;
        options.timeouts.idle = 3 * SHORT;
    })
}

/// How long until the server closes a connection, and what it said.
fn closed_after(mut stream: TcpStream) -> (Duration, Vec<u8>) {
    let start = Instant::now();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    (start.elapsed(), bytes)
}

fn between(elapsed: Duration, least: Duration) {
    assert!(elapsed >= least - Duration::from_millis(20) && elapsed < least + Duration::from_secs(20), "{elapsed:?}");
}

#[test]
fn silent_connections_are_closed() {
    let bench = impatient();
    for stream in (0..50).map(|_| connect(bench.address())).collect::<Vec<_>>() {
        let (_, said) = closed_after(stream);
        assert!(said.is_empty());
    }
    between(closed_after(connect(bench.address())).0, SHORT);
}

/// Two connections in three stay silent, or stop in the middle of their headers; those between are served.
#[test]
fn others_are_served_while_many_connections_are_slow() {
    let bench = start_default();
    let times = |count: usize| {
        let mut times: Vec<Duration> = (0..count).map(|_| time_of_a_completion(&bench)).collect();
        times.sort();
        times[count * 99 / 100]
    };
    let alone = times(100);
    let count = support::number("LUBAN_FAULT_CONNECTIONS", 200);
    let slow: Vec<TcpStream> = (0..count)
        .map(|number| {
            let mut stream = connect(bench.address());
            if number % 2 == 0 {
                stream.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nx-sl").unwrap();
            }
            stream
        })
        .collect();
    let crowded = times(100);
    println!("99 % of completions took at most {alone:?} alone, {crowded:?} beside {count} slow connections");
    // The margin is for other work on a test machine.
    assert!(crowded < 2 * alone + Duration::from_secs(2), "{crowded:?} instead of {alone:?}");
    drop(slow);
}

fn time_of_a_completion(bench: &Bench) -> Duration {
    let start = Instant::now();
    assert_eq!(bench.complete(&json!({"prompt": "fn", "max_tokens": 4, "temperature": 0})).status, 200);
    start.elapsed()
}

#[test]
fn headers_that_never_end_are_given_up() {
    let bench = impatient();
    let mut stream = connect(bench.address());
    let mut trickle = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        for byte in b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: 0123456789012345678901234567890123456789"
            .iter()
            .cycle()
        {
            if trickle.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(15));
        }
    });
    let start = Instant::now();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    between(start.elapsed(), 2 * SHORT);
}

#[test]
fn bodies_that_never_end_are_given_up() {
    let bench = impatient();
    let mut stream = connect(bench.address());
    let headers = [("content-type", "application/json"), ("content-length", "100")];
    stream.write_all(&request_bytes(bench.address(), "POST", "/v1/completions", &headers, b"{")).unwrap();
    let (elapsed, said) = closed_after(stream);
    between(elapsed, 2 * SHORT);
    assert_eq!(parse(&said).status, 408);
}

#[test]
fn idle_connections_are_kept_for_a_while() {
    let bench = impatient();
    let mut stream = connect(bench.address());
    let request = request_bytes(bench.address(), "GET", "/healthz", &[("connection", "keep-alive")], b"");
    for _ in 0..3 {
        stream.write_all(&request).unwrap();
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).unwrap();
        assert_eq!(parse(&buffer[..length]).status, 200);
        // Longer than a first byte may take.
        std::thread::sleep(SHORT + SHORT / 2);
    }
    stream.write_all(&request).unwrap();
    let (elapsed, _) = closed_after(stream);
    between(elapsed, 3 * SHORT);
}

#[test]
fn large_bodies_and_heads_are_refused() {
    let bench = start_default();
    let reply = bench.post("/v1/completions", &format!("{{\"prompt\": \"{}\"}}", "x".repeat(2 << 20)));
    assert_eq!(reply.status, 413);
    reply.error();
    let mut stream = connect(bench.address());
    let head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let _ = stream.write_all(head.as_bytes());
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..40 {
        let _ = stream.write_all(chunk.as_bytes());
    }
    assert_eq!(parse(&closed_after(stream).1).status, 413);
    let long = "x".repeat(100_000);
    assert_eq!(bench.ask("GET", "/healthz", &[("x-long", &long)], "").status, 431);
    let many: Vec<(&str, &str)> = vec![("x", "y"); 500];
    assert_eq!(bench.ask("GET", "/healthz", &many, "").status, 431);
}

#[test]
fn connections_are_bounded() {
    let bench = start(EngineOptions::default(), |options| options.connections_max = 8);
    let held: Vec<TcpStream> = (0..8).map(|_| connect(bench.address())).collect();
    std::thread::sleep(Duration::from_millis(100));
    let (_, said) = closed_after(connect(bench.address()));
    assert_eq!(parse(&said).status, 503);
    drop(held);
    let start = Instant::now();
    while closed_after_get(&bench) != 200 {
        assert!(start.elapsed() < PATIENCE);
    }
}

fn closed_after_get(bench: &Bench) -> u16 {
    bench.get("/healthz").status
}

#[test]
fn a_client_that_leaves_a_stream_stops_it() {
    let bench = start_default();
    let body = json!({"prompt": "fn", "max_tokens": 4000, "temperature": 0, "stream": true}).to_string();
    let json = [("content-type", "application/json")];
    let count = support::number("LUBAN_FAULT_LEAVERS", 20);
    for _ in 0..count {
        let mut stream = connect(bench.address());
        stream.write_all(&request_bytes(bench.address(), "POST", "/v1/completions", &json, body.as_bytes())).unwrap();
        let mut lines = BufReader::new(stream).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("data: ")));
    }
    // A token is told before the step that made it counts its sequence as live: of the last one, only its end is certain.
    let stats = bench.wait_for(|stats| stats.live == 0 && stats.cancelled == count as u64);
    assert_eq!((stats.finished, stats.blocks_free), (0, stats.blocks_total));
}

#[test]
fn a_client_that_does_not_wait_for_the_answer_stops_it() {
    let bench = start_default();
    let body = json!({"prompt": "fn", "max_tokens": 4000, "temperature": 0, "n": 2}).to_string();
    let json = [("content-type", "application/json")];
    for number in 1..=10 {
        let mut stream = connect(bench.address());
        stream.write_all(&request_bytes(bench.address(), "POST", "/v1/completions", &json, body.as_bytes())).unwrap();
        bench.wait_for(|stats| stats.live > 0);
        drop(stream);
        let stats = bench.wait_for(|stats| stats.live == 0 && stats.queued == 0);
        assert_eq!((stats.finished, stats.cancelled), (0, 2 * number));
    }
}

#[test]
fn a_silent_stream_is_kept_alive_by_comments() {
    let bench = start(EngineOptions { sequences_max: 1, ..EngineOptions::default() }, |options| {
        options.timeouts.comment = Duration::from_millis(1);
    });
    let address = bench.address();
    let json = [("content-type", "application/json")];
    let long = json!({"prompt": "fn", "max_tokens": 2000, "temperature": 0}).to_string();
    let first = std::thread::spawn(move || support::ask(address, "POST", "/v1/completions", &json, long.as_bytes()));
    bench.wait_for(|stats| stats.live == 1);
    // This one waits for its turn.
    let reply = bench.complete(&json!({"prompt": "fn", "max_tokens": 3, "stream": true}));
    assert!(reply.body.starts_with(": "), "{}", reply.body);
    assert_eq!(reply.events().last(), Some(&"[DONE]"));
    assert_eq!(first.join().unwrap().status, 200);
}

#[test]
fn a_server_that_stops_finishes_what_it_took() {
    let bench = start(EngineOptions::default(), |options| options.grace = PATIENCE);
    let address = bench.address();
    let json = [("content-type", "application/json")];
    let ask = move |body: String| {
        std::thread::spawn(move || support::ask(address, "POST", "/v1/completions", &json, body.as_bytes()))
    };
    let whole = ask(json!({"prompt": "fn", "max_tokens": 2500, "temperature": 0}).to_string());
    let stream = ask(json!({"prompt": "fn", "max_tokens": 2500, "temperature": 0, "stream": true}).to_string());
    bench.wait_for(|stats| stats.live == 2);
    let idle = connect(address);
    let stopping = std::thread::spawn(move || bench.server.shutdown());
    std::thread::sleep(Duration::from_millis(50));
    if !stopping.is_finished() {
        let late = support::ask(address, "POST", "/v1/completions", &json, br#"{"prompt": "x"}"#);
        assert!(matches!(late.status, 503), "{}", late.body);
        assert!(late.header("retry-after").is_some());
    }
    assert_eq!(whole.join().unwrap().json()["usage"]["completion_tokens"], 2500);
    assert_eq!(stream.join().unwrap().events().last(), Some(&"[DONE]"));
    stopping.join().unwrap();
    assert!(closed_after(idle).0 < PATIENCE);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn what_does_not_finish_in_time_is_told_so() {
    let bench = start(EngineOptions::default(), |options| options.grace = Duration::from_millis(50));
    let address = bench.address();
    let json = [("content-type", "application/json")];
    let ask = move |stream: bool| {
        let body = json!({"prompt": "fn", "max_tokens": 4000, "temperature": 0, "n": 8, "stream": stream}).to_string();
        std::thread::spawn(move || support::ask(address, "POST", "/v1/completions", &json, body.as_bytes()))
    };
    let (whole, stream) = (ask(false), ask(true));
    bench.wait_for(|stats| stats.live == 16);
    let start = Instant::now();
    bench.server.shutdown();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    let whole = whole.join().unwrap();
    assert_eq!(whole.status, 503);
    whole.error();
    let stream = stream.join().unwrap();
    assert!(stream.events().iter().any(|event| event.contains("\"error\"") && event.contains("shutting down")));
}
