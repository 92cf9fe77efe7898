//! Files mapped into memory, and digests that are not computed twice.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::ops::{Deref, Range};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use luban_base::digest::{Digest, Hasher};
use memmap2::{Mmap, UncheckedAdvice};

use crate::error::{Context, Result};

/// A file changed less than this long ago may change again without its time stamp showing it.
const SETTLED: Duration = Duration::from_secs(2);
const CACHED_MAX: usize = 4096;
/// Bytes of a file that are in memory at a time while its digest is computed.
const DIGEST_BYTES: usize = 4 << 20;

/// The bytes of a file, mapped or in memory; clones share them.
///
/// Whoever cuts the file short while it is mapped ends the process with a bus error, as with every program that maps
/// files. Artifacts are replaced as a whole and never changed in place.
#[derive(Clone)]
pub struct Mapped(Arc<Inner>);

enum Inner {
    Map(Mmap),
    Bytes(Vec<u8>),
}

impl Mapped {
    /// Maps a file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self::of(&File::open(path).context("open", path)?, path)?.0)
    }

    /// Maps an open file; gives what the system knew about it at that time too.
    #[allow(unsafe_code)]
    pub(crate) fn of(file: &File, path: &Path) -> Result<(Self, Metadata)> {
        let metadata = file.metadata().context("look at", path)?;
        if metadata.len() == 0 {
            return Ok((Self::from(Vec::new()), metadata));
        }
        // SAFETY: the map is read-only and private. That nobody changes the file meanwhile cannot be had from the
        // system; the protocol gives it: files of artifacts are replaced by name, never written in place. All that
        // is read from the map is treated as bytes that may be anything.
        let map = unsafe { Mmap::map(file) }.context("map", path)?;
        Ok((Self(Arc::new(Inner::Map(map))), metadata))
    }

    /// Gives the memory back that a part of a mapped file takes. It is read again when it is looked at again.
    #[allow(unsafe_code)]
    pub fn release(&self, range: Range<usize>) {
        let Inner::Map(map) = &*self.0 else { return };
        if !range.is_empty() && range.end <= map.len() {
            // SAFETY: the map is read-only and of a file, so that what is dropped comes back from the file with the
            // same bytes; whoever reads meanwhile waits for that.
            // A refusal leaves the memory taken, and nothing else.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
        }
    }

    /// A part; nothing where it does not lie within.
    pub fn piece(&self, range: Range<usize>) -> Option<Piece> {
        self.get(range.clone())?;
        Some(Piece { bytes: self.clone(), range })
    }
}

/// A part of a file's bytes, or bytes of its own. What a mapped file takes of memory for it is given back when it is
/// dropped.
#[derive(Clone)]
pub struct Piece {
    bytes: Mapped,
    range: Range<usize>,
}

impl Piece {
    /// One of so many equal parts.
    ///
    /// # Panics
    /// If there is no such part.
    #[must_use]
    pub fn part(mut self, part: usize, of: usize) -> Self {
        assert!(part < of, "part {part} of {of}");
        let length = self.range.len() / of;
        let start = self.range.start + part * length;
        self.range = start..start + length;
        self
    }
}

impl From<Vec<u8>> for Piece {
    fn from(bytes: Vec<u8>) -> Self {
        let range = 0..bytes.len();
        Self { bytes: bytes.into(), range }
    }
}

impl Deref for Piece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({} bytes)", self.len())
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.bytes.release(self.range.clone());
    }
}

impl From<Vec<u8>> for Mapped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Inner::Bytes(bytes)))
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Inner::Map(map) => map,
            Inner::Bytes(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.len())
    }
}

/// What tells a file's content from another's without reading it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: (i64, i64),
    changed_ns: (i64, i64),
}

/// Digests of files of this process, by identity.
static CACHE: Mutex<BTreeMap<Identity, Digest>> = Mutex::new(BTreeMap::new());

/// The digest of a mapped file, from the cache where the file has not changed since it was last computed.
pub(crate) fn digest_of(bytes: &Mapped, metadata: &Metadata) -> Digest {
    let identity = Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified_ns: (metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: (metadata.ctime(), metadata.ctime_nsec()),
    };
    let cache = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(digest) = cache().get(&identity) {
        return *digest;
    }
    let mut hasher = Hasher::new();
    for (number, piece) in bytes.chunks(DIGEST_BYTES).enumerate() {
        hasher.update(piece);
        bytes.release(number * DIGEST_BYTES..number * DIGEST_BYTES + piece.len());
    }
    let digest = hasher.finish();
    if is_settled(metadata) {
        let mut cache = cache();
        if cache.len() >= CACHED_MAX {
            cache.clear();
        }
        cache.insert(identity, digest);
    }
    digest
}

/// Whether the last change lies far enough back for the next one to get another time stamp.
fn is_settled(metadata: &Metadata) -> bool {
    let changed = metadata.ctime().max(metadata.mtime());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(changed).is_ok_and(|changed| now.as_secs().saturating_sub(changed) > SETTLED.as_secs())
}
