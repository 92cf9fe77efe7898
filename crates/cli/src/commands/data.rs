//! `luban data build`.

use clap::{Args, Subcommand};
use luban_flow::stages::DataBuild;

use super::stage::{self, Target};
use crate::args::Global;
use crate::output::Outcome;

/// Commands on data.
#[derive(Subcommand)]
pub enum Data {
    Build(Build),
}

/// Build a corpus: read sources, filter, remove duplicates, split
///
/// Text, JSONL or code becomes a corpus artifact with a report of what was kept and why the rest was not.
#[derive(Args)]
pub struct Build {
    #[command(flatten)]
    stage: DataBuild,
    #[command(flatten)]
    target: Target,
}

/// Builds a corpus.
pub fn build(options: Build, global: &Global) -> Outcome {
    stage::run(options.stage, &options.target, global)
}
