//! Running other programs in the workspace's root.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder that holds the workspace's `Cargo.toml`.
pub fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir).to_path_buf()
}

/// The cargo that runs us, in the workspace's root.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    command
}

/// Runs to the end with our own standard streams; an error unless it exits with 0.
pub fn run(mut command: Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot start {}: {error}", shown(&command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(&command))) }
}

/// Standard output of a command that must succeed; its standard error goes to ours.
pub fn output(mut command: Command) -> Result<String, String> {
    command.stderr(std::process::Stdio::inherit());
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", shown(&command)))?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", shown(&command), output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{} printed something that is not UTF-8", shown(&command)))
}

/// Whether a program is there and answers to `--version`.
pub fn is_installed(mut command: Command) -> bool {
    command.arg("--version").output().is_ok_and(|output| output.status.success())
}

/// `cargo metadata` of the workspace, with or without its dependencies.
pub fn metadata(with_dependencies: bool) -> Result<Value, String> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--locked"]);
    if !with_dependencies {
        command.arg("--no-deps");
    }
    serde_json::from_str(&output(command)?).map_err(|error| format!("cargo metadata printed no JSON: {error}"))
}

/// The objects of a JSON array; nothing where there is no array.
pub fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// A string of a JSON object; empty where there is none.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    format!("`{}`", words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
}
