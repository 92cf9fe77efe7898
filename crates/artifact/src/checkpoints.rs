//! Checkpoints of a run: a folder of artifacts, one a step, the newest whole one of which is where a run goes on.

use std::fs;
use std::path::{Path, PathBuf};

use luban_base::atomic;
use luban_base::progress::{Event, Observer};

use crate::error::{Context, Result};
use crate::folder::Artifact;
use crate::keys::Keys;
use crate::manifest::Kind;
use crate::writer::ArtifactWriter;

const PREFIX: &str = "step-";
/// Digits that a step is written with at least, so that names sort as steps do.
const DIGITS: usize = 8;

/// The checkpoints in one folder.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    dir: PathBuf,
}

impl CheckpointStore {
    /// Opens the folder, making it if it is not there. What killed saves left in it is removed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: &Path) -> Result<Self> {
        atomic::create_dirs(dir)?;
        atomic::sweep(dir);
        Ok(Self { dir: dir.to_owned() })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Saves a checkpoint, whole or not at all: `fill` writes its files. One of the same step is replaced.
    ///
    /// # Errors
    /// Those of `fill` and of the disk; the checkpoints that were there still are.
    pub fn save(
        &self,
        step: u64,
        keys: &Keys,
        fill: impl FnOnce(&mut ArtifactWriter) -> Result<()>,
    ) -> Result<Artifact> {
        let mut writer = ArtifactWriter::create(&self.path(step), Kind::Checkpoint)?;
        writer.stage("checkpoint").metric("step", step);
        fill(&mut writer)?;
        writer.commit(keys)
    }

    /// The newest checkpoint that is whole: its manifest reads and every file has its digest. Newer ones that are
    /// not are skipped with a warning.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn latest(&self, observer: &dyn Observer) -> Result<Option<Artifact>> {
        for (_, path) in self.steps()?.into_iter().rev() {
            match whole(&path) {
                Ok(artifact) => return Ok(Some(artifact)),
                Err(error) => observer.event(&Event::Warning(&format!("skipping a checkpoint: {error}"))),
            }
        }
        Ok(None)
    }

    /// The checkpoint of a step, if it is whole.
    ///
    /// # Errors
    /// If it is not there or damaged.
    pub fn open_step(&self, step: u64) -> Result<Artifact> {
        whole(&self.path(step))
    }

    /// Removes all but the newest `keep` whole checkpoints (at least one stays). Damaged ones do not count, and go
    /// when they are older than all that stay.
    ///
    /// # Errors
    /// If the folder cannot be read or a checkpoint cannot be removed.
    pub fn prune(&self, keep: usize) -> Result<()> {
        self.prune_but(keep, None)
    }

    /// As [`Self::prune`], but the checkpoint of step `spared` stays in any case, and does not count.
    ///
    /// # Errors
    /// As [`Self::prune`].
    pub fn prune_but(&self, keep: usize, spared: Option<u64>) -> Result<()> {
        let mut kept = 0;
        for (step, path) in self.steps()?.into_iter().rev() {
            if Some(step) == spared {
                continue;
            }
            if kept >= keep.max(1) {
                atomic::remove_dir(&path)?;
            } else if has_sizes(&path) {
                kept += 1;
            }
        }
        Ok(())
    }

    /// The steps of all checkpoints, damaged ones too, in order, with their folders.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn steps(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.dir).context("look into", &self.dir)? {
            let path = entry.context("look into", &self.dir)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(step) = name.strip_prefix(PREFIX).and_then(|digits| digits.parse().ok()) {
                steps.push((step, path));
            }
        }
        steps.sort();
        Ok(steps)
    }

    fn path(&self, step: u64) -> PathBuf {
        self.dir.join(format!("{PREFIX}{step:0DIGITS$}"))
    }
}

fn whole(path: &Path) -> Result<Artifact> {
    let artifact = Artifact::open(path)?.expect_kind(Kind::Checkpoint)?;
    artifact.check_files()?;
    Ok(artifact)
}

/// Whether a checkpoint looks whole without its files being read.
fn has_sizes(path: &Path) -> bool {
    let size = |name: &str| fs::metadata(path.join(name)).map(|found| found.len()).ok();
    Artifact::open(path)
        .is_ok_and(|artifact| artifact.manifest().files.iter().all(|(name, entry)| size(name) == Some(entry.size)))
}
