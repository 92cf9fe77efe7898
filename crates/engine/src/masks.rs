//! Masks of grammars, worked out on a thread of their own while the model computes the logits that they are for.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use luban_text::Tokenizer;
use luban_text::grammar::{Constraint, Grammar, Grammars, Mask};

use crate::error::{Error, Result};
use crate::sampling::Sampler;

/// Where masks are asked for; dropping the last one ends the thread.
#[derive(Clone, Debug)]
pub(crate) struct Masker {
    jobs: Sender<Job>,
}

struct Job {
    constraint: Constraint,
    reply: Sender<Done>,
}

/// A constraint with the mask of what may follow.
#[derive(Debug)]
struct Ready {
    constraint: Constraint,
    mask: Mask,
    took: Duration,
}

type Done = Result<Ready, String>;

impl Masker {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Self> {
        let (jobs, waiting) = channel::<Job>();
        let run = move || {
            for Job { mut constraint, reply } in waiting {
                let started = Instant::now();
                let mask = constraint.mask().map_err(|error| error.to_string());
                // Whoever asked may have gone.
                let _ = reply.send(mask.map(|mask| Ready { constraint, mask, took: started.elapsed() }));
            }
        };
        let builder = std::thread::Builder::new().name("luban-masks".into());
        builder.spawn(run).map_err(|source| Error::System { what: "start the thread for grammars", source })?;
        Ok(Self { jobs })
    }
}

/// The grammars of an engine, and the thread for their masks: made when they are first asked for.
#[derive(Debug)]
pub(crate) struct Guides {
    /// Tokens that end an answer.
    ends: Vec<u32>,
    ready: Mutex<Option<(Arc<Grammars>, Masker)>>,
}

impl Guides {
    pub(crate) fn new(ends: Vec<u32>) -> Self {
        Self { ends, ready: Mutex::new(None) }
    }

    /// Tokens that end an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    fn ready(&self, tokenizer: &Tokenizer) -> Result<(Arc<Grammars>, Masker)> {
        // Others wait meanwhile, rather than do the same work.
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ready) = &*ready {
            return Ok(ready.clone());
        }
        let made = (Arc::new(Grammars::new(tokenizer, &self.ends)?), Masker::start()?);
        *ready = Some(made.clone());
        Ok(made)
    }

    /// A grammar at its beginning.
    pub(crate) fn compile(&self, tokenizer: &Tokenizer, grammar: &Grammar) -> Result<Constraint> {
        Ok(self.ready(tokenizer)?.0.compile(grammar)?)
    }

    /// What keeps an answer to a grammar.
    pub(crate) fn guide(&self, tokenizer: &Tokenizer, grammar: &Grammar) -> Result<Guide> {
        let (grammars, masker) = self.ready(tokenizer)?;
        Ok(Guide::new(grammars.compile(grammar)?, masker))
    }
}

/// Keeps one answer to its grammar.
#[derive(Debug)]
pub(crate) struct Guide {
    masker: Masker,
    /// The constraint is with the thread, until this gives it back.
    coming: Option<Receiver<Done>>,
    finished: bool,
}

impl Guide {
    /// At the beginning of an answer; its first mask is worked out at once.
    pub(crate) fn new(constraint: Constraint, masker: Masker) -> Self {
        let mut guide = Self { masker, coming: None, finished: false };
        guide.ask(constraint);
        guide
    }

    fn ask(&mut self, constraint: Constraint) {
        let (reply, coming) = channel();
        // Without a thread, the wait below ends at once and says so.
        let _ = self.masker.jobs.send(Job { constraint, reply });
        self.coming = Some(coming);
    }

    /// Waits for the mask, lets `choose` draw with it, and asks for the mask after the token that was drawn.
    pub(crate) fn guided(
        &mut self,
        sampler: &mut Sampler,
        choose: impl FnOnce(&Mask, &mut Sampler) -> Result<u32, String>,
    ) -> Result<u32, String> {
        let started = Instant::now();
        let done = self.coming.take().and_then(|coming| coming.recv().ok());
        sampler.masks.waited += started.elapsed();
        let Ready { mut constraint, mask, took } =
            done.unwrap_or_else(|| Err("the thread for grammars has ended".into()))?;
        sampler.masks.worked += took;
        let token = choose(&mask, sampler)?;
        constraint.accept(token).map_err(|error| error.to_string())?;
        self.finished = constraint.is_finished();
        if !self.finished {
            self.ask(constraint);
        }
        Ok(token)
    }

    /// Whether the answer is complete and nothing can follow.
    pub(crate) fn is_finished(&self) -> bool {
        self.finished
    }
}
