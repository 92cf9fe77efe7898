//! Training the ladder. A model's runs are the same run until the shorter one's learning rate falls, so each is taken
//! from the one before it at that place: the weights are those of a run of its own, to the bit.

use std::fs;
use std::path::{Path, PathBuf};

use luban_artifact::checkpoints::CheckpointStore;
use luban_artifact::{Artifact, Digest, Error as FileError};
use luban_base::atomic;
use luban_base::cancel::Cancel;
use luban_base::progress::{Event, Observer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ScaleOptions;
use super::ladder::{self, Ladder, Rung, run_options};
use super::measure::{Examination, Grades};
use super::report::{Prediction, RunFigures, Size};
use crate::choose::{self, Machine, Task};
use crate::error::{Error, Result};
use crate::inputs::{Materials, open_tokenizer, train_bytes};
use crate::plot::short;
use crate::pretrain::{Context, Outcome, checkpoints_dir, pretrain};
use crate::schedule::{Decay, Schedule};
use crate::settings::{Plan, PretrainOptions};
use crate::state::TrainState;

/// What was decided before the first run.
const PLAN: &str = "plan.json";
/// What the law said before the held-out run began.
const PREDICTION: &str = "prediction.json";

/// The first file of the runs' folder.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Record {
    options: ScaleOptions,
    corpus: Digest,
    tokenizer: Digest,
    ladder: Ladder,
}

/// Where a run was taken from another.
#[derive(Serialize, Deserialize)]
struct Branch {
    step: u64,
    /// What the steps up to there had taken.
    seconds: f64,
}

/// What all runs stand on.
pub(super) struct Ground<'a> {
    pub options: &'a ScaleOptions,
    pub ladder: Ladder,
    pub context: Context<'a>,
    corpus: &'a Artifact,
    tokenizer: &'a Artifact,
    dir: &'a Path,
    task: Task,
    examination: Examination,
}

/// One run of the ladder.
#[derive(Clone, Copy)]
struct Site<'a> {
    rung: &'a Rung,
    steps: u64,
}

/// How a run came to its end for now.
enum Ended {
    Finished(Box<Artifact>),
    /// At the step that was asked for.
    Stopped,
    /// By the person.
    Interrupted,
}

impl<'a> Ground<'a> {
    /// Plans the runs, or finds the plan of those that were begun; nothing if that was interrupted.
    pub fn open(
        options: &'a ScaleOptions,
        [corpus, tokenizer]: [&'a Artifact; 2],
        dir: &'a Path,
        context: Context<'a>,
    ) -> Result<Option<Self>> {
        if options.fresh && dir.join(PLAN).exists() {
            fs::remove_dir_all(dir).map_err(|source| io("remove", dir, source))?;
        }
        atomic::create_dirs(dir).map_err(FileError::from)?;
        let words = open_tokenizer(tokenizer)?;
        let task = Task { vocab: words.vocab_size(), causal: true, corpus_bytes: train_bytes(corpus) };
        let examination = Examination::of(corpus, &words, options)?;
        let ladder = match read::<Record>(&dir.join(PLAN))? {
            Some(record) => same(record, options, [corpus, tokenizer], dir)?,
            None => {
                let mut machine = Machine { clock: context.clock, cancel: context.cancel, recompute: false };
                let ladder = match ladder::plan(options, task, &mut machine) {
                    Err(Error::Cancelled) => return Ok(None),
                    other => other?,
                };
                let (corpus, tokenizer) = (corpus.digest(), tokenizer.digest());
                let record = Record { options: options.clone(), corpus, tokenizer, ladder: ladder.clone() };
                write(&dir.join(PLAN), &record)?;
                ladder
            }
        };
        let ground = Self { options, ladder, context, corpus, tokenizer, dir, task, examination };
        ground.introduce();
        Ok(Some(ground))
    }

    fn introduce(&self) {
        let Ladder { rungs, held_out, batch, seconds, .. } = &self.ladder;
        let runs: usize = rungs.iter().map(|rung| rung.steps.len()).sum();
        let sizes: Vec<String> = rungs.iter().map(|rung| short(rung.parameters as f64)).collect();
        let tokens = |steps: &u64| short((steps * *batch as u64) as f64);
        let lengths: Vec<String> = rungs.iter().take(1).flat_map(|rung| &rung.steps).map(tokens).collect();
        let time = seconds.map_or(String::new(), |seconds| format!(", about {:.0} minutes in all", seconds / 60.0));
        let text = format!(
            "{runs} runs of {} parameters with {} tokens each, then one of {} parameters with {} tokens that they \
             predict{time}",
            sizes.join(", "),
            lengths.join(", "),
            short(held_out.parameters as f64),
            held_out.steps.first().map(tokens).unwrap_or_default()
        );
        self.context.observer.event(&Event::Note(&text));
    }

    /// Every run of the ladder; nothing if one was interrupted.
    pub fn ladder_runs(&self) -> Result<Option<Vec<RunFigures>>> {
        let mut figures = Vec::new();
        for rung in &self.ladder.rungs {
            for (place, &steps) in rung.steps.iter().enumerate() {
                let next = rung.steps.get(place + 1).map(|&steps| Site { rung, steps });
                match self.complete(Site { rung, steps }, next)? {
                    Some(run) => figures.push(run),
                    None => return Ok(None),
                }
            }
        }
        Ok(Some(figures))
    }

    /// The run that is predicted; nothing if it was interrupted.
    pub fn held_out_run(&self) -> Result<Option<RunFigures>> {
        self.complete(self.held_out_site(), None)
    }

    fn held_out_site(&self) -> Site<'_> {
        let rung = &self.ladder.held_out;
        Site { rung, steps: rung.steps.first().copied().unwrap_or(1) }
    }

