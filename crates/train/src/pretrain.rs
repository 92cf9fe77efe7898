//! Pre-training: from a corpus and a tokenizer to a model artifact, through any number of interruptions.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use luban_artifact::checkpoints::CheckpointStore;
use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
use luban_base::cancel::Cancel;
use luban_base::clock::Clock;
use luban_base::memory::resident_bytes;
use luban_base::progress::{Event, Observer, StepEvent};
use luban_base::random::Stream;
use luban_data::Corpus;
use luban_data::loader::{Mixture, Positions, Sequence};
use luban_tensor::Precision;
use luban_text::Tokenizer;
use serde_json::{Value, json};

use crate::checkpoints::{remove, resume};
use crate::choose::{self, Machine, Task};
use crate::error::{Error, Result};
use crate::export;
use crate::guards::{Guards, Keep, Spike};
use crate::inputs::{Materials, bytes_per_token, held_out, open_loader, open_tokenizer, train_bytes};
use crate::memory;
use crate::monitor::{self, HeldOut, Score};
use crate::objective::{self, Example, Objective, Passage, Surroundings};
use crate::record::{Ending, Header, Recorder};
use crate::settings::{Plan, PretrainOptions};
use crate::state::{Identity, TrainState};
use crate::step::{StepDropout, StepInput, StepReport, train_step};
use crate::suspects::{self, Suspect};

pub use crate::checkpoints::checkpoints_dir;
pub use crate::record::run_dir;

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
/// Samples in a whole run.
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

    fn tell(&self, step: u64, score: &Score) {
        let Score { loss, bits_per_byte, perplexity, accuracy, ref parts } = *score;
        self.observer.event(&Event::Validation { step, loss, bits_per_byte, perplexity, accuracy });
        for (name, loss) in parts {
            self.observer.event(&Event::ValidationPart { step, name, loss: *loss });
        }
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
/// number or rises and stays high, or a disk that refuses. Checkpoints stay.
pub fn pretrain(
    options: &PretrainOptions,
    materials: Materials<'_>,
    target: &Path,
    context: Context<'_>,
) -> Result<Outcome> {
    let recorder = Recorder::new(target, context.observer, context.clock);
    let context = Context { observer: &recorder, ..context };
    match Run::open(options, materials, target, context) {
        Ok(run) => run.complete(&recorder),
        Err(Error::Cancelled) => Ok(Outcome::Interrupted { step: 0 }),
        Err(error) => Err(error),
    }
}

/// A run on its way.
struct Run<'a> {
    options: &'a PretrainOptions,
    materials: Materials<'a>,
    target: &'a Path,
    context: Context<'a>,
    tokenizer: Arc<Tokenizer>,
    objective: Box<dyn Objective>,
    texts: Vec<Corpus>,
    loader: Mixture,
    held_out: HeldOut,
    store: CheckpointStore,
    state: TrainState,
    saved: Saved,
    /// Bytes that the process held before the run, for other things.
    held_before: u64,
    /// The most bytes that were resident after a step of this sitting, where the system tells.
    resident_max: Option<u64>,
}

/// When the last checkpoint was made.
struct Saved {
    step: u64,
    at: Duration,
}

impl<'a> Run<'a> {
    fn open(
        options: &'a PretrainOptions,
        materials: Materials<'a>,
        target: &'a Path,
        context: Context<'a>,
    ) -> Result<Self> {
        let held_before = memory::held_by_others();
        options.validate()?;
        materials.check(options)?;
        // Said now, not after the last step: whether the model may be written there. Nothing is left behind.
        drop(ArtifactWriter::create(target, Kind::Model)?);
        let tokenizer = Arc::new(open_tokenizer(materials.tokenizer)?);
        let settings = options.objective_settings();
        let surroundings = Surroundings { name: &options.objective, settings: &settings, tokenizer: &tokenizer };
        let objective = objective::make(&surroundings)?;
        let texts = materials.corpora()?;
        let store = CheckpointStore::open(&checkpoints_dir(target))?;
        let Materials { corpus, mix, tokenizer: tokenizer_artifact } = materials;
        let (corpus, tokenizer_digest) = (corpus.digest(), tokenizer_artifact.digest());
        let mix = mix.iter().map(Artifact::digest).collect();
        let identity = Identity { options: options.clone(), corpus, mix, tokenizer: tokenizer_digest };
        let (loader, mut state) = match resume(options, &identity, &store, target, context.observer)? {
            Some(state) => go_on(state, &texts, &tokenizer, context)?,
            None => {
                let corpus_bytes = train_bytes(materials.corpus);
                let task = Task { vocab: tokenizer.vocab_size(), causal: objective.causal(), corpus_bytes };
                let mut plan = choose_plan(options, task, context)?;
                plan.mix = materials.mixed(options, plan.tokens());
                warn_of_repetition(&plan, materials, &texts, &tokenizer, context)?;
                let loader = open_loader(&texts, &tokenizer, &plan)?;
                let positions = loader.positions();
                (loader, TrainState::start(identity, plan, positions)?)
            }
        };
        state.model.set_recompute(options.recompute);
        context.note(&memory::describe(&memory::planned(&state.plan, options.recompute, held_before)));
        let held_out = held_out(&texts, &tokenizer, &state.plan, &*objective, VALIDATION_BYTES)?;
        if held_out.is_empty() {
            check_needs_no_validation(options)?;
            let text = "the corpus holds no validation text: nothing will be measured on it";
            context.observer.event(&Event::Warning(text));
        }
        let saved = Saved { step: state.progress.step, at: context.clock.elapsed() };
        Ok(Self {
            options,
            materials,
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
            held_before,
            resident_max: None,
        })
    }

