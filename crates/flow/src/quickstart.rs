//! The recipe that is shipped inside the program: from raw text to a served model.

use std::path::{Path, PathBuf};

use crate::{Error, Recipe, Result};

/// The recipe's text.
pub const RECIPE: &str = include_str!("../../../recipes/quickstart.toml");
const FILE: &str = "recipes/quickstart.toml";
/// The package by whose name our own sources are known.
const PACKAGE: &str = "name = \"luban\"";
/// Longest `Cargo.lock` that is looked into.
const LOCK_BYTES_MAX: u64 = 64 << 20;

/// What a person wants otherwise than the recipe says.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Minutes of pre-training.
    pub minutes: Option<f64>,
    /// A file or folder to learn from, instead of the sources of the program's dependencies.
    pub data: Option<PathBuf>,
    /// Where artifacts go.
    pub out: Option<PathBuf>,
    /// Whether to serve at the end.
    pub serve: bool,
    /// Decides everything that is left to chance.
    pub seed: Option<u64>,
    /// Where to serve.
    pub port: Option<u16>,
    /// Removes the checkpoints of an interrupted run.
    pub fresh: bool,
    /// Further changes, as `STAGE.KEY=VALUE`.
    pub set: Vec<String>,
}

/// The shipped recipe with changes.
///
/// # Errors
/// An impossible change, or nothing to learn from: no data given, and no sources of this program at hand.
pub fn recipe(changes: &Changes) -> Result<Recipe> {
    let mut recipe = Recipe::parse(FILE, RECIPE)?;
    set_data(&mut recipe, changes.data.as_deref())?;
    if let Some(minutes) = changes.minutes {
        recipe.set_value("model", "minutes", minutes)?;
    }
    if let Some(seed) = changes.seed {
        for stage in ["corpus", "tokenizer", "model"] {
            recipe.set_value(stage, "seed", seed)?;
        }
    }
    if let Some(port) = changes.port {
        recipe.set_value("serve", "port", port)?;
    }
    if changes.fresh {
        recipe.set_value("model", "fresh", true)?;
    }
    if let Some(out) = &changes.out {
        recipe.out.clone_from(out);
    }
    for assignment in &changes.set {
        recipe.set(assignment)?;
    }
    if !changes.serve {
        recipe.without_services();
    }
    Ok(recipe)
}

fn set_data(recipe: &mut Recipe, data: Option<&Path>) -> Result<()> {
    let text = |path: &Path| path.to_str().map(str::to_owned).ok_or_else(|| Error::Path { path: path.to_path_buf() });
    if let Some(path) = data {
        recipe.unset("corpus", "cargo");
        return recipe.set_value("corpus", "data", text(path)?);
    }
    let project = own_project().ok_or_else(|| {
        let what = "the sources of this program are not here to learn from; give your own text, JSONL or code \
                    with --data PATH";
        Error::NoData(what.to_owned())
    })?;
    recipe.set_value("corpus", "cargo", text(&project)?)
}

/// The Cargo project that this program was built from, if the current folder or the program itself lies in it.
fn own_project() -> Option<PathBuf> {
    let here = std::env::current_dir().ok();
    let program = std::env::current_exe().ok();
    [here, program]
        .into_iter()
        .flatten()
        .find_map(|start| start.ancestors().find(|dir| is_ours(dir)).map(Path::to_path_buf))
}

fn is_ours(dir: &Path) -> bool {
    let lock = dir.join("Cargo.lock");
    let short = std::fs::metadata(&lock).is_ok_and(|found| found.len() <= LOCK_BYTES_MAX);
    short
        && dir.join("Cargo.toml").is_file()
        && std::fs::read_to_string(&lock).is_ok_and(|text| text.lines().any(|line| line == PACKAGE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_recipe_is_sound() {
        let recipe = Recipe::parse(FILE, RECIPE).unwrap();
        let order = recipe.plan().unwrap().into_iter().map(|planned| planned.name).collect::<Vec<_>>();
        assert_eq!(order, ["corpus", "tokenizer", "model", "model-int8", "evaluation", "serve"]);
        assert_eq!(recipe.out, Path::new("luban-quickstart"));
    }

    #[test]
    fn changes_reach_their_stages() {
        let changes = Changes {
            minutes: Some(0.5),
            data: Some(PathBuf::from("my/text")),
            out: Some(PathBuf::from("elsewhere")),
            seed: Some(9),
            set: vec!["tokenizer.vocab-size=300".to_owned()],
            ..Changes::default()
        };
        let recipe = recipe(&changes).unwrap();
        assert_eq!(recipe.out, Path::new("elsewhere"));
        let planned = recipe.plan().unwrap();
        let settings =
            |name: &str| planned.iter().find(|planned| planned.name == name).unwrap().stage.settings().unwrap();
        assert_eq!(settings("model")["minutes"], 0.5);
        assert_eq!(settings("model")["seed"], 9);
        assert_eq!(settings("tokenizer")["vocab-size"], 300);
        assert!(planned.iter().all(|planned| planned.entry.makes.is_some()));
        assert!(super::recipe(&Changes { set: vec!["model.minuts=1".to_owned()], ..changes }).is_err());
    }

    #[test]
    fn without_data_the_sources_of_this_program_are_found() {
        // Tests run inside the project.
        assert!(own_project().unwrap().join("Cargo.lock").is_file());
    }
}
