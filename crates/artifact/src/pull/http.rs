//! Reading from the web: small answers whole, large files in parts that survive a broken connection.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use luban_base::atomic;
use luban_base::digest::{self, Digest};
use ureq::Agent;
use ureq::config::RedirectAuthHeaders;
use ureq::http::header::{AUTHORIZATION, CONTENT_RANGE, ETAG, IF_RANGE, RANGE};
use ureq::http::{HeaderMap, Response};

use super::source::is_private;
use crate::error::{Context, Error, Result};

const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// A connection that brings nothing for so long is broken off.
const IDLE: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 64 << 20;
const FILE_BYTES_MAX: u64 = 1 << 40;
/// Attempts in a row that brought nothing.
const TRIES_MAX: u32 = 3;
const COPY_BYTES: usize = 1 << 17;
const REPORT_BYTES: u64 = 1 << 20;
/// Parts that nobody came back for.
const PART_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A web client.
pub(super) struct Client {
    agent: Agent,
    token: Option<String>,
}

/// A file to download.
pub(super) struct Download<'a> {
    /// Its address.
    pub url: &'a str,
    /// Its length, if the source told it.
    pub size: Option<u64>,
    /// Its digest, if the source told it.
    pub sha256: Option<Digest>,
}

impl Client {
    /// A client for addresses like `url`; the token goes only where it cannot be overheard.
    pub(super) fn new(url: &str, token: Option<&str>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(url.starts_with("https://"))
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .timeout_connect(Some(CONNECT))
            .timeout_resolve(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .timeout_per_read(Some(IDLE))
            .timeout_per_write(Some(IDLE))
            .user_agent(concat!("luban/", env!("CARGO_PKG_VERSION")))
            .build();
        let token = token.filter(|_| is_private(url)).map(str::to_owned);
        Self { agent: config.new_agent(), token }
    }

    /// Reads a JSON answer.
    pub(super) fn json(&self, url: &str) -> Result<serde_json::Value> {
        let mut response = self.get(url, &HeaderMap::new())?;
        if response.status() != 200 {
            return Err(Error::fetch(url, status(&response)));
        }
        let bytes = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let bytes = bytes.map_err(|error| Error::fetch(url, error))?;
        serde_json::from_slice(&bytes).map_err(|error| Error::fetch(url, format!("expected JSON: {error}")))
    }

    fn get(&self, url: &str, headers: &HeaderMap) -> Result<Response<ureq::Body>> {
        let mut request = self.agent.get(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request.call().map_err(|error| Error::fetch(url, error))
    }

    /// Downloads a file into the cache folder, going on where an earlier download stopped, and checks its length and
    /// digest. `progress` hears how many bytes are there, of how many (0: not known).
    pub(super) fn download(
        &self,
        download: &Download<'_>,
        cache: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Part> {
        let mut part = Part::open(download, cache)?;
        let mut from_the_start = part.size()? == 0;
        loop {
            self.complete(download, &mut part, progress)?;
            let (found, size) = digest::of_file(&part.path).context("read", &part.path)?;
            match part.check(download, found, size) {
                Ok(()) => return Ok(part),
                Err(error) => {
                    part.clear()?;
                    if from_the_start {
                        part.remove();
                        return Err(error);
                    }
                    // The older half may be of another version of the file: once more, whole.
                    from_the_start = true;
                }
            }
        }
    }

    /// Reads until the file is there, over as many connections as it takes while each brings something.
    fn complete(&self, download: &Download<'_>, part: &mut Part, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let mut tries = 0;
        loop {
            let before = part.size()?;
            if before > 0 && download.size == Some(before) {
                return Ok(());
            }
            match self.attempt(download, part, progress)? {
                Outcome::Whole => return Ok(()),
                Outcome::Broken(why) => {
                    tries = if part.size()? > before { 1 } else { tries + 1 };
                    if tries >= TRIES_MAX {
                        return Err(Error::fetch(download.url, why));
                    }
                    std::thread::sleep(Duration::from_millis(200) * tries);
                }
            }
        }
    }

    /// One connection.
    fn attempt(&self, download: &Download<'_>, part: &mut Part, progress: &mut dyn FnMut(u64, u64)) -> Result<Outcome> {
        let have = part.resumable_from(download)?;
        let headers = part.range_headers(have)?;
        let mut response = match self.get(download.url, &headers) {
            Ok(response) => response,
            Err(Error::Fetch { why, .. }) => return Ok(Outcome::Broken(why)),
            Err(error) => return Err(error),
        };
        let start = match response.status().as_u16() {
            200 => 0,
            206 if range_start(response.headers()) == Some(have) => have,
            // The part is longer than the file, or the answer is about another place in it.
            206 | 416 => {
                part.clear()?;
                return Ok(Outcome::Broken(status(&response)));
            }
            500.. => return Ok(Outcome::Broken(status(&response))),
            _ => return Err(Error::fetch(download.url, status(&response))),
        };
        part.truncate(start)?;
        part.remember(response.headers())?;
        let length = response.body().content_length();
        let total = download.size.or_else(|| length?.checked_add(start)).unwrap_or(0);
        let limit = if total > 0 { total } else { FILE_BYTES_MAX };
        let reader = response.body_mut().with_config().limit(u64::MAX).reader();
        part.append(reader, (start, limit), &mut |done| progress(done, total))
    }
}

enum Outcome {
    Whole,
    Broken(String),
}

/// A download in the cache folder, locked against other processes.
pub(super) struct Part {
    path: PathBuf,
    etag_path: PathBuf,
    file: File,
}

impl Part {
    fn open(download: &Download<'_>, cache: &Path) -> Result<Self> {
        let folder = cache.join("downloads");
        atomic::create_dirs(&folder)?;
        remove_old(&folder);
        // The digest is in the name, so that another version of the file is another download.
        let sha256 = download.sha256.map_or_else(String::new, |digest| digest.to_string());
        let name = digest::of_bytes(format!("{}\n{sha256}", download.url).as_bytes());
        let (path, etag_path) = (folder.join(format!("{name}.part")), folder.join(format!("{name}.etag")));
        for _ in 0..TRIES_MAX {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
            let file = file.context("open", &path)?;
            if file.try_lock().is_err() {
                return Err(Error::fetch(download.url, "another process is downloading it"));
            }
            // Another process may have finished and moved it away between the opening and the lock.
            let inode = file.metadata().context("look at", &path)?.ino();
            if fs::metadata(&path).is_ok_and(|named| named.ino() == inode) {
                return Ok(Self { path, etag_path, file });
            }
        }
        Err(Error::fetch(download.url, "other processes keep downloading it"))
    }

    /// Where the file lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the part out of the cache, wherever its file is now.
    pub(super) fn remove(&self) {
        // What cannot be removed, a later download finds or removes by its age.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&self.etag_path);
    }

    fn size(&self) -> Result<u64> {
        Ok(self.file.metadata().context("look at", &self.path)?.len())
    }

    fn truncate(&mut self, size: u64) -> Result<()> {
        self.file.set_len(size).context("shorten", &self.path)?;
        self.file.seek(SeekFrom::Start(size)).context("move in", &self.path).map(|_| ())
    }

    fn clear(&mut self) -> Result<()> {
        let _ = fs::remove_file(&self.etag_path);
        self.truncate(0)
    }

    /// From where on the file is needed. Without a digest or an entity tag nobody could tell whether the rest belongs
    /// to the same version: then from the start.
    fn resumable_from(&mut self, download: &Download<'_>) -> Result<u64> {
        if download.sha256.is_none() && self.etag().is_none() {
            self.clear()?;
        }
        self.size()
    }

    fn etag(&self) -> Option<String> {
        fs::read_to_string(&self.etag_path).ok().filter(|etag| etag.starts_with('"') && etag.len() < 256)
    }

    fn range_headers(&self, have: u64) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if have > 0 {
            let invalid = |_| Error::fetch(self.path.display().to_string(), "a range that is no header");
            headers.insert(RANGE, format!("bytes={have}-").parse().map_err(invalid)?);
            if let Some(etag) = self.etag().and_then(|etag| etag.parse().ok()) {
                headers.insert(IF_RANGE, etag);
            }
        }
        Ok(headers)
    }

    /// Keeps the entity tag of the version that is being downloaded.
    fn remember(&self, headers: &HeaderMap) -> Result<()> {
        match headers.get(ETAG).and_then(|etag| etag.to_str().ok()).filter(|etag| etag.starts_with('"')) {
            Some(etag) => fs::write(&self.etag_path, etag).context("write", &self.etag_path),
            None => {
                let _ = fs::remove_file(&self.etag_path);
                Ok(())
            }
        }
    }

    /// Writes what comes after the bytes that are there; a broken connection is no error.
    fn append(
        &mut self,
        mut reader: impl Read,
        (mut done, limit): (u64, u64),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Outcome> {
        let mut buffer = vec![0; COPY_BYTES];
        let mut reported = done;
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Outcome::Broken(error.to_string())),
            };
            done += count as u64;
            if done > limit {
                self.clear()?;
                return Err(Error::fetch(self.path.display().to_string(), format!("more than {limit} bytes came")));
            }
            self.file.write_all(&buffer[..count]).context("write", &self.path)?;
            if done - reported >= REPORT_BYTES {
                reported = done;
                progress(done);
            }
        }
        progress(done);
        Ok(Outcome::Whole)
    }

    fn check(&self, download: &Download<'_>, found: Digest, size: u64) -> Result<()> {
        if let Some(expected) = download.size.filter(|&expected| expected != size) {
            return Err(Error::fetch(download.url, format!("expected {expected} bytes, got {size}")));
        }
        match download.sha256 {
            Some(expected) if expected != found => {
                Err(Error::fetch(download.url, format!("expected the SHA-256 {expected}, got {found}")))
            }
            _ => Ok(()),
        }
    }
}

fn status(response: &Response<ureq::Body>) -> String {
    match response.status().as_u16() {
        401 | 403 => format!("the server refused access (HTTP {}); is a token needed?", response.status()),
        404 => "there is nothing at this address (HTTP 404)".to_owned(),
        _ => format!("the server answered HTTP {}", response.status()),
    }
}

/// Where the bytes of a partial answer start: `Content-Range: bytes START-END/TOTAL`.
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}

fn remove_old(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > PART_AGE_MAX) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
