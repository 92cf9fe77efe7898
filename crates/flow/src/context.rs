//! What a stage may use of the outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use luban_artifact::Keys;
use luban_base::cancel::Cancel;
use luban_base::clock::Clock;
use luban_base::progress::{Event, Observer};

/// Handed to every stage when it runs.
#[derive(Clone)]
pub struct Context<'a> {
    /// Sign what is made.
    pub keys: &'a Keys,
    /// Receives progress.
    pub observer: &'a dyn Observer,
    /// Raised when the person wants to stop.
    pub cancel: &'a Cancel,
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Where pulled models, keys and caches live.
    pub home: &'a Path,
    /// Further folders in which artifacts are looked for by digest.
    pub search: Vec<PathBuf>,
    /// Told the address once a server listens.
    pub listening: &'a (dyn Fn(SocketAddr) + Sync),
}

impl Context<'_> {
    /// Says a line to the person once.
    pub fn note(&self, text: &str) {
        self.observer.event(&Event::Note(text));
    }
}
