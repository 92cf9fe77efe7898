//! `luban eval logits`: what a model answers before anything is drawn from it, for comparison with other programs.

use std::path::{Path, PathBuf};

use clap::Args;
use luban_artifact::ModelFiles;
use luban_eval::logits::{self, Prompt};
use luban_flow::models;
use serde_json::json;

use crate::args::Global;
use crate::output::{self, Failure, Outcome};
use crate::session::{Interrupt, Session};

/// Longest file of prompts.
const PROMPTS_BYTES_MAX: u64 = 64 << 20;

/// Logits of given prompts, for comparison with other programs
///
/// Runs prompts through a model and writes, for the N-th, `tokens_N` and `logits_N` (tokens x vocabulary), or
/// `hidden_N` of a model without a head, to a safetensors file. Prompts longer than the context are cut.
#[derive(Args, Debug)]
pub struct Options {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Prompts, one a line in JSON: a text, or a list of token ids
    #[arg(long, value_name = "FILE")]
    pub prompt_file: PathBuf,
    /// Where the tensors go
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// Computes and writes.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let dir = models::locate(&options.model, &session.context(&|_| {}))?;
    let prompts = read_prompts(&options.prompt_file)?;
    logits::dump(&ModelFiles::open(&dir)?, &prompts, &options.out)?;
    match global.json {
        true => output::json(&json!({ "out": options.out, "prompts": prompts.len() })),
        false => output::text(&format!("{}\n", options.out.display())),
    }
}

fn read_prompts(path: &Path) -> Outcome<Vec<Prompt>> {
    let text = super::read_text(path, PROMPTS_BYTES_MAX)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| {
            serde_json::from_str(line).map_err(|_| {
                let expected = "expected a text in quotes, or a list of token ids";
                Failure::new(format!("{}, line {}: {expected}", path.display(), index + 1))
            })
        })
        .collect()
}
