//! Pre-training: from a corpus and a tokenizer to a model artifact, through any number of interruptions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use luban_artifact::checkpoints::CheckpointStore;
use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
use luban_base::cancel::Cancel;
use luban_base::clock::Clock;
use luban_base::progress::{Event, Observer, StepEvent};
use luban_base::random::Stream;
use luban_data::Corpus;
use luban_data::loader::{self, Loader, LoaderOptions, Sequence, Split};
use luban_text::Tokenizer;

use crate::checkpoints::{remove, resume};
use crate::choose::{self, BYTES_PER_TOKEN, Machine, Task};
use crate::error::{Error, Result};
use crate::export;
use crate::monitor::HeldOut;
use crate::objective::{self, Example, Objective};
use crate::settings::{Plan, PretrainOptions};
use crate::state::{Identity, TrainState};
use crate::step::{StepInput, StepReport, train_step};

pub use crate::checkpoints::checkpoints_dir;

/// Label of the random streams of each training sample.
const SAMPLES: u64 = 0x5E9;
/// Time between checkpoints, unless a number of steps is given.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);
/// Checkpoints that stay; the one before the newest is there for a newest one that a disk lost.
const CHECKPOINTS_KEPT: usize = 2;
/// Repetitions of the corpus that are worth a warning.
const EPOCHS_MANY: f64 = 8.0;
/// Held-out text that is scored on the way; the end scores all of it.
const VALIDATION_BYTES: u64 = 64 << 10;
/// Most held-out text that the end scores.
const FINAL_VALIDATION_BYTES_MAX: u64 = 4 << 20;
/// Validations and samples in a whole run.
const VALIDATIONS: u64 = 10;
const SAMPLES_SHOWN: u64 = 7;

/// What a run may use of the outside.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Sign what is made.
    pub keys: &'a Keys,
    /// Receives progress.
    pub observer: &'a dyn Observer,
    /// Raised when the run should stop at its next step.
    pub cancel: &'a Cancel,
    /// Tells the time.
    pub clock: &'a dyn Clock,
}

impl Context<'_> {
    fn note(&self, text: &str) {
        self.observer.event(&Event::Note(text));
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The model stands at its target.
    Finished(Box<Artifact>),
    /// The run was cancelled; the same call goes on from there.
    Interrupted {
        /// Steps done.
        step: u64,
    },
}

/// Trains a model and leaves it at `target`. A run that was interrupted, killed included, goes on from its newest
/// whole checkpoint and ends with the very bits of an unbroken one.
///
/// # Errors
/// An option out of bounds, a corpus or tokenizer that cannot be read, checkpoints of another run, a loss that is no
/// number, or a disk that refuses. Checkpoints stay.
pub fn pretrain(
    options: &PretrainOptions,
    corpus: &Artifact,
    tokenizer: &Artifact,
    target: &Path,
    context: Context<'_>,
) -> Result<Outcome> {
    match Run::open(options, corpus, tokenizer, target, context) {
        Ok(run) => run.complete(),
        Err(Error::Cancelled) => Ok(Outcome::Interrupted { step: 0 }),
        Err(error) => Err(error),
    }
}

/// A run on its way.
struct Run<'a> {
    options: &'a PretrainOptions,
    corpus: &'a Artifact,
    tokenizer_artifact: &'a Artifact,
    target: &'a Path,
    context: Context<'a>,
    tokenizer: Arc<Tokenizer>,
    objective: Box<dyn Objective>,
    texts: Corpus,
    loader: Loader,
    held_out: HeldOut,
    store: CheckpointStore,
    state: TrainState,
    saved: Saved,
}

/// When the last checkpoint was made.
struct Saved {
    step: u64,
    at: Duration,
}

