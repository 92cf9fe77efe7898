//! `luban convert`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use luban_artifact::ModelFiles;
use luban_flow::{convert, models};
use luban_kernels::blocks::BlockFormat;
use serde_json::json;

use crate::args::Global;
use crate::format::bytes;
use crate::output::{self, Outcome};
use crate::session::{Interrupt, Session};

/// Write a model in another file format
///
/// Writes a model as one GGUF file with its tokenizer and chat template, which llama.cpp and programs that are built on
/// it read, and this one too.
#[derive(Args, Debug)]
pub struct Options {
    /// The model: a folder, a GGUF file, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// What it becomes
    #[arg(long, value_enum, default_value_t = To::Gguf)]
    pub to: To,
    /// Numbers of the weights: f32, f16, bf16, q8_0, q6_k, q5_k, q5_1, q5_0, q4_k, q4_1, q4_0, q3_k or q2_k. When not
    /// given, blocks of a GGUF file stay as they are, and other weights become f16
    #[arg(long, value_name = "NAME", value_parser = format)]
    pub format: Option<BlockFormat>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// File formats to write.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum To {
    /// GGUF.
    Gguf,
}

fn format(name: &str) -> Result<BlockFormat, String> {
    let known = || {
        let written = BlockFormat::ALL.into_iter().filter(|format| format.is_written());
        format!("expected one of {}", written.map(|format| format.name().to_lowercase()).collect::<Vec<_>>().join(", "))
    };
    name.parse().ok().filter(|format: &BlockFormat| format.is_written()).ok_or_else(known)
}

/// Converts.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let To::Gguf = options.to;
    let path = models::locate(&options.model, &session.context(&|_| {}))?;
    let converted = convert::to_gguf(&ModelFiles::open(&path)?, options.format, &options.out, &session.progress);
    session.progress.clear();
    let converted = converted?;
    if global.json {
        return output::json(&json!({
            "out": options.out,
            "bytes": converted.bytes,
            "bits_per_weight": converted.bits_per_weight,
            "same_tokens": converted.same_tokens,
        }));
    }
    let note = match converted.same_tokens {
        true => "",
        false => {
            "note: GGUF has no name for the way in which this tokenizer cuts words; the nearest was written, with which \
             some texts get other tokens\n"
        }
    };
    output::text(&format!(
        "{}\n{}, {:.2} bits per weight\n{note}",
        options.out.display(),
        bytes(converted.bytes as f64),
        converted.bits_per_weight
    ))
}
