//! Who may ask, and on whose behalf: API keys with their tenants, and the names that a local server answers to.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use luban_base::digest::{self, Digest};
use luban_engine::TENANT_BYTES_MAX;
use subtle::{ConditionallySelectable, ConstantTimeEq};

use crate::api::error::ApiError;
use crate::error::{Error, Result};

/// Most keys of a server.
pub const KEYS_MAX: usize = 4096;
/// Shortest key: at 64 symbols a character, 96 bits.
pub const KEY_BYTES_MIN: usize = 16;
/// Longest key.
pub const KEY_BYTES_MAX: usize = 512;

/// Keys that open the API, each on behalf of a tenant. Only their digests are kept.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    digest: Digest,
    tenant: Tenant,
    /// Whether it may change what is served to all.
    is_operators: bool,
}

/// On whose behalf a request is: those of one tenant share a queue, turns and cached prompts. The one without a name is
/// that of keys without a tenant, and of servers without keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tenant(pub(crate) Arc<str>);

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.keys.len())
    }
}

impl ApiKeys {
    /// No keys: everyone may ask.
    pub fn none() -> Self {
        Self::default()
    }

    /// Keys as clients send them: `Authorization: Bearer KEY`. All of them are of the tenant without a name.
    ///
    /// # Errors
    /// As [`Self::of_tenants`].
    pub fn new<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Self> {
        Self::of_tenants(keys.into_iter().map(|key| ("", key)))
    }

    /// Tenants' names with their keys; a tenant may have several, and the empty name is none.
    ///
    /// # Errors
    /// A key of fewer than 16 or more than 512 bytes, or with other than visible ASCII characters, or that is there
    /// twice; a name of a tenant that is too long, or has other than visible ASCII characters; too many keys.
    pub fn of_tenants<T: AsRef<str>, K: AsRef<str>>(keys: impl IntoIterator<Item = (T, K)>) -> Result<Self> {
        Self::none().and(keys, false)
    }

    /// Operators' keys besides, with their tenants: these open what the others do, and what changes the server too.
    ///
    /// # Errors
    /// As [`Self::of_tenants`], over all keys.
    pub fn and_operators<T: AsRef<str>, K: AsRef<str>>(self, keys: impl IntoIterator<Item = (T, K)>) -> Result<Self> {
        self.and(keys, true)
    }

    fn and<T: AsRef<str>, K: AsRef<str>>(
        self,
        keys: impl IntoIterator<Item = (T, K)>,
        is_operators: bool,
    ) -> Result<Self> {
        let mut known = self.keys;
        let mut seen: BTreeSet<_> = known.iter().map(|key| key.digest.0).collect();
        for (tenant, key) in keys {
            let (tenant, key, number) = (tenant.as_ref(), key.as_ref(), known.len() + 1);
            let digest = digest::of_bytes(key.as_bytes());
            let why = match () {
                () if number > KEYS_MAX => format!("is one too many; at most {KEYS_MAX} are allowed"),
                () if !(KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len()) => {
                    format!("has {} bytes; it must have {KEY_BYTES_MIN} to {KEY_BYTES_MAX}", key.len())
                }
                () if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    "has a character that is no visible ASCII character".into()
                }
                () if tenant.len() > TENANT_BYTES_MAX || !tenant.bytes().all(|byte| byte.is_ascii_graphic()) => {
                    format!("has a tenant whose name is no word of at most {TENANT_BYTES_MAX} visible ASCII characters")
                }
                () if !seen.insert(digest.0) => "is there twice".into(),
                () => {
                    known.push(Key { digest, tenant: Tenant(tenant.into()), is_operators });
                    continue;
                }
            };
            return Err(Error::Key { number, why });
        }
        Ok(Self { keys: known })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose key it is. The time this takes tells nothing about the keys: digests are compared, all of them, in constant
    /// time each.
    fn find(&self, key: &[u8]) -> Option<&Key> {
        let presented = digest::of_bytes(key);
        // No key has the number 0.
        let found = self.keys.iter().zip(1u32..).fold(0, |found, (known, number)| {
            u32::conditional_select(&found, &number, known.digest.0.ct_eq(&presented.0))
        });
        let index = (found as usize).checked_sub(1)?;
        self.keys.get(index)
    }

