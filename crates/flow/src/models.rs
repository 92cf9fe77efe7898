//! Finds what a person means by MODEL, and fetches models; reads descriptions of models.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use luban_artifact::Artifact;
use luban_artifact::pull::{self, CATALOGUE, PullOptions, Source};
use luban_model::io::CONFIG;
use luban_model::plan::named::NAMED;
use luban_train::Blueprint;

use crate::nearest::hint;
use crate::{Context, Error, Result};

/// Longest `config.json` that is read.
const CONFIG_BYTES_MAX: u64 = 16 << 20;

/// The folder or file of a model that is given as a folder, a GGUF file, a name of the catalogue, or a source such as
/// `hf:ORG/NAME`.
///
/// What was never pulled is pulled now, into the home folder: whoever names it wants it.
///
/// # Errors
/// If there is neither such a folder nor such a name, or it cannot be fetched.
pub fn locate(model: &str, context: &Context<'_>) -> Result<PathBuf> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    let is_source = pull::entry(model).is_some() || (model.contains(':') && Source::parse(model).is_ok());
    if !is_source {
        let hint = hint(model, CATALOGUE.iter().map(|entry| entry.name));
        let what = format!("there is no folder or file {model}, and no model of that name in the catalogue{hint}");
        return Err(Error::Input { role: "model", what });
    }
    let pulled = pull::place(context.home, model);
    match Artifact::open(&pulled) {
        Ok(_) => Ok(pulled),
        Err(_) => fetch(model, Some(&pulled), context),
    }
}

/// Fetches a model to `target`, or to its place in the home folder; gives the folder.
///
/// # Errors
/// If the source is not understood, cannot be reached, or gives something else than it should.
pub fn fetch(source: &str, target: Option<&Path>, context: &Context<'_>) -> Result<PathBuf> {
    let target = target.map_or_else(|| pull::place(context.home, source), Path::to_path_buf);
    Ok(pull::pull_with(source, &target, &PullOptions::new(context.home), context.observer)?)
}

/// The model that a `config.json`, a folder with one, or a name that `luban plan` knows describes.
///
/// # Errors
/// If there is no such file or name, or the file describes no model that this program can train.
pub fn blueprint(given: &str) -> Result<Blueprint> {
    let path = Path::new(given);
    if !path.exists() {
        return Blueprint::named(given).ok_or_else(|| {
            let hint = hint(given, NAMED.iter().map(|named| named.name));
            let what = format!("there is no file {given}, and no model is known by that name{hint}");
            Error::Input { role: "config", what }
        });
    }
    let path = if path.is_dir() { path.join(CONFIG) } else { path.to_path_buf() };
    let mut json = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut json));
    read.map_err(|source| Error::Io { what: "read", path: path.clone(), source })?;
    if json.len() as u64 > CONFIG_BYTES_MAX {
        let what = format!("{} has over {CONFIG_BYTES_MAX} bytes; no configuration is that long", path.display());
        return Err(Error::Input { role: "config", what });
    }
    Blueprint::from_config(&json)
        .map_err(|error| Error::Input { role: "config", what: format!("{}: {error}", path.display()) })
}
