//! Compiled grammars, the last used ones.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use luban_base::digest::Digest;

/// A bounded memory by digest: the one that was not used for longest gives way.
#[derive(Debug)]
pub(super) struct Cache<T> {
    state: Mutex<State<T>>,
    entries_max: usize,
}

#[derive(Debug)]
struct State<T> {
    entries: BTreeMap<Digest, (u64, T)>,
    /// Counts uses.
    clock: u64,
}

impl<T: Clone> Cache<T> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self { state: Mutex::new(State { entries: BTreeMap::new(), clock: 0 }), entries_max }
    }

    /// What is remembered under a digest.
    pub(super) fn get(&self, digest: &Digest) -> Option<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        let (used, value) = state.entries.get_mut(digest)?;
        *used = now;
        Some(value.clone())
    }

    /// Remembers a value.
    pub(super) fn put(&self, digest: Digest, value: T) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.clock += 1;
        let now = state.clock;
        state.entries.insert(digest, (now, value));
        if state.entries.len() > self.entries_max {
            let oldest = state.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(digest, _)| *digest);
            oldest.map(|digest| state.entries.remove(&digest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use luban_base::digest::of_bytes;

    #[test]
    fn the_least_recently_used_gives_way() {
        let cache = Cache::new(2);
        let [a, b, c] = [b"a", b"b", b"c"].map(|text| of_bytes(text));
        cache.put(a, 1);
        cache.put(b, 2);
        assert_eq!(cache.get(&a), Some(1));
        cache.put(c, 3);
        assert_eq!((cache.get(&a), cache.get(&b), cache.get(&c)), (Some(1), None, Some(3)));
    }
}
