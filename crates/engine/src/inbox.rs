//! The bounded queue between whoever asks and the engine's thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::answer::Reply;
use crate::request::{Refused, Request};

/// A request on its way to the engine.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) request: Request,
    pub(crate) reply: Reply,
}

/// Holds submissions until the engine admits them.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    queue_max: usize,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Submission>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Requests are taken.
    Open,
    /// None are taken; those that were finish until the given moment.
    Draining(Instant),
}

/// What the engine's thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// There is something to do.
    Work,
    /// Fail what is left, and end.
    Stop,
}

impl Inbox {
    /// An open inbox where at most `queue_max` submissions wait.
    pub(crate) fn new(queue_max: usize) -> Self {
        let state = State { waiting: VecDeque::new(), phase: Phase::Open };
        Self { state: Mutex::new(state), changed: Condvar::new(), queue_max }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a single step, so a panic elsewhere cannot leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts submissions at the end of the queue, all or none.
    pub(crate) fn submit(&self, submissions: Vec<Submission>) -> Result<(), Refused> {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Err(Refused::ShuttingDown);
        }
        if state.waiting.len() + submissions.len() > self.queue_max {
            // Those whose asker has gone need no place.
            state.waiting.retain(|waiting| !waiting.reply.is_abandoned());
        }
        if state.waiting.len() + submissions.len() > self.queue_max {
            return Err(Refused::QueueFull { max: self.queue_max });
        }
        state.waiting.extend(submissions);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes no more submissions; those in the queue have until `deadline`.
    pub(crate) fn drain(&self, deadline: Instant) {
        let mut state = self.state();
        state.phase = match state.phase {
            Phase::Open => Phase::Draining(deadline),
            Phase::Draining(earlier) => Phase::Draining(earlier.min(deadline)),
        };
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until there is something to do; with `busy`, does not wait.
    pub(crate) fn order(&self, busy: bool) -> Order {
        let mut state = self.state();
        loop {
            let nothing = !busy && state.waiting.is_empty();
            match state.phase {
                Phase::Draining(deadline) if nothing || Instant::now() >= deadline => return Order::Stop,
                _ if !nothing => return Order::Work,
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The first submission, if `fits` says that it can be admitted; forgets those whose asker has gone, and says
    /// how many they were.
    pub(crate) fn admit(&self, fits: impl FnOnce(&Request) -> bool) -> (Option<Submission>, usize) {
        let mut state = self.state();
        let before = state.waiting.len();
        state.waiting.retain(|waiting| !waiting.reply.is_abandoned());
        let forgotten = before - state.waiting.len();
        let admitted = match state.waiting.front() {
            Some(first) if fits(&first.request) => state.waiting.pop_front(),
            _ => None,
        };
        (admitted, forgotten)
    }

    /// Takes everything that waits, and lets nothing more in.
    pub(crate) fn close(&self) -> Vec<Submission> {
        let mut state = self.state();
        state.phase = Phase::Draining(Instant::now());
        state.waiting.drain(..).collect()
    }

    /// Submissions that wait.
    pub(crate) fn len(&self) -> usize {
        self.state().waiting.len()
    }

    /// Whether submissions are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.state().phase == Phase::Open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{Answer, channel};
    use std::time::Duration;

    fn submission(token: u32) -> (Submission, Answer) {
        let (reply, answer) = channel();
        (Submission { request: Request::greedy(vec![token], 1), reply }, answer)
    }

    #[test]
    fn the_queue_is_bounded_and_takes_all_or_none() {
        let inbox = Inbox::new(3);
        let (pairs, mut answers): (Vec<_>, Vec<_>) = (0..5).map(submission).unzip();
        let mut pairs = pairs.into_iter();
        let mut take = |count| pairs.by_ref().take(count).collect::<Vec<_>>();
        inbox.submit(take(2)).unwrap();
        assert_eq!(inbox.submit(take(2)), Err(Refused::QueueFull { max: 3 }));
        assert_eq!(inbox.len(), 2);
        // The place of one whose asker has gone is free again.
        answers.remove(0);
        let (mut late, _answers): (Vec<_>, Vec<_>) = (5..7).map(submission).unzip();
        inbox.submit(vec![late.remove(0), late.remove(0)]).unwrap();
        assert_eq!(inbox.len(), 3);
    }

    #[test]
    fn admission_is_first_come_first_served() {
        let inbox = Inbox::new(8);
        let (pairs, _answers): (Vec<_>, Vec<_>) = (0..3).map(submission).unzip();
        inbox.submit(pairs).unwrap();
        assert!(inbox.admit(|request| request.prompt == [1]).0.is_none(), "the second may not overtake");
        assert_eq!(inbox.admit(|_| true).0.unwrap().request.prompt, [0]);
        assert_eq!(inbox.admit(|_| true).0.unwrap().request.prompt, [1]);
    }

    #[test]
    fn draining_refuses_the_new_and_keeps_the_old_until_the_deadline() {
        let inbox = Inbox::new(8);
        let (first, _answer) = submission(1);
        inbox.submit(vec![first]).unwrap();
        inbox.drain(Instant::now() + Duration::from_secs(60));
        assert_eq!(inbox.submit(vec![submission(2).0]), Err(Refused::ShuttingDown));
        assert_eq!(inbox.order(false), Order::Work);
        inbox.admit(|_| true);
        assert_eq!(inbox.order(true), Order::Work);
        assert_eq!(inbox.order(false), Order::Stop);
        inbox.drain(Instant::now());
        assert_eq!(inbox.order(true), Order::Stop);
    }
}
