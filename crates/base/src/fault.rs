//! Fault points and guards, for tests.
//!
//! Every operation that changes the disk passes [`point`]; every protection that a test must be able to switch
//! off asks [`is_on`]. Without the cargo feature `fault-injection` both are constants that the compiler removes,
//! and nothing in the program can make them say otherwise. With it, a test plans which point fails, on its own
//! thread only.

#[cfg(not(feature = "fault-injection"))]
use std::{io, path::Path};

/// What an operation does to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Makes a file or a folder.
    Create,
    /// Writes bytes to a file.
    Write,
    /// Flushes a file or a folder to the disk.
    Sync,
    /// Gives a file or folder another name.
    Rename,
    /// Swaps two names.
    Exchange,
    /// Removes a file or a folder.
    Remove,
}

/// The protections that tests switch off, one at a time, to see that a test turns red without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Flushing files and folders to the disk.
    Sync,
    /// Comparing a file's digest with its manifest.
    Digest,
    /// Checking a manifest's signature.
    Signature,
    /// Holding sizes and offsets against a file's length.
    Bounds,
    /// Refusing file names that leave their folder.
    Names,
}

/// Passes a fault point.
///
/// # Errors
/// Only under the feature `fault-injection`, when a test planned it.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub fn point(_: Op, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether a protection is on: always, but in tests that switch it off.
#[cfg(not(feature = "fault-injection"))]
#[inline(always)]
pub const fn is_on(_: Guard) -> bool {
    true
}

#[cfg(feature = "fault-injection")]
pub use injected::{Passed, Plan, Strike, is_on, point, run, without};

#[cfg(feature = "fault-injection")]
mod injected {
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::path::{Path, PathBuf};

    use super::{Guard, Op};

    /// All guards, as the test of the guards walks through them.
    impl Guard {
        /// Every guard that exists.
        pub const ALL: [Self; 5] = [Self::Sync, Self::Digest, Self::Signature, Self::Bounds, Self::Names];
    }

    /// How a planned fault goes on after it has struck.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Strike {
        /// One operation fails; what follows works again.
        Once,
        /// Every later operation but removals fails too, as on a disk that stays full.
        Onwards,
    }

    /// Which operation fails, and how.
    #[derive(Clone, Copy, Debug)]
    pub struct Plan {
        /// The index, from 0, of the operation that fails; `None`: none does.
        pub at: Option<usize>,
        /// The system's error number, such as `ENOSPC`.
        pub errno: i32,
        /// What happens afterwards.
        pub strike: Strike,
        /// Whether the file system should seem unable to swap two names.
        pub no_exchange: bool,
    }

    impl Default for Plan {
        fn default() -> Self {
            Self { at: None, errno: libc::EIO, strike: Strike::Once, no_exchange: false }
        }
    }

    /// An operation that was reached.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Passed {
        /// What it was.
        pub op: Op,
        /// On which path.
        pub path: PathBuf,
        /// Whether it was made to fail.
        pub failed: bool,
    }

    struct Active {
        plan: Plan,
        passed: Vec<Passed>,
    }

    thread_local! {
        static ACTIVE: RefCell<Option<Active>> = const { RefCell::new(None) };
        static OFF: Cell<Option<Guard>> = const { Cell::new(None) };
    }

    /// Runs `work` under a plan on this thread; gives its result and the operations that it reached, in order.
    pub fn run<R>(plan: Plan, work: impl FnOnce() -> R) -> (R, Vec<Passed>) {
        ACTIVE.set(Some(Active { plan, passed: Vec::new() }));
        let result = work();
        let passed = ACTIVE.take().map_or_else(Vec::new, |active| active.passed);
        (result, passed)
    }

    /// Runs `work` on this thread with one guard switched off.
    pub fn without<R>(guard: Guard, work: impl FnOnce() -> R) -> R {
        OFF.set(Some(guard));
        let result = work();
        OFF.set(None);
        result
    }

    /// Whether a protection is on: always, but in tests that switch it off.
    pub fn is_on(guard: Guard) -> bool {
        OFF.get() != Some(guard)
    }

    /// Passes a fault point.
    ///
    /// # Errors
    /// When the plan of this thread says so.
    pub fn point(op: Op, path: &Path) -> io::Result<()> {
        ACTIVE.with_borrow_mut(|active| {
            let Some(active) = active else { return Ok(()) };
            let plan = active.plan;
            if op == Op::Exchange && plan.no_exchange {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            let index = active.passed.len();
            let failed = match (plan.at, plan.strike) {
                (Some(at), Strike::Once) => index == at,
                (Some(at), Strike::Onwards) => index == at || (index > at && op != Op::Remove),
                (None, _) => false,
            };
            active.passed.push(Passed { op, path: path.to_owned(), failed });
            if failed { Err(io::Error::from_raw_os_error(plan.errno)) } else { Ok(()) }
        })
    }
}