    fn complete(mut self, recorder: &Recorder<'_>) -> Result<Outcome> {
        recorder.begin(self.state.progress.step, self.state.plan.schedule.steps, self.header());
        let figures = |state: &TrainState| Value::Object(export::metrics(state, None));
        match self.train(recorder) {
            Ok(true) => self.finish(recorder),
            Ok(false) => {
                recorder.report(Ending::Interrupted, figures(&self.state));
                Ok(Outcome::Interrupted { step: self.state.progress.step })
            }
            Err(error) => {
                recorder.report(Ending::Failed(error.to_string()), figures(&self.state));
                Err(error)
            }
        }
    }

    /// What the record says of the run.
    fn header(&self) -> Header {
        let TrainState { plan, identity, .. } = &self.state;
        let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
        Header {
            name: self.target.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            settings: json(serde_json::to_value(&identity.options)),
            plan: json(serde_json::to_value(plan)),
            inputs: json!({ "corpus": identity.corpus, "mix": identity.mix, "tokenizer": identity.tokenizer }),
            steps_total: plan.schedule.steps,
            parameters: plan.spec.parameters(),
            flops_per_token: plan.flops_per_token(),
        }
    }

    /// Does the steps that are left; says whether all are done, and not interrupted.
    fn train(&mut self, recorder: &Recorder<'_>) -> Result<bool> {
        // From here on a kill loses no choice: the plan, which was measured, is on disk before the first step.
        if self.state.progress.step == 0 {
            self.save()?;
        }
        while !self.state.is_complete() {
            if self.context.cancel.is_raised() {
                self.save_if_new()?;
                return Ok(false);
            }
            recorder.measure_peak(self.state.plan.precision == Precision::Bf16);
            self.step()?;
            let best = self.watch()?;
            if self.is_save_due() || (best && self.options.keep == Keep::Best) {
                self.save()?;
            }
        }
        self.save_if_new()?;
        Ok(true)
    }

    fn step(&mut self) -> Result<()> {
        let before = self.context.clock.elapsed();
        let (step, position) = (self.state.progress.step, self.state.progress.position.clone());
        let Plan { schedule, sequences, sequences_at_once, .. } = self.state.plan;
        let learning_rate = schedule.at(step);
        let loaded = self.loader.next(step * sequences as u64, sequences)?;
        let examples = self.examples(step, &loaded);
        let dropout = StepDropout::of(&self.state.plan, step);
        let input = StepInput { examples: &examples, at_once: sequences_at_once, learning_rate, dropout };
        let report = train_step(&mut self.state.model, &mut self.state.optimizer, input)?;
        if !report.is_finite() && !report.skipped {
            return Err(self.diverged(report, position));
        }
        let seconds = (self.context.clock.elapsed() - before).as_secs_f64();
        // What a step held, the arena still has.
        self.resident_max = self.resident_max.max(resident_bytes());
        self.state.progress.advance(report.loss, report.tokens, seconds, self.loader.positions());
        self.context.observer.event(&Event::Step(StepEvent {
            step: step + 1,
            steps_total: schedule.steps,
            loss: report.loss,
            learning_rate,
            gradient_norm: report.gradient_norm,
            tokens: report.tokens,
            seconds,
        }));
        let guards = &mut self.state.progress.guards;
        match guards.watch_step(step + 1, report.loss, position, self.options.spike_steps) {
            Some(spike) => Err(self.spiked(spike, report.loss)),
            None => Ok(()),
        }
    }

    /// The batch of a step, counted from 0.
    fn examples(&self, step: u64, loaded: &[Sequence]) -> Vec<Example> {
        let Plan { sequences, seed, document_mask, .. } = self.state.plan;
        let first = step * sequences as u64;
        let example = |(sample, sequence): (u64, &Sequence)| {
            let draws = Stream::new(seed, &[SAMPLES, sample]);
            let Sequence { tokens, segments } = sequence;
            self.objective.example(&Passage { tokens, segments, document_mask, sample, draws })
        };
        (first..).zip(loaded).map(example).collect()
    }

