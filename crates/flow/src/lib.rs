//! Stages, their registry, recipes, the runner with its cache.
