//! Aligned memory that is used again, and tensors over it.
//!
//! A training step asks for the same sizes again and again. Memory that is dropped waits in an arena, so that no step
//! but the first pays for fresh pages, and the gradients of the weights stand where the activations were that the
//! backward pass has done with.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use luban_kernels::arena::{Arena, Piece, Usage};
use luban_kernels::buffer::Buffer as AlignedVec;

/// Shorter memory is not worth a place in the arena.
const ARENA_LENGTH_MIN: usize = 1 << 10;

static ARENA: Arena = Arena::new();

/// Owned, aligned memory of a fixed number of f32.
#[derive(Debug)]
pub struct Buffer(Memory);

#[derive(Debug)]
enum Memory {
    Short(AlignedVec),
    Long(Piece),
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
        Self(match length < ARENA_LENGTH_MIN {
            true => Memory::Short(AlignedVec::zeroed(length)),
            false => Memory::Long(ARENA.take(length)),
        })
    }

    /// A copy of a slice.
    pub fn copied(values: &[f32]) -> Self {
        let mut copy = Self::scratch(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

/// Gives memory that waits to be used again back to the system, as far as no buffer lies beside it.
pub fn release_idle() {
    ARENA.release();
}

/// The memory of all buffers of this process, but the shortest.
pub fn usage() -> Usage {
    ARENA.usage()
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &self.0 {
            Memory::Short(memory) => memory,
            Memory::Long(memory) => memory,
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match &mut self.0 {
            Memory::Short(memory) => memory,
            Memory::Long(memory) => memory,
        }
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
    fn a_buffer_has_the_length_that_was_asked_for() {
        drop(Buffer::copied(&[1.0; 5000]));
        for length in [4000, 12, 0] {
            let zeros = Buffer::zeroed(length);
            assert!(zeros.len() == length && zeros.iter().all(|&x| x == 0.0));
        }
    }
}
