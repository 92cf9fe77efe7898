//! The door to disk, time and chance.
//!
//! Everything that makes a run depend on the outside goes through this crate: files that appear whole or not at
//! all ([`atomic`]), digests ([`digest`]), counter-based random numbers ([`random`]), the clock ([`clock`]),
//! cancellation ([`cancel`]), memory in use ([`memory`]), threads to use ([`threads`]) and what a long job reports while it runs ([`progress`]).
//!
//! ```
//! use luban_base::random::Stream;
//! let draws = Stream::new(7, &[1, 2]);
//! assert_eq!(draws.u32_at(5), Stream::new(7, &[1, 2]).u32_at(5));
//! ```
#![forbid(unsafe_code)]

pub mod atomic;
pub mod cancel;
pub mod clock;
pub mod digest;
pub mod error;
pub mod fault;
pub mod memory;
pub mod progress;
pub mod random;
pub mod threads;

pub use error::{Error, Result};
