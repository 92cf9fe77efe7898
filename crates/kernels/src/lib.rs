//! All SIMD: numeric functions on slices, each with a scalar reference, and the thread pool.
#![allow(unsafe_code)]

pub mod activation;
pub mod attention;
pub mod buffer;
pub mod cpu;
pub mod elementwise;
pub mod embedding;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optim;
pub mod pool;
pub mod quantize;
pub mod reference;
pub mod rotary;
mod simd;
#[cfg(test)]
mod testing;

pub use matmul::Accumulate;
