//! The Hugging Face hub, by its plain HTTPS interface: the list of a repository's files, then each file.

use luban_base::digest::Digest;
use serde::Deserialize;

use super::Job;
use super::http::{Client, Download};
use super::select::select;
use crate::error::{Error, Result};

const ENDPOINT: &str = "https://huggingface.co";

/// Which hub, and as whom.
#[derive(Clone)]
pub struct Hub {
    /// Its address, without a slash at the end.
    pub endpoint: String,
    /// The access token, if one is needed.
    pub token: Option<String>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Hub").field("endpoint", &self.endpoint).field("token", &token).finish()
    }
}

impl Hub {
    /// The hub that `HF_ENDPOINT` names (huggingface.co otherwise), with the token of `HF_TOKEN`.
    pub fn from_env() -> Self {
        let set = |name| std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|v| !v.is_empty());
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), token: set("HF_TOKEN") }
    }
}

/// What the hub says of a repository at a revision.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    lfs: Option<Large>,
}

/// What the hub knows of a large file.
#[derive(Deserialize)]
struct Large {
    sha256: Digest,
    size: u64,
}

pub(super) fn fetch(job: &mut Job<'_>, repo: &str, revision: Option<&str>) -> Result<()> {
    let hub = job.options.hub.clone();
    let client = Client::new(&hub.endpoint, hub.token.as_deref());
    let revision = encode(revision.unwrap_or("main"), false);
    let url = format!("{}/api/models/{repo}/revision/{revision}?blobs=true", hub.endpoint);
    let listing = client.json(&url)?;
    let listing: Listing = serde_json::from_value(listing)
        .map_err(|error| Error::fetch(&url, format!("expected a list of files: {error}")))?;
    if listing.sha.len() != 40 || !listing.sha.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::fetch(&url, "expected a commit of 40 hexadecimal digits"));
    }
    let names = select(listing.siblings.iter().map(|sibling| sibling.rfilename.as_str()));
    let names = names.map_err(|why| Error::fetch(format!("hf:{repo}"), why))?;
    let chosen: Vec<&Sibling> = listing.siblings.iter().filter(|s| names.contains(&s.rfilename)).collect();
    job.record("revision", listing.sha.as_str());
    let total = chosen.iter().map(|sibling| sibling.bytes()).fold(0, u64::saturating_add);
    let mut done = 0;
    for sibling in chosen {
        let name = encode(&sibling.rfilename, true);
        let url = format!("{}/{repo}/resolve/{}/{name}", hub.endpoint, listing.sha);
        let sha256 = sibling.lfs.as_ref().map(|large| large.sha256);
        if let Some(size) = reuse(job, sibling, &listing.sha)? {
            done += size;
            continue;
        }
        let download = Download { url: &url, size: sibling.length(), sha256 };
        let part = client.download(&download, &job.options.cache, &mut |here, _| {
            job.progress("downloading", done + here, total);
        })?;
        done += job.writer.adopt(&sibling.rfilename, part.path())?.size;
        part.remove();
    }
    Ok(())
}

/// Takes a file from the earlier pull that is being replaced, if it is the same there: by its digest, or because it
/// is of the same commit. Gives its length.
fn reuse(job: &Job<'_>, sibling: &Sibling, commit: &str) -> Result<Option<u64>> {
    let Some(previous) = &job.previous else { return Ok(None) };
    let Some(known) = previous.manifest().files.get(&sibling.rfilename) else { return Ok(None) };
    let same_commit = previous.manifest().settings.get("revision").and_then(|v| v.as_str()) == Some(commit);
    let same = sibling.lfs.as_ref().map_or(same_commit, |large| large.sha256 == known.sha256);
    // What is no longer what its manifest says is downloaded again.
    if !same || previous.map(&sibling.rfilename).is_err() {
        return Ok(None);
    }
    let copied = job.writer.copy(&sibling.rfilename, &previous.path(&sibling.rfilename)?)?;
    if copied.sha256 != known.sha256 {
        return Err(Error::wrong_digest(&previous.path(&sibling.rfilename)?, known.sha256, copied.sha256));
    }
    Ok(Some(copied.size))
}

impl Sibling {
    fn length(&self) -> Option<u64> {
        self.lfs.as_ref().map(|large| large.size).or(self.size)
    }

    fn bytes(&self) -> u64 {
        self.length().unwrap_or(0)
    }
}

/// Writes a name for an address, slashes kept where they part folders.
fn encode(name: &str, keep_slash: bool) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') || (keep_slash && b == b'/');
    let byte = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    name.bytes().map(byte).collect()
}
