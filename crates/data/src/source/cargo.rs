//! The sources of a Rust program's dependencies, which every machine that built it has.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use luban_base::digest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Format, SourceFile, UNKNOWN_LICENSE};
use crate::error::Context;
use crate::quality::TextKind;
use crate::{Error, Result};

/// Most bytes of cargo's words that an error repeats.
const REASON_BYTES_MAX: usize = 400;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    license_file: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

/// The `.rs` files of every package that came from a registry.
pub(super) fn files(manifest_dir: &Path) -> Result<Vec<SourceFile>> {
    let metadata: Metadata = serde_json::from_slice(&metadata(manifest_dir)?)
        .map_err(|error| Error::Cargo(format!("cargo's answer is not understood: {error}")))?;
    // Two sources may offer the same version; either will do, and one is enough.
    let packages: BTreeMap<(String, String), Package> = metadata
        .packages
        .into_iter()
        .filter(|package| package.source.as_deref().is_some_and(is_registry))
        .map(|package| ((package.name.clone(), package.version.clone()), package))
        .collect();
    let mut files = Vec::new();
    for package in packages.values() {
        let Some(root) = package.manifest_path.parent() else { continue };
        let prefix = format!("{}-{}", package.name, package.version);
        rust_files(package, root, &prefix, &mut files)?;
    }
    if files.is_empty() {
        return Err(Error::Cargo("there are no packages from a registry among them".into()));
    }
    Ok(files)
}

fn is_registry(source: &str) -> bool {
    source.starts_with("registry+") || source.starts_with("sparse+")
}

fn license_of(package: &Package) -> String {
    match (&package.license, &package.license_file) {
        // The old spelling of OR.
        (Some(license), _) => license.replace('/', " OR "),
        (None, Some(file)) => format!("see its {file}"),
        (None, None) => UNKNOWN_LICENSE.to_string(),
    }
}

fn rust_files(package: &Package, dir: &Path, name: &str, files: &mut Vec<SourceFile>) -> Result<()> {
    for entry in fs::read_dir(dir).context("read", dir)? {
        let entry = entry.context("read", dir)?;
        let (path, kind) = (entry.path(), entry.file_type().context("look at", dir)?);
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            rust_files(package, &path, &name, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs") {
            let bytes = entry.metadata().context("look at", &path)?.len();
            let (group, license) = (package.name.clone(), license_of(package));
            let format = Format::Text(TextKind::Code);
            files.push(SourceFile {
                path,
                name,
                group,
                license,
                format,
                packing: None,
                bytes,
                split: None,
                plain: None,
            });
        }
    }
    Ok(())
}

/// The digest of `Cargo.lock`, which pins every package's content.
pub(super) fn fingerprint(manifest_dir: &Path) -> Result<Value> {
    let dir = fs::canonicalize(manifest_dir).context("look at", manifest_dir)?;
    let lock = dir.ancestors().map(|dir| dir.join("Cargo.lock")).find(|path| path.is_file());
    let lock = lock.ok_or_else(|| Error::Cargo(format!("there is no Cargo.lock in {}", manifest_dir.display())))?;
    let (digest, _) = digest::of_file(&lock).context("read", &lock)?;
    Ok(json!({ "cargo_lock": digest }))
}

/// Asks cargo, first without the network: after a build everything is there.
fn metadata(manifest_dir: &Path) -> Result<Vec<u8>> {
    let manifest = manifest_dir.join("Cargo.toml");
    if !manifest.is_file() {
        return Err(Error::Cargo(format!("there is no {}", manifest.display())));
    }
    let target = host()?;
    let ask = |offline: bool| {
        let mut command = cargo();
        command.args([
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--filter-platform",
            &target,
            "--manifest-path",
        ]);
        command.arg(&manifest).args(offline.then_some("--offline"));
        run(&mut command)
    };
    ask(true).or_else(|_| ask(false)).map(|output| output.stdout)
}

/// The target triple of this machine, in cargo's own words.
fn host() -> Result<String> {
    let output = run(cargo().args(["version", "--verbose"]))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_string).ok_or_else(|| Error::Cargo("cargo does not say which machine this is".into()))
}

fn cargo() -> Command {
    // Cargo sets this for what it runs, so that the same one is asked.
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().map_err(|error| Error::Cargo(format!("cargo cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(output);
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    Err(Error::Cargo(reason[..reason.floor_char_boundary(REASON_BYTES_MAX)].to_string()))
}
