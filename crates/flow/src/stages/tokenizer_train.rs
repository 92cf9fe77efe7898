//! A corpus becomes a tokenizer.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, ArtifactWriter, Kind as ArtifactKind};
use luban_data::{Corpus, Split};
use luban_text::train::Kind;
use luban_text::{Tokenizer, TrainOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{Input, Place, Stage, settings_without};
use crate::{Context, Error, Result};

/// Options of training a tokenizer.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct TokenizerTrain {
    /// The corpus whose training part is read
    #[arg(long, value_name = "DIR")]
    pub corpus: Place,
    /// What its tokens are: bpe for frequent sequences of bytes, or characters for those of the corpus alone
    #[arg(long, value_name = "NAME", default_value = "bpe", value_parser = super::word::<Kind>)]
    pub kind: Kind,
    /// Tokens of bpe in all, the 256 bytes and the end of text included
    #[arg(long, value_name = "N", default_value_t = Self::default().vocab_size)]
    pub vocab_size: usize,
    /// Bytes of text that bpe learns from; of more, a random sample is taken
    #[arg(long, value_name = "N", default_value_t = Self::default().sample_bytes)]
    pub sample_bytes: usize,
    /// Chooses the sample
    #[arg(long, value_name = "N", default_value_t = Self::default().seed)]
    pub seed: u64,
}

impl Default for TokenizerTrain {
    fn default() -> Self {
        let TrainOptions { kind, vocab_size, sample_bytes, seed, .. } = TrainOptions::default();
        Self { corpus: Place::default(), kind, vocab_size, sample_bytes, seed }
    }
}

impl Stage for TokenizerTrain {
    const NAME: &'static str = "tokenizer.train";
    const ABOUT: &'static str = "train a tokenizer";
    const MAKES: Option<ArtifactKind> = Some(ArtifactKind::Tokenizer);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        vec![Input::required("corpus", &[ArtifactKind::Corpus], &mut self.corpus)]
    }

    fn settings(&self) -> Result<Value> {
        settings_without(self, &["corpus"])
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let corpus = Artifact::open(self.corpus.path())?.expect_kind(ArtifactKind::Corpus)?;
        let tokenizer = self.train(&corpus, context)?;
        let mut writer = ArtifactWriter::create(target, ArtifactKind::Tokenizer)?;
        for (name, bytes) in tokenizer.hub_files(None) {
            writer.write(name, &bytes)?;
        }
        writer.stage(Self::NAME).settings(self.settings()?).input("corpus", &corpus);
        writer.metric("vocab_size", tokenizer.vocab_size());
        Ok(Some(writer.commit(context.keys)?))
    }
}

impl TokenizerTrain {
    fn train(&self, corpus: &Artifact, context: &Context<'_>) -> Result<Tokenizer> {
        let options = TrainOptions {
            kind: self.kind,
            vocab_size: self.vocab_size,
            sample_bytes: self.sample_bytes,
            seed: self.seed,
            cancel: context.cancel.clone(),
        };
        // The trainer takes texts; the first document that cannot be read ends them and is reported after.
        let mut failure = None;
        let documents = Corpus::open(corpus)?.documents(Split::Train)?;
        let texts = documents.map_while(|document| match document {
            Ok(document) => Some(document.text),
            Err(error) => {
                failure = Some(error);
                None
            }
        });
        let trained = Tokenizer::train(texts, &options, context.observer);
        match failure {
            Some(error) => Err(error.into()),
            None if context.cancel.is_raised() => Err(Error::Interrupted { kept: None }),
            None => Ok(trained?),
        }
    }
}
