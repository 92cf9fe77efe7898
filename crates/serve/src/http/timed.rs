//! A connection that closes itself when the client is too slow.
//!
//! The HTTP library knows one timeout for headers; what a slow or idle client may take differs by phase: a first
//! byte, the rest of the headers, the pause before the next request, a write that makes no progress.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::options::Timeouts;

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The first byte of the first request.
    First = 0,
    /// The rest of a request's headers.
    Headers = 1,
    /// Nothing from the client in particular: a request is being answered.
    Busy = 2,
    /// The first byte of the next request.
    Idle = 3,
}

/// The phase of a connection, known to the connection and to whoever answers its requests.
///
/// The low two bits are the phase; the others count changes, so that a phase that comes again is seen as new.
#[derive(Clone, Debug, Default)]
pub(crate) struct Phases(Arc<AtomicU64>);

impl Phases {
    /// Enters a phase.
    pub(crate) fn enter(&self, phase: Phase) {
        let change = |word: u64| Some((word | 3).wrapping_add(1) | phase as u64);
        let _ = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
    }

    fn read(&self) -> (Phase, u64) {
        let word = self.0.load(Ordering::SeqCst);
        let phase = [Phase::First, Phase::Headers, Phase::Busy, Phase::Idle][(word & 3) as usize];
        (phase, word)
    }
}

/// A connection with timeouts.
pub(crate) struct Timed<S> {
    stream: S,
    phases: Phases,
    timeouts: Timeouts,
    /// Runs while a read waits; set for the phase in `armed`.
    read_timer: Timer,
    armed: Option<u64>,
    /// Runs while a write waits.
    write_timer: Timer,
    writing: bool,
}

type Timer = Pin<Box<Sleep>>;

impl<S> Timed<S> {
    pub(crate) fn new(stream: S, phases: Phases, timeouts: Timeouts) -> Self {
        let timer = || Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { stream, phases, timeouts, read_timer: timer(), armed: None, write_timer: timer(), writing: false }
    }

    /// Whether a read has waited too long.
    fn poll_read_timer(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let (phase, word) = self.phases.read();
        let allowed = match phase {
            Phase::First => self.timeouts.first_byte,
            Phase::Headers => self.timeouts.headers,
            Phase::Idle => self.timeouts.idle,
            Phase::Busy => return Poll::Pending,
        };
        if self.armed != Some(word) {
            self.read_timer.as_mut().reset(Instant::now() + allowed);
            self.armed = Some(word);
        }
        ready!(self.read_timer.as_mut().poll(context));
        Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client was too slow"))
    }

    /// A write that waits is given up after a while.
    fn check_write<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.writing = false;
            return written;
        }
        if !self.writing {
            self.write_timer.as_mut().reset(Instant::now() + self.timeouts.write);
            self.writing = true;
        }
        ready!(self.write_timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(outcome) => {
                let (phase, _) = this.phases.read();
                if buffer.filled().len() > before && matches!(phase, Phase::First | Phase::Idle) {
                    this.phases.enter(Phase::Headers);
                }
                Poll::Ready(outcome)
            }
            Poll::Pending => this.poll_read_timer(context).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.check_write(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.check_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(context);
        this.check_write(flushed, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let shut = Pin::new(&mut this.stream).poll_shutdown(context);
        this.check_write(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    fn timeouts() -> Timeouts {
        Timeouts {
            first_byte: Duration::from_millis(40),
            headers: Duration::from_millis(120),
            idle: Duration::from_millis(80),
            write: Duration::from_millis(40),
            ..Timeouts::default()
        }
    }

    async fn lasted(read: impl Future<Output = io::Result<u8>>) -> Duration {
        let start = Instant::now();
        assert_eq!(read.await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        start.elapsed()
    }

    #[test]
    fn each_phase_has_its_own_time() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let phases = Phases::default();
            let (mut client, server) = duplex(64);
            let mut timed = Timed::new(server, phases.clone(), timeouts());
            let first = lasted(timed.read_u8()).await;
            assert!(first >= Duration::from_millis(40) && first < Duration::from_millis(75), "{first:?}");
            client.write_all(b"ab").await.unwrap();
            timed.read_u8().await.unwrap();
            assert_eq!(phases.read().0, Phase::Headers);
            // Bytes that trickle in do not start the time again.
            let start = Instant::now();
            for _ in 0..2 {
                tokio::time::sleep(Duration::from_millis(30)).await;
                let waited = tokio::time::timeout(Duration::from_millis(1), timed.read_u8()).await;
                assert!(waited.is_err() || waited.unwrap().is_ok());
            }
            lasted(timed.read_u8()).await;
            assert!(start.elapsed() < Duration::from_millis(190), "{:?}", start.elapsed());
            phases.enter(Phase::Busy);
            let busy = tokio::time::timeout(Duration::from_millis(200), timed.read_u8()).await;
            assert!(busy.is_err(), "nothing is expected of the client meanwhile");
            phases.enter(Phase::Idle);
            let idle = lasted(timed.read_u8()).await;
            assert!(idle >= Duration::from_millis(80), "{idle:?}");
        });
    }

    #[test]
    fn a_client_that_takes_nothing_is_given_up() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (_client, server) = duplex(8);
            let mut timed = Timed::new(server, Phases::default(), timeouts());
            let error = timed.write_all(&[0; 64]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        });
    }
}
