//! A model and a text become figures: how well the one predicts the other.

use std::path::Path;

use clap::Args;
use luban_artifact::{Artifact, ArtifactWriter, Kind, MANIFEST, ModelFiles};
use luban_base::digest;
use luban_eval::{Perplexity, PerplexityOptions, Text, perplexity};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::stage::{FINGERPRINT, Input, Place, Stage, settings_without};
use crate::{Context, Error, Result, models};

/// The file with the figures.
const REPORT: &str = "perplexity.json";

/// Options of measuring perplexity.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct EvalPerplexity {
    /// The model: a folder, or a name of the catalogue
    #[arg(value_name = "MODEL")]
    pub model: Place,
    /// What to predict: the validation split of a corpus, or a text file
    #[arg(long, value_name = "PATH")]
    pub data: Place,
    /// Tokens of a window; the model's whole context when not given
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Begin no document after so many bytes of text
    #[arg(long, value_name = "N")]
    pub max_bytes: Option<u64>,
}

impl EvalPerplexity {
    /// Measures without leaving an artifact.
    ///
    /// # Errors
    /// If the model or the text cannot be read, or do not suit each other.
    pub fn measure(&mut self, context: &Context<'_>) -> Result<Perplexity> {
        let dir = models::locate(self.model.as_str(), context)?;
        self.model.set(&dir)?;
        self.evaluate(context)
    }

    fn evaluate(&self, context: &Context<'_>) -> Result<Perplexity> {
        let files = ModelFiles::open(self.model.path())?;
        let text = Text::open(self.data.path())?;
        let options = PerplexityOptions { context: self.context, bytes_max: self.max_bytes };
        Ok(perplexity::evaluate(&files, &text, &options, context.observer)?)
    }
}

impl Stage for EvalPerplexity {
    const NAME: &'static str = "eval.perplexity";
    const ABOUT: &'static str = "measure perplexity and bits a byte";
    const MAKES: Option<Kind> = Some(Kind::Report);

    fn inputs(&mut self) -> Vec<Input<'_>> {
        vec![
            Input::required("model", &[Kind::Model], &mut self.model),
            Input::required("data", &[Kind::Corpus], &mut self.data),
        ]
    }

    fn settings(&self) -> Result<Value> {
        settings_without(self, &["model", "data"])
    }

    /// A plain folder or a text file has no manifest that the report's could name; its digest stands here.
    fn fingerprint(&self, _: &Context<'_>) -> Result<Option<Value>> {
        let mut digests = Map::new();
        let files = ModelFiles::open(self.model.path())?;
        if !files.is_managed() {
            digests.insert("model".to_owned(), json!(files.digest()?));
        }
        let data = self.data.path();
        if !data.join(MANIFEST).is_file() {
            let fail = |source| Error::Io { what: "read", path: data.to_path_buf(), source };
            digests.insert("data".to_owned(), json!(digest::of_file(data).map_err(fail)?.0));
        }
        Ok(if digests.is_empty() { None } else { Some(Value::Object(digests)) })
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        let measured = self.evaluate(context)?;
        let figures = serde_json::to_value(measured).map_err(|source| Error::Settings { stage: Self::NAME, source })?;
        let mut settings = self.settings()?;
        if let Some(fingerprint) = self.fingerprint(context)? {
            settings[FINGERPRINT] = fingerprint;
        }
        let mut writer = ArtifactWriter::create(target, Kind::Report)?;
        writer.write(REPORT, format!("{figures:#}\n").as_bytes())?;
        writer.stage(Self::NAME).settings(settings);
        for (role, place) in [("model", &self.model), ("data", &self.data)] {
            if place.path().join(MANIFEST).is_file() {
                writer.input(role, &Artifact::open(place.path())?);
            }
        }
        for (name, value) in figures.as_object().into_iter().flatten() {
            writer.metric(name, value.clone());
        }
        Ok(Some(writer.commit(context.keys)?))
    }
}
