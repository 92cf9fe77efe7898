//! Recipes.

use luban_flow::recipe::Recipe;

use super::said;
use crate::{Target, Verdict};

/// A recipe's TOML.
pub(crate) const TARGET: Target = Target {
    name: "recipe",
    run,
    seeds,
    words: &[
        "[recipe]",
        "[stages.",
        "stage = ",
        "\"@corpus\"",
        "= [",
        "{ ",
        "data.build",
        "pretrain",
        "serve",
        "\"\"\"",
    ],
};

fn run(input: &[u8]) -> Verdict {
    let recipe = Recipe::parse("recipe.toml", &String::from_utf8_lossy(input)).map_err(said)?;
    let planned = recipe.plan().map_err(said)?;
    assert_eq!(planned.len(), recipe.stages().count(), "every stage has its turn");
    Ok(())
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "[recipe]\nname = \"a\"\nout = \"b\"\n\n[stages.corpus]\nstage = \"data.build\"\ndata = \"some/folder\"\n\n[stages.tokenizer]\nstage = \"tokenizer.train\"\ncorpus = \"@corpus\"\n\n[stages.model]\nstage = \"pretrain\"\ncorpus = \"@corpus\"\ntokenizer = \"@tokenizer\"\n",
        "[recipe]\nname = \"a\"\nout = \"b\"\n\n[stages.serve]\nstage = \"serve\"\nmodel = \"model\"\nport = 0\n",
    ]
    .map(|text| text.into())
    .to_vec()
}
