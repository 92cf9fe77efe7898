//! Labels of texts and scores of pairs of texts, by encoders with a head for them.

use luban_artifact::ModelFiles;
use luban_model::classification::{self, Meaning};
use luban_model::io;
use luban_text::Encoding;
use serde_json::Value;

use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::files;
use crate::serving::{Precision, ServingModel};

/// Lengths in `tokenizer_config.json` from this one up say that there is no limit.
const LENGTH_MAX: f64 = 1e9;

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// They are the scores.
    Identity,
    /// Each by itself, to a probability.
    Sigmoid,
    /// All together, to probabilities that sum to one.
    Softmax,
}

/// Classifies texts, and scores pairs of texts, as cross-encoders do.
#[derive(Debug)]
pub struct Classifier {
    encoder: Encoder,
    head: classification::Classifier,
    link: Link,
}

impl Classifier {
    /// Loads an encoder and its head.
    ///
    /// # Errors
    /// A model without a head that classifies, or damaged files.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        Self::load_as(files, Precision::Stored)
    }

    /// As [`Classifier::load`], with the f32 weights of the encoder's linear maps turned to another precision on the
    /// way.
    ///
    /// # Errors
    /// As there, and weights that cannot be turned.
    pub fn load_as(files: &ModelFiles, precision: Precision) -> Result<Self> {
        const WHAT: &str = "classify texts";
        let source = io::read(files)?;
        let head = classification::Classifier::read(&source)?.ok_or_else(|| {
            let why = "its config.json names no architecture that ends with ForSequenceClassification".to_owned();
            Error::Unsupported { what: WHAT, why }
        })?;
        let link = link(source.config(), head.meaning())?;
        let model = ServingModel::of_source(&source, precision)?;
        let encoder = Encoder::new(files, model, tokens_max(files)?, WHAT)?;
        Ok(Self { encoder, head, link })
    }

    /// The names of the labels.
    pub fn labels(&self) -> &[String] {
        self.head.labels()
    }

    /// How logits become scores.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Tokens of a text, or of a pair, that are read; the rest is cut off.
    pub fn tokens_max(&self) -> usize {
        self.encoder.tokens_max()
    }

    /// The tokens of a text, or of a pair of texts, of which the longer one is cut first.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode.
    pub fn encode(&self, text: &str, pair: Option<&str>) -> Result<Encoding> {
        let (tokenizer, limit) = (self.encoder.tokenizer(), Some(self.tokens_max()));
        let mut encoding = match pair {
            Some(pair) => tokenizer.encode_pair(text, pair, limit)?,
            None => tokenizer.encode_special(text, limit)?,
        };
        if self.encoder.spec().token_types < 2 {
            // RoBERTa's second text is told by what stands between.
            encoding.type_ids.fill(0);
        }
        Ok(encoding)
    }

    /// The logits of each text, one for each label.
    ///
    /// # Errors
    /// A text longer than [`Self::tokens_max`], or without any token; tokens that are not in the vocabulary.
    pub fn logits(&self, encodings: &[&Encoding]) -> Result<Vec<Vec<f32>>> {
        let found = self.encoder.map(encodings, |hidden| self.head.logits(hidden))?;
        let empty = || Error::Option {
            what: "the number of a text's tokens",
            found: "0".into(),
            expected: "there must be something to classify".into(),
        };
        found.into_iter().map(|logits| logits.ok_or_else(empty)).collect()
    }

    /// The score of each label, for each text: a probability, or a value where the model is for that.
    ///
    /// # Errors
    /// As [`Self::logits`].
    pub fn scores(&self, encodings: &[&Encoding]) -> Result<Vec<Vec<f32>>> {
        let mut scores = self.logits(encodings)?;
        scores.iter_mut().for_each(|scores| self.link.apply(scores));
        Ok(scores)
    }

    /// How well each document answers a query, by a cross-encoder: its one score for the pair; and how many tokens were
    /// read.
    ///
    /// # Errors
    /// A model with several labels; a text that the tokenizer cannot encode.
    pub fn rerank(&self, query: &str, documents: &[String]) -> Result<(Vec<f32>, usize)> {
        self.check_scores_pairs()?;
        let encodings = self.encoder.encode_all(documents, |document| self.encode(query, Some(document)))?;
        let tokens = encodings.iter().map(|encoding| encoding.ids.len()).sum();
        let scores = self.scores(&encodings.iter().collect::<Vec<_>>())?;
        Ok((scores.into_iter().flatten().collect(), tokens))
    }

    /// Whether it gives pairs one score.
    ///
    /// # Errors
    /// If it does not.
    pub fn check_scores_pairs(&self) -> Result<()> {
        match self.labels().len() {
            1 => Ok(()),
            labels => {
                let why = format!("it has {labels} labels; models that score pairs have one");
                Err(Error::Unsupported { what: "score pairs of texts", why })
            }
        }
    }
}

impl Link {
    /// Logits to scores.
    pub fn apply(self, logits: &mut [f32]) {
        match self {
            Self::Identity => {}
            Self::Sigmoid => logits.iter_mut().for_each(|x| *x = (1.0 / (1.0 + (-f64::from(*x)).exp())) as f32),
            Self::Softmax => {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - f64::from(most)).exp()).collect();
                let sum: f64 = powers.iter().sum();
                logits.iter_mut().zip(powers).for_each(|(x, power)| *x = (power / sum) as f32);
            }
        }
    }
}

/// What the model's configuration says of its logits: sentence-transformers names a module of PyTorch's, and otherwise
/// it follows from their meaning.
fn link(config: &Value, meaning: Meaning) -> Result<Link> {
    const NEWER: &str = "sentence_transformers";
    const OLDER: &str = "sbert_ce_default_activation_function";
    let named = config[NEWER]["activation_fn"].as_str().or(config[OLDER].as_str());
    match named.map(|name| name.rsplit('.').next().unwrap_or_default()) {
        Some("Identity") => Ok(Link::Identity),
        Some("Sigmoid") => Ok(Link::Sigmoid),
        Some(_) => {
            let what =
                format!("its scores are those of {}; this program knows Identity and Sigmoid", named.unwrap_or(""));
            Err(Error::File { file: io::CONFIG.to_owned(), what })
        }
        None => Ok(match meaning {
            Meaning::OneLabel => Link::Softmax,
            Meaning::AnyLabels => Link::Sigmoid,
            Meaning::Value => Link::Identity,
        }),
    }
}

/// The longest text by the tokenizer's configuration.
fn tokens_max(files: &ModelFiles) -> Result<Option<usize>> {
    let config = files::json(files, files::TOKENIZER_CONFIG)?;
    let length = config.and_then(|config| config["model_max_length"].as_f64());
    Ok(length.filter(|length| (1.0..LENGTH_MAX).contains(length)).map(|length| length as usize))
}
