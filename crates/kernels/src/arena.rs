//! Memory for buffers that come and go: large segments, cut into pieces that join again when they are given back.
//!
//! A training step asks for the same buffers as the one before, in the same order. What the system lends stays here, so
//! that no step but the first pays for fresh pages; and since a piece may be cut from what several of other sizes left,
//! little more is held than what was ever in use at once. Activations and gradients so take turns.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes of a segment, unless a piece needs more or the system refuses. The system lends pages at their first touch, so
/// what was never in use costs nothing.
const SEGMENT: usize = 1 << 30;
/// Segments begin at a huge page.
const HUGE_PAGE: usize = 2 << 20;
/// Pieces begin and end at pages.
const GRAIN: usize = 4096;

/// Segments, and which of their parts wait to be used again.
#[derive(Debug)]
pub struct Arena(Mutex<State>);

/// What an arena holds and held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use.
    pub in_use: usize,
    /// The most bytes that were in use at once.
    pub in_use_peak: usize,
    /// Bytes that were in use since the last release: what waits counts too.
    pub held: usize,
}

#[derive(Debug)]
struct State {
    segments: Vec<Segment>,
    /// Address and bytes of each part that is not in use. No two of them touch.
    free: BTreeMap<usize, usize>,
    usage: Usage,
}

#[derive(Debug)]
struct Segment {
    memory: *mut u8,
    layout: Layout,
    start: usize,
    /// Behind the last byte that was in use.
    touched: usize,
}

// SAFETY: a segment owns its memory; the pointer is for giving it back.
unsafe impl Send for Segment {}

/// A number of f32 in an arena, at the beginning of a page. Its content is what was left there.
pub struct Piece {
    start: *mut f32,
    len: usize,
    arena: &'static Arena,
}

// SAFETY: a piece is the only one that reaches its memory, like a boxed slice.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

impl Arena {
    /// An arena without memory.
    pub const fn new() -> Self {
        let usage = Usage { in_use: 0, in_use_peak: 0, held: 0 };
        Self(Mutex::new(State { segments: Vec::new(), free: BTreeMap::new(), usage }))
    }

    /// Memory for `len` f32, of any content.
    pub fn take(&'static self, len: usize) -> Piece {
        let start = self.lock().take(bytes(len));
        Piece { start: start as *mut f32, len, arena: self }
    }

    /// What is held.
    pub fn usage(&self) -> Usage {
        self.lock().usage
    }

    /// Gives segments of which nothing is in use back to the system.
    pub fn release(&self) {
        self.lock().release();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self::new()
    }
}

/// The bytes that a piece takes; at least one grain, so that every piece has a place of its own.
fn bytes(len: usize) -> usize {
    let bytes = len.checked_mul(size_of::<f32>()).and_then(|bytes| bytes.max(1).checked_next_multiple_of(GRAIN));
    bytes.unwrap_or_else(|| panic!("a buffer of {len} elements"))
}

impl State {
    fn take(&mut self, bytes: usize) -> usize {
        // The smallest that is large enough, which leaves large ones whole; of equal ones the first.
        let fitting = self.free.iter().filter(|&(_, &free)| free >= bytes).min_by_key(|&(_, &free)| free);
        let (start, free) = match fitting {
            Some((&start, &free)) => (start, free),
            None => self.grow(bytes),
        };
        self.free.remove(&start);
        if free > bytes {
            self.free.insert(start + bytes, free - bytes);
        }
        let segment = self.segments.iter_mut().rfind(|segment| segment.contains(start));
        let segment = segment.expect("every free part lies in a segment");
        let fresh = (start + bytes).saturating_sub(segment.touched);
        segment.touched += fresh;
        self.usage.held += fresh;
        self.usage.in_use += bytes;
        self.usage.in_use_peak = self.usage.in_use_peak.max(self.usage.in_use);
        start
    }

    /// Adds a segment; gives its free part.
    fn grow(&mut self, bytes: usize) -> (usize, usize) {
        let mut size = bytes.max(SEGMENT);
        loop {
            match Segment::new(size) {
                Some((segment, start)) => {
                    self.segments.push(segment);
                    self.free.insert(start, size);
                    return (start, size);
                }
                None if size > bytes => size = (size / 2).next_multiple_of(GRAIN).max(bytes),
                None => handle_alloc_error(Segment::layout(bytes)),
            }
        }
    }

    fn give(&mut self, start: usize, bytes: usize) {
        self.usage.in_use -= bytes;
        let (mut start, mut bytes) = (start, bytes);
        if let Some(after) = self.free.remove(&(start + bytes)) {
            bytes += after;
        }
        if let Some((&before, &free)) = self.free.range(..start).next_back()
            && before + free == start
        {
            (start, bytes) = (before, bytes + free);
        }
        self.free.insert(start, bytes);
    }