impl<'a> Run<'a> {
    fn open(
        options: &'a PretrainOptions,
        corpus: &'a Artifact,
        tokenizer_artifact: &'a Artifact,
        target: &'a Path,
        context: Context<'a>,
    ) -> Result<Self> {
        options.validate()?;
        // Said now, not after the last step: whether the model may be written there. Nothing is left behind.
        drop(ArtifactWriter::create(target, Kind::Model)?);
        let tokenizer = Arc::new(open_tokenizer(tokenizer_artifact)?);
        let objective = objective::by_name(&options.objective, &tokenizer)?;
        let texts = Corpus::open(corpus)?;
        let store = CheckpointStore::open(&checkpoints_dir(target))?;
        let (digest, tokenizer_digest) = (corpus.digest(), tokenizer_artifact.digest());
        let identity = Identity { options: options.clone(), corpus: digest, tokenizer: tokenizer_digest };
        let (loader, state) = match resume(options, &identity, &store, target, context.observer)? {
            Some(state) => go_on(state, &texts, &tokenizer, context)?,
            None => {
                let corpus_bytes = train_bytes(corpus);
                let task = Task { vocab: tokenizer.vocab_size(), causal: objective.causal(), corpus_bytes };
                let plan = choose_plan(options, task, context)?;
                warn_of_repetition(&plan, corpus, context);
                let loader = open_loader(&texts, &tokenizer, &plan)?;
                let position = loader.position();
                (loader, TrainState::start(identity, plan, position)?)
            }
        };
        let held_out = held_out(&texts, &tokenizer, &state.plan, &*objective, VALIDATION_BYTES)?;
        if held_out.is_empty() {
            let text = "the corpus holds no validation text: nothing will be measured on it";
            context.observer.event(&Event::Warning(text));
        }
        let saved = Saved { step: state.progress.step, at: context.clock.elapsed() };
        Ok(Self {
            options,
            corpus,
            tokenizer_artifact,
            target,
            context,
            tokenizer,
            objective,
            texts,
            loader,
            held_out,
            store,
            state,
            saved,
        })
    }

    fn complete(mut self) -> Result<Outcome> {
        // From here on a kill loses no choice: the plan, which was measured, is on disk before the first step.
        if self.state.progress.step == 0 {
            self.save()?;
        }
        while !self.state.is_complete() {
            if self.context.cancel.is_raised() {
                self.save_if_new()?;
                return Ok(Outcome::Interrupted { step: self.state.progress.step });
            }
            self.step()?;
            self.watch()?;
            if self.is_save_due() {
                self.save()?;
            }
        }
        self.save_if_new()?;
        self.finish()
    }

    fn step(&mut self) -> Result<()> {
        let before = self.context.clock.elapsed();
        let step = self.state.progress.step;
        let Plan { schedule, sequences_at_once, .. } = self.state.plan;
        let learning_rate = schedule.at(step);
        let examples = self.examples()?;
        let input = StepInput { examples: &examples, at_once: sequences_at_once, learning_rate };
        let report = train_step(&mut self.state.model, &mut self.state.optimizer, input)?;
        if !report.is_finite() {
            return Err(self.diverged(report));
        }
        let seconds = (self.context.clock.elapsed() - before).as_secs_f64();
        self.state.progress.advance(report.loss, report.tokens, seconds, self.loader.position());
        self.context.observer.event(&Event::Step(StepEvent {
            step: step + 1,
            steps_total: schedule.steps,
            loss: report.loss,
            learning_rate,
            gradient_norm: report.gradient_norm,
            tokens: report.tokens,
            seconds,
        }));
        Ok(())
    }

    /// The batch of the next step.
    fn examples(&mut self) -> Result<Vec<Example>> {
        let Plan { sequences, seed, document_mask, .. } = self.state.plan;
        let first = self.state.progress.step * sequences as u64;
        let loaded = self.loader.next(sequences)?;
        let draws = |sample: usize| Stream::new(seed, &[SAMPLES, first + sample as u64]);
        let example = |(sample, sequence): (usize, &Sequence)| {
            let example = self.objective.example(&sequence.tokens, draws(sample));
            if document_mask { example.cut(&sequence.segments) } else { example }
        };
        Ok(loaded.iter().enumerate().map(example).collect())
    }

    /// Measures and shows, now and then. Changes nothing of the state.
    fn watch(&mut self) -> Result<()> {
        let (step, steps) = (self.state.progress.step, self.state.plan.schedule.steps);
        let due = |times: u64| step < steps && step.is_multiple_of((steps / times).max(1));
        if self.held_out.is_empty() {
            return Ok(());
        }
        if due(VALIDATIONS) {
            let score = self.held_out.score(&mut self.state.model)?;
            let (loss, bits_per_byte) = (score.loss, score.bits_per_byte);
            self.context.observer.event(&Event::Validation { step, loss, bits_per_byte });
        }
        if due(SAMPLES_SHOWN) && self.objective.causal() {
            let text = self.held_out.sample(&mut self.state.model, &self.tokenizer, step)?;
            self.context.observer.event(&Event::Sample { step, text: &text });
        }
        Ok(())
    }

    fn is_save_due(&self) -> bool {
        match self.options.checkpoint_every {
            Some(steps) => self.state.progress.step - self.saved.step >= steps,
            None => self.context.clock.elapsed() - self.saved.at >= CHECKPOINT_EVERY,
        }
    }

    fn save_if_new(&mut self) -> Result<()> {
        if self.saved.step == self.state.progress.step { Ok(()) } else { self.save() }
    }

