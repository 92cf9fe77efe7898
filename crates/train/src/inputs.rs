//! What a run reads: its tokenizer, its text, and the text that it is measured on.

use std::sync::Arc;

use luban_artifact::Artifact;
use luban_data::Corpus;
use luban_data::loader::{self, Loader, LoaderOptions, Split};
use luban_text::Tokenizer;

use crate::error::Result;
use crate::monitor::HeldOut;
use crate::objective::Objective;
use crate::settings::Plan;

/// Bytes of the training side, as it lies on disk.
pub(crate) fn train_bytes(corpus: &Artifact) -> u64 {
    corpus.manifest().files.get(Split::Train.file()).map_or(0, |entry| entry.size)
}

/// The tokenizer of an artifact.
pub(crate) fn open_tokenizer(artifact: &Artifact) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::from_json(&artifact.read("tokenizer.json")?)?;
    match artifact.exists("tokenizer_config.json") {
        true => Ok(tokenizer.with_config(&artifact.read("tokenizer_config.json")?)?),
        false => Ok(tokenizer),
    }
}

/// The loader that a plan asks for, at its start.
pub(crate) fn open_loader(texts: &Corpus, tokenizer: &Arc<Tokenizer>, plan: &Plan) -> Result<Loader> {
    let Plan { context: length, seed, shuffle_sequences: block_sequences, strata, .. } = *plan;
    let options = LoaderOptions { length, seed, block_sequences, strata };
    Ok(Loader::open(texts, Split::Train, Arc::clone(tokenizer), options)?)
}

/// Validation text, `bytes_max` at most, ready to be scored; empty where the corpus has none.
pub(crate) fn held_out(
    texts: &Corpus,
    tokenizer: &Tokenizer,
    plan: &Plan,
    objective: &dyn Objective,
    bytes_max: u64,
) -> Result<HeldOut> {
    let (windows, bytes) = match loader::validation_windows(texts, tokenizer, plan.context, bytes_max) {
        Ok(cut) => cut,
        // A corpus of a single document has nothing to hold out: training goes on without a measure.
        Err(luban_data::Error::TooShort { .. }) => (Vec::new(), 0),
        Err(error) => return Err(error.into()),
    };
    Ok(HeldOut::new(&windows, bytes, objective))
}