    fn release(&mut self) {
        let Self { segments, free, usage } = self;
        segments.retain(|segment| {
            let whole = free.get(&segment.start) == Some(&segment.size());
            if whole {
                free.remove(&segment.start);
                usage.held -= segment.touched - segment.start;
                // SAFETY: allocated with this layout, and no piece lies in it.
                unsafe { dealloc(segment.memory, segment.layout) };
            }
            !whole
        });
    }
}

impl Segment {
    /// A segment with `size` bytes from a huge page on, and its start; nothing where the system refuses.
    fn new(size: usize) -> Option<(Self, usize)> {
        let layout = Self::layout(size);
        // Plain alignment: a request for more of it would have the zeros written, and so every page touched.
        // SAFETY: the size is not zero.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            return None;
        }
        let start = (memory as usize).next_multiple_of(HUGE_PAGE);
        #[cfg(target_os = "linux")]
        // SAFETY: advice on memory that we own; a refusal changes nothing.
        unsafe {
            libc::madvise(start as *mut libc::c_void, size, libc::MADV_HUGEPAGE);
        }
        Some((Self { memory, layout, start, touched: start }, start))
    }

    /// Room for alignment too, so that no two segments touch.
    fn layout(size: usize) -> Layout {
        let padded = size.checked_add(HUGE_PAGE + GRAIN).and_then(|size| Layout::from_size_align(size, 16).ok());
        padded.unwrap_or_else(|| panic!("a segment of {size} bytes"))
    }

    fn size(&self) -> usize {
        self.layout.size() - HUGE_PAGE - GRAIN
    }

    fn contains(&self, address: usize) -> bool {
        (self.start..self.start + self.size()).contains(&address)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.arena.lock().give(self.start as usize, bytes(self.len));
    }
}

impl Deref for Piece {
    type Target = [f32];
    #[inline]
    fn deref(&self) -> &[f32] {
        // SAFETY: `len` f32 that this piece alone reaches; a segment is zeroed at first, and every content is a value.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl DerefMut for Piece {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Piece").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_join_and_are_cut_again() {
        static ARENA: Arena = Arena::new();
        let mut pieces: Vec<Piece> = (0..4).map(|_| ARENA.take(10_000)).collect();
        let held = ARENA.usage().held;
        assert_eq!((held, held), (4 * 40_960, ARENA.usage().in_use));
        let first = pieces[1].as_ptr();
        drop(pieces.drain(1..3));
        // Larger than either of the two that were given back.
        let larger = ARENA.take(15_000);
        assert_eq!(larger.as_ptr(), first);
        let rest = ARENA.take(5_000);
        assert_eq!(ARENA.usage(), Usage { in_use: held, in_use_peak: held, held });
        drop((pieces, larger, rest));
        assert_eq!((ARENA.usage().in_use, ARENA.lock().free.len()), (0, 1));
    }

    #[test]
    fn pieces_that_come_and_go_never_overlap() {
        static ARENA: Arena = Arena::new();
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut pieces: Vec<(f32, Piece)> = Vec::new();
        for round in 0..2000 {
            if pieces.len() < 40 && random(5) < 3 {
                let mut piece = ARENA.take(random(20_000) as usize);
                piece.fill(round as f32);
                assert!((piece.as_ptr() as usize).is_multiple_of(GRAIN));
                pieces.push((round as f32, piece));
            } else if !pieces.is_empty() {
                let (mark, piece) = pieces.swap_remove(random(pieces.len() as u64) as usize);
                assert!(piece.iter().all(|&value| value == mark));
            }
            if round % 500 == 0 {
                ARENA.release();
            }
        }
        let Usage { in_use, in_use_peak, held } = ARENA.usage();
        assert!(in_use <= in_use_peak && in_use_peak <= held && held < 2 * in_use_peak);
        drop(pieces);
        ARENA.release();
        assert_eq!((ARENA.usage().held, ARENA.lock().segments.len()), (0, 0));
    }

    #[test]
    fn a_piece_may_be_larger_than_a_segment_or_empty() {
        static ARENA: Arena = Arena::new();
        let large = ARENA.take(SEGMENT / 4 + 1);
        let (empty, other) = (ARENA.take(0), ARENA.take(0));
        assert!(large.len() > SEGMENT / 4 && empty.is_empty() && empty.as_ptr() != other.as_ptr());
        assert_eq!(ARENA.lock().segments.len(), 2);
    }
}
