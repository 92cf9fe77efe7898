//! File formats, manifests, lineage, signatures, the checkpoint store, fetching models.
//!
//! An *artifact* is a folder with a manifest `luban.json` that lists its files with their digests, says what it was
//! made from, and is signed. It is written whole or not at all ([`ArtifactWriter`]), and nothing of it is believed
//! that a digest does not confirm ([`Artifact`]). [`ModelFiles`] also reads plain folders that people bring.
//!
//! ```
//! # fn main() -> luban_artifact::Result<()> {
//! # let place = tempfile::tempdir().unwrap();
//! use luban_artifact::{Artifact, ArtifactWriter, Keys, Kind};
//! let keys = Keys::load_or_create(&place.path().join("home"))?;
//! let mut writer = ArtifactWriter::create(&place.path().join("report"), Kind::Report)?;
//! writer.write("quality.json", b"{}")?;
//! writer.metric("perplexity", 12.5);
//! let written = writer.commit(&keys)?;
//! let opened = Artifact::open(written.dir())?;
//! assert_eq!(opened.digest(), written.digest());
//! assert_eq!(opened.read("quality.json")?, b"{}");
//! # Ok(())
//! # }
//! ```

pub mod checkpoints;
pub mod error;
pub mod gguf;
pub mod keys;
pub mod lineage;
pub mod manifest;
pub mod pull;
pub mod safetensors;
pub mod verify;

mod folder;
mod mapped;
mod model_files;
mod writer;

pub use error::{Error, Result};
pub use folder::Artifact;
pub use keys::{Keys, PublicKey, Trusted};
pub use luban_base::atomic::FileEntry;
pub use luban_base::digest::Digest;
pub use manifest::{Input, Kind, MANIFEST, Manifest};
pub use mapped::{Mapped, Piece};
pub use model_files::ModelFiles;
pub use writer::{ArtifactFile, ArtifactWriter};
