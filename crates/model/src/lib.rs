//! Specs, families, the one forward, the recording executor, and the accounting of scale.
