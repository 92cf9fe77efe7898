//! `luban quantize`.

use clap::Args;
use luban_flow::stages::Quantize;

use super::stage::{self, Target};
use crate::args::Global;
use crate::output::Outcome;

/// Make a model smaller, with a quality report
///
/// Weights become integers; the report says what that costs.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    stage: Quantize,
    #[command(flatten)]
    target: Target,
}

/// Quantizes a model.
pub fn run(options: Options, global: &Global) -> Outcome {
    stage::run(options.stage, &options.target, global)
}
