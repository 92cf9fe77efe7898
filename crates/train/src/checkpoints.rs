//! Where a run's checkpoints lie, and which of them a run goes on from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use luban_artifact::Artifact;
use luban_artifact::checkpoints::CheckpointStore;
use luban_base::atomic;
use luban_base::progress::Observer;

use crate::error::{Error, Result};
use crate::settings::PretrainOptions;
use crate::state::{Identity, TrainState};

/// Where the checkpoints of a run to `target` lie: beside it, as `<target>.checkpoints`.
pub fn checkpoints_dir(target: &Path) -> PathBuf {
    let mut name = target.file_name().map_or_else(|| OsString::from("model"), OsString::from);
    name.push(".checkpoints");
    target.with_file_name(name)
}

/// The state of the newest whole checkpoint, if there is one and it is this run's.
pub(crate) fn resume(
    options: &PretrainOptions,
    identity: &Identity,
    store: &CheckpointStore,
    target: &Path,
    observer: &dyn Observer,
) -> Result<Option<TrainState>> {
    if options.fresh {
        clear(store)?;
        return Ok(None);
    }
    let Some(checkpoint) = store.latest(observer)? else { return Ok(None) };
    let mut state = TrainState::read(&checkpoint)?;
    match state.identity.difference(identity) {
        None => {
            // A machine of other memory may go on in other parts.
            let plan = &mut state.plan;
            plan.sequences_at_once = options.at_once.unwrap_or(plan.sequences_at_once).clamp(1, plan.sequences);
            Ok(Some(state))
        }
        // The run was killed after its model had been written, before its checkpoints were removed.
        Some(_) if state.is_complete() && Artifact::open(target).is_ok() => {
            clear(store)?;
            Ok(None)
        }
        Some((what, found, expected)) => Err(Error::OtherRun { path: checkpoints_dir(target), what, found, expected }),
    }
}

/// Removes every checkpoint.
fn clear(store: &CheckpointStore) -> Result<()> {
    for (_, path) in store.steps()? {
        atomic::remove_dir(&path).map_err(luban_artifact::Error::from)?;
    }
    Ok(())
}

/// Removes every checkpoint, and their folder where nothing else is in it.
pub(crate) fn remove(store: &CheckpointStore) -> Result<()> {
    clear(store)?;
    let _ = std::fs::remove_dir(store.dir());
    Ok(())
}
