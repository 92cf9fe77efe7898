//! How many threads this process computes with: one number for all of its parts, so that none of them takes more
//! cores than it was given.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Zero while nobody has said.
static WANTED: AtomicUsize = AtomicUsize::new(0);

/// Sets the number for whatever begins from now on; at least one.
pub fn set_wanted(threads: usize) {
    WANTED.store(threads.max(1), Ordering::Relaxed);
}

/// The number that was set; that of the machine's cores, as far as this process may use them, where none was.
pub fn wanted() -> usize {
    match WANTED.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, |count| count.get()),
        threads => threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_holds() {
        assert!(wanted() >= 1);
        set_wanted(3);
        assert_eq!(wanted(), 3);
        set_wanted(0);
        assert_eq!(wanted(), 1);
    }
}
