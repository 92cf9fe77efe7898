//! `luban run`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use luban_flow::{Recipe, runner};
use serde_json::json;

use super::serve;
use super::stage::{failure, outcome_json, summary};
use crate::args::Global;
use crate::format::{duration, table};
use crate::output::{self, Outcome};
use crate::session::{Interrupt, Session};

/// Run the stages of a recipe that are not up to date
///
/// Runs the stages of a recipe in order; what did not change is not made again.
#[derive(Args, Debug)]
pub struct Options {
    /// The recipe, a TOML file
    #[arg(value_name = "RECIPE")]
    pub recipe: PathBuf,
    /// Change a key of a stage, such as --set model.minutes=1; may be given several times
    #[arg(long, value_name = "STAGE.KEY=VALUE")]
    pub set: Vec<String>,
    /// Where artifacts go, instead of what the recipe says
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Leave out stages that serve
    #[arg(long)]
    pub no_serve: bool,
}

/// Runs a recipe from a file.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let mut recipe = Recipe::read(&options.recipe)?;
    for assignment in &options.set {
        recipe.set(assignment)?;
    }
    if let Some(out) = &options.out {
        recipe.out.clone_from(out);
    }
    if options.no_serve {
        recipe.without_services();
    }
    run_recipe(&recipe, global)
}

/// Runs a recipe and prints what became of each stage.
pub fn run_recipe(recipe: &Recipe, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Asks)?;
    let listening = |address: SocketAddr| {
        session.progress.clear();
        serve::announce(address, global.json);
    };
    let outcomes = runner::run(recipe, &session.context(&listening));
    session.progress.clear();
    let outcomes = outcomes.map_err(failure)?;
    if global.json {
        let stages = outcomes.iter().map(outcome_json).collect::<Vec<_>>();
        return output::json(&json!({ "recipe": recipe.name, "out": recipe.out, "stages": stages }));
    }
    let row = |outcome: &runner::Outcome| {
        let artifact = outcome.artifact.as_ref()?;
        let when = if outcome.up_to_date { "up to date".to_owned() } else { duration(outcome.seconds) };
        Some(vec![outcome.name.clone(), artifact.dir().display().to_string(), when, summary(artifact)])
    };
    let rows = outcomes.iter().filter_map(row).collect::<Vec<_>>();
    output::text(&table("llll", &rows))
}
