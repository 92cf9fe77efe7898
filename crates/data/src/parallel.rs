//! Work on many items by a few threads; results do not depend on how many.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use luban_base::cancel::Cancel;

use crate::{Error, Result};

/// More threads than this mostly wait for the disk.
const THREADS_MAX: usize = 16;
/// How often the caller's thread looks around while the others work.
const TICK: Duration = Duration::from_millis(100);

/// The number of threads to use where the caller has no wish.
pub(crate) fn threads() -> usize {
    luban_base::threads::wanted().min(THREADS_MAX)
}

/// Calls `work` for each item and gives the results in the items' order. `tick` is called now and then from the
/// caller's thread. The error of the first item that failed is returned; items after it may not have been tried.
pub(crate) fn map<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    cancel: &Cancel,
    work: impl Fn(&T) -> Result<R> + Sync,
    mut tick: impl FnMut(),
) -> Result<Vec<R>> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let mut results: Vec<Option<Result<R>>> = items.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            let (sender, next, stop, work) = (sender.clone(), &next, &stop, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) && !cancel.is_raised() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = work(item);
                    stop.fetch_or(result.is_err(), Ordering::Relaxed);
                    // Nobody listens any more only if the caller's thread is gone.
                    let _ = sender.send((index, result));
                }
            });
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(TICK) {
                Ok((index, result)) => results[index] = Some(result),
                Err(RecvTimeoutError::Timeout) => tick(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    tick();
    if let Some(error) = results.iter_mut().find_map(|result| result.take_if(|result| result.is_err())) {
        return Err(error.err().expect("it was just seen to be an error"));
    }
    results.into_iter().collect::<Option<Result<Vec<R>>>>().unwrap_or(Err(Error::Cancelled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_for_any_number_of_threads() {
        let items: Vec<u64> = (0..500).collect();
        for threads in [1, 2, 7] {
            let squares = map(&items, threads, &Cancel::new(), |item| Ok(item * item), || ()).unwrap();
            assert!(squares.iter().zip(&items).all(|(square, item)| *square == item * item));
        }
        assert!(map(&[] as &[u64], 2, &Cancel::new(), |_| Ok(()), || ()).unwrap().is_empty());
    }

    #[test]
    fn errors_and_a_raised_flag_end_the_work() {
        let items: Vec<u64> = (0..500).collect();
        let failing = |item: &u64| if *item == 3 { Err(Error::NoEndOfText) } else { Ok(()) };
        assert!(matches!(map(&items, 2, &Cancel::new(), failing, || ()), Err(Error::NoEndOfText)));
        let cancel = Cancel::new();
        cancel.raise();
        assert!(matches!(map(&items, 2, &cancel, |_| Ok(()), || ()), Err(Error::Cancelled)));
    }
}