    /// Lets a request pass if it brings a key, or if there are none, and says on whose behalf it is.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<Tenant, ApiError> {
        Ok(self.presented(headers)?.map_or_else(Tenant::default, |key| key.tenant.clone()))
    }

    /// As [`Self::check`], of operators' keys alone. A server whose keys are all of others lets nobody pass.
    pub(crate) fn check_operator(&self, headers: &HeaderMap) -> Result<Tenant, ApiError> {
        match self.presented(headers)? {
            None => Ok(Tenant::default()),
            Some(key) if key.is_operators => Ok(key.tenant.clone()),
            Some(_) => {
                Err(ApiError::new(StatusCode::FORBIDDEN, "this needs an operator's key").with_code("not_operator"))
            }
        }
    }

    /// The key that a request brings; none if there are no keys at all.
    fn presented(&self, headers: &HeaderMap) -> Result<Option<&Key>, ApiError> {
        if self.is_empty() {
            return Ok(None);
        }
        let key = headers.get(AUTHORIZATION).and_then(bearer);
        match key.map(|key| (key.len() <= KEY_BYTES_MAX).then(|| self.find(key)).flatten()) {
            Some(Some(key)) => Ok(Some(key)),
            Some(None) => Err(ApiError::key("the API key is not valid")),
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
    fn keys_say_on_whose_behalf() {
        let keys = [
            ("a", "sk-0123456789abcdef"),
            ("b", "sk-another-long-key"),
            ("a", "sk-a-second-long-key"),
            ("", "sk-of-nobody-at-all"),
        ];
        let keys = ApiKeys::of_tenants(keys).unwrap();
        let tenant = |key: &str| keys.check(&headers("authorization", &format!("Bearer {key}"))).unwrap().0;
        assert_eq!(&*tenant("sk-0123456789abcdef"), "a");
        assert_eq!(&*tenant("sk-another-long-key"), "b");
        assert_eq!(&*tenant("sk-a-second-long-key"), "a");
        assert_eq!(&*tenant("sk-of-nobody-at-all"), "");
        assert!(keys.check(&headers("authorization", "Bearer sk-0123456789abcdeg")).is_err());
        assert_eq!(format!("{keys:?}"), "ApiKeys(4)");
        let key = "sk-0123456789abcdef";
        for wrong in [vec![("a", key), ("b", key)], vec![("a b", key)], vec![("größe", key)], vec![("a", "")]] {
            assert!(ApiKeys::of_tenants(wrong.clone()).is_err(), "{wrong:?}");
        }
        assert!(ApiKeys::of_tenants([("x".repeat(257), key)]).is_err());
    }

    #[test]
    fn operators_may_what_others_may_not() {
        let keys = ApiKeys::of_tenants([("a", "sk-0123456789abcdef")]).unwrap();
        let with = |key: &str| headers("authorization", &format!("Bearer {key}"));
        assert!(keys.check_operator(&with("sk-0123456789abcdef")).is_err(), "there is no operator yet");
        let keys = keys.and_operators([("ops", "sk-operator-0123456789")]).unwrap();
        assert_eq!(&*keys.check_operator(&with("sk-operator-0123456789")).unwrap().0, "ops");
        assert_eq!(&*keys.check(&with("sk-operator-0123456789")).unwrap().0, "ops");
        assert!(keys.check_operator(&with("sk-0123456789abcdef")).is_err());
        assert!(keys.check_operator(&with("sk-operator-012345678")).is_err());
        assert!(keys.check_operator(&HeaderMap::new()).is_err());
        assert!(ApiKeys::none().check_operator(&HeaderMap::new()).is_ok());
        // A key is the one or the other.
        assert!(keys.and_operators([("", "sk-0123456789abcdef")]).is_err());
    }

    #[test]
    fn weak_keys_are_refused() {
        for key in ["short", "", "with a space in it…", "with-a-line-break\n"] {
            assert!(ApiKeys::new([key]).is_err(), "{key:?}");
        }
        let many = |count: usize| ApiKeys::new((0..count).map(|number| format!("0123456789abcdef-{number}")));
        assert!(many(KEYS_MAX).is_ok() && many(KEYS_MAX + 1).is_err());
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
