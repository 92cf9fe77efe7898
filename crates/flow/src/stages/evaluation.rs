//! What measurements have in common: a model, a text, a report with figures.

use std::path::Path;

use luban_artifact::{Artifact, ArtifactWriter, Kind, MANIFEST, ModelFiles};
use luban_base::digest;
use luban_eval::Text;
use serde_json::{Map, Value, json};

use crate::stage::{FINGERPRINT, Input, Place, Stage};
use crate::{Context, Error, Result, models};

/// A stage that measures a model on a text.
pub trait Evaluation: Stage {
    /// The file with the figures.
    const REPORT: &'static str;

    /// Where the model is.
    fn model(&mut self) -> &mut Place;

    /// Measures.
    fn figures(&self, context: &Context<'_>) -> Result<Value>;

    /// Measures without leaving an artifact.
    ///
    /// # Errors
    /// If the model or the text cannot be read, or do not suit each other.
    fn measure(&mut self, context: &Context<'_>) -> Result<Value> {
        let dir = models::locate(self.model().as_str(), context)?;
        self.model().set(&dir)?;
        self.figures(context)
    }
}

/// The inputs of a measurement.
pub(super) fn inputs<'a>(model: &'a mut Place, data: &'a mut Place) -> Vec<Input<'a>> {
    vec![Input::required("model", &[Kind::Model], model), Input::required("data", &[Kind::Corpus], data)]
}

/// A plain folder or a text file has no manifest that the report's could name; its digest stands here.
pub(super) fn fingerprint(model: &Place, data: &Place) -> Result<Option<Value>> {
    let mut digests = Map::new();
    let files = ModelFiles::open(model.path())?;
    if !files.is_managed() {
        digests.insert("model".to_owned(), json!(files.digest()?));
    }
    let data = data.path();
    if !data.join(MANIFEST).is_file() {
        let fail = |source| Error::Io { what: "read", path: data.to_path_buf(), source };
        digests.insert("data".to_owned(), json!(digest::of_file(data).map_err(fail)?.0));
    }
    Ok(if digests.is_empty() { None } else { Some(Value::Object(digests)) })
}

/// The model's files and the text.
pub(super) fn open(model: &Place, data: &Place) -> Result<(ModelFiles, Text)> {
    Ok((ModelFiles::open(model.path())?, Text::open(data.path())?))
}

/// Figures as JSON.
pub(super) fn json_of<S: Stage>(figures: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(figures).map_err(|source| Error::Settings { stage: S::NAME, source })
}

/// Measures and leaves a report.
pub(super) fn report<E: Evaluation>(
    stage: &E,
    places: [(&str, &Place); 2],
    target: &Path,
    context: &Context<'_>,
) -> Result<Option<Artifact>> {
    let figures = stage.figures(context)?;
    let mut settings = stage.settings()?;
    if let Some(fingerprint) = stage.fingerprint(context)? {
        settings[FINGERPRINT] = fingerprint;
    }
    let mut writer = ArtifactWriter::create(target, Kind::Report)?;
    writer.write(E::REPORT, format!("{figures:#}\n").as_bytes())?;
    writer.stage(E::NAME).settings(settings);
    for (role, place) in places {
        if place.path().join(MANIFEST).is_file() {
            writer.input(role, &Artifact::open(place.path())?);
        }
    }
    for (name, value) in figures.as_object().into_iter().flatten() {
        writer.metric(name, value.clone());
    }
    Ok(Some(writer.commit(context.keys)?))
}
