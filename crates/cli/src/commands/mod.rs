//! One file a command: it parses, calls one library function and prints. A new command is a file here, a variant of
//! [`Command`], a place in [`CONTENTS`] and an arm of [`run`].

pub mod bench;
pub mod bench_grammar;
pub mod chat;
pub mod classify;
pub mod completions;
pub mod convert;
pub mod data;
pub mod embed;
pub mod eval;
pub mod generate;
pub mod grok;
pub mod inspect;
pub mod lineage;
pub mod logits;
pub mod plan;
pub mod pretrain;
pub mod pull;
pub mod quantize;
pub mod quickstart;
pub mod run;
pub mod scale;
pub mod serve;
mod stage;
pub mod tokenizer;
pub mod verify;
pub mod watch;

use std::path::Path;

use clap::Subcommand;

use crate::args::Global;
use crate::output::{Failure, Outcome};

/// Headings and the commands under each, in the order of a model's life.
pub const CONTENTS: &[(&str, &[&str])] = &[
    ("Start here", &["quickstart", "run", "plan"]),
    ("Build", &["data build", "tokenizer train"]),
    ("Train", &["pretrain", "watch"]),
    ("See it happen", &["scale", "grok"]),
    ("Compress and evaluate", &["quantize", "convert", "eval perplexity", "eval masked", "eval logits"]),
    ("Serve and use", &["chat", "generate", "embed", "classify", "serve", "pull"]),
    ("Trust", &["inspect", "lineage", "verify"]),
    (
        "Machine",
        &[
            "bench train",
            "bench products",
            "bench curve",
            "bench limits",
            "bench tokenizer",
            "bench decode",
            "bench batch",
            "bench encode",
            "bench load",
            "bench speculation",
            "bench grammar",
            "completions",
        ],
    ),
];

/// Every command. What each does is said where its options are.
#[derive(Subcommand)]
pub enum Command {
    Quickstart(quickstart::Options),
    /// Prepare data
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Data(data::Data),
    /// Make tokenizers
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Tokenizer(tokenizer::Tokenizer),
    Pretrain(Box<pretrain::Options>),
    Watch(watch::Options),
    Scale(scale::Options),
    Grok(grok::Options),
    Run(run::Options),
    Plan(plan::Options),
    Quantize(quantize::Options),
    Convert(convert::Options),
    /// Measure models
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Eval(eval::Eval),
    Chat(Box<chat::Options>),
    Generate(Box<generate::Options>),
    Embed(embed::Options),
    Classify(classify::Options),
    Serve(serve::Options),
    Pull(pull::Options),
    Inspect(inspect::Options),
    Lineage(lineage::Options),
    Verify(verify::Options),
    /// Measure this machine
    #[command(subcommand, subcommand_required = true, arg_required_else_help = true)]
    Bench(bench::Bench),
    Completions(completions::Options),
}

/// Runs a command.
pub fn run(command: Command, global: &Global) -> Outcome {
    match command {
        Command::Quickstart(options) => quickstart::run(&options, global),
        Command::Data(data::Data::Build(options)) => data::build(options, global),
        Command::Tokenizer(tokenizer::Tokenizer::Train(options)) => tokenizer::train(options, global),
        Command::Pretrain(options) => pretrain::run(*options, global),
        Command::Watch(options) => watch::run(&options, global),
        Command::Scale(options) => scale::run(options, global),
        Command::Grok(options) => grok::run(options, global),
        Command::Run(options) => run::run(&options, global),
        Command::Plan(options) => plan::run(&options, global),
        Command::Quantize(options) => quantize::run(options, global),
        Command::Convert(options) => convert::run(&options, global),
        Command::Eval(eval::Eval::Perplexity(options)) => eval::perplexity(options, global),
        Command::Eval(eval::Eval::Masked(options)) => eval::masked(options, global),
        Command::Eval(eval::Eval::Logits(options)) => logits::run(&options, global),
        Command::Embed(options) => embed::run(&options, global),
        Command::Classify(options) => classify::run(&options, global),
        Command::Chat(options) => chat::run(&options, global),
        Command::Generate(options) => generate::run(&options, global),
        Command::Serve(options) => serve::run(options, global),
        Command::Pull(options) => pull::run(&options, global),
        Command::Inspect(options) => inspect::run(&options, global),
        Command::Lineage(options) => lineage::run(&options, global),
        Command::Verify(options) => verify::run(&options, global),
        Command::Bench(bench::Bench::Train(options)) => bench::train(&options, global),
        Command::Bench(bench::Bench::Curve(options)) => bench::curve(&options, global),
        Command::Bench(bench::Bench::Products(options)) => bench::products(&options, global),
        Command::Bench(bench::Bench::Limits(options)) => bench::limits(&options, global),
        Command::Bench(bench::Bench::Tokenizer(options)) => bench::tokenizer(&options, global),
        Command::Bench(bench::Bench::Decode(options)) => bench::decode(&options, global),
        Command::Bench(bench::Bench::Batch(options)) => bench::batch(&options, global),
        Command::Bench(bench::Bench::Encode(options)) => bench::encode(&options, global),
        Command::Bench(bench::Bench::Load(options)) => bench::load(&options, global),
        Command::Bench(bench::Bench::Speculation(options)) => bench::speculation(&options, global),
        Command::Bench(bench::Bench::Grammar(options)) => bench_grammar::run(&options, global),
        Command::Completions(options) => completions::run(&options),
    }
}

/// Reads a text file of bounded length.
pub fn read_text(path: &Path, bytes_max: u64) -> Outcome<String> {
    let fail = |why: &dyn std::fmt::Display| Failure::new(format!("cannot read {}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| fail(&error))?.len();
    if size > bytes_max {
        return Err(fail(&format!("it has {size} bytes; at most {bytes_max} are read")));
    }
    std::fs::read_to_string(path).map_err(|error| fail(&error))
}
