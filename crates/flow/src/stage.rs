//! What a stage is.
//!
//! A stage's options are one struct: its fields are long options on the command line and, by the same words, keys
//! in a recipe. Some of them are *places* of input artifacts; the others are settings.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use luban_artifact::{Artifact, Kind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Context, Error, Result};

/// Where an input is: a path or a model's name, or `@NAME` for what another stage of the recipe makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Place(String);

impl Place {
    /// The stage that a `@NAME` refers to.
    pub fn reference(&self) -> Option<&str> {
        self.0.strip_prefix('@')
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What was written, as a path.
    pub fn path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// Puts a path in the place of what was written.
    ///
    /// # Errors
    /// If the path is not UTF-8: recipes, manifests and messages are.
    pub fn set(&mut self, path: &Path) -> Result<()> {
        let text = path.to_str().ok_or_else(|| Error::Path { path: path.to_path_buf() })?;
        self.0 = text.to_owned();
        Ok(())
    }
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A place with a share, written `PLACE=SHARE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    /// Where the input is.
    pub place: Place,
    /// How much comes from it.
    pub share: f64,
}

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.rsplit_once('=').filter(|(place, _)| !place.is_empty());
        let parts = parts.and_then(|(place, share)| Some((place, share.trim().parse().ok()?)));
        let (place, share) = parts.ok_or_else(|| format!("'{text}' should have the form DIR=SHARE, as poems=0.2"))?;
        Ok(Self { place: Place(place.trim().to_owned()), share })
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(Share { place, share }: Share) -> Self {
        format!("{place}={share}")
    }
}

/// One input of a stage.
#[derive(Debug)]
pub struct Input<'a> {
    /// The key, which is also the role under which the artifact's manifest records it.
    pub role: &'static str,
    /// The kinds of artifact that it takes.
    pub kinds: &'static [Kind],
    /// Whether the stage can do without.
    pub optional: bool,
    /// Where it is.
    pub place: &'a mut Place,
}

impl<'a> Input<'a> {
    /// An input that must be given.
    pub fn required(role: &'static str, kinds: &'static [Kind], place: &'a mut Place) -> Self {
        Self { role, kinds, optional: false, place }
    }

    /// An input that may be left out.
    pub fn optional(role: &'static str, kinds: &'static [Kind], place: &'a mut Place) -> Self {
        Self { role, kinds, optional: true, place }
    }
}

/// The key of the settings under which a manifest records what a stage read beside artifacts.
pub const FINGERPRINT: &str = "fingerprint";

/// A function from artifacts and settings to one artifact.
///
/// Deriving `clap::Args` and serde's traits with kebab-case names and `default` gives options and keys the same
/// words; `Default` gives both the same defaults.
pub trait Stage: clap::Args + Serialize + DeserializeOwned + Default + Send + 'static {
    /// What recipes call it: `pretrain`, `data.build`.
    const NAME: &'static str;
    /// What it does, in one line.
    const ABOUT: &'static str;
    /// What it makes; none for a step that only does something, such as serving.
    const MAKES: Option<Kind>;

    /// The inputs and where they are.
    fn inputs(&mut self) -> Vec<Input<'_>>;

    /// The settings as the artifact's manifest records them: everything that decides what is made, but inputs.
    fn settings(&self) -> Result<Value>;

    /// What the stage reads beside artifacts, so that a change of it is noticed; recorded under [`FINGERPRINT`].
    fn fingerprint(&self, _: &Context<'_>) -> Result<Option<Value>> {
        Ok(None)
    }

    /// Does the work and leaves the artifact at `target`.
    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>>;
}

/// A stage whose type is only known when the program runs.
pub trait AnyStage: Send {
    /// See [`Stage::inputs`].
    fn inputs(&mut self) -> Vec<Input<'_>>;
    /// See [`Stage::settings`].
    fn settings(&self) -> Result<Value>;
    /// See [`Stage::fingerprint`].
    fn fingerprint(&self, context: &Context<'_>) -> Result<Option<Value>>;
    /// See [`Stage::run`].
    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>>;
}

impl<S: Stage> AnyStage for S {
    fn inputs(&mut self) -> Vec<Input<'_>> {
        Stage::inputs(self)
    }

    fn settings(&self) -> Result<Value> {
        Stage::settings(self)
    }

    fn fingerprint(&self, context: &Context<'_>) -> Result<Option<Value>> {
        Stage::fingerprint(self, context)
    }

    fn run(&self, target: &Path, context: &Context<'_>) -> Result<Option<Artifact>> {
        Stage::run(self, target, context)
    }
}

/// A stage's options as the settings of a manifest: without the named keys (inputs, and what decides no result).
pub(crate) fn settings_without<S: Stage>(stage: &S, left_out: &[&str]) -> Result<Value> {
    let mut settings = serde_json::to_value(stage).map_err(|source| Error::Settings { stage: S::NAME, source })?;
    if let Some(map) = settings.as_object_mut() {
        for key in left_out {
            map.shift_remove(*key);
        }
    }
    Ok(settings)
}

/// Where a stage's artifact goes when nothing else is said.
pub fn default_target(out: &Path, name: &str) -> PathBuf {
    out.join(name)
}
