//! Runs stages, and leaves those alone that are up to date.
//!
//! A stage is up to date when its artifact stands at its target and opens, and its manifest records the same stage,
//! settings (with the fingerprint of whatever the stage reads beside artifacts) and digests of inputs as would be
//! recorded now. Nothing else is kept: the manifest is the cache.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use luban_artifact::{Artifact, Digest, Kind, MANIFEST};
use serde_json::Value;

use crate::recipe::{Planned, Recipe};
use crate::registry::Entry;
use crate::stage::{AnyStage, FINGERPRINT, Stage, default_target};
use crate::{Context, Error, Result, models};

/// What became of a stage.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The stage's name in the recipe, or the stage itself.
    pub name: String,
    /// Which stage it is.
    pub stage: &'static str,
    /// What stands at the target now; none for a service that ended.
    pub artifact: Option<Artifact>,
    /// Whether nothing had to be done.
    pub up_to_date: bool,
    /// Seconds that it took.
    pub seconds: f64,
}

/// One stage and where its artifact goes.
struct Job<'a> {
    name: &'a str,
    stage: &'static str,
    makes: Option<Kind>,
    options: &'a mut dyn AnyStage,
    target: PathBuf,
}

/// Runs every stage of a recipe in order.
///
/// # Errors
/// The first stage that fails, with its name; what the stages before it made stays.
pub fn run(recipe: &Recipe, context: &Context<'_>) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::<Outcome>::new();
    for planned in recipe.plan()? {
        let Planned { name, entry, mut stage, .. } = planned;
        let target = default_target(&recipe.out, &name);
        let failed = |source| Error::Stage { name: name.clone(), source: Box::new(source) };
        resolve(stage.as_mut(), &recipe.out).map_err(failed)?;
        let Entry { name: stage_name, makes, .. } = *entry;
        let job = Job { name: &name, stage: stage_name, makes, options: stage.as_mut(), target };
        outcomes.push(run_job(job, false, context).map_err(failed)?);
    }
    Ok(outcomes)
}

/// Runs one stage by itself; `again` runs it even if it is up to date.
///
/// # Errors
/// Whatever the stage says.
pub fn run_stage<S: Stage>(stage: &mut S, target: &Path, again: bool, context: &Context<'_>) -> Result<Outcome> {
    let name = target.file_name().map_or_else(|| S::NAME.to_owned(), |name| name.to_string_lossy().into_owned());
    let job = Job { name: &name, stage: S::NAME, makes: S::MAKES, options: stage, target: target.to_path_buf() };
    run_job(job, again, context)
}

/// Puts the folders of the stages that they refer to in the place of references.
fn resolve(stage: &mut dyn AnyStage, out: &Path) -> Result<()> {
    for input in stage.inputs() {
        if let Some(name) = input.place.reference() {
            let path = default_target(out, name);
            input.place.set(&path)?;
        }
    }
    Ok(())
}

fn run_job(job: Job<'_>, again: bool, context: &Context<'_>) -> Result<Outcome> {
    if context.cancel.is_raised() {
        return Err(Error::Interrupted { kept: None });
    }
    let started = context.clock.elapsed();
    let done = |artifact, up_to_date| Outcome {
        name: job.name.to_owned(),
        stage: job.stage,
        artifact,
        up_to_date,
        seconds: (context.clock.elapsed() - started).as_secs_f64(),
    };
    let wanted = Wanted::of(job.options, job.stage, context)?;
    if let Some(kind) = job.makes {
        match wanted.compare(&job.target, kind) {
            Standing::UpToDate(artifact) if !again => {
                context.note(&format!("{}: up to date", job.name));
                return Ok(done(Some(*artifact), true));
            }
            Standing::Changed(why) => context.note(&format!("{}: {} ({why})", job.name, job.stage)),
            Standing::UpToDate(_) | Standing::Missing => context.note(&format!("{}: {}", job.name, job.stage)),
        }
        prepare(&job.target)?;
    }
    let artifact = job.options.run(&job.target, context)?;
    Ok(done(artifact, false))
}

fn prepare(target: &Path) -> Result<()> {
    let Some(parent) = target.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(parent).map_err(|source| Error::Io {
        what: "make the folder",
        path: parent.to_path_buf(),
        source,
    })
}

/// What a manifest would record now.
struct Wanted {
    stage: &'static str,
    settings: Value,
    /// By role, which several may have.
    inputs: BTreeMap<&'static str, Vec<Digest>>,
    /// The first input that is no artifact, where the stage has no fingerprint of it.
    untracked: Option<&'static str>,
}

/// How what stands at a target compares.
enum Standing {
    UpToDate(Box<Artifact>),
    Missing,
    Changed(String),
}

impl Wanted {
    fn of(stage: &mut dyn AnyStage, name: &'static str, context: &Context<'_>) -> Result<Self> {
        let mut inputs: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut untracked = None;
        for input in stage.inputs() {
            if input.place.is_empty() {
                match input.optional {
                    true => continue,
                    false => return Err(Error::Input { role: input.role, what: "is not given".to_owned() }),
                }
            }
            if input.kinds.contains(&Kind::Model) {
                let path = models::locate(input.place.as_str(), context)?;
                input.place.set(&path)?;
            }
            match input.place.path().join(MANIFEST).is_file() {
                true => {
                    inputs.entry(input.role).or_default().push(open(&input)?.digest());
                }
                false => untracked = untracked.or(Some(input.role)),
            }
        }
        let mut settings = stage.settings()?;
        if let Some(fingerprint) = stage.fingerprint(context)? {
            settings[FINGERPRINT] = fingerprint;
            untracked = None;
        }
        Ok(Self { stage: name, settings: as_recorded(settings), inputs, untracked })
    }

