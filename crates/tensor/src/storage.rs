//! Aligned memory that is used again, and tensors over it.
//!
//! A training step asks for the same sizes again and again. Memory that is dropped waits in a list by length, so
//! that no step but the first pays for fresh pages.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use luban_kernels::buffer::Buffer as AlignedVec;

/// Most f32 that wait to be used again; what goes beyond is given back to the system.
const IDLE_MAX: usize = 1 << 30;
/// Shorter memory is not worth keeping.
const IDLE_LENGTH_MIN: usize = 1 << 10;

static IDLE: Mutex<Idle> = Mutex::new(Idle { by_length: BTreeMap::new(), total: 0 });

struct Idle {
    by_length: BTreeMap<usize, Vec<AlignedVec>>,
    total: usize,
}

/// Owned, aligned memory of a fixed number of f32.
#[derive(Debug)]
pub struct Buffer(AlignedVec);

impl Buffer {
    /// Zeros.
    pub fn zeroed(length: usize) -> Self {
        match reuse(length) {
            Some(mut memory) => {
                memory.fill(0.0);
                Self(memory)
            }
            None => Self(AlignedVec::zeroed(length)),
        }
    }

    /// Memory of which every element will be written before it is read: what it holds now is left over.
    pub fn scratch(length: usize) -> Self {
        Self(reuse(length).unwrap_or_else(|| AlignedVec::zeroed(length)))
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
    let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
    let memory = idle.by_length.get_mut(&length)?.pop()?;
    idle.total -= length;
    Some(memory)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let length = self.0.len();
        if length < IDLE_LENGTH_MIN {
            return;
        }
        let mut idle = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.total + length <= IDLE_MAX {
            let memory = std::mem::replace(&mut self.0, AlignedVec::zeroed(0));
            idle.by_length.entry(length).or_default().push(memory);
            idle.total += length;
        }
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
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
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
