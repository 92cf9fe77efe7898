//! Text, JSONL or code becomes a corpus.

use std::path::{Path, PathBuf};

use clap::Args;
use luban_artifact::{Artifact, Kind};
use luban_data::report::{self, Report};
use luban_data::{BuildOptions, Source, corpus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{FINGERPRINT, Input, Stage, settings_without};
use crate::{Context, Error, Result};

/// Options of building a corpus.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct DataBuild {
    /// A folder or a file: text, code, JSONL, CSV, Parquet; also compressed (.gz, .zst)
    #[arg(long, value_name = "PATH", conflicts_with = "cargo")]
    pub data: Option<PathBuf>,
    /// A Cargo project: the Rust sources of the libraries that it depends on
    #[arg(long, value_name = "DIR")]
    pub cargo: Option<PathBuf>,
    /// A folder or a file with the text for validation; all of the other text is then for training
    #[arg(long, value_name = "PATH")]
    pub valid: Option<PathBuf>,
    /// Keep everything that is UTF-8: ask no quality rule, look for no duplicates
    #[arg(long)]
    pub keep_all: bool,
    /// The JSONL field, or the column of a table, with the text, where it is neither text nor content
    #[arg(long, visible_alias = "text-column", value_name = "NAME")]
    #[serde(alias = "text-column")]
    pub text_field: Option<String>,
    /// Most bytes of training text; of more, a random choice of documents is taken
    #[arg(long, value_name = "N", default_value_t = Self::default().max_bytes)]
    pub max_bytes: u64,
    /// Most bytes of validation text
    #[arg(long, value_name = "N", default_value_t = Self::default().valid_max_bytes)]
    pub valid_max_bytes: u64,
    /// Share of the text that validation gets, below that bound
    #[arg(long, value_name = "X", default_value_t = Self::default().valid_share)]
    pub valid_share: f64,
    /// Decides the split and the order of documents
    #[arg(long, value_name = "N", default_value_t = Self::default().seed)]
    pub seed: u64,
}

impl Default for DataBuild {
    fn default() -> Self {
        let options = BuildOptions::new(Source::Path(PathBuf::new()));
        Self {
            data: None,
            cargo: None,
            valid: None,
            keep_all: options.keep_all,
            text_field: options.text_field,
            max_bytes: options.max_bytes,
            valid_max_bytes: options.valid_max_bytes,
            valid_share: options.valid_share,
            seed: options.seed,
        }
    }
}

impl Stage for DataBuild {
    const NAME: &'static str = "data.build";
    const ABOUT: &'static str = "build a corpus";
    const MAKES: Option<Kind> = Some(Kind::Corpus);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        Vec::new()
    }

    fn settings(&self) -> Result<Value> {
        settings_without(self, &["data", "cargo", "valid"])
    }

    fn fingerprint(&self, _: &Context<'_>) -> Result<Option<Value>> {
        Ok(Some(self.options()?.source_fingerprint()?))
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let options = self.options()?;
        let mut settings = self.settings()?;
        settings[FINGERPRINT] = options.source_fingerprint()?;
        let (stage, cancel) = (Self::NAME.to_owned(), context.cancel.clone());
        let options = BuildOptions { settings, stage, cancel, ..options };
        match corpus::build(&options, target, context.keys, context.observer) {
            Err(luban_data::Error::Cancelled) => Err(Error::Interrupted { kept: None }),
            built => {
                let corpus = built?;
                context.note(&report::render(&Report::open(&corpus)?));
                Ok(Some(corpus))
            }
        }
    }
}

impl DataBuild {
    fn options(&self) -> Result<BuildOptions> {
        Ok(BuildOptions {
            text_field: self.text_field.clone(),
            valid: self.valid.clone().map(Source::Path),
            keep_all: self.keep_all,
            seed: self.seed,
            max_bytes: self.max_bytes,
            valid_max_bytes: self.valid_max_bytes,
            valid_share: self.valid_share,
            ..BuildOptions::new(self.source()?)
        })
    }

    fn source(&self) -> Result<Source> {
        match (&self.data, &self.cargo) {
            (Some(path), None) => Ok(Source::Path(path.clone())),
            (None, Some(dir)) => Ok(Source::CargoDependencies { manifest_dir: dir.clone() }),
            (None, None) => {
                let what = "give a folder or a file with --data, or a Cargo project with --cargo";
                Err(Error::NoData(what.to_owned()))
            }
            (Some(_), Some(_)) => Err(Error::NoData("give either data or cargo, not both".to_owned())),
        }
    }
}
