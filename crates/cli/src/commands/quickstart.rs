//! `luban quickstart`.

use std::path::PathBuf;

use clap::Args;
use luban_flow::quickstart::{self, Changes};

use super::run::run_recipe;
use crate::args::Global;
use crate::output::Outcome;

/// From raw text to a served model, in one command
///
/// Trains a small language model from scratch and serves it: corpus, tokenizer, pre-training, quantization,
/// evaluation, serving. By default it learns from the Rust sources of the libraries that this program is made of.
/// Ctrl-C saves; a second run goes on from there, and does nothing again that is up to date.
#[derive(Args, Debug)]
pub struct Options {
    /// How long pre-training should take; the model's size follows from it and this machine's speed [default: 3]
    #[arg(long, value_name = "N")]
    pub minutes: Option<f64>,
    /// Learn from your own text, JSONL or code: a folder or a file
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Where artifacts go [default: luban-quickstart]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Stop before serving
    #[arg(long)]
    pub no_serve: bool,
    /// Decides everything that is left to chance [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Port to serve on; 0 takes a free one [default: 8080]
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// Remove the checkpoints of an interrupted run first
    #[arg(long)]
    pub fresh: bool,
    /// Change any key of the recipe, such as --set model.learning-rate=0.001; may be given several times
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the recipe and stop
    #[arg(long)]
    pub print_recipe: bool,
}

/// Runs the shipped recipe.
pub fn run(options: &Options, global: &Global) -> Outcome {
    if options.print_recipe {
        return crate::output::text(quickstart::RECIPE);
    }
    let recipe = quickstart::recipe(&Changes {
        minutes: options.minutes,
        data: options.data.clone(),
        out: options.out.clone(),
        serve: !options.no_serve,
        seed: options.seed,
        port: options.port,
        fresh: options.fresh,
        set: options.set.clone(),
    })?;
    run_recipe(&recipe, global)
}
