//! Asking for memory ahead of its use.

#[cfg(target_arch = "x86_64")]
use super::x86;

/// Asks for a line of memory, which may be any address; a hint, where the machine takes it.
#[inline(always)]
pub(crate) fn prefetch(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch(from);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}

/// As [`prefetch`], into the second cache.
#[inline(always)]
pub(crate) fn prefetch_second(from: *const f32) {
    #[cfg(target_arch = "x86_64")]
    x86::prefetch_second(from);
    #[cfg(not(target_arch = "x86_64"))]
    let _ = from;
}
