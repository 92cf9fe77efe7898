//! Sentence embeddings by encoders.

use luban_artifact::ModelFiles;
use luban_artifact::gguf::Value as GgufValue;
use luban_model::classification::mean;
use luban_text::Encoding;
use serde_json::Value;

use crate::encoder::Encoder;
use crate::error::{Error, Result};
use crate::files;
use crate::serving::Precision;

const MODULES: &str = "modules.json";
const SENTENCE_CONFIG: &str = "sentence_bert_config.json";
const POOLING_DEFAULT: &str = "1_Pooling";

/// Which of a text's hidden states become its embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first one's, `[CLS]`.
    Cls,
}

/// Turns texts into vectors.
#[derive(Debug)]
pub struct Embedder {
    encoder: Encoder,
    pooling: Pooling,
    normalize: bool,
}

impl Embedder {
    /// Loads an encoder. How its hidden states become an embedding stands in the files of sentence-transformers
    /// where there are any; otherwise it is their mean, scaled to length 1.
    ///
    /// # Errors
    /// A folder without an encoder, damaged files, or a kind of pooling that this program does not know.
    pub fn load(files: &ModelFiles) -> Result<Self> {
        Self::load_as(files, Precision::Stored)
    }

    /// As [`Embedder::load`], with the f32 weights of linear maps turned to another precision on the way.
    ///
    /// # Errors
    /// As there, and weights that cannot be turned.
    pub fn load_as(files: &ModelFiles, precision: Precision) -> Result<Self> {
        let (pooling, normalize) = pooling(files)?;
        let limit = files::json(files, SENTENCE_CONFIG)?.and_then(|config| config["max_seq_length"].as_u64());
        let limit = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Self { encoder: Encoder::load(files, precision, limit, "embed texts")?, pooling, normalize })
    }

    /// Elements of an embedding.
    pub fn width(&self) -> usize {
        self.encoder.spec().width
    }

    /// Tokens of a text that are read; the rest is cut off.
    pub fn tokens_max(&self) -> usize {
        self.encoder.tokens_max()
    }

    /// Entries of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.encoder.spec().vocab
    }

    /// The tokens of a text, cut at [`Self::tokens_max`].
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode.
    pub fn encode(&self, text: &str) -> Result<Encoding> {
        Ok(self.encoder.tokenizer().encode_special(text, Some(self.tokens_max()))?)
    }

    /// The tokens of each text, as [`Self::encode`] gives them, found by all threads.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode.
    pub fn encode_all(&self, texts: &[String]) -> Result<Vec<Encoding>> {
        self.encoder.encode_all(texts, |text| self.encode(text))
    }

    /// The embedding of each text.
    ///
    /// # Errors
    /// A text that the tokenizer cannot encode.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let encodings = self.encode_all(texts)?;
        self.embed_encodings(&encodings.iter().collect::<Vec<_>>())
    }

    /// The embedding of each text that [`Self::encode`] turned into tokens.
    ///
    /// # Errors
    /// A text longer than [`Self::tokens_max`], or tokens that are not in the vocabulary.
    pub fn embed_encodings(&self, encodings: &[&Encoding]) -> Result<Vec<Vec<f32>>> {
        // A text without tokens has nothing to pool.
        let empty = || vec![0.0; self.width()];
        let pooled = self.encoder.map(encodings, |hidden| self.pool(hidden))?;
        Ok(pooled.into_iter().map(|found| found.unwrap_or_else(empty)).collect())
    }

    /// One text's hidden states, tokens × width, to its embedding.
    fn pool(&self, hidden: &[f32]) -> Vec<f32> {
        let width = self.width();
        let mut pooled = match self.pooling {
            Pooling::Cls => hidden[..width].to_vec(),
            Pooling::Mean => mean(hidden, width),
        };
        if self.normalize {
            let length = pooled.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt().max(1e-12);
            pooled.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
        }
        pooled
    }
}

/// How to pool and whether to normalise, by the files of sentence-transformers or by a GGUF file, whose embeddings are
/// scaled to length 1.
pub(crate) fn pooling(files: &ModelFiles) -> Result<(Pooling, bool)> {
    if let Some(gguf) = files.gguf()? {
        let key = format!("{}.pooling_type", gguf.text("general.architecture")?);
        return match gguf.get(&key).map(GgufValue::as_u64) {
            None | Some(Some(1)) => Ok((Pooling::Mean, true)),
            Some(Some(2)) => Ok((Pooling::Cls, true)),
            Some(_) => Err(gguf.wrong(&key, "1 (mean) or 2 (first token)").into()),
        };
    }
    let modules = files::json(files, MODULES)?;
    let kinds: Vec<(&str, &str)> = modules.iter().flat_map(Value::as_array).flatten().map(module).collect();
    if let Some((kind, _)) = kinds.iter().find(|(kind, _)| !["Transformer", "Pooling", "Normalize"].contains(kind)) {
        let why = format!("{MODULES} has a part of the kind {kind:?}, which this program does not know");
        return Err(Error::Unsupported { what: "embed texts", why });
    }
    let folder = kinds.iter().find(|(kind, _)| *kind == "Pooling").map_or(POOLING_DEFAULT, |(_, path)| path);
    let name = format!("{folder}/config.json");
    let pooling = match files::json(files, &name)? {
        Some(config) => pooling_of(&config, &name)?,
        None => Pooling::Mean,
    };
    let normalize = modules.is_none() || kinds.iter().any(|(kind, _)| *kind == "Normalize");
    Ok((pooling, normalize))
}

/// The last part of a module's type, and its folder.
fn module(module: &Value) -> (&str, &str) {
    let kind = module["type"].as_str().unwrap_or_default();
    (kind.rsplit('.').next().unwrap_or_default(), module["path"].as_str().unwrap_or_default())
}

fn pooling_of(config: &Value, name: &str) -> Result<Pooling> {
    const MODE: &str = "pooling_mode_";
    let fields = config.as_object().into_iter().flatten();
    let chosen = fields.filter(|(key, value)| key.starts_with(MODE) && **value == Value::Bool(true));
    match chosen.map(|(key, _)| &key[MODE.len()..]).collect::<Vec<_>>()[..] {
        ["mean_tokens"] => Ok(Pooling::Mean),
        ["cls_token"] => Ok(Pooling::Cls),
        ref other => {
            let why = format!("{name} asks for pooling by {other:?}; this program knows mean_tokens and cls_token");
            Err(Error::Unsupported { what: "embed texts", why })
        }
    }
}
