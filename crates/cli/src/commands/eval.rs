//! `luban eval perplexity`; `luban eval logits` is in its own file.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use luban_flow::runner;
use luban_flow::stages::EvalPerplexity;
use serde_json::{Value, json};

use super::logits;
use super::stage::{self, failure};
use crate::args::Global;
use crate::output::{self, Outcome};
use crate::session::{Interrupt, Session};

/// Measurements of models.
#[derive(Subcommand)]
pub enum Eval {
    Perplexity(Perplexity),
    Logits(logits::Options),
}

/// Perplexity and bits a byte on held-out text
///
/// Scores every token of the text in non-overlapping windows of the context's length.
#[derive(Args)]
pub struct Perplexity {
    #[command(flatten)]
    stage: EvalPerplexity,
    /// Leave a report artifact there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Measures, and prints the figures.
pub fn perplexity(mut options: Perplexity, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let context = session.context(&|_| {});
    let figures = match &options.out {
        None => options.stage.measure(&context).map(|figures| json!(figures)),
        Some(out) => runner::run_stage(&mut options.stage, out, false, &context)
            .map(|outcome| outcome.artifact.map_or(Value::Null, |artifact| json!(artifact.manifest().metrics))),
    };
    session.progress.clear();
    let figures = figures.map_err(failure)?;
    if global.json {
        return output::json(&figures);
    }
    let lines = figures.as_object().into_iter().flatten().filter_map(|(name, value)| stage::metric(name, value));
    output::text(&lines.collect::<String>())
}
