//! `luban watch`.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::Args;
use luban_serve::live::{self, Live};
use luban_train::record::{self, Ending, Snapshot};
use serde_json::{Value, json};

use crate::args::Global;
use crate::dashboard;
use crate::format::{grouped, table};
use crate::output::{self, Failure, Outcome};

/// Look at a training run, live or afterwards
///
/// Draws the loss, the speed and the rest in the terminal, from the record that the run keeps beside its model; the
/// run goes on whether anyone looks or not. Where the output is no terminal, prints where the run is and ends.
#[derive(Args, Debug)]
pub struct Options {
    /// The model that the run makes, or the folder of its record
    #[arg(value_name = "RUN", default_value = "luban-quickstart/model")]
    run: PathBuf,
    /// Show it as a page in the browser instead, at a loopback address
    #[arg(long)]
    page: bool,
    /// Port of the page; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8090, requires = "page")]
    port: u16,
}

/// Shows a run.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let folder = record::find(&options.run).ok_or_else(|| {
        Failure::new(format!("no run is recorded at {}", options.run.display()))
            .with_advice("Give the folder of the model that `luban pretrain` makes, or the .run folder beside it.")
    })?;
    // Says at once what the page or the dashboard would only say later.
    let snapshot = read(&folder)?;
    if options.page {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), options.port);
        return Ok(live::show(Run(folder), address, |address| announce(address, global.json))?);
    }
    if global.json {
        return output::json(&state(&snapshot));
    }
    if std::io::stdout().is_terminal() {
        return Ok(dashboard::show(|| Snapshot::read(&folder))?);
    }
    output::text(&describe(&snapshot))
}

fn read(folder: &Path) -> Outcome<Snapshot> {
    Snapshot::read(folder)
        .map_err(|error| Failure::new(format!("cannot read the record in {}: {error}", folder.display())))
}

fn announce(address: SocketAddr, as_json: bool) {
    let told = match as_json {
        true => output::json(&json!({ "address": format!("http://{address}") })),
        false => output::text(&format!("http://{address} shows the run. Ctrl-C ends the page, not the run.\n")),
    };
    // Nobody reads it; the page is there all the same.
    drop(told);
}

/// A run's record, as a page.
struct Run(PathBuf);

impl Run {
    fn read(&self) -> Result<Value, String> {
        Ok(Snapshot::read(&self.0).map_err(|error| format!("the record cannot be read: {error}"))?.data())
    }
}

impl Live for Run {
    fn page(&self) -> Result<String, String> {
        Ok(record::page(&self.read()?))
    }

    fn data(&self) -> Result<String, String> {
        Ok(self.read()?.to_string())
    }

    fn data_path(&self) -> &'static str {
        record::DATA_PATH
    }
}

/// Where a run is, for machines.
fn state(snapshot: &Snapshot) -> Value {
    let last = snapshot.steps().next_back();
    let validation = validation(snapshot);
    json!({
        "name": snapshot.header.name,
        "ending": snapshot.ending,
        "step": snapshot.done(),
        "steps": snapshot.header.steps_total,
        "loss": last.map(|step| step.loss),
        "learning_rate": last.map(|step| step.learning_rate),
        "gradient_norm": last.map(|step| step.gradient_norm),
        "tokens_per_second": last.map(|step| step.tokens_per_second),
        "share_of_peak": last.and_then(|step| snapshot.share_of_peak(step.tokens_per_second)),
        "memory_bytes": last.and_then(|step| step.memory),
        "validation_loss": validation.map(|measured| measured.loss),
        "bits_per_byte": validation.map(|measured| measured.bits_per_byte),
        "perplexity": validation.and_then(|measured| measured.perplexity),
        "validation_accuracy": validation.and_then(|measured| measured.accuracy),
        "seconds_left": if snapshot.ending == Ending::Running { snapshot.seconds_left() } else { None },
    })
}

/// What was last measured on held-out text.
#[derive(Clone, Copy)]
struct Measured {
    loss: f64,
    bits_per_byte: f64,
    perplexity: Option<f64>,
    accuracy: Option<f64>,
}

fn validation(snapshot: &Snapshot) -> Option<Measured> {
    snapshot.entries.iter().rev().find_map(|entry| match *entry {
        record::Entry::Validation { loss, bits_per_byte, perplexity, accuracy, .. } => {
            Some(Measured { loss, bits_per_byte, perplexity, accuracy })
        }
        _ => None,
    })
}

/// How a run ended, or that it has not, in a word or a sentence.
pub fn ending(ending: &Ending) -> String {
    match ending {
        Ending::Running => "running".to_owned(),
        Ending::Finished => "finished".to_owned(),
        Ending::StoppedEarly(why) => format!("stopped early: {why}"),
        Ending::Interrupted => "interrupted; the same command goes on from here".to_owned(),
        Ending::Failed(why) => format!("failed: {why}"),
    }
}

/// Name and value of everything that a run's figures are.
pub fn figures(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("run", ending(&snapshot.ending)),
        ("step", format!("{} of {}", grouped(snapshot.done()), grouped(snapshot.header.steps_total))),
    ];
    if let Some(step) = snapshot.steps().next_back() {
        rows.push(("loss", format!("{:.4}", step.loss)));
        if let Some(Measured { loss, bits_per_byte, perplexity, accuracy }) = validation(snapshot) {
            rows.extend([("validation loss", format!("{loss:.4}")), ("bits a byte", format!("{bits_per_byte:.4}"))]);
            rows.extend(perplexity.map(|value| ("perplexity", format!("{value:.2}"))));
            rows.extend(accuracy.map(|share| ("tokens told right", format!("{:.1} %", 100.0 * share))));
        }
        rows.extend([
            ("learning rate", format!("{:.3e}", step.learning_rate)),
            ("gradient norm", format!("{:.3}", step.gradient_norm)),
            ("tokens a second", grouped(step.tokens_per_second.round() as u64)),
        ]);
        if let Some(share) = snapshot.share_of_peak(step.tokens_per_second) {
            rows.push(("of the machine's peak", format!("{:.0} %", 100.0 * share)));
        }
        if let Some(bytes) = step.memory {
            rows.push(("memory, MB", grouped(bytes / 1_000_000)));
        }
    }
    if let (Ending::Running, Some(seconds)) = (&snapshot.ending, snapshot.seconds_left()) {
        rows.push(("time left", clock(seconds)));
    }
    rows
}

/// Hours, minutes and seconds.
fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole / 3600 {
        0 => format!("{}:{:02}", whole / 60, whole % 60),
        hours => format!("{hours}:{:02}:{:02}", whole / 60 % 60, whole % 60),
    }
}

fn describe(snapshot: &Snapshot) -> String {
    let name = vec!["model".to_owned(), snapshot.header.name.clone()];
    let rows = figures(snapshot).into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    table("ll", &std::iter::once(name).chain(rows).collect::<Vec<_>>())
}
