//! Recipes: TOML files that name stages and wire them.
//!
//! ```toml
//! [recipe]
//! name = "quickstart"            # a word for messages
//! out = "luban-quickstart"       # where artifacts go, each under its stage's name
//!
//! [stages.corpus]                # a name of your choice
//! stage = "data.build"           # which stage it is
//! data = "some/folder"           # its options, by the words of the command line
//!
//! [stages.tokenizer]
//! stage = "tokenizer.train"
//! corpus = "@corpus"             # what the stage named `corpus` makes
//! ```
//!
//! Stages may stand in any order; references decide which runs first. Paths are relative to the current folder, as
//! on the command line.

mod order;
mod parse;
mod value;

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::nearest::hint;
use crate::registry::Entry;
use crate::stage::AnyStage;
use crate::{Error, Result};

/// Longest recipe that is read, in bytes.
pub const RECIPE_BYTES_MAX: u64 = 1 << 20;
/// Most stages of a recipe.
pub const STAGES_MAX: usize = 1000;

/// A recipe that was read and whose words are all known.
#[derive(Clone, Debug)]
pub struct Recipe {
    file: String,
    /// A word for messages.
    pub name: String,
    /// Where artifacts go, each under its stage's name.
    pub out: PathBuf,
    steps: Vec<Step>,
}

/// A named stage of a recipe, not yet checked against its options' types.
#[derive(Clone, Debug)]
struct Step {
    name: String,
    line: usize,
    entry: &'static Entry,
    options: Vec<Setting>,
}

/// One key of a stage and its value.
#[derive(Clone, Debug)]
struct Setting {
    key: String,
    value: Value,
    /// Where it stands; none when the command line added it.
    line: Option<usize>,
    /// What was typed on the command line: it is taken as text where a number does not fit.
    typed: Option<String>,
}

/// A stage ready to run, with references still in it.
pub struct Planned {
    /// Its name in the recipe.
    pub name: String,
    /// What it is.
    pub entry: &'static Entry,
    /// The stage with its options.
    pub stage: Box<dyn AnyStage>,
    line: usize,
}

impl Recipe {
    /// Reads a recipe's text; `file` is for messages.
    ///
    /// # Errors
    /// Names the line and the word that is wrong, with the nearest known one.
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let recipe = parse::recipe(file, text)?;
        recipe.plan()?;
        Ok(recipe)
    }

    /// Reads a recipe from a file.
    ///
    /// # Errors
    /// If the file cannot be read, and as [`Recipe::parse`].
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let fail = |source| Error::Io { what: "read the recipe", path: path.to_path_buf(), source };
        let size = std::fs::metadata(path).map_err(fail)?.len();
        if size > RECIPE_BYTES_MAX {
            let what = format!("has {size} bytes; a recipe has at most {RECIPE_BYTES_MAX}");
            return Err(Error::Recipe { file: path.display().to_string(), line: None, what });
        }
        Self::parse(&path.display().to_string(), &std::fs::read_to_string(path).map_err(fail)?)
    }

    /// Names of the stages, in the file's order.
    pub fn stages(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.name.as_str())
    }

    /// Changes one key, as `STAGE.KEY=VALUE` says; the value is read as in the file, or else as text.
    ///
    /// # Errors
    /// If the assignment has another form, or the stage or the key is unknown.
    pub fn set(&mut self, assignment: &str) -> Result<()> {
        let Some(((stage, key), value)) =
            assignment.split_once('=').and_then(|(place, value)| Some((place.trim().split_once('.')?, value.trim())))
        else {
            return Err(self.fault(None, format!("'{assignment}' should have the form STAGE.KEY=VALUE")));
        };
        let typed = Some(value.to_owned());
        let value = value::from_text(value);
        self.set_option(stage, Setting { key: key.to_owned(), value, line: None, typed })
    }

    /// Changes one key of a stage.
    ///
    /// # Errors
    /// If the stage or the key is unknown.
    pub fn set_value(&mut self, stage: &str, key: &str, value: impl Into<Value>) -> Result<()> {
        self.set_option(stage, Setting { key: key.to_owned(), value: value.into(), line: None, typed: None })
    }

    /// Removes a key of a stage, so that its default holds.
    pub fn unset(&mut self, stage: &str, key: &str) {
        for step in self.steps.iter_mut().filter(|step| step.name == stage) {
            step.options.retain(|option| option.key != key);
        }
    }

    /// Leaves out every stage that makes no artifact, such as serving.
    pub fn without_services(&mut self) {
        self.steps.retain(|step| step.entry.makes.is_some());
    }

    /// The stages in the order in which they run, their options checked.
    ///
    /// # Errors
    /// Names the option of the wrong type, the reference to nothing or of the wrong kind, or the circle.
    pub fn plan(&self) -> Result<Vec<Planned>> {
        let planned = self.steps.iter().map(|step| self.build(step)).collect::<Result<Vec<_>>>()?;
        order::ordered(&self.file, planned)
    }

    fn set_option(&mut self, stage: &str, option: Setting) -> Result<()> {
        let names = self.steps.iter().map(|step| step.name.clone()).collect::<Vec<_>>();
        let Some(index) = names.iter().position(|name| name == stage) else {
            let hint = hint(stage, names.iter().map(String::as_str));
            return Err(self.fault(None, format!("there is no stage '{stage}' to set '{}' of{hint}", option.key)));
        };
        check_key(&self.file, &self.steps[index], &option)?;
        let options = &mut self.steps[index].options;
        options.retain(|known| known.key != option.key);
        options.push(option);
        Ok(())
    }

    fn build(&self, step: &Step) -> Result<Planned> {
        let mut options = Map::new();
        for option in &step.options {
            options.insert(option.key.clone(), self.typed_value(step, option)?);
        }
        let stage = step
            .entry
            .parse(options)
            .map_err(|source| self.fault(Some(step.line), format!("stage '{}': {source}", step.name)))?;
        Ok(Planned { name: step.name.clone(), entry: step.entry, stage, line: step.line })
    }

    /// The value of one option, tried alone so that a wrong type is reported where it stands.
    fn typed_value(&self, step: &Step, option: &Setting) -> Result<Value> {
        let fits = |value: &Value| {
            let alone = Map::from_iter([(option.key.clone(), value.clone())]);
            step.entry.parse(alone).map(|_| ())
        };
        let Err(problem) = fits(&option.value) else { return Ok(option.value.clone()) };
        if let Some(text) = option.typed.clone().map(Value::String)
            && fits(&text).is_ok()
        {
            return Ok(text);
        }
        Err(self.fault(option.line, format!("'{}' of stage '{}': {problem}", option.key, step.name)))
    }

    fn fault(&self, line: Option<usize>, what: String) -> Error {
        Error::Recipe { file: self.file.clone(), line, what }
    }
}

/// Checks that a stage has an option of that name.
fn check_key(file: &str, step: &Step, option: &Setting) -> Result<()> {
    let known = step.entry.keys();
    if known.contains(&option.key) {
        return Ok(());
    }
    let hint = hint(&option.key, known.iter().map(String::as_str));
    let what = format!("unknown key '{}' in stage '{}' ({}){hint}", option.key, step.name, step.entry.name);
    Err(Error::Recipe { file: file.to_owned(), line: option.line, what })
}

#[cfg(test)]
mod tests;
