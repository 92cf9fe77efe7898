//! What a run reads: its tokenizer, its text, and the text that it is measured on.

use std::sync::Arc;

use luban_artifact::Artifact;
use luban_data::Corpus;
use luban_data::loader::{self, Loader, LoaderOptions, Mixture, Split};
use luban_text::Tokenizer;

use crate::choose::{shuffle_sequences, strata};
use crate::error::{Error, Result};
use crate::monitor::HeldOut;
use crate::objective::Objective;
use crate::settings::{Mixed, Plan, PretrainOptions};

/// What a run is made from.
#[derive(Clone, Copy, Debug)]
pub struct Materials<'a> {
    /// What it learns from and is measured on.
    pub corpus: &'a Artifact,
    /// What else it learns from; [`PretrainOptions::mix`] has the share of each.
    pub mix: &'a [Artifact],
    /// The tokenizer.
    pub tokenizer: &'a Artifact,
}

impl Materials<'_> {
    /// Opens the corpora, the first one first.
    pub(crate) fn corpora(&self) -> Result<Vec<Corpus>> {
        std::iter::once(self.corpus).chain(self.mix).map(|corpus| Ok(Corpus::open(corpus)?)).collect()
    }

    /// Whether there are as many further corpora as shares.
    pub(crate) fn check(&self, options: &PretrainOptions) -> Result<()> {
        let (found, expected) = (self.mix.len(), options.mix.len());
        match found == expected {
            true => Ok(()),
            false => Err(Error::Setting {
                name: "mix",
                found: format!("{expected} shares"),
                expected: format!("one for each of {found} further corpora"),
            }),
        }
    }

    /// How a run of so many tokens reads the further corpora.
    pub(crate) fn mixed(&self, options: &PretrainOptions, tokens: u64) -> Vec<Mixed> {
        let mut mixed: Vec<Mixed> = Vec::new();
        for (corpus, &share) in self.mix.iter().zip(&options.mix) {
            let folder = corpus.dir().file_name().unwrap_or_default().to_string_lossy().into_owned();
            let like = mixed.iter().filter(|other| other.name.starts_with(&folder)).count();
            let name = if like == 0 { folder } else { format!("{folder}-{}", like + 1) };
            let strata = strata(tokens as f64 * share, train_bytes(corpus));
            mixed.push(Mixed { name, share, strata });
        }
        mixed
    }
}

/// Bytes of the training side, as it lies on disk.
pub(crate) fn train_bytes(corpus: &Artifact) -> u64 {
    corpus.manifest().files.get(Split::Train.file()).map_or(0, |entry| entry.size)
}

/// Text of which [`bytes_per_token`] counts the tokens, in bytes.
const SAMPLE_BYTES: usize = 64 << 10;

/// Bytes of a corpus's text for each token, by its first documents.
pub(crate) fn bytes_per_token(texts: &Corpus, tokenizer: &Tokenizer) -> Result<f64> {
    let (mut bytes, mut tokens) = (0, 0);
    for document in texts.documents(Split::Train)? {
        let text = document?.text;
        let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES - bytes)];
        tokens += tokenizer.encode_ordinary(sample)?.len();
        bytes += sample.len();
        // What is left may be less than a character.
        if bytes + 4 > SAMPLE_BYTES {
            break;
        }
    }
    Ok(bytes as f64 / tokens.max(1) as f64)
}

/// The tokenizer of an artifact.
pub(crate) fn open_tokenizer(artifact: &Artifact) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::from_json(&artifact.read("tokenizer.json")?)?;
    match artifact.exists("tokenizer_config.json") {
        true => Ok(tokenizer.with_config(&artifact.read("tokenizer_config.json")?)?),
        false => Ok(tokenizer),
    }
}

/// The loaders that a plan asks for, at their start.
pub(crate) fn open_loader(texts: &[Corpus], tokenizer: &Arc<Tokenizer>, plan: &Plan) -> Result<Mixture> {
    let Plan { context: length, seed, shuffle_sequences: block_sequences, strata, .. } = *plan;
    let first = (LoaderOptions { length, seed, block_sequences, strata }, plan.first_share());
    let others = plan.mix.iter().map(|mixed| {
        let Mixed { share, strata, .. } = *mixed;
        (LoaderOptions { length, seed, block_sequences: shuffle_sequences(strata), strata }, share)
    });
    let loaders = texts.iter().zip(std::iter::once(first).chain(others)).map(|(texts, (options, share))| {
        Ok((Loader::open(texts, Split::Train, Arc::clone(tokenizer), options)?, share))
    });
    Ok(Mixture::new(loaders.collect::<Result<_>>()?))
}

/// Validation text, `bytes_max` at most of each corpus, ready to be scored; empty where the first has none.
pub(crate) fn held_out(
    texts: &[Corpus],
    tokenizer: &Tokenizer,
    plan: &Plan,
    objective: &dyn Objective,
    bytes_max: u64,
) -> Result<HeldOut> {
    let cut = |texts| match loader::validation_windows(texts, tokenizer, plan.context, bytes_max) {
        Ok(cut) => Ok(cut),
        // A corpus of a single document has nothing to hold out: training goes on without a measure.
        Err(luban_data::Error::TooShort { .. }) => Ok((Vec::new(), 0)),
        Err(error) => Err(Error::from(error)),
    };
    let (windows, bytes) = cut(&texts[0])?;
    let mut held_out = HeldOut::new(&windows, bytes, objective);
    for (texts, mixed) in texts[1..].iter().zip(&plan.mix) {
        held_out.push_other(&mixed.name, &cut(texts)?.0, objective);
    }
    Ok(held_out)
}
