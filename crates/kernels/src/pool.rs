//! A pool of worker threads for short parallel regions.
//!
//! A region is a number of tasks; the caller and the workers claim them from one counter. The caller never waits for
//! a worker that has not come: when no task is left it closes the region, and waits only for those inside. Workers
//! spin for a while after a region, since the next one usually follows at once, then park.

use std::any::Any;
use std::cell::{Cell, RefCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cpu;
use crate::simd::LANES;

/// Workers that a pool may have at most.
pub const THREADS_MAX: usize = 1024;
/// How long a worker looks for the next region before it parks.
const SPIN: Duration = Duration::from_micros(60);

/// The region's state is one word: a generation, whether workers may still enter, and how many are inside.
const INSIDE: u64 = 0xFFFF;
const OPEN: u64 = 1 << 16;
const GENERATION: u64 = 1 << 17;

/// A handle to worker threads. Clones share them; they end with the last handle.
#[derive(Clone)]
pub struct Pool(Arc<Workers>);

struct Workers {
    shared: Arc<Shared>,
    threads: usize,
    handles: Vec<JoinHandle<()>>,
}

struct Shared {
    state: AtomicU64,
    next: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Held by the caller for the length of its region.
    busy: Mutex<()>,
    sleepers: AtomicUsize,
    /// Whether the pool is going away; also guards the condition variable.
    stop: Mutex<bool>,
    wake: Condvar,
}

// SAFETY: `job` is written by the caller that holds `busy` while the region is closed and nobody is inside, and read
// only by threads inside an open region. The pointer in it is shared with them for that time alone.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

#[derive(Clone, Copy)]
struct Job {
    run: *const (dyn Fn(usize) + Sync),
    tasks: usize,
    isa: cpu::Isa,
}

thread_local! {
    static CURRENT: RefCell<Option<Pool>> = const { RefCell::new(None) };
    static INSIDE_REGION: Cell<bool> = const { Cell::new(false) };
}
static GLOBAL: OnceLock<Pool> = OnceLock::new();
/// Beside the global one, the pools that several may use: one of each size.
static SHARED: Mutex<Vec<Weak<Workers>>> = Mutex::new(Vec::new());

/// Sets the size of the global pool. Gives false, and changes nothing, if that pool has already been used.
pub fn set_global_threads(threads: usize) -> bool {
    let mut created = false;
    GLOBAL.get_or_init(|| {
        created = true;
        Pool::new(threads)
    });
    created
}

/// Threads of the pool in use on this thread, the caller included. One inside a task.
pub fn threads() -> usize {
    if INSIDE_REGION.get() { 1 } else { current().0.threads }
}

/// Runs `task(0) .. task(tasks - 1)` in any order, on the pool in use on this thread. Inside a task, and while another
/// thread uses the same pool, they run here, one after the other.
///
/// # Panics
/// If a task panics, with its payload, once all running tasks have ended; tasks not yet begun are left out.
pub fn parallel(tasks: usize, task: impl Fn(usize) + Sync) {
    if tasks <= 1 || INSIDE_REGION.get() {
        return (0..tasks).for_each(task);
    }
    current().run(tasks, &task);
}

/// Cuts `slice` into chunks of `chunk_len` (the last may be shorter) and calls `task(index, chunk)` for each.
///
/// # Panics
/// If `chunk_len` is zero, or as [`parallel`].
pub fn parallel_chunks_mut<T: Send>(slice: &mut [T], chunk_len: usize, task: impl Fn(usize, &mut [T]) + Sync) {
    assert!(chunk_len > 0, "chunks of no elements were asked for");
    let len = slice.len();
    let base = SharedMut::new(slice);
    parallel(len.div_ceil(chunk_len), |index| {
        let start = index * chunk_len;
        // SAFETY: chunks do not overlap, and each index runs once.
        task(index, unsafe { base.slice(start, chunk_len.min(len - start)) });
    });
}

/// Elements a task of a memory-bound region should at least have, so that the region's cost does not show.
const TASK_ELEMENTS_MIN: usize = 4096;

/// Splits `items` (each `item_elements` of work) into ranges for the current pool and runs `task` on each. How they
/// are cut depends on the number of threads, so a task must treat every item on its own.
pub(crate) fn parallel_ranges(items: usize, item_elements: usize, task: impl Fn(std::ops::Range<usize>) + Sync) {
    let least = TASK_ELEMENTS_MIN.div_ceil(item_elements.max(1));
    let threads = threads();
    // A few tasks a thread, so that a slow one does not hold up the rest.
    let chunk = if threads == 1 { items } else { items.div_ceil(threads * 4).max(least) };
    if items > 0 {
        parallel(items.div_ceil(chunk), |i| task(i * chunk..items.min((i + 1) * chunk)));
    }
}

/// Splits `len` elements into ranges whose starts are multiples of 16, as [`parallel_ranges`].
pub(crate) fn parallel_elements(len: usize, task: impl Fn(std::ops::Range<usize>) + Sync) {
    parallel_ranges(len.div_ceil(LANES), LANES, |units| task(units.start * LANES..len.min(units.end * LANES)));
}

/// Splits `cols` columns of `rows` rows into ranges whose starts are multiples of 16, one for each thread: pieces of
/// far rows are read at half the speed when they are short.
pub(crate) fn parallel_columns(rows: usize, cols: usize, task: impl Fn(std::ops::Range<usize>) + Sync) {
    let least = TASK_ELEMENTS_MIN.div_ceil(rows.max(1));
    let width = cols.div_ceil(threads()).max(least).next_multiple_of(LANES);
    parallel(cols.div_ceil(width), |i| task(i * width..cols.min((i + 1) * width)));
}

impl Pool {
    /// A pool of `threads` threads, of which the caller of a region is one.
    ///
    /// # Panics
    /// If `threads` is zero or above [`THREADS_MAX`], or the system refuses a thread.
    pub fn new(threads: usize) -> Self {
        assert!((1..=THREADS_MAX).contains(&threads), "a pool has 1 to {THREADS_MAX} threads, not {threads}");
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
            busy: Mutex::new(()),
            sleepers: AtomicUsize::new(0),
            stop: Mutex::new(false),
            wake: Condvar::new(),
        });
        let start = |i| {
            let shared = shared.clone();
            let builder = std::thread::Builder::new().name(format!("luban-worker-{i}"));
            builder.spawn(move || shared.work()).unwrap_or_else(|e| panic!("cannot start worker thread {i}: {e}"))
        };
        let handles = (1..threads).map(start).collect();
        Self(Arc::new(Workers { shared, threads, handles }))
    }

    /// The pool of `threads` threads that all share who ask for one of that size, for as long as anyone has it; the
    /// global pool if it is of that size. So the workers of a process do not multiply with those who compute in it:
    /// whoever finds them busy computes on its own thread meanwhile.
    ///
    /// # Panics
    /// As [`Self::new`].
    pub fn shared(threads: usize) -> Self {
        if let Some(global) = GLOBAL.get().filter(|global| global.threads() == threads) {
            return global.clone();
        }
        let mut pools = lock(&SHARED);
        pools.retain(|workers| workers.strong_count() > 0);
        let found = pools.iter().filter_map(Weak::upgrade).find(|workers| workers.threads == threads);
        found.map(Self).unwrap_or_else(|| {
            let pool = Self::new(threads);
            pools.push(Arc::downgrade(&pool.0));
            pool
        })
    }

    /// Threads, the caller included.
    pub fn threads(&self) -> usize {
        self.0.threads
    }

    /// Runs `f` with this pool as the one in use on this thread.
    pub fn install<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Restore(Option<Pool>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|current| std::mem::swap(current, &mut self.0));
            }
        }
        let _restore = Restore(CURRENT.replace(Some(self.clone())));
        f()
    }

    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let busy = match self.0.shared.busy.try_lock() {
            Ok(guard) if self.0.threads > 1 => guard,
            _ => return (0..tasks).for_each(task),
        };
        self.0.shared.region(tasks, task);
        let panic = lock(&self.0.shared.panic).take();
        drop(busy);
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        *lock(&self.shared.stop) = true;
        // Those that still spin look at `stop` before they park.
        self.shared.wake.notify_all();
        for handle in self.handles.drain(..) {
            // A worker catches the panics of its tasks, and has none of its own.
            let _ = handle.join();
        }
    }
}

