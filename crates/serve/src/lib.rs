//! HTTP: wire formats, auth, limits, pages.
