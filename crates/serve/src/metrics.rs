//! Counters of the server, kept in memory and shown as Prometheus text.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the latency histogram's buckets, seconds.
pub(crate) const LATENCY_BOUNDS_S: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// What the server counts. Labels come from the table of routes, so their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// Connections that are open.
    pub(crate) connections: AtomicU64,
    /// Connections turned away because there were too many.
    pub(crate) connections_refused: AtomicU64,
    /// From a completion request to its first token.
    pub(crate) first_token: Latency,
    /// From a completion request to its last token.
    pub(crate) completion: Latency,
}

impl Metrics {
    /// Counts an answered request.
    pub(crate) fn count(&self, route: &'static str, status: u16) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() += 1;
    }

    /// Requests by route and status.
    pub(crate) fn requests(&self) -> BTreeMap<(&'static str, u16), u64> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A histogram of times.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    buckets: [AtomicU64; LATENCY_BOUNDS_S.len()],
    count: AtomicU64,
    sum_micros: AtomicU64,
}

impl Latency {
    /// Adds a time.
    pub(crate) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(bucket) = LATENCY_BOUNDS_S.iter().position(|&bound| seconds <= bound) {
            self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    /// For each bound, how many times were at most as long; then the count and the sum in seconds.
    pub(crate) fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut below = 0;
        let buckets = LATENCY_BOUNDS_S.iter().zip(&self.buckets).map(|(&bound, bucket)| {
            below += bucket.load(Ordering::Relaxed);
            (bound, below)
        });
        let buckets = buckets.collect();
        (buckets, self.count.load(Ordering::Relaxed), self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6)
    }
}
