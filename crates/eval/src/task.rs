//! What can be measured of a model. One file a task, one line in [`registry`].

use luban_artifact::ModelFiles;
use luban_base::progress::Observer;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::masked::MaskedTask;
use crate::perplexity::PerplexityTask;
use crate::text::Text;

/// Figures by name.
pub type Figures = Map<String, Value>;

/// What a task measures, and on what.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The model.
    pub model: &'a ModelFiles,
    /// The text.
    pub text: &'a Text,
    /// Tokens that the model sees at once; its whole context where not given.
    pub context: Option<usize>,
    /// The task reads about so much of the text; all of it where not given.
    pub bytes_max: Option<u64>,
}

/// Something that can be measured of a model.
pub trait Task: Send + Sync {
    /// What commands and recipes call it.
    fn name(&self) -> &'static str;

    /// What it measures, in a few words.
    fn about(&self) -> &'static str;

    /// Measures.
    ///
    /// # Errors
    /// If the model or the text does not suit the task.
    fn run(&self, subject: Subject<'_>, observer: &dyn Observer) -> Result<Figures>;
}

/// Every task that there is.
pub fn registry() -> &'static [&'static dyn Task] {
    &[&PerplexityTask, &MaskedTask]
}

/// The task of a name.
///
/// # Errors
/// If there is none.
pub fn by_name(name: &str) -> Result<&'static dyn Task> {
    let known = || registry().iter().map(|task| task.name()).collect::<Vec<_>>().join(", ");
    registry().iter().copied().find(|task| task.name() == name).ok_or_else(|| Error::Setting {
        name: "task",
        found: name.to_owned(),
        expected: format!("one of {}", known()),
    })
}
