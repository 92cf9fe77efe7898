//! `luban tokenizer train`.

use clap::{Args, Subcommand};
use luban_flow::stages::TokenizerTrain;

use super::stage::{self, Target};
use crate::args::Global;
use crate::output::Outcome;

/// Commands on tokenizers.
#[derive(Subcommand)]
pub enum Tokenizer {
    Train(Train),
}

/// Train a tokenizer on a corpus
///
/// Byte-level BPE, or with --kind characters a token for each character. A corpus becomes a tokenizer artifact that Hugging Face's AutoTokenizer loads too.
#[derive(Args)]
pub struct Train {
    #[command(flatten)]
    stage: TokenizerTrain,
    #[command(flatten)]
    target: Target,
}

/// Trains a tokenizer.
pub fn train(options: Train, global: &Global) -> Outcome {
    stage::run(options.stage, &options.target, global)
}