    fn save(&mut self) -> Result<()> {
        let step = self.state.progress.step;
        self.store.save(step, self.context.keys, |writer| self.state.write(writer))?;
        self.store.prune(CHECKPOINTS_KEPT)?;
        self.saved = Saved { step, at: self.context.clock.elapsed() };
        self.context.observer.event(&Event::Checkpoint { step });
        Ok(())
    }

    fn finish(mut self) -> Result<Outcome> {
        let plan = &self.state.plan;
        let all = held_out(&self.texts, &self.tokenizer, plan, &*self.objective, FINAL_VALIDATION_BYTES_MAX)?;
        let score = match all.is_empty() {
            true => None,
            false => Some(all.score(&mut self.state.model)?),
        };
        if let Some(score) = score {
            let (step, loss) = (self.state.progress.step, score.loss);
            self.context.observer.event(&Event::Validation { step, loss, bits_per_byte: score.bits_per_byte });
        }
        let artifact = export::write(export::Trained {
            state: &self.state,
            corpus: self.corpus,
            tokenizer: self.tokenizer_artifact,
            target: self.target,
            keys: self.context.keys,
            validation: score.map(|score| (score, &all)),
            eos: self.tokenizer.eos(),
        })?;
        remove(&self.store)?;
        Ok(Outcome::Finished(Box::new(artifact)))
    }

    fn diverged(&self, report: StepReport) -> Error {
        let StepReport { loss, gradient_norm, .. } = report;
        let peak = self.state.plan.schedule.peak;
        let advice = format!(
            "the last good checkpoint, of step {}, is in {}; start anew with --fresh and a --learning-rate below {peak:.2e}",
            self.saved.step,
            checkpoints_dir(self.target).display(),
        );
        Error::Diverged { step: self.state.progress.step + 1, loss, gradient_norm, advice }
    }
}

/// A resumed state, and the loader at its place.
fn go_on(
    state: TrainState,
    texts: &Corpus,
    tokenizer: &Arc<Tokenizer>,
    context: Context<'_>,
) -> Result<(Loader, TrainState)> {
    let steps = state.plan.schedule.steps;
    context.note(&format!("going on after step {} of {steps}", state.progress.step));
    let mut loader = open_loader(texts, tokenizer, &state.plan)?;
    loader.seek(&state.progress.position)?;
    Ok((loader, state))
}

fn choose_plan(options: &PretrainOptions, task: Task, context: Context<'_>) -> Result<Plan> {
    let mut machine = Machine { clock: context.clock, cancel: context.cancel };
    let choice = choose::choose(options, task, &mut machine)?;
    choice.notes.iter().for_each(|note| context.note(note));
    Ok(choice.plan)
}

/// Says so when the run will see its text many times: beyond a few, it learns it by heart (Muennighoff et al. 2023).
fn warn_of_repetition(plan: &Plan, corpus: &Artifact, context: Context<'_>) {
    let epochs = plan.tokens() as f64 * BYTES_PER_TOKEN / train_bytes(corpus).max(1) as f64;
    if epochs > EPOCHS_MANY {
        let text = format!(
            "the run will read the corpus about {epochs:.0} times and learn it by heart: more text, or fewer \
             --minutes or --steps, would serve better"
        );
        context.observer.event(&Event::Warning(&text));
    }
}

fn train_bytes(corpus: &Artifact) -> u64 {
    corpus.manifest().files.get(Split::Train.file()).map_or(0, |entry| entry.size)
}

fn open_tokenizer(artifact: &Artifact) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::from_json(&artifact.read("tokenizer.json")?)?;
    match artifact.exists("tokenizer_config.json") {
        true => Ok(tokenizer.with_config(&artifact.read("tokenizer_config.json")?)?),
        false => Ok(tokenizer),
    }
}

fn open_loader(texts: &Corpus, tokenizer: &Arc<Tokenizer>, plan: &Plan) -> Result<Loader> {
    let Plan { context: length, seed, shuffle_sequences: block_sequences, strata, .. } = *plan;
    let options = LoaderOptions { length, seed, block_sequences, strata };
    Ok(Loader::open(texts, Split::Train, Arc::clone(tokenizer), options)?)
}

fn held_out(
    texts: &Corpus,
    tokenizer: &Tokenizer,
    plan: &Plan,
    objective: &dyn Objective,
    bytes_max: u64,
) -> Result<HeldOut> {
    let (windows, bytes) = match loader::validation_windows(texts, tokenizer, plan.context, bytes_max) {
        Ok(cut) => cut,
        // A corpus of a single document has nothing to hold out: training goes on without a measure.
        Err(luban_data::Error::TooShort { .. }) => (Vec::new(), 0),
        Err(error) => return Err(error.into()),
    };
    Ok(HeldOut::new(&windows, bytes, objective))
}
