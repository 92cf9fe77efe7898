//! What the kernels' tests share.

use crate::cpu::{Isa, with_isa};
use crate::pool::Pool;

/// Seeded numbers (SplitMix64), uniform in [-1, 1).
pub(crate) fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (0..len).map(|_| (next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Runs `f` with every instruction set and with one to three threads, and asserts that it gives the same bits.
#[track_caller]
pub(crate) fn same_everywhere(f: impl Fn() -> Vec<f32>) -> Vec<f32> {
    let first = with_isa(Isa::Scalar, || Pool::new(1).install(&f));
    for isa in Isa::supported() {
        for threads in 1..=3 {
            let again = with_isa(isa, || Pool::new(threads).install(&f));
            assert_same_bits(&again, &first, &format!("{isa:?}, {threads} threads"));
        }
    }
    first
}

#[track_caller]
pub(crate) fn assert_same_bits(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!(a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()), "{what}: element {i} is {a}, not {b}");
    }
}

/// Asserts that all elements agree within `tolerance` of the largest expected one (at least 1e-3).
#[track_caller]
pub(crate) fn assert_close(got: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths");
    let largest = expected.iter().fold(1e-3, |largest: f64, x| largest.max(x.abs()));
    for (i, (&a, &b)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(a) - b).abs() <= tolerance * largest, "{what}: element {i} is {a}, not {b}");
    }
}

/// Asserts that a gradient agrees with central differences of `loss` at `x`.
#[track_caller]
pub(crate) fn check_gradient(got: &[f32], x: &[f64], loss: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    let mut point = x.to_vec();
    let mut at = |i: usize, step: f64| {
        point[i] = x[i] + step;
        let value = loss(&point);
        point[i] = x[i];
        value
    };
    let expected: Vec<f64> = (0..x.len()).map(|i| (at(i, STEP) - at(i, -STEP)) / (2.0 * STEP)).collect();
    assert_close(got, &expected, 2e-5, "gradient");
}

/// Widens for the f64 references.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// A copy of floats that ends where readable memory ends: a read past its end faults.
pub(crate) struct Guarded {
    map: *mut libc::c_void,
    map_len: usize,
    start: *mut f32,
    len: usize,
}

impl Guarded {
    pub(crate) fn new(items: &[f32]) -> Self {
        // SAFETY: a fresh anonymous mapping, whose last page is then protected; the items end just before it.
        unsafe {
            let page = libc::sysconf(libc::_SC_PAGESIZE) as usize;
            let readable = size_of_val(items).next_multiple_of(page);
            let map_len = readable + page;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(std::ptr::null_mut(), map_len, access, flags, -1, 0);
            assert_ne!(map, libc::MAP_FAILED);
            assert_eq!(libc::mprotect(map.byte_add(readable), page, libc::PROT_NONE), 0);
            let start = map.byte_add(readable - size_of_val(items)).cast::<f32>();
            start.copy_from_nonoverlapping(items.as_ptr(), items.len());
            Self { map, map_len, start, len: items.len() }
        }
    }
}

impl std::ops::Deref for Guarded {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: the mapping holds the items as long as this value lives.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl std::ops::DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`.
        unsafe { libc::munmap(self.map, self.map_len) };
    }
}
