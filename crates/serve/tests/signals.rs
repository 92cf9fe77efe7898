//! The server as a process: asked to stop, it drains. Alone in its file, since signals go to the whole process.
#![cfg(unix)]

mod support;

use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use luban_engine::EngineOptions;
use luban_serve::{ServeOptions, serve};
use serde_json::json;
use support::PATIENCE;

#[test]
fn sigterm_drains() {
    for _ in 0..support::number("LUBAN_FAULT_STOPS", 2) {
        drain_once();
    }
}

fn drain_once() {
    let (engine, _folder) = support::engine(EngineOptions::default());
    let address = "127.0.0.1:0".parse().unwrap();
    let options = ServeOptions { address, grace: PATIENCE, ..ServeOptions::default() };
    let (ready, address) = mpsc::channel();
    let serving = std::thread::spawn(move || serve(engine, options, |address| ready.send(address).unwrap()));
    let address = address.recv_timeout(Duration::from_secs(60)).unwrap();
    let body = json!({"prompt": "fn", "max_tokens": 3000, "temperature": 0, "stream": true}).to_string();
    let asking = std::thread::spawn(move || {
        support::ask(address, "POST", "/v1/completions", &[("content-type", "application/json")], body.as_bytes())
    });
    while !support::ask(address, "GET", "/metrics", &[], b"").body.contains("luban_sequences 1") {
        assert!(!asking.is_finished());
    }
    assert!(Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status().unwrap().success());
    assert_eq!(asking.join().unwrap().events().last(), Some(&"[DONE]"));
    serving.join().unwrap().unwrap();
}
