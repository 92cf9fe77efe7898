//! `GET /`: the page where one types code and sees the model complete it.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Response, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use luban_base::digest;

use crate::app::App;

const PAGE: &str = include_str!("../page/index.html");

/// What the page may do: run its own script and style, and talk to this server.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let source = |tag| format!("'sha256-{}'", BASE64_STANDARD.encode(digest::of_bytes(inner(tag).as_bytes()).0));
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        source("script"),
        source("style")
    )
});

/// The page. It holds no secret and asks the API for all it shows; so whoever comes without a key, which browsers
/// cannot send when they open a page, gets its text too, with the status 401 and a field for the key.
pub(crate) async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::from(PAGE));
    if app.keys.check(&headers).is_err() {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let policy = HeaderValue::from_str(&POLICY).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let fixed: [(HeaderName, &'static str); 4] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
    ];
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response.headers_mut().extend(fixed.map(|(name, value)| (name, HeaderValue::from_static(value))));
    response
}

/// The text between `<tag>` and `</tag>` of the page.
fn inner(tag: &str) -> &'static str {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let start = PAGE.find(&open).map_or(0, |at| at + open.len());
    let end = PAGE.find(&close).unwrap_or(start);
    &PAGE[start..end.max(start)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        assert!(inner("script").len() > 1000 && inner("style").len() > 1000);
        for outside in ["src=\"http", "href=\"http", "@import", "url(http", "onclick=", "style=\""] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        assert_eq!(PAGE.matches("<script>").count(), 1);
        assert_eq!(PAGE.matches("<style>").count(), 1);
    }
}
