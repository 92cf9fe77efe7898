//! `luban eval perplexity`, `luban eval masked`; `luban eval logits` is in its own file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use luban_flow::runner;
use luban_flow::stages::{EvalMasked, EvalPerplexity, Evaluation};
use serde_json::{Value, json};

use super::logits;
use super::stage::{failure, metric};
use crate::args::Global;
use crate::output::{self, Outcome};
use crate::session::{Interrupt, Session};

/// Measurements of models.
#[derive(Subcommand)]
pub enum Eval {
    Perplexity(Perplexity),
    Masked(Masked),
    Logits(logits::Options),
}

/// Perplexity and bits a byte on held-out text
///
/// Scores every token of the text in non-overlapping windows of the context's length.
#[derive(Args)]
pub struct Perplexity {
    #[command(flatten)]
    stage: EvalPerplexity,
    #[command(flatten)]
    report: Report,
}

/// The loss of hidden tokens, told from both sides
///
/// Hides 15 % of the tokens of the same windows, always the same ones, and scores them. For models that were trained
/// with --objective masked or both.
#[derive(Args)]
pub struct Masked {
    #[command(flatten)]
    stage: EvalMasked,
    #[command(flatten)]
    report: Report,
}

/// Where the figures go beside the terminal.
#[derive(Args)]
struct Report {
    /// Leave a report artifact there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Measures, and prints the figures.
pub fn perplexity(options: Perplexity, global: &Global) -> Outcome {
    measure(options.stage, &options.report, global)
}

/// Measures, and prints the figures.
pub fn masked(options: Masked, global: &Global) -> Outcome {
    measure(options.stage, &options.report, global)
}

fn measure(mut stage: impl Evaluation, report: &Report, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let context = session.context(&|_| {});
    let figures = match &report.out {
        None => stage.measure(&context),
        Some(out) => runner::run_stage(&mut stage, out, false, &context)
            .map(|outcome| outcome.artifact.map_or(Value::Null, |artifact| json!(artifact.manifest().metrics))),
    };
    session.progress.clear();
    let figures = figures.map_err(failure)?;
    if global.json {
        return output::json(&figures);
    }
    let lines = figures.as_object().into_iter().flatten().filter_map(|(name, value)| metric(name, value));
    output::text(&lines.collect::<String>())
}