    /// The size of the run that is predicted.
    pub fn held_out_size(&self) -> Size {
        self.size(self.held_out_site())
    }

    fn size(&self, Site { rung, steps }: Site<'_>) -> Size {
        let Rung { parameters, embedding, .. } = *rung;
        Size { parameters, embedding, tokens: (steps * self.ladder.batch as u64) as f64 }
    }

    /// Puts a prediction on disk, with the time, unless it is there already.
    pub fn register(&self, prediction: Prediction) -> Result<Prediction> {
        let path = self.dir.join(PREDICTION);
        if let Some(registered) = read::<Prediction>(&path)? {
            return Ok(registered);
        }
        let registered = Prediction { registered_unix_s: Some(self.context.clock.unix_s()), ..prediction };
        write(&path, &registered)?;
        Ok(registered)
    }

    /// Does a run, or what is left of it, and measures it; before that, what the next run shares with it.
    fn complete(&self, site: Site<'_>, next: Option<Site<'_>>) -> Result<Option<RunFigures>> {
        let artifact = match self.finished(site) {
            Some(artifact) => artifact,
            None => {
                self.announce(site);
                if let Some(next) = next
                    && !self.branch(site, next)?
                {
                    return Ok(None);
                }
                match self.train(site, None)? {
                    Ended::Finished(artifact) => *artifact,
                    Ended::Stopped | Ended::Interrupted => return Ok(None),
                }
            }
        };
        let path = self.beside(site, "measured.json");
        let grades = match read::<Grades>(&path)? {
            Some(grades) => grades,
            None => {
                let grades = self.examination.of_model(&artifact)?;
                write(&path, &grades)?;
                grades
            }
        };
        let figures = RunFigures::of(&artifact, site.rung, self.size(site), grades)?;
        self.context.observer.event(&Event::Note(&figures.line()));
        Ok(Some(figures))
    }

    fn announce(&self, site: Site<'_>) {
        let Size { parameters, tokens, .. } = self.size(site);
        let steps = site.steps;
        let text =
            format!("training {} parameters on {} tokens, {steps} steps", short(parameters as f64), short(tokens));
        self.context.observer.event(&Event::Note(&text));
    }

    /// Makes the next run begin where this one's learning rate starts to fall; says whether it was not interrupted.
    fn branch(&self, site: Site<'_>, next: Site<'_>) -> Result<bool> {
        if self.target(next).exists() || self.newest(next)?.is_some() {
            return Ok(true);
        }
        let step = self.cooldown_start(site.steps);
        if self.newest(site)?.is_none_or(|newest| newest < step)
            && let Ended::Interrupted = self.train(site, Some(step))?
        {
            return Ok(false);
        }
        // Later, the next run can only begin by itself, which gives the same bits.
        if self.newest(site)? == Some(step) {
            let store = CheckpointStore::open(&checkpoints_dir(&self.target(site)))?;
            let state =
                fork(TrainState::read(&store.open_step(step)?)?, &self.asked(next), &self.plan(next)?, store.dir())?;
            write(&self.beside(next, "branch.json"), &Branch { step, seconds: state.progress.seconds })?;
            let store = CheckpointStore::open(&checkpoints_dir(&self.target(next)))?;
            store.save(step, self.context.keys, |writer| state.write(writer))?;
        }
        Ok(true)
    }

    fn cooldown_start(&self, steps: u64) -> u64 {
        let warmup_steps = self.ladder.warmup;
        Schedule { peak: 1.0, floor: 0.0, warmup_steps, steps, decay: Decay::Wsd }.cooldown_start()
    }

    /// Trains until the end, or until a step is done.
    fn train(&self, site: Site<'_>, until: Option<u64>) -> Result<Ended> {
        let Context { observer, cancel, .. } = self.context;
        let relay = Relay { next: observer, person: cancel, own: Cancel::new(), until };
        let context = Context { observer: &relay, cancel: &relay.own, ..self.context };
        if cancel.is_raised() {
            return Ok(Ended::Interrupted);
        }
        let materials = Materials { corpus: self.corpus, mix: &[], tokenizer: self.tokenizer };
        match pretrain(&self.asked(site), materials, &self.target(site), context)? {
            Outcome::Finished(artifact) => Ok(Ended::Finished(artifact)),
            Outcome::Interrupted { .. } if cancel.is_raised() => Ok(Ended::Interrupted),
            Outcome::Interrupted { .. } => Ok(Ended::Stopped),
        }
    }

