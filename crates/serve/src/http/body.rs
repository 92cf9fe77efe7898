//! Response bodies that tell when they end.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// A body that drops `end` once it was sent, or given up.
pub(crate) struct Ending<T> {
    body: Body,
    _end: T,
}

impl<T> Ending<T> {
    pub(crate) fn new(body: Body, end: T) -> Self {
        Self { body, _end: end }
    }
}

impl<T: Unpin> HttpBody for Ending<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
