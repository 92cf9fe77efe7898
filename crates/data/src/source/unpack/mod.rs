//! Compressed files and tables, unpacked beside the corpus in the making.
//!
//! Building looks at texts several times and in any order, which compressed files do not allow. So each is unpacked
//! once, as a stream, into a folder that vanishes with the build. What a small file may unpack to is bounded.

mod decode;
mod parquet;
mod table;

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use luban_base::atomic::StagedDir;
use luban_base::cancel::Cancel;
use luban_base::digest::{self, Digest, Hasher};
use luban_base::progress::{Event, Observer};

use super::{Format, SourceFile};
use crate::corpus::BuildOptions;
use crate::error::Context;
use crate::quality::TextKind;
use crate::{Error, Result, parallel};

pub(crate) use decode::Packing;
pub(crate) use table::write_records;

/// Most bytes that one byte of a compressed file may become, beyond [`UNPACKED_FREE`]. Text shrinks to a fifth;
/// logs, to a fiftieth.
const RATIO_MAX: u64 = 200;
/// Bytes that any file may unpack to.
const UNPACKED_FREE: u64 = 16 << 20;

/// What a file holds once it is unpacked.
#[derive(Clone, Debug)]
pub(crate) struct Plain {
    /// Where that lies until the build is done.
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// The digest of the file itself.
    pub(crate) sha256: Digest,
}

/// Unpacks what has to be. Gives the folder that holds it: it vanishes when that is dropped.
///
/// # Errors
/// A file that is damaged or unpacks to far too much, a table without the column that was asked for, a disk that
/// refuses.
pub(crate) fn all(
    files: &mut [SourceFile],
    options: &BuildOptions,
    target: &Path,
    observer: &dyn Observer,
) -> Result<Option<StagedDir>> {
    let packed: Vec<usize> = (0..files.len()).filter(|&index| files[index].is_packed()).collect();
    if packed.is_empty() {
        return Ok(None);
    }
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".unpacked");
    let folder = StagedDir::create(&target.with_file_name(name)).map_err(luban_artifact::Error::from)?;
    let done = AtomicU64::new(0);
    let work = |&index: &usize| {
        let unpacking =
            Unpacking { file: &files[index], field: options.text_field.as_deref(), cancel: &options.cancel };
        unpacking.run(folder.path().join(index.to_string())).inspect(|_| {
            done.fetch_add(1, Ordering::Relaxed);
        })
    };
    let total = packed.len() as u64;
    let tick = || {
        let done = done.load(Ordering::Relaxed);
        observer.event(&Event::Progress { what: "unpacking", done, total, unit: "files" });
    };
    let threads = options.threads.unwrap_or_else(parallel::threads);
    let unpacked = parallel::map(&packed, threads, &options.cancel, work, tick)?;
    for (&index, (format, plain)) in packed.iter().zip(unpacked) {
        (files[index].format, files[index].plain) = (format, plain);
    }
    Ok(Some(folder))
}

/// One file on its way.
struct Unpacking<'a> {
    file: &'a SourceFile,
    /// The column with the text, if the user named one.
    field: Option<&'a str>,
    cancel: &'a Cancel,
}

