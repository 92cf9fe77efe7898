//! Keys that sign manifests, and the list of those that are trusted.
//!
//! A key is trusted because it stands in the list, never because it came with an artifact. The key that is made on
//! first use enters the list when it is made.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use luban_base::atomic;
use luban_base::digest::{hex_decode, hex_encode};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Context, Error, Result};

const KEY_FILE: &str = "signing.key";
const TRUSTED_FILE: &str = "trusted.txt";
const LIST_BYTES_MAX: u64 = 1 << 20;

/// The folder for keys, caches and pulled models: `$LUBAN_HOME`, or `.luban` in the user's home folder.
///
/// # Errors
/// If neither `LUBAN_HOME` nor `HOME` is set.
pub fn home() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("LUBAN_HOME").or_else(|| Some(set("HOME")?.join(".luban"))).ok_or_else(|| Error::Io {
        what: "find the home folder from LUBAN_HOME or HOME for",
        path: PathBuf::from(".luban"),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

/// Implements text forms of a byte array in hexadecimal digits.
macro_rules! hex_bytes {
    ($name:ident, $len:literal, $what:literal) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex_encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                hex_decode::<$len>(text)
                    .map(Self)
                    .ok_or_else(|| format!("expected {} of {} lower-case hexadecimal digits", $what, 2 * $len))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

/// An ed25519 public key; written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

hex_bytes!(PublicKey, 32, "a public key");

impl PublicKey {
    /// Whether the signature over the bytes was made with the secret half of this key.
    ///
    /// Weak keys and signatures with more than one valid form are refused (RFC 8032, and strictly).
    pub fn verifies(&self, bytes: &[u8], signature: &Signature) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| key.verify_strict(bytes, &signature).is_ok())
    }
}

/// An ed25519 signature; written as 128 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

hex_bytes!(Signature, 64, "a signature");

/// The key pair with which this user signs.
#[derive(Clone)]
pub struct Keys {
    signing: SigningKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys {{ public: {}, .. }}", self.public())
    }
}

impl Keys {
    /// Reads the key pair from `home/keys`; makes it, readable by the owner alone, and trusts it, if it is not there.
    ///
    /// # Errors
    /// If the folder cannot be read or written, or the key file is damaged.
    pub fn load_or_create(home: &Path) -> Result<Self> {
        let path = key_path(home);
        if !path.exists() {
            Self::create(home)?;
        }
        let text = read_small(&path)?;
        let seed = hex_decode::<32>(text.trim_end())
            .ok_or_else(|| Error::corrupt(&path, "the secret key", "64 hexadecimal digits", "something else"))?;
        Ok(Self::from_seed(&seed))
    }

    /// The key pair that follows from 32 secret bytes; for tests, and for keys that are kept elsewhere.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { signing: SigningKey::from_bytes(seed) }
    }

    /// Makes the key pair, unless another process does so at the same time.
    fn create(home: &Path) -> Result<()> {
        let path = key_path(home);
        let folder = home.join("keys");
        atomic::create_dirs(&folder)?;
        let lock_path = folder.join(".lock");
        let lock = File::create(&lock_path).context("create", &lock_path)?;
        lock.lock().context("lock", &lock_path)?;
        if path.exists() {
            return Ok(());
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(std::io::Error::other).context("draw random bytes for", &path)?;
        // Trusted first: a key that is there is then always in the list.
        Trusted::load(home)?.add(home, Self::from_seed(&seed).public(), "made here")?;
        Ok(atomic::write_private_file(&path, format!("{}\n", hex_encode(&seed)).as_bytes())?)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.signing.verifying_key().to_bytes())
    }

    /// Signs bytes.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        Signature(self.signing.sign(bytes).to_bytes())
    }

    /// The list of trusted keys in a home folder.
    ///
    /// # Errors
    /// Those of [`Trusted::load`].
    pub fn trusted(home: &Path) -> Result<Trusted> {
        Trusted::load(home)
    }
}

/// The public keys whose signatures count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    keys: BTreeSet<PublicKey>,
}

impl Trusted {
    /// Reads `home/keys/trusted.txt`: a key a line, a comment after it if one likes; `#` starts a comment line.
    /// Without the file nobody is trusted.
    ///
    /// # Errors
    /// If the file cannot be read or a line is no key.
    pub fn load(home: &Path) -> Result<Self> {
        let path = trusted_path(home);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = read_small(&path)?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let key = |(index, line): (usize, &str)| {
            let first = line.split_whitespace().next().unwrap_or_default();
            let wrong = || Error::corrupt(&path, format!("line {}", index + 1), "a public key", format!("{first:?}"));
            first.parse::<PublicKey>().map_err(|_| wrong())
        };
        Ok(Self { keys: lines.map(key).collect::<Result<_>>()? })
    }

    /// A list that is not on disk.
    pub fn of(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// Whether a key is in the list.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Adds a key to the list and to the file, which keeps its other lines.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn add(&mut self, home: &Path, key: PublicKey, comment: &str) -> Result<()> {
        let path = trusted_path(home);
        let mut text = if path.exists() { read_small(&path)? } else { String::new() };
        if self.keys.insert(key) {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            let comment = comment.replace(char::is_control, " ");
            text.push_str(&format!("{key} {comment}\n"));
            atomic::write_file(&path, text.as_bytes())?;
        }
        Ok(())
    }
}

fn key_path(home: &Path) -> PathBuf {
    home.join("keys").join(KEY_FILE)
}

fn trusted_path(home: &Path) -> PathBuf {
    home.join("keys").join(TRUSTED_FILE)
}

/// Reads a text file of at most a megabyte.
fn read_small(path: &Path) -> Result<String> {
    let size = fs::metadata(path).context("read", path)?.len();
    if size > LIST_BYTES_MAX {
        return Err(Error::corrupt(path, "its length", format!("at most {LIST_BYTES_MAX} bytes"), size));
    }
    fs::read_to_string(path).context("read", path)
}
