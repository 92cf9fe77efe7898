//! Adapters that are loaded and dropped while the engine serves.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use luban_base::clock::{Clock, SystemClock};

use crate::error::{Error, Result};
use crate::serving::{ServingAdapter, ServingModel};

/// Most adapters that an engine keeps at a time.
pub const ADAPTERS_MAX: usize = 256;
/// Longest name of an adapter, bytes.
pub const ADAPTER_NAME_BYTES_MAX: usize = 128;

/// An adapter that was loaded. Requests that name it keep it: one that is dropped stays in memory until the last of
/// them has ended.
#[derive(Clone)]
pub struct LoadedAdapter(Arc<Inner>);

struct Inner {
    name: String,
    /// No other adapter of this process has it, not even one that is loaded again from the same files: what one left in
    /// the cache is not found by another.
    id: u64,
    /// Seconds since 1970.
    loaded_unix_s: u64,
    weights: Arc<ServingAdapter>,
    /// Whose it is; an adapter alone does not keep a model.
    model: Weak<ServingModel>,
}

impl LoadedAdapter {
    /// Its name in the engine.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Maps of the model that it changes.
    pub fn maps(&self) -> usize {
        self.0.weights.maps()
    }

    /// The highest of its ranks.
    pub fn rank_max(&self) -> usize {
        self.0.weights.rank_max()
    }

    /// Bytes that it takes in memory.
    pub fn bytes(&self) -> u64 {
        self.0.weights.bytes()
    }

    /// When it was loaded, in seconds since 1970.
    pub fn loaded_unix_s(&self) -> u64 {
        self.0.loaded_unix_s
    }

    /// How many hold it: the engine while it is listed, each request that has it, and whoever kept it.
    pub fn holders(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// What tells it from all others.
    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn weights(&self) -> &Arc<ServingAdapter> {
        &self.0.weights
    }

    /// Whether it was loaded for this very model.
    pub(crate) fn is_of(&self, model: &Arc<ServingModel>) -> bool {
        std::ptr::eq(self.0.model.as_ptr(), Arc::as_ptr(model))
    }
}

impl PartialEq for LoadedAdapter {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl fmt::Debug for LoadedAdapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoadedAdapter").field(&self.0.name).finish()
    }
}

/// The adapters of an engine, in the order in which they were loaded.
#[derive(Debug)]
pub(crate) struct Adapters {
    model: Arc<ServingModel>,
    loaded: Mutex<Vec<LoadedAdapter>>,
}

impl Adapters {
    pub(crate) fn new(model: Arc<ServingModel>) -> Self {
        Self { model, loaded: Mutex::default() }
    }

    pub(crate) fn model(&self) -> &Arc<ServingModel> {
        &self.model
    }

    /// Reads an adapter and keeps it under a name.
    pub(crate) fn load(&self, name: &str, path: &Path) -> Result<LoadedAdapter> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        check_name(name)?;
        // Before the work, and once more after it: two may load at a time.
        self.check_room(&self.list(), name)?;
        let weights = Arc::new(self.model.load_adapter(path)?);
        let (id, model) = (IDS.fetch_add(1, Ordering::Relaxed), Arc::downgrade(&self.model));
        let adapter = LoadedAdapter(Arc::new(Inner {
            name: name.to_owned(),
            id,
            loaded_unix_s: SystemClock::default().unix_s(),
            weights,
            model,
        }));
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_room(&loaded, name)?;
        loaded.push(adapter.clone());
        Ok(adapter)
    }

    pub(crate) fn list(&self) -> Vec<LoadedAdapter> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn find(&self, name: &str) -> Option<LoadedAdapter> {
        self.list().into_iter().find(|adapter| adapter.name() == name)
    }

    pub(crate) fn drop(&self, name: &str) -> Option<LoadedAdapter> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let index = loaded.iter().position(|adapter| adapter.name() == name)?;
        Some(loaded.remove(index))
    }

    fn check_room(&self, loaded: &[LoadedAdapter], name: &str) -> Result<()> {
        let what = "the adapter";
        if loaded.iter().any(|adapter| adapter.name() == name) {
            let expected = "one of this name is loaded already; drop it first".into();
            return Err(Error::Option { what, found: name.to_owned(), expected });
        }
        match loaded.len() < ADAPTERS_MAX {
            true => Ok(()),
            false => {
                let expected = format!("at most {ADAPTERS_MAX} may be loaded at a time; drop one first");
                Err(Error::Option { what, found: name.to_owned(), expected })
            }
        }
    }
}

/// Names stand in addresses, so they are of plain characters.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:".contains(c);
    match (1..=ADAPTER_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.') {
        true => Ok(()),
        false => {
            let found = format!("{:?}", name.chars().take(ADAPTER_NAME_BYTES_MAX).collect::<String>());
            let expected = format!(
                "it must have 1 to {ADAPTER_NAME_BYTES_MAX} letters, digits and characters of `._-:`, and not begin \
                 with a point"
            );
            Err(Error::Option { what: "the name of an adapter", found, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for name in ["a", "german-v2.1", "tenant:style", &"x".repeat(128)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "größe", "a\0", "a?b", &"x".repeat(129)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
