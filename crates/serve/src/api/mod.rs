//! The endpoints: one file each, with its request, its response, its limits and its handler.

pub(crate) mod adapters;
pub(crate) mod completions;
pub(crate) mod error;
pub(crate) mod fields;
pub(crate) mod grammar;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod models;
pub(crate) mod page;
pub(crate) mod rerank;
pub(crate) mod sampling;