impl Unpacking<'_> {
    /// Gives what the file is from now on: its format, and where its content lies if no longer in the file itself.
    fn run(&self, path: PathBuf) -> Result<(Format, Option<Plain>)> {
        // Decoders are others' code, made for well-formed files.
        catch_unwind(AssertUnwindSafe(|| self.unpack(path)))
            .unwrap_or_else(|_| Err(self.fault("its decoder panicked".to_owned())))
    }

    fn unpack(&self, path: PathBuf) -> Result<(Format, Option<Plain>)> {
        if self.file.format == Format::Parquet {
            return Ok((Format::Records, Some(self.parquet(path)?)));
        }
        if let Format::Csv { delimiter } = self.file.format {
            let mut out = BufWriter::new(File::create(&path).context("create", &path)?);
            let mut input = self.open()?;
            let found = write_records(&mut input, delimiter, self.field, &mut out);
            if found.map_err(|reason| self.reason(reason))? {
                out.flush().context("write", &path)?;
                return Ok((Format::Records, Some(self.plain(path, input)?)));
            }
        }
        // A table that names no text is text itself, as it always was.
        let format = match self.file.format {
            Format::Csv { .. } => Format::Text(TextKind::Code),
            other => other,
        };
        if self.file.packing.is_none() {
            return Ok((format, None));
        }
        Ok((format, Some(self.whole(path)?)))
    }

    /// Unpacks all of a compressed file.
    fn whole(&self, path: PathBuf) -> Result<Plain> {
        let mut out = File::create(&path).context("create", &path)?;
        let mut input = self.open()?;
        io::copy(&mut input, &mut out).map_err(|error| self.reason(error.to_string()))?;
        self.plain(path, input)
    }

    /// A file that is compressed as a whole is unpacked first, as its footer says where everything lies.
    fn parquet(&self, path: PathBuf) -> Result<Plain> {
        let from = &self.file.path;
        let (opened, sha256) = match self.file.packing {
            None => {
                let (sha256, _) = digest::of_file(from).context("read", from)?;
                (File::open(from).context("open", from)?, sha256)
            }
            Some(_) => {
                let whole = self.whole(path.with_extension("whole"))?;
                let opened = File::open(&whole.path).context("open", &whole.path)?;
                // It stays until it is closed.
                fs::remove_file(&whole.path).context("remove", &whole.path)?;
                (opened, whole.sha256)
            }
        };
        let mut out = BufWriter::new(File::create(&path).context("create", &path)?);
        let mut bytes = 0;
        let written = |count: u64| {
            bytes += count;
            if self.cancel.is_raised() { Err("cancelled".to_owned()) } else { self.check_size(bytes) }
        };
        parquet::write_records(&opened, self.field, &mut out, written).map_err(|reason| self.reason(reason))?;
        out.flush().context("write", &path)?;
        drop(out);
        let bytes = path.metadata().context("look at", &path)?.len();
        Ok(Plain { path, bytes, sha256 })
    }

    /// Refuses what becomes far more than the file.
    fn check_size(&self, unpacked: u64) -> std::result::Result<(), String> {
        let packed = self.file.bytes;
        match unpacked > packed.saturating_mul(RATIO_MAX).max(UNPACKED_FREE) {
            true => Err(format!("it unpacks to more than {RATIO_MAX} times its {packed} bytes, as no text does")),
            false => Ok(()),
        }
    }

    fn open(&self) -> Result<Input<'_>> {
        let opened = File::open(&self.file.path).context("open", &self.file.path)?;
        let hashed = BufReader::with_capacity(1 << 16, Hashed { reader: opened, hasher: Hasher::new() });
        Ok(Input { decoder: decode::Decoder::new(self.file.packing, hashed), of: self, bytes: 0 })
    }

    fn plain(&self, path: PathBuf, input: Input<'_>) -> Result<Plain> {
        let mut source = input.decoder.into_inner();
        // Tables may end before their file does; its digest is that of all of it.
        io::copy(&mut source, &mut io::sink()).context("read", &self.file.path)?;
        let bytes = path.metadata().context("look at", &path)?.len();
        Ok(Plain { path, bytes, sha256: source.into_inner().hasher.finish() })
    }

    /// The error for what a decoder said.
    fn reason(&self, reason: String) -> Error {
        if self.cancel.is_raised() { Error::Cancelled } else { self.fault(reason) }
    }

    fn fault(&self, reason: String) -> Error {
        Error::Packed { path: self.file.path.clone(), reason }
    }
}

/// The plain content of a file, within bounds.
struct Input<'a> {
    decoder: decode::Decoder<BufReader<Hashed>>,
    of: &'a Unpacking<'a>,
    bytes: u64,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.of.cancel.is_raised() {
            return Err(io::Error::other("cancelled"));
        }
        let count = self.decoder.read(buffer)?;
        self.bytes += count as u64;
        if self.of.file.packing.is_some() {
            self.of.check_size(self.bytes).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// A file that is hashed as it is read.
struct Hashed {
    reader: File,
    hasher: Hasher,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