impl Shared {
    /// One region, by the caller that holds `busy`.
    fn region(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        // SAFETY: only the lifetime changes; no worker is inside the region once this function returns.
        let run = unsafe {
            std::mem::transmute::<*const (dyn Fn(usize) + Sync + '_), *const (dyn Fn(usize) + Sync + 'static)>(task)
        };
        let job = Job { run, tasks, isa: cpu::isa() };
        self.next.store(0, Ordering::Relaxed);
        // SAFETY: the region is closed and empty, and `busy` is held.
        unsafe { *self.job.get() = Some(job) };
        let closed = self.state.load(Ordering::Relaxed);
        self.state.store(closed.wrapping_add(GENERATION) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(lock(&self.stop));
            self.wake.notify_all();
        }
        self.claim(job);
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.state.load(Ordering::Acquire) & INSIDE != 0 {
            spins += 1;
            if spins.is_multiple_of(1024) { std::thread::yield_now() } else { std::hint::spin_loop() }
        }
    }

    /// Claims and runs tasks until none is left; keeps the first panic.
    fn claim(&self, job: Job) {
        // SAFETY: the caller of the region keeps the closure alive until everyone has left.
        let task = unsafe { &*job.run };
        INSIDE_REGION.set(true);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                if index >= job.tasks {
                    break;
                }
                task(index);
            }
        }));
        INSIDE_REGION.set(false);
        if let Err(payload) = outcome {
            self.next.store(job.tasks, Ordering::Relaxed);
            lock(&self.panic).get_or_insert(payload);
        }
    }

    /// A worker's life.
    fn work(&self) {
        let mut seen = 0;
        while let Some(state) = self.wait(seen) {
            seen = state / GENERATION;
            let entered = state.wrapping_add(1);
            if self.state.compare_exchange(state, entered, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // Someone else entered or left, or the region closed: look again at the same generation.
                seen = seen.wrapping_sub(1);
                continue;
            }
            // SAFETY: this thread is inside an open region.
            if let Some(job) = unsafe { *self.job.get() } {
                cpu::with_isa(job.isa, || self.claim(job));
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// The state as soon as its generation is another than `seen`; none if the pool goes away.
    fn wait(&self, seen: u64) -> Option<u64> {
        let start = Instant::now();
        let mut spins = 0u32;
        loop {
            let state = self.state.load(Ordering::SeqCst);
            if state / GENERATION != seen && state & OPEN != 0 {
                return Some(state);
            }
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(32) && start.elapsed() > SPIN {
                return self.park(seen);
            }
            std::hint::spin_loop();
        }
    }

    fn park(&self, seen: u64) -> Option<u64> {
        let mut stop = lock(&self.stop);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // Either the caller sees the sleeper and wakes it, or the sleeper sees the caller's region here.
        let outcome = loop {
            let state = self.state.load(Ordering::SeqCst);
            if *stop {
                break None;
            }
            if state / GENERATION != seen && state & OPEN != 0 {
                break Some(state);
            }
            stop = self.wake.wait(stop).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        outcome
    }
}

/// Locks without regard to poisoning: what these locks guard is valid at every moment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn current() -> Pool {
    CURRENT.with_borrow(Clone::clone).unwrap_or_else(|| {
        GLOBAL
            .get_or_init(|| Pool::new(std::thread::available_parallelism().map_or(1, |n| n.get().min(THREADS_MAX))))
            .clone()
    })
}

/// A slice whose disjoint parts several tasks write.
#[derive(Clone, Copy)]
pub(crate) struct SharedMut<T> {
    start: *mut T,
    len: usize,
}

// SAFETY: access goes through `slice` and `pointer`, whose callers promise disjoint parts.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// # Safety
    /// The slice must still live, and no other part in use may overlap this one.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        assert!(start <= self.len && len <= self.len - start, "part {start}+{len} of a slice of {}", self.len);
        // SAFETY: inside the slice by the assertion, disjoint by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), len) }
    }

    /// Where an element lies, to ask for its memory ahead.
    pub(crate) fn address(&self, start: usize) -> *const T {
        self.start.wrapping_add(start)
    }

    /// # Safety
    /// As [`Self::slice`], for what is written through the pointer.
    pub(crate) unsafe fn pointer(&self, start: usize) -> *mut T {
        assert!(start <= self.len, "element {start} of a slice of {}", self.len);
        // SAFETY: inside the slice, or one past its end.
        unsafe { self.start.add(start) }
    }
}

#[cfg(test)]
mod tests;
