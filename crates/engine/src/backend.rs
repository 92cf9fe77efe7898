//! The model behind a worker, and what guesses for it.

use std::sync::Arc;

use luban_model::{Batch, forward_through};

use crate::error::Result;
use crate::serving::{Rows, ServingExecutor, ServingModel};
use crate::speculation::Drafter;
use crate::worker::{Backend, Reads, Wanted, Work};

/// Runs a model, and its drafter if it has one.
#[derive(Debug)]
pub(crate) struct ModelBackend {
    model: Runner,
    drafter: DraftRunner,
}

/// Runs one model on the pieces of a step.
#[derive(Debug)]
struct Runner {
    model: Arc<ServingModel>,
    executor: ServingExecutor,
    batch: Batch,
    wanted: Vec<usize>,
    logits: Option<Rows>,
}

#[derive(Debug)]
enum DraftRunner {
    None,
    /// The model itself, so many layers of it.
    Early(usize),
    Model(Box<Runner>),
}

impl ModelBackend {
    /// With caches of so many blocks.
    pub(crate) fn new(model: Arc<ServingModel>, blocks: usize, drafter: &Drafter) -> Self {
        let drafter = match drafter {
            Drafter::None => DraftRunner::None,
            Drafter::Early(layers) => DraftRunner::Early(*layers),
            Drafter::Model(model) => DraftRunner::Model(Box::new(Runner::new(Arc::clone(model), blocks))),
        };
        Self { model: Runner::new(model, blocks), drafter }
    }
}

impl Runner {
    fn new(model: Arc<ServingModel>, blocks: usize) -> Self {
        let executor = ServingExecutor::new(Arc::clone(&model), Some(blocks));
        Self { model, executor, batch: Batch::new(), wanted: Vec::new(), logits: None }
    }

    /// The logits of the wanted rows, by the first `layers` of the model.
    fn run(&mut self, work: &[Work<'_>], layers: usize) -> Result<&[f32]> {
        self.batch.clear();
        self.wanted.clear();
        for piece in work {
            let start = self.batch.rows();
            self.batch.push(piece.tokens, piece.first_position);
            let end = self.batch.rows();
            match piece.wanted {
                Wanted::None => {}
                Wanted::Last => self.wanted.push(end - 1),
                Wanted::All => self.wanted.extend(start..end),
            }
        }
        self.executor.place(work.iter().map(|piece| piece.blocks));
        let (spec, weights) = (self.model.spec(), self.model.weights());
        let hidden = forward_through(spec, weights, &mut self.executor, &self.batch, layers)?;
        // The memory of the last step's logits goes round.
        self.logits = None;
        if self.wanted.is_empty() {
            return Ok(&[]);
        }
        let logits = self.logits.insert(self.executor.logits(&hidden, &self.wanted)?);
        Ok(logits.values())
    }
}

impl Backend for ModelBackend {
    fn step(&mut self, work: &[Work<'_>]) -> Result<&[f32]> {
        let layers = self.model.model.spec().layers;
        self.model.run(work, layers)
    }

    fn draft(&mut self, work: &[Work<'_>]) -> Result<&[f32]> {
        match &mut self.drafter {
            DraftRunner::None => Ok(&[]),
            DraftRunner::Early(layers) => self.model.run(work, *layers),
            DraftRunner::Model(runner) => {
                let layers = runner.model.spec().layers;
                runner.run(work, layers)
            }
        }
    }

    fn reads(&self) -> Reads {
        match &self.drafter {
            DraftRunner::None => Reads::Nothing,
            DraftRunner::Early(_) => Reads::WithModel,
            DraftRunner::Model(_) => Reads::Itself,
        }
    }

    fn copy_block(&mut self, from: u32, to: u32) {
        self.model.executor.copy_block(from, to);
        if let DraftRunner::Model(runner) = &mut self.drafter {
            runner.executor.copy_block(from, to);
        }
    }

    fn vocab(&self) -> usize {
        self.model.model.spec().vocab
    }
}