    fn compare(&self, target: &Path, kind: Kind) -> Standing {
        if !target.exists() {
            return Standing::Missing;
        }
        let artifact = match Artifact::open(target) {
            Ok(artifact) => artifact,
            Err(error) => return Standing::Changed(error.to_string()),
        };
        let manifest = artifact.manifest();
        let stage = manifest.stage.as_deref().unwrap_or("nothing");
        if stage != self.stage || manifest.kind != kind {
            return Standing::Changed(format!("a {} made by {stage} stands there", manifest.kind));
        }
        if let Some(key) = first_difference(&manifest.settings, &self.settings) {
            return Standing::Changed(key);
        }
        let mut recorded: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for input in &manifest.inputs {
            recorded.entry(input.role.as_str()).or_default().push(input.digest);
        }
        if let Some(role) = first_changed(&recorded, &self.inputs) {
            return Standing::Changed(format!("the {role} changed"));
        }
        match (missing_file(&artifact), self.untracked) {
            (Some(name), _) => Standing::Changed(format!("{name} is missing or has another size")),
            (None, Some(role)) => Standing::Changed(format!("the {role} is no artifact: a change would not show")),
            (None, None) => Standing::UpToDate(Box::new(artifact)),
        }
    }
}

fn open(input: &crate::Input<'_>) -> Result<Artifact> {
    let artifact = Artifact::open(input.place.path())?;
    if input.kinds.contains(&artifact.manifest().kind) {
        return Ok(artifact);
    }
    let kinds = input.kinds.iter().map(Kind::to_string).collect::<Vec<_>>().join(" or a ");
    let what = format!("{} is a {}; a {kinds} is needed", input.place, artifact.manifest().kind);
    Err(Error::Input { role: input.role, what })
}

/// JSON as it comes back from a file, so that numbers compare equal.
fn as_recorded(settings: Value) -> Value {
    serde_json::from_str(&settings.to_string()).unwrap_or(settings)
}

/// A sentence about the first setting that is not as recorded.
fn first_difference(recorded: &Value, wanted: &Value) -> Option<String> {
    let Difference { path, values: [recorded, wanted] } = difference("", [Some(recorded), Some(wanted)])?;
    let show = |value: Option<&Value>| match value {
        None => "not set".to_owned(),
        Some(value) if value.is_object() || value.is_array() => "other".to_owned(),
        Some(value) => value.to_string(),
    };
    Some(match path.split('.').next().unwrap_or_default() {
        "" => "other settings".to_owned(),
        FINGERPRINT => "the sources changed".to_owned(),
        _ => format!("{path} was {}, is {}", show(recorded), show(wanted)),
    })
}

/// Where two settings differ.
struct Difference<'a> {
    /// Keys, outermost first, with dots between them.
    path: String,
    values: [Option<&'a Value>; 2],
}

/// The first place at which two settings, or parts of them at `path`, differ. What is null is as good as not there: so a
/// program that knows more settings than the one that recorded them finds nothing changed where none of those is used.
fn difference<'a>(path: &str, values: [Option<&'a Value>; 2]) -> Option<Difference<'a>> {
    let values = values.map(|value| value.filter(|value| !value.is_null()));
    match values {
        [Some(Value::Object(recorded)), Some(Value::Object(wanted))] => {
            wanted.keys().chain(recorded.keys()).find_map(|key| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                difference(&path, [recorded.get(key), wanted.get(key)])
            })
        }
        [recorded, wanted] if recorded == wanted => None,
        _ => Some(Difference { path: path.to_owned(), values }),
    }
}

fn first_changed<'a>(
    recorded: &BTreeMap<&'a str, Vec<Digest>>,
    wanted: &BTreeMap<&'static str, Vec<Digest>>,
) -> Option<&'a str>
where
    'static: 'a,
{
    let roles = wanted.keys().copied().chain(recorded.keys().copied());
    roles.into_iter().find(|role| recorded.get(role) != wanted.get(role))
}

/// The first file that is gone or has another size: cheap, and enough to notice a folder that was tampered with by
/// hand; content is checked when it is read.
fn missing_file(artifact: &Artifact) -> Option<&str> {
    let files = &artifact.manifest().files;
    let is_there = |name: &str, size: u64| {
        artifact.path(name).ok().and_then(|path| std::fs::metadata(path).ok()).is_some_and(|found| found.len() == size)
    };
    files.iter().find(|(name, entry)| !is_there(name, entry.size)).map(|(name, _)| name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_setting_that_differs_is_named_by_its_path_and_null_is_none() {
        let recorded = json!({ "config": { "spec": { "layers": 6, "norm": null } }, "seed": 1 });
        let said = |wanted: Value| first_difference(&recorded, &wanted);
        let with = |spec: Value| json!({ "config": { "spec": spec }, "seed": 1, "mix": null });
        assert_eq!(said(with(json!({ "layers": 6, "experts": null }))), None);
        assert_eq!(said(with(json!({ "layers": 8 }))).unwrap(), "config.spec.layers was 6, is 8");
        assert_eq!(said(with(json!({ "layers": 6, "experts": 2 }))).unwrap(), "config.spec.experts was not set, is 2");
        assert_eq!(said(json!({ "seed": 1 })).unwrap(), "config was other, is not set");
        assert_eq!(said(json!([])).unwrap(), "other settings");
        let fingerprinted = |print: &str| json!({ FINGERPRINT: { "file": print } });
        assert_eq!(first_difference(&fingerprinted("a"), &fingerprinted("b")).unwrap(), "the sources changed");
    }
}
