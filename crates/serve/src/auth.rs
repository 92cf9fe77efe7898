//! Who may ask: API keys, and the names that a local server answers to.

use std::fmt;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use luban_base::digest::{self, Digest};
use subtle::{Choice, ConstantTimeEq};

use crate::api::error::ApiError;
use crate::error::{Error, Result};

/// Most keys of a server.
pub const KEYS_MAX: usize = 4096;
/// Shortest key: at 64 symbols a character, 96 bits.
pub const KEY_BYTES_MIN: usize = 16;
/// Longest key.
pub const KEY_BYTES_MAX: usize = 512;

/// Keys that open the API. Only their digests are kept.
#[derive(Clone, Default)]
pub struct ApiKeys {
    digests: Vec<Digest>,
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.digests.len())
    }
}

impl ApiKeys {
    /// No keys: everyone may ask.
    pub fn none() -> Self {
        Self::default()
    }

    /// Keys as clients send them: `Authorization: Bearer KEY`.
    ///
    /// # Errors
    /// A key of fewer than 16 or more than 512 bytes, or with other than visible ASCII characters; too many keys.
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Self> {
        let mut digests = Vec::new();
        for (index, key) in keys.into_iter().enumerate() {
            let (key, number) = (key.as_ref(), index + 1);
            let why = match () {
                () if number > KEYS_MAX => format!("is one too many; at most {KEYS_MAX} are allowed"),
                () if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) => {
                    format!("has {} bytes; it must have {KEY_BYTES_MIN} to {KEY_BYTES_MAX}", key.len())
                }
                () if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    "has a character that is no visible ASCII character".into()
                }
                () => {
                    digests.push(digest::of_bytes(key.as_bytes()));
                    continue;
                }
            };
            return Err(Error::Key { number, why });
        }
        Ok(Self { digests })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// Whether `key` is one of them. The time this takes tells nothing about the keys: digests are compared, all of
    /// them, in constant time each.
    fn contains(&self, key: &[u8]) -> bool {
        let presented = digest::of_bytes(key);
        let found = self.digests.iter().fold(Choice::from(0), |found, known| found | known.0.ct_eq(&presented.0));
        found.into()
    }

    /// Lets a request pass if it brings a key, or if there are none.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.is_empty() {
            return Ok(());
        }
        match headers.get(AUTHORIZATION).and_then(bearer) {
            Some(key) if key.len() <= KEY_BYTES_MAX && self.contains(key) => Ok(()),
            Some(_) => Err(ApiError::key("the API key is not valid")),
            None => Err(ApiError::key("an API key is needed: send it as `Authorization: Bearer KEY`")),
        }
    }
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// The names that requests may call this server by.
///
/// A page on the web can make a browser talk to `127.0.0.1`, under any name that it points there ("DNS rebinding");
/// so a server without keys must look at the name.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    /// Lower-case names without port; nothing allows all.
    allowed: Option<Vec<String>>,
}

impl Hosts {
    pub(crate) fn new(loopback: bool, more: &[String]) -> Self {
        let local = ["localhost", "127.0.0.1", "[::1]"].map(String::from);
        let more = more.iter().map(|host| host.to_ascii_lowercase());
        match loopback || more.len() > 0 {
            true => Self { allowed: Some(local.into_iter().chain(more).collect()) },
            false => Self { allowed: None },
        }
    }

    /// Refuses requests under another name, and those that a page of another site makes.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), ApiError> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        let is_allowed = |name: &str| allowed.iter().any(|host| host.eq_ignore_ascii_case(name));
        let mut named = request.headers().get_all(HOST).iter();
        let host = match (named.next(), named.next()) {
            (Some(host), None) => name_of(host.as_bytes()),
            _ => return Err(ApiError::new(StatusCode::BAD_REQUEST, "one Host header is needed")),
        };
        let target = request.uri().authority().map(Authority::host);
        if !host.as_deref().is_some_and(is_allowed) || !target.is_none_or(is_allowed) {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "this server does not answer to that host name"));
        }
        let origin = request.headers().get(ORIGIN).map(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            let name = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
            name.and_then(|name| name_of(name.as_bytes()))
        });
        match origin {
            Some(origin) if !origin.as_deref().is_some_and(is_allowed) => {
                Err(ApiError::new(StatusCode::FORBIDDEN, "pages of other sites may not use this server"))
            }
            _ => Ok(()),
        }
    }
}

/// The host of `host:port`, if both are well formed.
fn name_of(host: &[u8]) -> Option<String> {
    let authority = Authority::try_from(host).ok()?;
    let plain = !authority.as_str().contains('@');
    let rest = &authority.as_str()[authority.host().len()..];
    let port = rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    (plain && port).then(|| authority.host().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())])
    }

    #[test]
    fn keys_are_checked_when_there_are_any() {
        let keys = ApiKeys::new(["sk-0123456789abcdef", "sk-another-long-key"]).unwrap();
        let passes = |value: &str| keys.check(&headers("authorization", value)).is_ok();
        assert!(passes("Bearer sk-0123456789abcdef") && passes("bearer  sk-another-long-key"));
        for wrong in
            ["", "Bearer", "Bearer ", "Bearer sk-0123456789abcde", "Basic sk-0123456789abcdef", "sk-0123456789abcdef"]
        {
            assert!(!passes(wrong), "{wrong:?}");
        }
        assert!(keys.check(&HeaderMap::new()).is_err());
        assert!(ApiKeys::none().check(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn weak_keys_are_refused() {
        for key in ["short", "", "with a space in it…", "with-a-line-break\n"] {
            assert!(ApiKeys::new([key]).is_err(), "{key:?}");
        }
        assert!(ApiKeys::new(vec!["0123456789abcdef"; KEYS_MAX + 1]).is_err());
    }

    #[test]
    fn local_servers_answer_to_local_names_only() {
        let check = |hosts: &Hosts, host: &str, origin: Option<&str>| {
            let mut request = Request::builder().uri("/v1/models").header("host", host);
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            hosts.check(&request.body(()).unwrap()).is_ok()
        };
        let local = Hosts::new(true, &["Luban.internal".into()]);
        for host in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "[::1]", "[::1]:1", "luban.internal:9"] {
            assert!(check(&local, host, None), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "localhost:x",
            "::1",
            "localhost:99999",
        ] {
            assert!(!check(&local, host, None), "{host}");
        }
        assert!(check(&local, "localhost:80", Some("http://localhost:80")));
        for origin in ["null", "https://evil.example", "http://localhost.evil.example", "file://localhost", ""] {
            assert!(!check(&local, "localhost", Some(origin)), "{origin}");
        }
        assert!(check(&Hosts::new(false, &[]), "luban.example", Some("https://other.example")));
        assert!(!check(&Hosts::new(false, &["luban.example".into()]), "other.example", None));
        let two = Request::builder().header("host", "localhost").header("host", "localhost").body(()).unwrap();
        assert!(local.check(&two).is_err());
        let target = Request::builder().uri("http://evil.example/").header("host", "localhost").body(()).unwrap();
        assert!(local.check(&target).is_err());
    }
}
