//! `luban verify`.

use std::path::PathBuf;

use clap::Args;
use luban_artifact::Keys;
use luban_artifact::verify::{Checked, Report, verify};

use crate::args::Global;
use crate::format::{bytes, grouped};
use crate::output::{self, Failure, Outcome};
use crate::session::{artifact_dir, home, search_folders};

/// Check every digest and signature of an artifact and what it was made from
///
/// Checks every digest and signature of an artifact and of everything it was made from, and names the first thing
/// that is wrong.
#[derive(Args, Debug)]
pub struct Options {
    /// The artifact
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Further folders in which to look for what it was made from
    #[arg(long, value_name = "DIR")]
    pub search: Vec<PathBuf>,
}

/// Verifies; a problem is a failure.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let home = home(global)?;
    let mut search = options.search.clone();
    search.extend(search_folders(&home));
    let report = verify(&artifact_dir(&options.dir, &home), &search, &Keys::trusted(&home)?)?;
    if global.json {
        let mut value = serde_json::to_value(&report)?;
        value["good"] = report.is_good().into();
        output::json(&value)?;
    } else {
        output::text(&render(&report))?;
    }
    match &report.problem {
        None => Ok(()),
        Some(problem) => Err(Failure::new(problem.to_string())),
    }
}

fn render(report: &Report) -> String {
    let mut text = report.checked.iter().map(line).collect::<String>();
    if report.is_good() {
        text += "everything was found, whole, and signed by trusted keys\n";
    }
    text
}

fn line(checked: &Checked) -> String {
    let digest = checked.digest.to_string();
    let mut text = format!(
        "{:10} {} {} files, {} {}\n",
        checked.kind.to_string(),
        digest.get(..12).unwrap_or(&digest),
        grouped(checked.files as u64),
        bytes(checked.bytes as f64),
        checked.dir.display(),
    );
    if !checked.unlisted.is_empty() {
        text += &format!("{:10} not listed, never read: {}\n", "", checked.unlisted.join(", "));
    }
    text
}
