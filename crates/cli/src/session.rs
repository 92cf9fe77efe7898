//! What a command needs of its surroundings: the home folder, keys, progress, Ctrl-C.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use luban_artifact::{Keys, pull};
use luban_base::cancel::Cancel;
use luban_base::clock::SystemClock;
use luban_flow::Context;

use crate::args::Global;
use crate::output::Outcome;
use crate::progress::Progress;

/// Where models that were pulled live, in the home folder.
pub const MODELS: &str = "models";

/// What the first Ctrl-C does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// Asks the job to stop where it can go on later; the second one ends the program.
    Asks,
    /// Ends the program, or does what the job itself arranged.
    Ends,
}

/// One run of the program.
pub struct Session {
    /// The home folder.
    pub home: PathBuf,
    /// Shows events.
    pub progress: Progress,
    /// Raised by the first Ctrl-C.
    pub cancel: Cancel,
    keys: Keys,
    clock: SystemClock,
}

impl Session {
    /// Opens the home folder and makes keys on first use.
    pub fn open(global: &Global, interrupt: Interrupt) -> Outcome<Self> {
        let home = home(global)?;
        let keys = Keys::load_or_create(&home)?;
        let cancel = Cancel::new();
        if interrupt == Interrupt::Asks {
            listen_for_interrupts(cancel.clone())?;
        }
        Ok(Self { home, progress: Progress::new(), cancel, keys, clock: SystemClock::default() })
    }

    /// What stages need.
    pub fn context<'a>(&'a self, listening: &'a (dyn Fn(SocketAddr) + Sync)) -> Context<'a> {
        Context {
            keys: &self.keys,
            observer: &self.progress,
            cancel: &self.cancel,
            clock: &self.clock,
            home: &self.home,
            search: search_folders(&self.home),
            listening,
        }
    }
}

/// The home folder: the option, or what the artifact crate finds in the environment.
pub fn home(global: &Global) -> Outcome<PathBuf> {
    match &global.home {
        Some(home) => Ok(home.clone()),
        None => Ok(luban_artifact::keys::home()?),
    }
}

/// The folder of an artifact that is given as a folder, or as the name of a model that was pulled.
pub fn artifact_dir(given: &Path, home: &Path) -> PathBuf {
    let pulled = given.to_str().map(|name| pull::place(home, name));
    match pulled {
        Some(pulled) if !given.exists() && pulled.is_dir() => pulled,
        _ => given.to_path_buf(),
    }
}

/// Folders in which artifacts are looked for beside their own: pulled models.
pub fn search_folders(home: &Path) -> Vec<PathBuf> {
    vec![home.join(MODELS)]
}

/// The first Ctrl-C asks the job to stop where it can go on later; the second ends the program at once.
fn listen_for_interrupts(cancel: Cancel) -> Outcome {
    static ASKED: AtomicBool = AtomicBool::new(false);
    ctrlc::set_handler(move || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping at the next safe point; Ctrl-C again stops at once");
        cancel.raise();
    })?;
    Ok(())
}
