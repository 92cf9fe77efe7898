//! Tasks and metrics, on the very artifact that is served.
