//! `luban eval logits`: what a model answers before anything is drawn from it, for comparison with other programs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use luban_artifact::ModelFiles;
use luban_artifact::safetensors::{self, Dtype};
use luban_engine::serving::{ServingExecutor, ServingModel};
use luban_flow::models;
use luban_model::spec::Head;
use luban_model::{Batch, forward};
use luban_text::Tokenizer;
use serde_json::{Value, json};

use crate::args::Global;
use crate::output::{self, Failure, Outcome};
use crate::session::{Interrupt, Session};

const TOKENIZER: &str = "tokenizer.json";
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

/// A tensor's name, type, shape and bytes.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// Computes and writes.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let dir = models::locate(&options.model, &session.context(&|_| {}))?;
    let files = ModelFiles::open(&dir)?;
    let prompts = read_prompts(&options.prompt_file, &files)?;
    let model = Arc::new(ServingModel::load(&files)?);
    let mut executor = ServingExecutor::new(Arc::clone(&model), None);
    let mut tensors = Vec::new();
    for (index, mut tokens) in prompts.into_iter().enumerate() {
        tokens.truncate(model.spec().context);
        tensors.extend(answer(index, &tokens, &model, &mut executor)?);
    }
    write(&options.out, &tensors)?;
    match global.json {
        true => output::json(&json!({ "out": options.out, "tensors": tensors.len() })),
        false => output::text(&format!("{}\n", options.out.display())),
    }
}

fn answer(index: usize, tokens: &[u32], model: &ServingModel, executor: &mut ServingExecutor) -> Outcome<[Tensor; 2]> {
    let hidden = forward(model.spec(), model.weights(), executor, &Batch::of([tokens]))?;
    let (name, rows) = match model.spec().head {
        Head::None => ("hidden", hidden),
        _ => ("logits", executor.logits(&hidden, &(0..tokens.len()).collect::<Vec<_>>())?),
    };
    let ids = tokens.iter().flat_map(|token| i64::from(*token).to_le_bytes()).collect();
    let values = rows.values().iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok([
        (format!("tokens_{index}"), Dtype::I64, vec![tokens.len()], ids),
        (format!("{name}_{index}"), Dtype::F32, vec![rows.rows(), rows.width()], values),
    ])
}

fn read_prompts(path: &Path, files: &ModelFiles) -> Outcome<Vec<Vec<u32>>> {
    let fail =
        |line: usize, why: &dyn std::fmt::Display| Failure::new(format!("{}, line {line}: {why}", path.display()));
    let text = super::read_text(path, PROMPTS_BYTES_MAX)?;
    let mut tokenizer = None;
    let mut prompts = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let prompt = serde_json::from_str::<Value>(line).map_err(|error| fail(index + 1, &error))?;
        let tokens = match prompt {
            Value::String(text) => {
                if tokenizer.is_none() {
                    tokenizer = Some(Tokenizer::from_json(&files.read(TOKENIZER)?)?);
                }
                tokenizer.as_ref().map(|tokenizer| tokenizer.encode(&text)).transpose()?.unwrap_or_default()
            }
            list => {
                serde_json::from_value(list).map_err(|_| fail(index + 1, &"expected a text or a list of token ids"))?
            }
        };
        if tokens.is_empty() {
            return Err(fail(index + 1, &"the prompt has no tokens"));
        }
        prompts.push(tokens);
    }
    Ok(prompts)
}

/// Writes tensors to a plain file.
pub fn write(path: &Path, tensors: &[Tensor]) -> Outcome {
    let fail = |error: std::io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    let mut out = BufWriter::new(File::create(path).map_err(fail)?);
    let views =
        tensors.iter().map(|(name, dtype, shape, bytes)| (name.clone(), *dtype, shape.clone(), bytes.as_slice()));
    safetensors::write(&mut out, &views.collect::<Vec<_>>(), &[])?;
    out.flush().map_err(fail)
}
