//! `luban lineage`.

use std::path::PathBuf;

use clap::Args;
use luban_artifact::lineage::{RenderOptions, render, tree};

use crate::args::Global;
use crate::output::{self, Outcome};
use crate::session::{artifact_dir, home, search_folders};

/// Draw the tree of what an artifact was made from
///
/// Draws the tree of what an artifact was made from, down to the files of its corpus.
#[derive(Args, Debug)]
pub struct Options {
    /// The artifact
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Show each source file, not only their groups
    #[arg(long)]
    pub files: bool,
    /// Further folders in which to look for what it was made from
    #[arg(long, value_name = "DIR")]
    pub search: Vec<PathBuf>,
}

/// Draws.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let home = home(global)?;
    let mut search = options.search.clone();
    search.extend(search_folders(&home));
    let node = tree(&artifact_dir(&options.dir, &home), &search)?;
    match global.json {
        true => output::json(&serde_json::to_value(&node)?),
        false => output::text(&render(&node, RenderOptions { files: options.files })),
    }
}
