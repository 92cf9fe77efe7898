//! What the commands that run one stage have in common.

use std::path::PathBuf;

use clap::Args;
use luban_artifact::Artifact;
use luban_flow::stage::Stage;
use luban_flow::{Error, runner};
use serde_json::{Value, json};

use crate::args::Global;
use crate::format::{bytes, count, duration, grouped};
use crate::output::{self, Failure, Outcome};
use crate::session::{Interrupt, Session};

/// Where an artifact goes.
#[derive(Args, Debug)]
pub struct Target {
    /// Where the artifact goes
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Run again even if what stands there is up to date
    #[arg(long)]
    pub again: bool,
}

/// Runs a stage and prints what it made.
pub fn run<S: Stage>(stage: S, target: &Target, global: &Global) -> Outcome {
    run_and(stage, target, global, |_| Ok(String::new()))
}

/// Runs a stage and prints what it made, and after it for a person what `more` says of it.
pub fn run_and<S: Stage>(
    mut stage: S,
    target: &Target,
    global: &Global,
    more: impl Fn(&Artifact) -> Outcome<String>,
) -> Outcome {
    let session = Session::open(global, Interrupt::Asks)?;
    let outcome = runner::run_stage(&mut stage, &target.out, target.again, &session.context(&|_| {}));
    session.progress.clear();
    let outcome = outcome.map_err(failure)?;
    match (global.json, &outcome.artifact) {
        (true, _) => output::json(&outcome_json(&outcome)),
        (false, Some(artifact)) => output::text(&(describe(artifact, &outcome) + &more(artifact)?)),
        (false, None) => Ok(()),
    }
}

/// A failed stage in words; an interruption says how to go on.
pub fn failure(error: Error) -> Failure {
    match interruption(&error) {
        Some(kept) => {
            let kept = kept.map(|kept| format!("; {kept}")).unwrap_or_default();
            Failure::interrupted(format!("stopped before the end{kept}"))
                .with_advice("run the same command again to go on from there")
        }
        None => Failure::from(error),
    }
}

fn interruption(error: &Error) -> Option<Option<&str>> {
    match error {
        Error::Interrupted { kept } => Some(kept.as_deref()),
        Error::Stage { source, .. } => interruption(source),
        _ => None,
    }
}

/// What became of a stage, for machines.
pub fn outcome_json(outcome: &runner::Outcome) -> Value {
    let mut value = json!({
        "name": outcome.name,
        "stage": outcome.stage,
        "up_to_date": outcome.up_to_date,
        "seconds": outcome.seconds,
    });
    if let Some(artifact) = &outcome.artifact {
        let manifest = artifact.manifest();
        value["dir"] = json!(artifact.dir());
        value["kind"] = json!(manifest.kind);
        value["digest"] = json!(artifact.digest().to_string());
        value["bytes"] = json!(manifest.files.values().map(|entry| entry.size).sum::<u64>());
        value["metrics"] = json!(manifest.metrics);
    }
    value
}

fn describe(artifact: &Artifact, outcome: &runner::Outcome) -> String {
    let manifest = artifact.manifest();
    let size = manifest.files.values().map(|entry| entry.size as f64).sum::<f64>();
    let when = match outcome.up_to_date {
        true => "up to date".to_owned(),
        false => format!("made in {}", duration(outcome.seconds)),
    };
    let mut text = format!("{}: a {} of {}, {when}\n", artifact.dir().display(), manifest.kind, bytes(size));
    for (name, value) in &manifest.metrics {
        if let Some(line) = metric(name, value) {
            text += &line;
        }
    }
    text
}

/// The figures of an artifact that one wants to see first, in one line.
pub fn summary(artifact: &Artifact) -> String {
    let metrics = &artifact.manifest().metrics;
    let real = |name: &str| metrics.get(name).and_then(Value::as_f64);
    let phrases = [
        real("train_bytes").map(|value| format!("{} of training text", bytes(value))),
        real("vocab_size").map(|value| format!("{} tokens", grouped(value as u64))),
        real("parameters").map(|value| format!("{} parameters", count(value))),
        real("compression_ratio").map(|value| format!("{value:.2} times smaller")),
        real("perplexity").map(|value| format!("perplexity {value:.2}")),
        real("perplexity_before").map(|value| format!("{value:.2} before")),
        real("bits_per_byte").map(|value| format!("{value:.3} bits a byte")),
    ];
    phrases.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// A line for a metric that has one value.
pub fn metric(name: &str, value: &Value) -> Option<String> {
    let shown = match value {
        Value::Number(number) => match number.as_f64() {
            Some(real) if number.is_f64() => format!("{real:.4}"),
            _ => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        _ => return None,
    };
    Some(format!("  {name}: {shown}\n"))
}
