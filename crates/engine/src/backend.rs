//! The model behind a worker, and what guesses for it.

use std::sync::Arc;

use luban_model::{Batch, forward_through};

use crate::CacheFormat;
use crate::adapters::LoadedAdapter;
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
    /// Pieces of work in the order in which their rows stand: those with one adapter together.
    order: Vec<usize>,
    /// The first row of each piece.
    starts: Vec<usize>,
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
    pub(crate) fn new(model: Arc<ServingModel>, cache: CacheFormat, blocks: usize, drafter: &Drafter) -> Self {
        let drafter = match drafter {
            Drafter::None => DraftRunner::None,
            Drafter::Early(layers) => DraftRunner::Early(*layers),
            Drafter::Model(model) => DraftRunner::Model(Box::new(Runner::new(Arc::clone(model), cache, blocks))),
        };
        Self { model: Runner::new(model, cache, blocks), drafter }
    }
}

impl Runner {
    fn new(model: Arc<ServingModel>, cache: CacheFormat, blocks: usize) -> Self {
        let executor = ServingExecutor::with_cache(Arc::clone(&model), cache, blocks);
        Self {
            model,
            executor,
            batch: Batch::new(),
            order: Vec::new(),
            starts: Vec::new(),
            wanted: Vec::new(),
            logits: None,
        }
    }

    /// The logits of the wanted rows, by the first `layers` of the model.
    fn run(&mut self, work: &[Work<'_>], layers: usize) -> Result<&[f32]> {
        self.lay_out(work);
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

impl Runner {
    /// Puts the pieces into the batch, tells the executor of their blocks and adapters, and notes the wanted rows in
    /// the order of the work.
    fn lay_out(&mut self, work: &[Work<'_>]) {
        let Self { model, executor, batch, order, starts, wanted, .. } = self;
        // A model that guesses for another one knows nothing of that one's adapters.
        let adapter = |index: &usize| work[*index].adapter.filter(|adapter| adapter.is_of(model));
        order.clear();
        order.extend(0..work.len());
        order.sort_unstable_by_key(|index| (adapter(index).map(LoadedAdapter::id), *index));
        batch.clear();
        starts.clear();
        starts.resize(work.len(), 0);
        for &index in order.iter() {
            starts[index] = batch.rows();
            batch.push(work[index].tokens, work[index].first_position);
        }
        executor.place(order.iter().map(|&index| work[index].blocks));
        executor.adapt(order.chunk_by(|a, b| adapter(a) == adapter(b)).filter_map(|alike| {
            let (first, last) = (*alike.first()?, *alike.last()?);
            let rows = starts[first]..starts[last] + work[last].tokens.len();
            Some((rows, Arc::clone(adapter(&first)?.weights())))
        }));
        wanted.clear();
        for (piece, &start) in work.iter().zip(starts.iter()) {
            let end = start + piece.tokens.len();
            match piece.wanted {
                Wanted::None => {}
                Wanted::Last => wanted.push(end - 1),
                Wanted::All => wanted.extend(start..end),
            }
        }
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
