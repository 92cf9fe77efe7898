//! Blocks of sequences, read one ahead of their use.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use luban_base::random::Stream;

use super::stream::{Cursor, TokenStream};
use super::{LoaderOptions, Sequence};
use crate::error::Context;
use crate::{Result, streams};

/// Sequences that are shuffled together.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// In their shuffled order.
    pub(super) sequences: Vec<Sequence>,
    /// Where the stream stood after them.
    pub(super) end: Cursor,
}

/// Cuts a stream into blocks.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) stream: TokenStream,
    pub(super) options: LoaderOptions,
    /// The next block's number.
    pub(super) number: u64,
}

impl Blocks {
    /// Reads the block that begins where the stream stands, and shuffles it; `None` if it was stopped.
    fn read(&mut self, stop: &AtomicBool) -> Result<Option<Block>> {
        let LoaderOptions { length, seed, block_sequences, .. } = self.options;
        let (mut sequences, epoch) = (Vec::new(), self.stream.settled()?.epoch);
        // A block ends with its epoch, so that epochs stay apart even in a corpus of a few sequences.
        while sequences.len() < block_sequences && self.stream.settled()?.epoch == epoch {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            sequences.push(self.stream.sequence(length)?);
        }
        Stream::new(seed, &[streams::BLOCK, self.number]).shuffle(&mut sequences);
        self.number += 1;
        Ok(Some(Block { sequences, end: self.stream.cursor() }))
    }
}

/// A thread that reads blocks, until it is dropped or one cannot be read.
#[derive(Debug)]
pub(super) struct Ahead {
    /// Without room in it: the thread holds one block ready, and reads on when that is taken.
    blocks: Option<Receiver<Result<Block>>>,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Ahead {
    pub(super) fn start(blocks: Blocks) -> Result<Self> {
        let (sender, receiver) = sync_channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let work = {
            let stop = Arc::clone(&stop);
            move || read_all(blocks, &sender, &stop)
        };
        let worker =
            Builder::new().name("loader".into()).spawn(work).context("start a thread for", Path::new("loader"))?;
        Ok(Self { blocks: Some(receiver), stop, worker: Some(worker) })
    }

    /// The next block, in order.
    ///
    /// # Errors
    /// If it cannot be read; there is none after it then.
    pub(super) fn next(&mut self) -> Result<Block> {
        if let Some(Ok(block)) = self.blocks.as_ref().map(Receiver::recv) {
            return block;
        }
        // The thread is gone: it gave an error before, or panicked.
        if let Some(Err(panic)) = self.worker.take().map(JoinHandle::join) {
            resume_unwind(panic);
        }
        panic!("a block was asked for after one that could not be read")
    }
}

fn read_all(mut blocks: Blocks, sender: &SyncSender<Result<Block>>, stop: &AtomicBool) {
    while let Some(block) = blocks.read(stop).transpose() {
        let failed = block.is_err();
        // Nobody listens any more once the loader is gone or went elsewhere.
        if sender.send(block).is_err() || failed {
            break;
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Frees a thread that waits to hand over its block.
        self.blocks = None;
        if let Some(worker) = self.worker.take() {
            // Its panic was shown where it happened; another one while dropping would abort.
            let _ = worker.join();
        }
    }
}
