//! Rows of activations in memory that goes round.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use luban_kernels::buffer::Buffer;

/// Buffers that are kept while nobody uses them: more than a block of the model has rows alive at a time.
const SPARE_MAX: usize = 16;
/// Buffers grow in steps of this many elements, so that one of them fits rows of slightly different number.
const STEP: usize = 4096;

/// Memory for activations; taken for a step and given back, so that decoding allocates nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    spare: Mutex<Vec<Buffer>>,
    /// Contents so far.
    contents: AtomicU64,
}

/// Rows of activations; their memory goes back where it came from.
#[derive(Debug)]
pub struct Rows {
    buffer: Buffer,
    width: usize,
    len: usize,
    content: u64,
    home: Memory,
}

impl Memory {
    /// Rows of any content.
    pub(super) fn rows(&self, rows: usize, width: usize) -> Rows {
        let len = rows * width;
        let spare = {
            let mut spare = self.spare();
            // The smallest that fits, so that small rows do not take the large buffers.
            let fitting = (0..spare.len()).filter(|&index| spare[index].len() >= len);
            fitting.min_by_key(|&index| spare[index].len()).map(|index| spare.swap_remove(index))
        };
        let buffer = spare.unwrap_or_else(|| Buffer::zeroed(len.next_multiple_of(STEP)));
        Rows { buffer, width, len, content: self.next_content(), home: self.clone() }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Buffer>> {
        self.0.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_content(&self) -> u64 {
        self.0.contents.fetch_add(1, Ordering::Relaxed)
    }
}

impl Rows {
    /// All elements, row after row.
    pub fn values(&self) -> &[f32] {
        &self.buffer[..self.len]
    }

    /// All elements, to change.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        self.content = self.home.next_content();
        &mut self.buffer[..self.len]
    }

    /// A number that no other content of this memory has.
    pub(super) fn content(&self) -> u64 {
        self.content
    }

    /// Elements of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.len / self.width
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.width..(row + 1) * self.width]
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        let mut spare = self.home.spare();
        spare.push(std::mem::take(&mut self.buffer));
        if spare.len() > SPARE_MAX {
            // The smallest is the cheapest to make again.
            let smallest = (0..spare.len()).min_by_key(|&index| spare[index].len());
            smallest.map(|index| spare.swap_remove(index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_round() {
        let memory = Memory::default();
        let first = memory.rows(3, 100);
        assert_eq!((first.rows(), first.width(), first.values().len()), (3, 100, 300));
        let place = first.values().as_ptr();
        drop(first);
        let (mut second, third) = (memory.rows(2, 7), memory.rows(2, 7));
        assert_eq!(second.values().as_ptr(), place);
        assert_ne!(third.values().as_ptr(), place);
        let content = second.content();
        assert_ne!(content, third.content());
        second.values_mut()[0] = 1.0;
        assert_ne!(content, second.content());
        drop((second, third));
        let many: Vec<Rows> = (0..2 * SPARE_MAX).map(|_| memory.rows(1, 1)).collect();
        drop(many);
        assert_eq!(memory.spare().len(), SPARE_MAX);
    }
}
