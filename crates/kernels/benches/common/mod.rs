//! Timing on a machine that others may use too.

use luban_kernels::pool;

/// The least time of one call, in seconds, over short runs of about `seconds_max` together.
pub fn least_seconds(seconds_max: f64, mut f: impl FnMut()) -> f64 {
    f();
    let start = seconds();
    f();
    let repeats = (1e-3 / (seconds() - start)).clamp(1.0, 1e4) as usize;
    let (begin, mut least) = (seconds(), f64::INFINITY);
    while seconds() - begin < seconds_max {
        let start = seconds();
        (0..repeats).for_each(|_| f());
        least = least.min((seconds() - start) / repeats as f64);
    }
    least
}

/// Seeded numbers between -1 and 1.
pub fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect()
}

/// Time that this thread had a core to itself, where it works alone; else the time of day.
#[allow(unsafe_code)]
fn seconds() -> f64 {
    let clock = if pool::threads() == 1 { libc::CLOCK_THREAD_CPUTIME_ID } else { libc::CLOCK_MONOTONIC };
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system writes the time that the pointer leads to.
    assert_eq!(unsafe { libc::clock_gettime(clock, &mut time) }, 0, "no clock");
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
