//! `luban embed`.

use std::path::PathBuf;

use clap::Args;
use luban_artifact::ModelFiles;
use luban_artifact::safetensors::{self, Dtype};
use luban_base::atomic;
use luban_engine::Embedder;
use luban_flow::models;
use serde_json::json;

use crate::args::Global;
use crate::output::{self, Outcome};
use crate::session::{Interrupt, Session};

/// Longest file of texts.
const TEXTS_BYTES_MAX: u64 = 256 << 20;

/// Turn texts into vectors
///
/// Turns each line of a file into a vector, with an encoder such as minilm-l6-v2. Texts that mean the same lie close
/// together: their vectors have length 1, and their product is the cosine of the angle between them.
#[derive(Args, Debug)]
pub struct Options {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Texts, one a line
    #[arg(long, value_name = "FILE")]
    pub texts: PathBuf,
    /// Write `embeddings` (texts x width) to a safetensors file, instead of one JSON list a line to standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Embeds.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let dir = models::locate(&options.model, &session.context(&|_| {}))?;
    session.progress.clear();
    let texts = super::read_text(&options.texts, TEXTS_BYTES_MAX)?.lines().map(str::to_owned).collect::<Vec<_>>();
    let embedder = Embedder::load(&ModelFiles::open(&dir)?)?;
    let embeddings = embedder.embed(&texts)?;
    let Some(out) = &options.out else {
        return embeddings.iter().try_for_each(|embedding| output::json(&json!(embedding)));
    };
    let bytes: Vec<u8> = embeddings.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = ("embeddings".to_owned(), Dtype::F32, vec![texts.len(), embedder.width()], &bytes[..]);
    let mut file = Vec::new();
    safetensors::write(&mut file, &[tensor], &[("format", "pt")])?;
    atomic::write_file(out, &file)?;
    match global.json {
        true => output::json(&json!({ "out": out, "texts": texts.len(), "width": embedder.width() })),
        false => output::text(&format!("{}\n", out.display())),
    }
}
