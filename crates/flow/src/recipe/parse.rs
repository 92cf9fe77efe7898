//! From text to a recipe, with the line of everything that may be wrong.

use std::borrow::Cow;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Recipe, STAGES_MAX, Setting, Step, check_key, value};
use crate::nearest::hint;
use crate::registry::{self, STAGES};
use crate::{Error, Result};

type Key<'a> = Spanned<Cow<'a, str>>;
type Entry<'a> = (&'a Key<'a>, &'a Spanned<DeValue<'a>>);

/// Reads a recipe; types of options are checked later.
pub(super) fn recipe(file: &str, text: &str) -> Result<Recipe> {
    let source = Source { file, text };
    let table = DeTable::parse(text)
        .map_err(|error| source.fault(error.span().unwrap_or_default(), error.message().to_owned()))?;
    let table = table.into_inner();
    let mut recipe = Recipe { file: file.to_owned(), name: String::new(), out: PathBuf::new(), steps: Vec::new() };
    for (key, value) in in_file_order(&table) {
        match key.get_ref().as_ref() {
            "recipe" => source.head(&mut recipe, source.table(key, value)?)?,
            "stages" => recipe.steps = source.steps(source.table(key, value)?)?,
            other => {
                let hint = hint(other, ["recipe", "stages"]);
                return Err(source.fault(key.span(), format!("unknown table '{other}'{hint}")));
            }
        }
    }
    source.complete(recipe)
}

/// The text, for positions.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
}

impl Source<'_> {
    fn head(&self, recipe: &mut Recipe, table: &DeTable<'_>) -> Result<()> {
        for (key, value) in in_file_order(table) {
            let text = || match value.get_ref() {
                DeValue::String(text) if !text.is_empty() => Ok(text.to_string()),
                _ => Err(self.fault(value.span(), format!("'{}' must be a text", key.get_ref()))),
            };
            match key.get_ref().as_ref() {
                "name" => recipe.name = text()?,
                "out" => recipe.out = PathBuf::from(text()?),
                other => {
                    let hint = hint(other, ["name", "out"]);
                    return Err(self.fault(key.span(), format!("unknown key '{other}' in [recipe]{hint}")));
                }
            }
        }
        Ok(())
    }

    fn steps(&self, table: &DeTable<'_>) -> Result<Vec<Step>> {
        let stages = in_file_order(table);
        if stages.len() > STAGES_MAX {
            let what = format!("{} stages; a recipe has at most {STAGES_MAX}", stages.len());
            return Err(Error::Recipe { file: self.file.to_owned(), line: None, what });
        }
        stages.into_iter().map(|(name, options)| self.step(name, options)).collect()
    }

    fn step(&self, name: &Key<'_>, options: &Spanned<DeValue<'_>>) -> Result<Step> {
        let table = self.table(name, options)?;
        let label = name.get_ref();
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
        if label.is_empty() || !label.chars().all(plain) {
            let what = format!("a stage's name has letters, digits, - and _, because it names a folder: '{label}'");
            return Err(self.fault(name.span(), what));
        }
        let line = self.line(name.span());
        let entry = self.which(label, line, table)?;
        let mut step = Step { name: label.to_string(), line, entry, options: Vec::new() };
        for (key, value) in in_file_order(table) {
            if key.get_ref() == "stage" {
                continue;
            }
            let found = value::from_toml(value.get_ref()).map_err(|what| self.fault(value.span(), what))?;
            let line = Some(self.line(key.span()));
            let setting = Setting { key: key.get_ref().to_string(), value: found, line, typed: None };
            check_key(self.file, &step, &setting)?;
            step.options.push(setting);
        }
        Ok(step)
    }

    fn which(&self, label: &str, line: usize, table: &DeTable<'_>) -> Result<&'static registry::Entry> {
        let names = || STAGES.iter().map(|entry| entry.name);
        let Some((_, stage)) = table.iter().find(|(key, _)| key.get_ref() == "stage") else {
            let known = names().collect::<Vec<_>>().join(", ");
            let what = format!("[stages.{label}] does not say which stage it is: add stage = \"…\", one of {known}");
            return Err(Error::Recipe { file: self.file.to_owned(), line: Some(line), what });
        };
        let DeValue::String(which) = stage.get_ref() else {
            return Err(self.fault(stage.span(), "'stage' must be a text".to_owned()));
        };
        registry::find(which).ok_or_else(|| {
            let hint = hint(which, names().collect::<Vec<_>>());
            self.fault(stage.span(), format!("unknown stage '{which}'{hint}"))
        })
    }

    fn table<'a>(&self, key: &Key<'_>, value: &'a Spanned<DeValue<'a>>) -> Result<&'a DeTable<'a>> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.fault(value.span(), format!("'{}' must be a table", key.get_ref()))),
        }
    }

    fn complete(&self, mut recipe: Recipe) -> Result<Recipe> {
        let missing = match (recipe.out.as_os_str().is_empty(), recipe.steps.is_empty()) {
            (true, _) => "[recipe] does not say where artifacts go: add out = \"FOLDER\"",
            (_, true) => "there are no stages: add tables such as [stages.corpus]",
            _ => {
                if recipe.name.is_empty() {
                    recipe.name = recipe.out.display().to_string();
                }
                return Ok(recipe);
            }
        };
        Err(Error::Recipe { file: self.file.to_owned(), line: None, what: missing.to_owned() })
    }

    fn fault(&self, span: Range<usize>, what: String) -> Error {
        let line = Some(self.line(span));
        // TOML's own messages may have several lines; ours have one.
        let what = what.lines().map(str::trim).collect::<Vec<_>>().join("; ");
        Error::Recipe { file: self.file.to_owned(), line, what }
    }

    fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// Keys and values as they stand in the file; the parser sorts them by name.
fn in_file_order<'a>(table: &'a DeTable<'a>) -> Vec<Entry<'a>> {
    let mut entries = table.iter().collect::<Vec<_>>();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}
