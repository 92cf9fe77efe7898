//! The bounded queue between whoever asks and the engine's thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::queue::{Queue, Submission};
use crate::request::{Priority, Refused};

/// Holds submissions until the engine admits them.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    limits: QueueLimits,
}

/// How many requests may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    /// In all.
    pub(crate) total_max: usize,
    /// On behalf of one tenant.
    pub(crate) tenant_max: usize,
}

#[derive(Debug)]
struct State {
    waiting: Queue,
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
    /// An open inbox.
    pub(crate) fn new(limits: QueueLimits) -> Self {
        let state = State { waiting: Queue::default(), phase: Phase::Open };
        Self { state: Mutex::new(state), changed: Condvar::new(), limits }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is a single step, so a panic elsewhere cannot leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts submissions of one tenant in the queue, all or none; they ask for so many answers.
    pub(crate) fn submit(&self, submissions: Vec<Submission>, answers: usize) -> Result<(), Refused> {
        let mut state = self.state();
        if state.phase != Phase::Open {
            return Err(Refused::ShuttingDown);
        }
        let tenant = submissions.first().map(|first| Arc::clone(&first.request.tenant)).unwrap_or_default();
        if self.has_room(&state.waiting, &tenant, answers).is_err() {
            // Those whose asker has gone need no place.
            state.waiting.prune();
            self.has_room(&state.waiting, &tenant, answers)?;
        }
        submissions.into_iter().for_each(|submission| state.waiting.push(submission));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn has_room(&self, waiting: &Queue, tenant: &str, more: usize) -> Result<(), Refused> {
        let QueueLimits { total_max, tenant_max } = self.limits;
        if waiting.len() + more > total_max {
            return Err(Refused::QueueFull { max: total_max });
        }
        if tenant_max < total_max && waiting.len_of(tenant) + more > tenant_max {
            return Err(Refused::QueueFull { max: tenant_max });
        }
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
            let nothing = !busy && state.waiting.len() == 0;
            match state.phase {
                Phase::Draining(deadline) if nothing || Instant::now() >= deadline => return Order::Stop,
                _ if !nothing => return Order::Work,
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The submission that goes next.
    pub(crate) fn admit(&self) -> Option<Submission> {
        self.state().waiting.admit()
    }

    /// How urgent it is.
    pub(crate) fn next_rank(&self) -> Option<Priority> {
        self.state().waiting.next_rank()
    }

    /// Forgets those whose asker has gone, and says how many they were.
    pub(crate) fn prune(&self) -> usize {
        self.state().waiting.prune()
    }

    /// A request that was admitted is done with; so many of the tokens that it might have taken were not used.
    pub(crate) fn settle(&self, tenant: &str, unused: usize) {
        self.state().waiting.settle(tenant, unused);
    }

    /// Takes everything that waits, and lets nothing more in.
    pub(crate) fn close(&self) -> Vec<Submission> {
        let mut state = self.state();
        state.phase = Phase::Draining(Instant::now());
        state.waiting.drain()
    }

    /// Answers that are waited for.
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
    use crate::request::Request;
    use std::time::Duration;

    fn submission(tenant: &str, token: u32) -> (Submission, Answer) {
        let (reply, answer) = channel();
        let request = Request { tenant: tenant.into(), ..Request::greedy(vec![token], 1) };
        (Submission::new(request, reply), answer)
    }

    fn inbox(total_max: usize, tenant_max: usize) -> Inbox {
        Inbox::new(QueueLimits { total_max, tenant_max })
    }

    fn submit(inbox: &Inbox, tenant: &str, count: u32) -> Result<Vec<Answer>, Refused> {
        let (submissions, answers): (Vec<_>, Vec<_>) = (0..count).map(|token| submission(tenant, token)).unzip();
        inbox.submit(submissions, count as usize).map(|()| answers)
    }

    #[test]
    fn the_queue_is_bounded_and_takes_all_or_none() {
        let inbox = inbox(3, 3);
        let mut answers = submit(&inbox, "", 2).unwrap();
        assert_eq!(submit(&inbox, "", 2).unwrap_err(), Refused::QueueFull { max: 3 });
        assert_eq!(inbox.len(), 2);
        // The place of one whose asker has gone is free again.
        answers.remove(0);
        let _answers = submit(&inbox, "", 2).unwrap();
        assert_eq!(inbox.len(), 3);
    }

    #[test]
    fn one_tenant_does_not_fill_the_queue_for_all() {
        let inbox = inbox(5, 3);
        let _first = submit(&inbox, "a", 3).unwrap();
        assert_eq!(submit(&inbox, "a", 1).unwrap_err(), Refused::QueueFull { max: 3 });
        let _second = submit(&inbox, "b", 2).unwrap();
        assert_eq!(submit(&inbox, "b", 1).unwrap_err(), Refused::QueueFull { max: 5 });
    }

    #[test]
    fn draining_refuses_the_new_and_keeps_the_old_until_the_deadline() {
        let inbox = inbox(8, 8);
        let _answer = submit(&inbox, "", 1).unwrap();
        inbox.drain(Instant::now() + Duration::from_secs(60));
        assert_eq!(submit(&inbox, "", 1).unwrap_err(), Refused::ShuttingDown);
        assert_eq!(inbox.order(false), Order::Work);
        inbox.admit();
        assert_eq!(inbox.order(true), Order::Work);
        assert_eq!(inbox.order(false), Order::Stop);
        inbox.drain(Instant::now());
        assert_eq!(inbox.order(true), Order::Stop);
    }
}