    /// Measures and shows, now and then; says whether the weights are the best so far. Changes nothing but the guards.
    fn watch(&mut self) -> Result<bool> {
        let (step, steps) = (self.state.progress.step, self.state.plan.schedule.steps);
        let PretrainOptions { keep, patience, validations, .. } = *self.options;
        let due = |times: u64| step < steps && step.is_multiple_of((steps / times).max(1));
        if self.held_out.is_empty() {
            return Ok(false);
        }
        let mut best = false;
        // The last weights are measured on all held-out text, but compare with others by what those were measured on.
        if due(validations) || (keep == Keep::Best && step == steps) {
            let score = self.held_out.score(&mut self.state.model)?;
            // The last step's is told by the end, which measures all of the text.
            if step < steps {
                self.context.tell(step, &score);
            }
            best = self.state.progress.guards.watch_validation(step, score.loss, patience);
        }
        if due(SAMPLES_SHOWN) && self.objective.causal() {
            let text = self.held_out.sample(&mut self.state.model, &self.tokenizer, step)?;
            self.context.observer.event(&Event::Sample { step, text: &text });
        }
        Ok(best)
    }

    /// While the loss is where it should not be, no checkpoint takes the place of one from before.
    fn is_save_due(&self) -> bool {
        self.state.progress.guards.spike.is_none()
            && match self.options.checkpoint_every {
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
        let best = self.state.progress.guards.best.map(|best| best.step);
        self.store.prune_but(CHECKPOINTS_KEPT, best.filter(|_| self.options.keep == Keep::Best))?;
        self.saved = Saved { step, at: self.context.clock.elapsed() };
        self.context.observer.event(&Event::Checkpoint { step });
        Ok(())
    }

    fn finish(mut self, recorder: &Recorder<'_>) -> Result<Outcome> {
        let ending = self.say_if_stopped();
        let kept = self.take_best()?;
        // The last word is on the weights as they will be served.
        self.state.model.set_precision(Precision::F32);
        let plan = &self.state.plan;
        let all = held_out(&self.texts, &self.tokenizer, plan, &*self.objective, self.options.validation_bytes)?;
        let score = match all.is_empty() {
            true => None,
            false => Some(all.score(&mut self.state.model)?),
        };
        if let Some(score) = &score {
            self.context.tell(self.state.progress.step, score);
        }
        let mut metrics = export::metrics(&self.state, score.as_ref().map(|score| (score, &all)));
        metrics.extend(kept.map(|step| ("kept_step".to_owned(), json!(step))));
        metrics.extend(self.told_memory());
        let report = recorder.report(ending, Value::Object(metrics.clone()));
        let artifact = export::write(export::Trained {
            state: &self.state,
            materials: self.materials,
            target: self.target,
            keys: self.context.keys,
            metrics,
            report,
            eos: self.tokenizer.eos(),
        })?;
        remove(&self.store)?;
        Ok(Outcome::Finished(Box::new(artifact)))
    }

    /// What was planned and measured.
    fn told_memory(&self) -> Vec<(String, Value)> {
        let planned = memory::planned(&self.state.plan, self.options.recompute, self.held_before).total();
        let mut told = vec![("planned_memory_bytes".to_owned(), json!(planned))];
        if let Some(resident) = self.resident_max {
            let mb = |bytes: u64| bytes as f64 / 1e6;
            self.context.note(&format!("memory: {:.0} MB were in use, {:.0} MB planned", mb(resident), mb(planned)));
            told.push(("resident_memory_bytes".to_owned(), json!(resident)));
        }
        told
    }

    fn say_if_stopped(&self) -> Ending {
        let Guards { best, validations_since_best, stopped, .. } = &self.state.progress.guards;
        let (true, Some(best)) = (*stopped, best) else { return Ending::Finished };
        let (step, steps) = (self.state.progress.step, self.state.plan.schedule.steps);
        let text = format!(
            "stopped after step {step} of {steps}: none of the last {validations_since_best} validations was better \
             than {:.3}, that of step {}",
            best.loss, best.step
        );
        self.context.note(&text);
        Ending::StoppedEarly(text)
    }

    /// Puts the weights of the best validation in the place of the last ones, where that was asked for; gives the step
    /// that they are of.
    fn take_best(&mut self) -> Result<Option<u64>> {
        let Some(best) = self.state.progress.guards.best.filter(|_| self.options.keep == Keep::Best) else {
            return Ok(None);
        };
        if best.step != self.state.progress.step {
            self.state.model = TrainState::read(&self.store.open_step(best.step)?)?.model;
            self.context.note(&format!("keeping the weights of step {}, validation loss {:.3}", best.step, best.loss));
        }
        Ok(Some(best.step))
    }

    fn diverged(&mut self, report: StepReport, position: Positions) -> Error {
        let StepReport { loss, gradient_norm, .. } = report;
        let step = self.state.progress.step + 1;
        let advice = self.advice(step, &position);
        Error::Diverged { step, loss, gradient_norm, advice }
    }

    fn spiked(&mut self, spike: Spike, loss: f64) -> Error {
        let Spike { step, steps, usual, position } = spike;
        let advice = format!("{}\nor go on past it with --spike-steps 0", self.advice(step, &position));
        Error::Spiked { step, steps, loss, usual, advice }
    }

    /// What to do about a step, counted from 1, that went wrong with the batch at `position`.
    fn advice(&mut self, step: u64, position: &Positions) -> String {
        let checkpoints = self.store.steps().unwrap_or_default();
        let suspects = self.suspects(step - 1, position).unwrap_or_else(|error| format!(" not found: {error}"));
        let good =
            checkpoints.iter().map(|(step, _)| *step).filter(|&good| good < step).max().unwrap_or(self.saved.step);
        format!(
            "the last good checkpoint, of step {good}, is in {}; start anew with --fresh and a --learning-rate below \
             {:.2e}, unless the text is at fault: of the batch of step {step} the worst were{suspects}",
            checkpoints_dir(self.target).display(),
            self.state.plan.schedule.peak,
        )
    }

    /// The sequences of a step's batch that the model does worst on, with where they are from.
    fn suspects(&mut self, step: u64, position: &Positions) -> Result<String> {
        self.loader.seek(position)?;
        let sequences = self.state.plan.sequences;
        let loaded = self.loader.next(step * sequences as u64, sequences)?;
        let examples = self.examples(step, &loaded);
        let mut found = Vec::with_capacity(loaded.len());
        for (place, (sequence, example)) in loaded.iter().zip(&examples).enumerate() {
            let loss = monitor::loss_of(&mut self.state.model, example)?;
            found.push(Suspect { place, sequence, loss });
        }
        Ok(suspects::describe(found, &self.tokenizer, &self.texts))
    }
}

/// Refuses what is decided by validations, where there are none.
fn check_needs_no_validation(options: &PretrainOptions) -> Result<()> {
    let (name, found) = match options {
        PretrainOptions { keep: Keep::Best, .. } => ("keep", "best".to_owned()),
        PretrainOptions { patience: Some(patience), .. } => ("patience", patience.to_string()),
        _ => return Ok(()),
    };
    let expected = "no such option, for the corpus holds no validation text".to_owned();
    Err(Error::Setting { name, found, expected })
}

/// A resumed state, and the loader at its place.
fn go_on(
    state: TrainState,
    texts: &[Corpus],
    tokenizer: &Arc<Tokenizer>,
    context: Context<'_>,
) -> Result<(Mixture, TrainState)> {
    let steps = state.plan.schedule.steps;
    context.note(&format!("going on after step {} of {steps}", state.progress.step));
    let mut loader = open_loader(texts, tokenizer, &state.plan)?;
    loader.seek(&state.progress.position)?;
    Ok((loader, state))
}

fn choose_plan(options: &PretrainOptions, task: Task, context: Context<'_>) -> Result<Plan> {
    let mut machine = Machine { clock: context.clock, cancel: context.cancel, recompute: options.recompute };
    let choice = choose::choose(options, task, &mut machine)?;
    choice.notes.iter().for_each(|note| context.note(note));
    Ok(choice.plan)
}

/// Says so when the run will see its text many times: beyond a few, it learns it by heart (Muennighoff et al. 2023).
fn warn_of_repetition(
    plan: &Plan,
    materials: Materials<'_>,
    texts: &[Corpus],
    tokenizer: &Tokenizer,
    context: Context<'_>,
) -> Result<()> {
    let others = materials.mix.iter().zip(plan.mix.iter().map(|mixed| mixed.share));
    let shares = std::iter::once((materials.corpus, plan.first_share())).chain(others);
    for ((corpus, share), texts) in shares.zip(texts) {
        let read = plan.tokens() as f64 * share * bytes_per_token(texts, tokenizer)?;
        let epochs = read / train_bytes(corpus).max(1) as f64;
        if epochs > EPOCHS_MANY {
            let which = if plan.mix.is_empty() { "the corpus".to_owned() } else { corpus.dir().display().to_string() };
            let text = format!(
                "the run will read {which} about {epochs:.0} times and learn it by heart: more text, or fewer \
                 --minutes or --steps, would serve better"
            );
            context.observer.event(&Event::Warning(&text));
        }
    }
    Ok(())
}
