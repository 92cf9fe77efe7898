//! What all handlers share.

use std::path::PathBuf;
use std::sync::Arc;

use luban_engine::Engine;

use crate::auth::{ApiKeys, Hosts};
use crate::metrics::Metrics;
use crate::options::{Reranker, Timeouts};

/// The state of a running server.
pub(crate) struct App {
    pub(crate) engine: Arc<Engine>,
    /// The model's name in the API.
    pub(crate) model: String,
    /// Where adapters are loaded from while the server runs.
    pub(crate) adapter_folder: Option<PathBuf>,
    pub(crate) reranker: Option<Reranker>,
    pub(crate) keys: ApiKeys,
    pub(crate) hosts: Hosts,
    pub(crate) metrics: Metrics,
    pub(crate) timeouts: Timeouts,
    pub(crate) body_bytes_max: usize,
    /// Seconds since 1970.
    pub(crate) started_unix_s: u64,
}

/// A word that differs from process to process.
pub(crate) fn process_entropy() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    static WORD: std::sync::LazyLock<u64> = std::sync::LazyLock::new(|| RandomState::new().hash_one(0u8));
    *WORD
}
