//! All SIMD: numeric functions on slices, each with a scalar reference, and the thread pool.
//!
//! Every function gives the same bits for any number of threads, any instruction set (AVX-512, AVX2 with FMA, or
//! portable; see [`cpu`]) and, where rows are independent, any set of rows beside one's own. Threads split outputs,
//! never a sum; the order of every sum is fixed. Between calls a thread keeps a bounded amount of scratch memory.
//!
//! ```
//! use luban_kernels::matmul::{Accumulate, MatRef, Shape, matmul_packed, pack, packed_len};
//!
//! // y = x wᵀ for a weight as Hugging Face stores it: outputs × inputs.
//! let (x, weight) = ([1.0, 2.0, 3.0, 4.0], [1.0, 0.0, 0.5, 0.5, 0.0, 1.0]);
//! let shape = Shape { rows: 2, inputs: 2, outputs: 3 };
//! let mut packed = vec![0.0; packed_len(2, 3)];
//! pack(MatRef::row_major(&weight, 3, 2).transposed(), &mut packed);
//! let mut y = [0.0; 6];
//! matmul_packed(&x, &packed, shape, None, &mut y, Accumulate::Overwrite);
//! assert_eq!(y, [1.0, 1.5, 2.0, 3.0, 3.5, 4.0]);
//! ```
//!
//! | modules | what |
//! |---|---|
//! | [`cpu`], [`pool`], [`buffer`], [`arena`] | instruction set, threads, aligned memory, memory that is used again |
//! | [`matmul`] | products, with f32 or int8 weights packed ahead |
//! | [`quantized`] | products of bytes: blocks of small whole numbers with scales, for inference and ([`quantized::training`]) for training |
//! | [`attention`] | over ragged sequences, forward and backward, and over a cache |
//! | [`norm`], [`rotary`], [`activation`], [`embedding`], [`loss`], [`dropout`], [`elementwise`] | the rest of a transformer |
//! | [`sampling`] | over a row of logits, for drawing a token |
//! | [`optim`], [`quantize`] | AdamW and Muon; int8 weights |
//! | [`bf16`], [`formats`] | rounding to bf16; to fp16, and to fp8 with scales |
//! | [`blocks`] | weights as small integers with scales, as GGUF files hold them |
//! | [`limits`] | what the machine can do at most |
//! | [`reference`] | slow and clear versions of them all, for f32 and f64 |
#![allow(unsafe_code)]

pub mod activation;
pub mod arena;
pub mod attention;
pub mod bf16;
pub mod blocks;
pub mod buffer;
pub mod cpu;
pub mod dropout;
pub mod elementwise;
pub mod embedding;
pub mod formats;
pub mod limits;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optim;
pub mod pool;
pub mod quantize;
pub mod quantized;
pub mod reference;
pub mod rotary;
pub mod sampling;
mod simd;
#[cfg(test)]
mod testing;

pub use matmul::Accumulate;
