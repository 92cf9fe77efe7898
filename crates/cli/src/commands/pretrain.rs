//! `luban pretrain`.

use clap::Args;
use luban_flow::stages::Pretrain;

use super::stage::{self, Target};
use crate::args::Global;
use crate::output::Outcome;

/// Train a model from scratch
///
/// A corpus and a tokenizer become a model. Ctrl-C saves, and the same command goes on from there.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    stage: Pretrain,
    #[command(flatten)]
    target: Target,
}

/// Trains a model.
pub fn run(options: Options, global: &Global) -> Outcome {
    stage::run(options.stage, &options.target, global)
}
