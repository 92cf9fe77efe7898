//! The whole way once, small: from text to a served model, and everything that one asks of it on the way.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use common::{Ran, command, luban};
use serde_json::Value;

/// A quickstart of a few steps on the texts of this test.
const QUICKSTART: &[&str] = &[
    "quickstart",
    "--data",
    "texts",
    "--no-serve",
    "--threads",
    "2",
    "--set",
    "corpus.valid-share=0.2",
    "--set",
    "tokenizer.vocab-size=300",
    "--set",
    "model.steps=6",
    "--set",
    "model.width=64",
    "--set",
    "model.layers=2",
    "--set",
    "model.context=64",
    "--set",
    "model.batch=256",
];

/// Many different little texts, so that neither rules nor deduplication drop them.
fn write_texts(place: &Path) {
    let folder = place.join("texts");
    fs::create_dir_all(&folder).unwrap();
    for file in 0..60u64 {
        let line = |index: u64| {
            let number = file.wrapping_mul(2_654_435_761).wrapping_add(index.wrapping_mul(40_503)) % 100_000;
            format!("let total_{number} = first_{index}({number}) + second_{file}(\"{}\");\n", number * 7 % 911)
        };
        let text = (0..40).map(line).collect::<String>();
        fs::write(folder.join(format!("text_{file}.txt")), text).unwrap();
    }
}

#[test]
fn from_text_to_answers() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    write_texts(place);
    luban(place, QUICKSTART).good();
    second_run_does_nothing(place);
    a_change_runs_what_depends_on_it(place);
    artifacts_explain_themselves(place);
    the_model_can_be_measured_and_used(place);
    the_server_answers(place);
    damage_is_named(place);
}

/// Ctrl-C saves; the same command goes on, and ends with the very weights of a run that nobody interrupted.
#[test]
#[cfg(unix)]
fn an_interrupted_run_goes_on() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    write_texts(place);
    let long = [QUICKSTART, &["--set", "model.steps=300"]].concat();
    let whole = [&long[..], &["--out", "whole"]].concat();
    let broken = [&long[..], &["--out", "broken"]].concat();
    luban(place, &whole).good();
    let mut run = command(place).args(&broken).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    for line in lines.map_while(Result::ok) {
        if line.starts_with("step 30: validation") {
            interrupt(run.id());
        }
        said.push(line);
    }
    assert_eq!(run.wait().unwrap().code(), Some(130), "{said:?}");
    let said = said.join("\n");
    assert!(said.contains("error: stopped before the end; step"), "{said}");
    assert!(said.contains("run the same command again to go on"), "{said}");
    let on = luban(place, &broken).good();
    assert!(on.err.contains("going on after step"), "{}", on.err);
    let weights = |run: &str| fs::read(place.join(run).join("model/model.safetensors")).unwrap();
    assert!(weights("whole") == weights("broken"), "the weights differ");
}

#[cfg(unix)]
fn interrupt(process: u32) {
    let sent = std::process::Command::new("kill").args(["-INT", &process.to_string()]).status().unwrap();
    assert!(sent.success());
}

fn second_run_does_nothing(place: &Path) {
    let ran = luban(place, &[QUICKSTART, &["--json"]].concat()).good();
    let stages = ran.json()["stages"].as_array().unwrap().clone();
    assert_eq!(stages.len(), 5);
    assert!(stages.iter().all(|stage| stage["up_to_date"] == true), "{stages:?}");
    assert!(ran.err.contains("corpus: up to date"), "{}", ran.err);
}

fn a_change_runs_what_depends_on_it(place: &Path) {
    let ran = luban(place, &[QUICKSTART, &["--json", "--set", "model.seed=5"]].concat()).good();
    let run =
        ran.json()["stages"].as_array().unwrap().iter().map(|stage| stage["up_to_date"] == false).collect::<Vec<_>>();
    assert_eq!(run, [false, false, true, true, true]);
    assert!(ran.err.contains("seed was 0, is 5"), "{}", ran.err);
    // A source that changes is noticed too.
    let text = place.join("texts/text_7.txt");
    let old = fs::read(&text).unwrap();
    fs::write(&text, [old, b"let one_more = line(12345, 67890, 24680);\n".to_vec()].concat()).unwrap();
    let ran = luban(place, &[QUICKSTART, &["--json"]].concat()).good();
    assert_eq!(ran.json()["stages"][0]["up_to_date"], false, "{}", ran.err);
}

fn artifacts_explain_themselves(place: &Path) {
    let model = "luban-quickstart/model";
    let seen = luban(place, &["inspect", model, "--json"]).good().json();
    assert_eq!(seen["manifest"]["kind"], "model");
    assert_eq!(seen["model"]["spec"]["layers"], 2);
    assert_eq!(seen["signer_trusted"], true);
    assert!(luban(place, &["inspect", model]).good().out.contains("kind         model"));
    let tree = luban(place, &["lineage", "luban-quickstart/model-int8"]).good().out;
    for name in ["model-int8", "tokenizer", "corpus"] {
        assert!(tree.contains(name), "{tree}");
    }
    let verified = luban(place, &["verify", "luban-quickstart/model-int8", "--json"]).good().json();
    assert_eq!(verified["good"], true);
}

fn the_model_can_be_measured_and_used(place: &Path) {
    let figures = |model: &str| {
        luban(place, &["eval", "perplexity", model, "--data", "luban-quickstart/corpus", "--json"]).good().json()
    };
    let whole = figures("luban-quickstart/model");
    let small = figures("luban-quickstart/model-int8");
    let ratio = small["perplexity"].as_f64().unwrap() / whole["perplexity"].as_f64().unwrap();
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
    assert!(whole["bits_per_byte"].as_f64().unwrap() < 8.0);
    let file = luban(place, &["eval", "perplexity", "luban-quickstart/model", "--data", "texts/text_3.txt", "--json"]);
    assert!(file.good().json()["perplexity"].as_f64().unwrap() > 1.0);
    let generate =
        ["generate", "luban-quickstart/model-int8", "--prompt", "let total", "--max-tokens", "12", "--seed", "3"];
    let first = luban(place, &generate).good().out;
    assert_eq!(first, luban(place, &generate).good().out, "the same seed gives the same text");
    let answer = luban(place, &[&generate[..], &["--json"]].concat()).good().json();
    assert_eq!(answer["completion_tokens"], 12);
    let long = "word ".repeat(200);
    let refused = luban(place, &["generate", "luban-quickstart/model", "--prompt", &long]);
    assert!(refused.error(1).contains("context"), "{}", refused.err);
}

fn the_server_answers(place: &Path) {
    let arguments = ["serve", "luban-quickstart/model-int8", "--port", "0", "--json"];
    let mut server = command(place).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ask(&mut server)));
    server.kill().unwrap();
    server.wait().unwrap();
    outcome.unwrap();
}

fn ask(server: &mut Child) {
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let address = said["address"].as_str().unwrap();
    let body = r#"{"prompt": "let total", "max_tokens": 5, "temperature": 0}"#;
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"completion_tokens\":5"), "{answer}");
}

fn damage_is_named(place: &Path) {
    let path = place.join("luban-quickstart/corpus/train.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();
    let ran: Ran = luban(place, &["verify", "luban-quickstart/model-int8"]);
    assert!(ran.error(1).contains("tampered") && ran.err.contains("train.jsonl"), "{}", ran.err);
}
