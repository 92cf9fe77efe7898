//! All SIMD: numeric functions on slices, each with a scalar reference, and the thread pool.
