//! `luban inspect`.

mod gguf;

use std::path::PathBuf;

use clap::Args;
use luban_artifact::gguf::Gguf;
use luban_artifact::{Artifact, Kind, Manifest, ModelFiles, Trusted};
use luban_data::report;
use luban_model::Spec;
use luban_model::families::read_config;
use luban_model::io;
use luban_model::plan::Parameters;
use serde_json::{Value, json};

use super::stage::metric;
use crate::args::Global;
use crate::format::{bytes, experts, grouped};
use crate::output::{self, Outcome};
use crate::session::{artifact_dir, home};

const CONFIG: &str = "config.json";

/// Show what an artifact is
///
/// Shows what an artifact is: kind, shape, parameters, files, metrics, digest, signer. Files are not read: that is
/// what `luban verify` does. Of a GGUF file, its metadata and its tensors by type.
#[derive(Args, Debug)]
pub struct Options {
    /// The artifact, a plain folder with a model, a GGUF file, or the name of a model that was pulled
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// What is known of a model.
struct Shape {
    family: &'static str,
    spec: Spec,
    parameters: Parameters,
}

/// Shows it.
pub fn run(options: &Options, global: &Global) -> Outcome {
    let home = home(global)?;
    let files = ModelFiles::open(&artifact_dir(&options.dir, &home))?;
    let is_model = files.kind().is_none_or(|kind| kind == Kind::Model);
    let gguf = if is_model { files.gguf()? } else { None };
    let shape = match (&gguf, is_model && files.exists(CONFIG)) {
        // A file may hold a vocabulary alone, or a model of a kind that this program does not run.
        (Some(_), _) => io::read(&files).ok().map(|source| Shape::of(source.family().name, source.spec().clone())),
        (None, true) => Some(Shape::read(&files)?),
        (None, false) => None,
    };
    let digest = files.digest()?.to_string();
    match files.artifact() {
        Some(artifact) => {
            let trusted = Trusted::load(&home)?.contains(&artifact.manifest().signer);
            let seen = Seen { artifact, shape, gguf: gguf.as_deref(), digest, trusted };
            match global.json {
                true => output::json(&seen.json()),
                false => output::text(&(seen.text() + &corpus_report(artifact)?)),
            }
        }
        None => unmanaged(&files, (shape, gguf.as_deref()), &digest, global),
    }
}

impl Shape {
    fn read(files: &ModelFiles) -> Outcome<Self> {
        let (family, spec, _) = read_config(&files.read(CONFIG)?)?;
        Ok(Self::of(family.name, spec))
    }

    fn of(family: &'static str, spec: Spec) -> Self {
        Self { family, parameters: Parameters::of(&spec), spec }
    }

    fn json(&self) -> Value {
        json!({
            "family": self.family,
            "parameters": self.parameters.total(),
            "parameters_by_part": self.parameters,
            "spec": self.spec,
        })
    }

    fn text(&self) -> String {
        let spec = &self.spec;
        format!(
            "model        {} family, {} parameters: {} layers of width {}, {} heads ({} for keys and values), \
             feed-forward {}, vocabulary {}, context {}\n",
            self.family,
            grouped(self.parameters.total()),
            spec.layers,
            spec.width,
            spec.heads,
            spec.kv_heads,
            experts(spec).unwrap_or_else(|| spec.ffn_width.to_string()),
            grouped(spec.vocab as u64),
            grouped(spec.context as u64),
        )
    }
}

/// An artifact and what belongs to it.
struct Seen<'a> {
    artifact: &'a Artifact,
    shape: Option<Shape>,
    gguf: Option<&'a Gguf>,
    digest: String,
    trusted: bool,
}

impl Seen<'_> {
    fn json(&self) -> Value {
        json!({
            "dir": self.artifact.dir(),
            "managed": true,
            "digest": self.digest,
            "signer_trusted": self.trusted,
            "model": self.shape.as_ref().map(Shape::json),
            "gguf": self.gguf.map(gguf::json),
            "manifest": self.artifact.manifest(),
        })
    }

    fn text(&self) -> String {
        let manifest = self.artifact.manifest();
        let trust = if self.trusted { "trusted" } else { "not in the list of trusted keys" };
        let mut text = format!(
            "{}\nkind         {}\ndigest       {}\nsigner       {} ({trust})\nmade by      {}{}\n",
            self.artifact.dir().display(),
            manifest.kind,
            self.digest,
            manifest.signer,
            manifest.program,
            manifest.stage.as_ref().map(|stage| format!(", {stage}")).unwrap_or_default(),
        );
        if let Some(shape) = &self.shape {
            text += &shape.text();
        }
        text += &self.gguf.map_or_else(String::new, gguf::text);
        text + &details(manifest)
    }
}

fn details(manifest: &Manifest) -> String {
    let mut text = String::new();
    if !manifest.inputs.is_empty() {
        text += "inputs\n";
        for input in &manifest.inputs {
            let digest = input.digest.to_string();
            text +=
                &format!("  {}: {} {} ({})\n", input.role, input.kind, digest.get(..12).unwrap_or(&digest), input.path);
        }
    }
    text += &section("settings", manifest.settings.as_object().into_iter().flatten());
    text += &section("metrics", &manifest.metrics);
    text += "files\n";
    for (name, entry) in &manifest.files {
        let digest = entry.sha256.to_string();
        text += &format!("  {name}: {}, {}\n", bytes(entry.size as f64), digest.get(..12).unwrap_or(&digest));
    }
    text
}

/// What was kept and dropped, for a corpus that says so.
fn corpus_report(artifact: &Artifact) -> Outcome<String> {
    if artifact.kind() != Kind::Corpus || !artifact.exists(report::FILE) {
        return Ok(String::new());
    }
    Ok(format!("\n{}", report::render(&report::Report::open(artifact)?)))
}

fn section<'a>(title: &str, entries: impl IntoIterator<Item = (&'a String, &'a Value)>) -> String {
    let lines = entries.into_iter().filter_map(|(name, value)| metric(name, value)).collect::<String>();
    if lines.is_empty() { String::new() } else { format!("{title}\n{lines}") }
}

fn unmanaged(files: &ModelFiles, found: (Option<Shape>, Option<&Gguf>), digest: &str, global: &Global) -> Outcome {
    let (shape, gguf) = found;
    if global.json {
        return output::json(&json!({
            "dir": files.dir(),
            "managed": false,
            "digest": digest,
            "model": shape.as_ref().map(Shape::json),
            "gguf": gguf.map(gguf::json),
        }));
    }
    let shape = match (shape, gguf) {
        (Some(shape), _) => shape.text(),
        (None, Some(_)) => "no model that this program runs\n".to_owned(),
        (None, None) => format!("no model: there is no {CONFIG}\n"),
    };
    let what = if files.dir().is_file() {
        "a GGUF file; nothing vouches for it"
    } else {
        "a plain folder; nothing vouches for its files"
    };
    output::text(&format!(
        "{}\nunmanaged    {what}\ndigest       {digest}\n{shape}{}",
        files.dir().display(),
        gguf.map_or_else(String::new, gguf::text)
    ))
}
