//! The manifest `luban.json`: what an artifact is, what is in it, what it was made from, who signed for it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use luban_base::atomic::{FileEntry, check_name};
use luban_base::digest::{self, Digest};
use luban_base::fault::{self, Guard};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::keys::{Keys, PublicKey, Signature};

/// The manifest's file name.
pub const MANIFEST: &str = "luban.json";
/// The manifest format that this version writes and reads.
pub const FORMAT: u32 = 1;
/// The longest manifest that is read.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// The most JSON values in a manifest; each takes far more memory than text. Room for 25,000 files.
pub const MANIFEST_VALUES_MAX: usize = 100_000;

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Texts to train on.
    Corpus,
    /// A tokenizer.
    Tokenizer,
    /// A model.
    Model,
    /// The state of a training run.
    Checkpoint,
    /// Measurements.
    Report,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corpus => "corpus",
            Self::Tokenizer => "tokenizer",
            Self::Model => "model",
            Self::Checkpoint => "checkpoint",
            Self::Report => "report",
        })
    }
}

/// An artifact that another was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What it was used as: `corpus`, `tokenizer`, `model` …
    pub role: String,
    /// What it is.
    pub kind: Kind,
    /// Its identity, by which it is found again.
    pub digest: Digest,
    /// Where it stood, relative to the artifact where that is short: a hint only.
    pub path: String,
}

/// What `luban.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format of this file, see [`FORMAT`].
    pub format: u32,
    /// What the artifact is.
    pub kind: Kind,
    /// When it was made, in seconds since 1970-01-01 UTC.
    pub created_unix_s: u64,
    /// The program and version that made it.
    pub program: String,
    /// The stage that made it.
    pub stage: Option<String>,
    /// The stage's settings.
    pub settings: Value,
    /// What it was made from.
    pub inputs: Vec<Input>,
    /// What was measured while it was made.
    pub metrics: Map<String, Value>,
    /// Its files by name, this one apart.
    pub files: BTreeMap<String, FileEntry>,
    /// The key that signed.
    pub signer: PublicKey,
    /// The signature over [`Manifest::signed_bytes`].
    pub signature: Signature,
}

impl Manifest {
    /// Reads a manifest and checks all that can be checked without the other files: its form to the byte, the file
    /// names, and the signature, though not whether the signer is trusted. `path` is for messages.
    ///
    /// # Errors
    /// If it is damaged or changed, or of a format that this version does not know.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        check_amount(bytes, path)?;
        check_format(bytes, path)?;
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| Error::corrupt(path, "the manifest", "a manifest", error))?;
        for name in manifest.files.keys() {
            check_name(name).map_err(|error| Error::corrupt(path, "a file name", "a plain name", error))?;
            if name == MANIFEST {
                return Err(Error::corrupt(path, "the list of files", "other files", format!("{MANIFEST} itself")));
            }
        }
        // One text for one content: a changed space or a doubled key, which a parser overlooks, is found.
        let rendered = manifest.render();
        if rendered != bytes && fault::is_on(Guard::Signature) {
            let at = rendered.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            let what = format!("byte {at}");
            return Err(Error::corrupt(path, what, byte_at(&rendered, at), byte_at(bytes, at)));
        }
        let signed = manifest.signer.verifies(&manifest.signed_bytes(), &manifest.signature);
        if !signed && fault::is_on(Guard::Signature) {
            let expected = format!("one by the key {}", manifest.signer);
            return Err(Error::corrupt(path, "the signature", expected, "one that does not match the content"));
        }
        Ok(manifest)
    }

    /// The artifact's identity: the SHA-256 of [`Manifest::signed_bytes`].
    pub fn digest(&self) -> Digest {
        digest::of_bytes(&self.signed_bytes())
    }

    /// What the signature signs: everything else, as JSON without spaces, all keys sorted.
    pub fn signed_bytes(&self) -> Vec<u8> {
        signed_bytes(to_value(self))
    }

    /// The one text that a manifest with this content has: the fields in their order, keys below sorted.
    pub fn render(&self) -> Vec<u8> {
        let mut sorted = self.clone();
        sort_keys(&mut sorted.settings);
        sorted.metrics.sort_keys();
        sorted.metrics.values_mut().for_each(sort_keys);
        let mut text = serde_json::to_vec_pretty(&sorted).expect("a manifest has string keys only");
        text.push(b'\n');
        text
    }

    /// Signs the manifest, setting `signer` and `signature`.
    pub fn sign(&mut self, keys: &Keys) {
        self.signer = keys.public();
        self.signature = keys.sign(&self.signed_bytes());
    }
}

/// Bounds the memory that reading takes: every value but the first has a comma or a bracket before it.
fn check_amount(bytes: &[u8], path: &Path) -> Result<()> {
    let values = bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    if bytes.len() as u64 > MANIFEST_BYTES_MAX || values > MANIFEST_VALUES_MAX {
        let expected = format!("at most {MANIFEST_BYTES_MAX} bytes and {MANIFEST_VALUES_MAX} values");
        let found = format!("{} bytes and {values} values", bytes.len());
        return Err(Error::corrupt(path, "the manifest", expected, found));
    }
    Ok(())
}

/// Looks at the format number alone, so that a newer manifest is called newer and not corrupt: if its signature
/// holds, that is; the rule for what is signed is the same in all formats.
fn check_format(bytes: &[u8], path: &Path) -> Result<()> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
        signer: PublicKey,
        signature: Signature,
    }
    let Ok(head) = serde_json::from_slice::<Head>(bytes) else { return Ok(()) };
    let Ok(content) = serde_json::from_slice::<Value>(bytes) else { return Ok(()) };
    let what = "the manifest's format";
    if head.format == FORMAT {
        Ok(())
    } else if head.signer.verifies(&signed_bytes(content), &head.signature) {
        let (expected, found) = (FORMAT.to_string(), head.format.to_string());
        Err(Error::Unsupported { path: path.to_owned(), what, expected, found })
    } else {
        Err(Error::corrupt(path, what, FORMAT, head.format))
    }
}

/// A manifest without its signature, as JSON without spaces, all keys sorted.
fn signed_bytes(mut manifest: Value) -> Vec<u8> {
    if let Value::Object(fields) = &mut manifest {
        fields.remove("signature");
    }
    sort_keys(&mut manifest);
    manifest.to_string().into_bytes()
}

fn to_value(manifest: &Manifest) -> Value {
    serde_json::to_value(manifest).expect("a manifest has string keys only")
}

/// Sorts the keys of all objects, however deep.
fn sort_keys(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.sort_keys();
            fields.values_mut().for_each(sort_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(sort_keys),
        _ => {}
    }
}

fn byte_at(bytes: &[u8], at: usize) -> String {
    bytes.get(at).map_or_else(|| "the end".to_owned(), |byte| format!("{:?}", char::from(*byte)))
}
