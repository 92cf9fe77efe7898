//! Inference: the serving executor, cache, batching, sampling.
