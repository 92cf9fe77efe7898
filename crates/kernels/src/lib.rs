//! All SIMD: numeric functions on slices, each with a scalar reference, and the thread pool.
#![allow(unsafe_code)]

pub mod buffer;
pub mod cpu;
pub mod matmul;
pub mod pool;
pub mod reference;
mod simd;
#[cfg(test)]
mod testing;

pub use matmul::Accumulate;
