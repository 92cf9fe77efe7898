//! The way back from the engine to whoever asked: a channel of events that can be waited for in a thread or polled
//! as a future, without any runtime.
//!
//! Its length is bounded by the request's `max_tokens`, so the engine never waits for a slow reader.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::request::Event;

/// The events of one request, in order. Dropping it cancels the request.
#[derive(Debug)]
pub struct Answer {
    channel: Arc<Channel>,
}

/// The engine's end.
#[derive(Debug)]
pub(crate) struct Reply {
    channel: Arc<Channel>,
}

#[derive(Debug, Default)]
struct Channel {
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    /// The last event was sent.
    complete: bool,
    /// Nobody will read any more.
    abandoned: bool,
    waker: Option<Waker>,
}

/// Both ends of a new channel.
pub(crate) fn channel() -> (Reply, Answer) {
    let channel = Arc::new(Channel::default());
    (Reply { channel: Arc::clone(&channel) }, Answer { channel })
}

impl Channel {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    /// The next event, for a runtime's task; `None` after the last.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let mut state = self.channel.state();
        match state.events.pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None if state.complete => Poll::Ready(None),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Waits for each event in turn; ends after the last.
impl Iterator for Answer {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut state = self.channel.state();
        loop {
            match state.events.pop_front() {
                Some(event) => return Some(event),
                None if state.complete => return None,
                None => state = self.channel.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.channel.state();
        state.abandoned = true;
        state.events.clear();
        state.waker = None;
    }
}

impl Reply {
    /// Hands over an event; after the last one, and after the reader has gone, nothing happens.
    pub(crate) fn send(&self, event: Event) {
        let mut state = self.channel.state();
        if state.complete || state.abandoned {
            return;
        }
        state.complete = matches!(event, Event::Finished { .. } | Event::Failed(_));
        state.events.push_back(event);
        let waker = state.waker.take();
        drop(state);
        self.channel.arrived.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the reader has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.channel.state().abandoned
    }
}

impl Drop for Reply {
    /// A reader never waits for an engine that forgot it.
    fn drop(&mut self) {
        self.send(Event::Failed("the engine stopped before the answer was complete".into()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{FinishReason, Usage};

    fn token(id: u32) -> Event {
        Event::Token { id, text: String::new(), logprobs: None }
    }

    fn finished() -> Event {
        Event::Finished { reason: FinishReason::Stop, text: String::new(), usage: Usage::default() }
    }

    #[test]
    fn events_arrive_in_order_and_end_with_the_last() {
        let (reply, answer) = channel();
        let reader = std::thread::spawn(move || answer.collect::<Vec<_>>());
        for event in [token(1), token(2), finished(), token(3)] {
            reply.send(event);
        }
        assert_eq!(reader.join().unwrap(), [token(1), token(2), finished()]);
    }

    #[test]
    fn a_dropped_answer_is_seen_by_the_engine() {
        let (reply, answer) = channel();
        assert!(!reply.is_abandoned());
        drop(answer);
        assert!(reply.is_abandoned());
        reply.send(token(1));
    }

    #[test]
    fn a_dropped_reply_fails_the_answer() {
        let (reply, mut answer) = channel();
        reply.send(token(1));
        drop(reply);
        assert_eq!(answer.next(), Some(token(1)));
        assert!(matches!(answer.next(), Some(Event::Failed(_))));
        assert_eq!(answer.next(), None);
    }

    #[test]
    fn a_pending_poll_is_woken() {
        let (reply, mut answer) = channel();
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(answer.poll_next(&mut context), Poll::Pending);
        reply.send(finished());
        assert_eq!(answer.poll_next(&mut context), Poll::Ready(Some(finished())));
        assert_eq!(answer.poll_next(&mut context), Poll::Ready(None));
    }
}
