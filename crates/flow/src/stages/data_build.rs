//! Text, JSONL or code becomes a corpus.

use std::path::{Path, PathBuf};

use clap::Args;
use luban_artifact::{Artifact, Kind};
use luban_data::corpus::{self, BuildOptions, Source};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stage::{Input, Stage, settings_without};
use crate::{Context, Error, Result};

/// Options of building a corpus.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct DataBuild {
    /// A folder or a file: text, JSONL with a text or content field, code; may be given several times
    #[arg(long, value_name = "PATH")]
    pub data: Vec<PathBuf>,
    /// A Cargo project: the Rust sources of the libraries that it depends on
    #[arg(long, value_name = "DIR")]
    pub cargo: Option<PathBuf>,
    /// Most bytes of training text
    #[arg(long, value_name = "N", default_value_t = Self::default().max_bytes)]
    pub max_bytes: u64,
    /// Most bytes of validation text
    #[arg(long, value_name = "N", default_value_t = Self::default().valid_bytes)]
    pub valid_bytes: u64,
    /// Decides the split and the order
    #[arg(long, value_name = "N", default_value_t = Self::default().seed)]
    pub seed: u64,
}

impl Default for DataBuild {
    fn default() -> Self {
        let options = BuildOptions::default();
        Self {
            data: Vec::new(),
            cargo: None,
            max_bytes: options.max_bytes,
            valid_bytes: options.valid_bytes,
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
        settings_without(self, &["data", "cargo"])
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        Ok(Some(corpus::build(&self.options()?, target, context.keys, context.observer)?))
    }
}

impl DataBuild {
    fn options(&self) -> Result<BuildOptions> {
        let mut sources = self.data.iter().cloned().map(Source::Path).collect::<Vec<_>>();
        if let Some(dir) = &self.cargo {
            sources.push(Source::CargoDependencies { manifest_dir: dir.clone() });
        }
        if sources.is_empty() {
            let what = "give a folder or a file with --data, or a Cargo project with --cargo";
            return Err(Error::NoData(what.to_owned()));
        }
        Ok(BuildOptions { sources, max_bytes: self.max_bytes, valid_bytes: self.valid_bytes, seed: self.seed })
    }
}
