use super::*;
use crate::cpu::{Isa, with_isa};

#[test]
fn every_task_runs_once() {
    for threads in [1, 2, 3, 8] {
        Pool::new(threads).install(|| {
            for tasks in [0, 1, 2, 7, 1000] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                parallel(tasks, |i| _ = counts[i].fetch_add(1, Ordering::Relaxed));
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{threads} threads");
            }
        });
    }
}

#[test]
fn many_short_regions_with_pauses() {
    let pool = Pool::new(4);
    pool.install(|| {
        for round in 0..2000u32 {
            let total = AtomicUsize::new(0);
            parallel(16, |i| _ = total.fetch_add(i, Ordering::Relaxed));
            assert_eq!(total.into_inner(), 120);
            if round.is_multiple_of(500) {
                std::thread::sleep(SPIN * 5);
            }
        }
    });
}

#[test]
fn nested_regions_run_inline_and_keep_the_override() {
    Pool::new(3).install(|| {
        with_isa(Isa::Scalar, || {
            parallel(8, |_| {
                assert_eq!((threads(), cpu::isa()), (1, Isa::Scalar));
                let thread = std::thread::current().id();
                parallel(4, |_| assert_eq!(std::thread::current().id(), thread));
            });
        });
        assert_eq!(threads(), 3);
    });
}

#[test]
fn a_panic_in_a_task_reaches_the_caller_and_the_pool_lives_on() {
    Pool::new(3).install(|| {
        for bad in 0..20 {
            let outcome = catch_unwind(|| parallel(20, |i| assert!(i != bad, "task {i}")));
            let message = *outcome.unwrap_err().downcast::<String>().unwrap();
            assert_eq!(message, format!("task {bad}"));
            parallel(5, |_| {});
        }
    });
}

#[test]
fn two_callers_share_a_pool() {
    let pool = Pool::new(2);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                pool.install(|| {
                    for _ in 0..500 {
                        let total = AtomicUsize::new(0);
                        parallel(9, |i| _ = total.fetch_add(i, Ordering::Relaxed));
                        assert_eq!(total.into_inner(), 36);
                    }
                });
            });
        }
    });
}

#[test]
fn pools_of_a_size_are_shared_while_somebody_has_one() {
    let (five, also_five, six) = (Pool::shared(5), Pool::shared(5), Pool::shared(6));
    assert!(Arc::ptr_eq(&five.0, &also_five.0) && !Arc::ptr_eq(&five.0, &six.0));
    assert_eq!((five.threads(), six.threads()), (5, 6));
    let workers = Arc::downgrade(&five.0);
    drop((five, also_five));
    assert!(workers.upgrade().is_none(), "the workers end with the last handle");
    assert!(!Pool::shared(5).0.handles.is_empty());
}

#[test]
fn chunks_cover_the_slice() {
    let mut items = vec![0; 1001];
    Pool::new(2).install(|| parallel_chunks_mut(&mut items, 10, |index, chunk| chunk.fill(index)));
    assert!(items.iter().enumerate().all(|(i, &index)| index == i / 10));
}