    fn asked(&self, site: Site<'_>) -> PretrainOptions {
        run_options(self.options, &self.ladder, site.rung, site.steps)
    }

    fn plan(&self, site: Site<'_>) -> Result<Plan> {
        let mut machine = Machine { clock: self.context.clock, cancel: self.context.cancel, recompute: false };
        Ok(choose::choose(&self.asked(site), self.task, &mut machine)?.plan)
    }

    /// The model of a finished run.
    fn finished(&self, site: Site<'_>) -> Option<Artifact> {
        let artifact = Artifact::open(&self.target(site)).ok()?;
        // As it comes back from a file, so that numbers compare equal.
        let asked: Value = serde_json::from_str(&serde_json::to_string(&self.asked(site)).ok()?).ok()?;
        (artifact.manifest().settings == asked).then_some(artifact)
    }

    /// The step of a run's newest checkpoint.
    fn newest(&self, site: Site<'_>) -> Result<Option<u64>> {
        let dir = checkpoints_dir(&self.target(site));
        if !dir.exists() {
            return Ok(None);
        }
        Ok(CheckpointStore::open(&dir)?.steps()?.last().map(|(step, _)| *step))
    }

    fn target(&self, site: Site<'_>) -> PathBuf {
        self.dir.join(name(site))
    }

    /// A file about a run.
    fn beside(&self, site: Site<'_>, what: &str) -> PathBuf {
        self.dir.join(format!("{}.{what}", name(site)))
    }

    /// Seconds that all steps took, those that runs share counted once.
    pub fn seconds(&self, runs: &[RunFigures]) -> Result<f64> {
        let mut seconds = runs.iter().map(|run| run.seconds).sum::<f64>();
        for rung in &self.ladder.rungs {
            for &steps in &rung.steps {
                let branch = read::<Branch>(&self.beside(Site { rung, steps }, "branch.json"))?;
                seconds -= branch.map_or(0.0, |branch| branch.seconds);
            }
        }
        Ok(seconds)
    }
}

fn name(Site { rung, steps }: Site<'_>) -> String {
    format!("width-{:04}-steps-{steps:06}", rung.width)
}

/// The state of one run as that of another which is the same up to here.
fn fork(state: TrainState, options: &PretrainOptions, plan: &Plan, dir: &Path) -> Result<TrainState> {
    let step = state.progress.step;
    let (ours, theirs) = (state.plan.schedule, plan.schedule);
    let agree = (0..step).all(|step| ours.at(step) == theirs.at(step));
    if !agree || (Plan { schedule: ours, ..plan.clone() }) != state.plan {
        let why = format!("its run is not that of {} steps up to step {step}", theirs.steps);
        return Err(Error::Checkpoint { path: dir.to_owned(), why });
    }
    let mut state = state;
    state.identity.options = options.clone();
    state.plan = plan.clone();
    // Validations come at other steps; nothing depends on them here.
    (state.progress.guards.best, state.progress.guards.validations_since_best) = (None, 0);
    Ok(state)
}

/// The ladder of a record, if it is of the same options and inputs.
fn same(record: Record, options: &ScaleOptions, [corpus, tokenizer]: [&Artifact; 2], dir: &Path) -> Result<Ladder> {
    let json = |options: &ScaleOptions| serde_json::to_value(options).unwrap_or_default();
    let (found, expected) = (json(&record.options), json(options));
    let short = |digest: Digest| digest.to_string()[..12].to_owned();
    let mut pairs: Vec<(String, String, String)> = expected
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), found[key].to_string(), value.to_string()))
        .collect();
    pairs.push(("corpus".to_owned(), short(record.corpus), short(corpus.digest())));
    pairs.push(("tokenizer".to_owned(), short(record.tokenizer), short(tokenizer.digest())));
    match pairs.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(record.ladder),
        Some((what, found, expected)) => Err(Error::OtherRun { path: dir.to_owned(), what, found, expected }),
    }
}

/// A file of JSON; nothing where there is none.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| io("read", path, source))?,
    };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        let (what, expected) = ("the file".to_owned(), "what this version writes".to_owned());
        FileError::Corrupt { path: path.to_owned(), what, expected, found: error.to_string() }.into()
    })
}

fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let json = serde_json::to_vec_pretty(value).expect("plain values are always written");
    atomic::write_file(path, &json).map(drop).map_err(|error| FileError::from(error).into())
}

fn io(what: &'static str, path: &Path, source: std::io::Error) -> Error {
    FileError::Io { what, path: path.to_owned(), source }.into()
}

/// Hands on what a person wants to know of one of many runs, and stops it where it should stop.
struct Relay<'a> {
    next: &'a dyn Observer,
    person: &'a Cancel,
    own: Cancel,
    until: Option<u64>,
}

impl Observer for Relay<'_> {
    fn event(&self, event: &Event<'_>) {
        let there = matches!(event, Event::Step(step) if Some(step.step) == self.until);
        if there || self.person.is_raised() {
            self.own.raise();
        }
        if matches!(event, Event::Step(_) | Event::Progress { .. } | Event::Warning(_)) {
            self.next.event(event);
        }
    }
}
