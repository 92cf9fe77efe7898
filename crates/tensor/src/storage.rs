//! Aligned memory that is used again, and tensors over it.
//!
//! A training step asks for the same sizes again and again. Memory that is dropped waits in a list by length, so
//! that no step but the first pays for fresh pages; and it may serve a length that is up to half as short, so that the
//! gradients of the weights stand where the activations were that the backward pass has done with.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use luban_kernels::buffer::Buffer as AlignedVec;

/// Most f32 that wait to be used again; what goes beyond is given back to the system.
const IDLE_MAX: usize = 1 << 30;
/// Shorter memory is not worth keeping.
const IDLE_LENGTH_MIN: usize = 1 << 10;

static IDLE: Mutex<Idle> = Mutex::new(Idle { by_length: BTreeMap::new(), total: 0 });

/// Memory by its whole length; no list in it is empty.
struct Idle {
    by_length: BTreeMap<usize, Vec<AlignedVec>>,
    total: usize,
}

impl Idle {
    /// The shortest memory that holds `length`, unless that is less than half of it.
    fn take(&mut self, length: usize) -> Option<AlignedVec> {
        let (&whole, memories) = self.by_length.range_mut(length..=length.saturating_mul(2)).next()?;
        let memory = memories.pop();
        if memories.is_empty() {
            self.by_length.remove(&whole);
        }
        self.total -= whole;
        memory
    }

    /// Keeps memory, unless too much waits already.
    fn keep(&mut self, memory: AlignedVec) {
        let whole = memory.len();
        if self.total + whole <= IDLE_MAX {
            self.by_length.entry(whole).or_default().push(memory);
            self.total += whole;
        }
    }
}

/// Owned, aligned memory of a fixed number of f32.
#[derive(Debug)]
pub struct Buffer {
    /// As long, or longer.
    memory: AlignedVec,
    length: usize,
}

impl Buffer {
    /// Zeros.
    pub fn zeroed(length: usize) -> Self {
        let mut buffer = Self::scratch(length);
        buffer.fill(0.0);
        buffer
    }

    /// Memory of which every element will be written before it is read: what it holds now is left over.
    pub fn scratch(length: usize) -> Self {
        let memory = reuse(length).unwrap_or_else(|| AlignedVec::zeroed(length));
        Self { memory, length }
    }

    /// A copy of a slice.
    pub fn copied(values: &[f32]) -> Self {
        let mut copy = Self::scratch(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

fn reuse(length: usize) -> Option<AlignedVec> {
    if length < IDLE_LENGTH_MIN {
        return None;
    }
    IDLE.lock().unwrap_or_else(PoisonError::into_inner).take(length)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.memory.len() < IDLE_LENGTH_MIN {
            return;
        }
        let memory = std::mem::replace(&mut self.memory, AlignedVec::zeroed(0));
        IDLE.lock().unwrap_or_else(PoisonError::into_inner).keep(memory);
    }
}

/// Gives all memory that waits to be used again back to the system.
pub fn release_idle() {
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    idle.by_length.clear();
    idle.total = 0;
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.length]
    }
}

/// A shape over shared memory; cheap to clone. Rows are contiguous, the last dimension fastest.
#[derive(Clone, Debug)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Arc<Buffer>,
}

impl Tensor {
    /// A tensor of the given values.
    ///
    /// # Panics
    /// If the shape does not hold as many.
    pub fn new(shape: &[usize], values: &[f32]) -> Self {
        Self::from_buffer(shape, Buffer::copied(values))
    }

    /// A tensor over memory that was filled already.
    ///
    /// # Panics
    /// If the shape does not hold as many elements.
    pub fn from_buffer(shape: &[usize], data: Buffer) -> Self {
        Self::from_shared(shape, Arc::new(data))
    }

    /// A tensor over memory that others may hold too.
    ///
    /// # Panics
    /// If the shape does not hold as many elements.
    pub fn from_shared(shape: &[usize], data: Arc<Buffer>) -> Self {
        assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?} over {} elements", data.len());
        Self { shape: shape.to_vec(), data }
    }

    /// Zeros.
    pub fn zeros(shape: &[usize]) -> Self {
        Self::from_buffer(shape, Buffer::zeroed(shape.iter().product()))
    }

    /// The length of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The length of the last dimension; 1 for a scalar.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The product of all dimensions but the last.
    pub fn rows(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, rest)| rest.iter().product())
    }

    /// The elements, to change, if no one else holds them.
    pub fn as_mut_slice(&mut self) -> Option<&mut [f32]> {
        Arc::get_mut(&mut self.data).map(|data| &mut **data)
    }

    /// The memory itself where no one else holds it, a copy otherwise.
    pub fn into_buffer(self) -> Buffer {
        Arc::try_unwrap(self.data).unwrap_or_else(|shared| Buffer::copied(&shared))
    }

    /// The same elements in another shape.
    ///
    /// # Panics
    /// If the new shape does not hold as many.
    pub fn reshaped(&self, shape: &[usize]) -> Self {
        assert_eq!(shape.iter().product::<usize>(), self.len(), "{:?} reshaped to {shape:?}", self.shape);
        Self { shape: shape.to_vec(), data: Arc::clone(&self.data) }
    }
}

impl Deref for Tensor {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_serves_a_length_that_is_up_to_half_as_short() {
        let mut idle = Idle { by_length: BTreeMap::new(), total: 0 };
        for length in [3000, 2000, 2000] {
            idle.keep(AlignedVec::zeroed(length));
        }
        let mut taken = |length| idle.take(length).map(|memory| memory.len());
        assert_eq!(
            [taken(999), taken(1500), taken(1500), taken(1500), taken(1)],
            [None, Some(2000), Some(2000), Some(3000), None]
        );
        assert!(idle.by_length.is_empty() && idle.total == 0);
    }

    #[test]
    fn a_buffer_has_the_length_that_was_asked_for() {
        drop(Buffer::copied(&[1.0; 5000]));
        let zeros = Buffer::zeroed(4000);
        assert!(zeros.len() == 4000 && zeros.iter().all(|&x| x == 0.0));
    }
}
