//! Byte-pair encoding of one word: the merge that was learnt first comes first, from the left.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::hash::Hash;

/// No token.
pub(crate) const NONE: u32 = u32::MAX;
/// Words of more symbols than this keep their possible merges in a queue; in shorter ones looking at all is faster.
const SCANNED_MAX: usize = 48;

/// The merges of a vocabulary.
#[derive(Debug)]
pub(crate) struct Merges {
    /// By the hash of their pairs; a power of two, at most half of them taken.
    slots: Vec<Merge>,
    count: usize,
    hash: Hash,
}

/// A pair of tokens that become one.
#[derive(Clone, Copy, Debug)]
struct Merge {
    left: u32,
    right: u32,
    rank: u32,
    merged: u32,
}

const FREE: Merge = Merge { left: NONE, right: NONE, rank: NONE, merged: NONE };

/// Which of two merges of the same pair counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Twice {
    /// The one that is given first.
    First,
    /// The one that is given last.
    Last,
}

impl Merges {
    /// Room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self { slots: vec![FREE; (count * 2 + 1).next_power_of_two()], count: 0, hash: Hash::default() }
    }

    /// One more, of which there was room for when the table was made.
    pub(crate) fn insert(&mut self, [left, right]: [u32; 2], rank: u32, merged: u32, twice: Twice) {
        let slot = self.slot(left, right);
        let free = self.slots[slot].merged == NONE;
        if free || twice == Twice::Last {
            self.count += usize::from(free);
            assert!(self.count < self.slots.len(), "more merges than there is room for");
            self.slots[slot] = Merge { left, right, rank, merged };
        }
    }

    /// The merges in the order of their ranks: left, right and merged.
    pub(crate) fn in_order(&self) -> Vec<[u32; 3]> {
        let mut merges: Vec<&Merge> = self.slots.iter().filter(|merge| merge.merged != NONE).collect();
        merges.sort_unstable_by_key(|merge| merge.rank);
        merges.into_iter().map(|merge| [merge.left, merge.right, merge.merged]).collect()
    }

    /// Rank and result of a pair; the rank [`NONE`] where there is none.
    #[inline]
    pub(crate) fn find(&self, left: u32, right: u32) -> (u32, u32) {
        let merge = &self.slots[self.slot(left, right)];
        (merge.rank, merge.merged)
    }

    #[inline]
    fn slot(&self, left: u32, right: u32) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash.of_number(u64::from(left) << 32 | u64::from(right)) as usize & mask;
        loop {
            let merge = &self.slots[slot];
            if merge.merged == NONE || (merge.left == left && merge.right == right) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// Buffers for the merging of words, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Work<S> {
    /// The symbols of a word; its tokens once they are merged.
    pub(crate) symbols: Vec<S>,
    found: Vec<(u32, S)>,
    links: Vec<Link>,
    queue: BinaryHeap<Reverse<Possible<S>>>,
}

impl<S: Copy + Ord> Work<S> {
    /// Merges the symbols of a word. `find` gives rank and result of a pair; the rank [`NONE`] where there is none.
    pub(crate) fn merge(&mut self, find: impl Fn(S, S) -> (u32, S)) {
        if self.symbols.len() <= SCANNED_MAX { self.merge_by_scan(find) } else { self.merge_by_queue(find) }
    }

    fn merge_by_scan(&mut self, find: impl Fn(S, S) -> (u32, S)) {
        let Self { symbols, found, .. } = self;
        found.clear();
        found.extend(symbols.windows(2).map(|pair| find(pair[0], pair[1])));
        while let Some((at, &(rank, merged))) = found.iter().enumerate().min_by_key(|(_, (rank, _))| *rank)
            && rank != NONE
        {
            symbols[at] = merged;
            symbols.remove(at + 1);
            found.remove(at);
            if at > 0 {
                found[at - 1] = find(symbols[at - 1], merged);
            }
            if at < found.len() {
                found[at] = find(merged, symbols[at + 1]);
            }
        }
    }

    fn merge_by_queue(&mut self, find: impl Fn(S, S) -> (u32, S)) {
        let Self { symbols, links, queue, .. } = self;
        let count = symbols.len() as u32;
        links.clear();
        links.extend((0..count).map(|at| Link { previous: at.wrapping_sub(1), next: at + 1 }));
        queue.clear();
        let possible = |left: u32, right: u32, symbols: &[S]| {
            let (rank, merged) = find(symbols[left as usize], symbols[right as usize]);
            (rank != NONE).then_some(Reverse(Possible { rank, left, merged }))
        };
        queue.extend((1..count).filter_map(|right| possible(right - 1, right, symbols)));
        while let Some(Reverse(Possible { rank, left, merged })) = queue.pop() {
            let Link { previous, next: right } = links[left as usize];
            // What has changed since lies in the queue still.
            if right >= count || find(symbols[left as usize], symbols[right as usize]) != (rank, merged) {
                continue;
            }
            symbols[left as usize] = merged;
            let next = std::mem::replace(&mut links[right as usize].next, GONE);
            links[left as usize].next = next;
            if next < count {
                links[next as usize].previous = left;
                queue.extend(possible(left, next, symbols));
            }
            if previous < count {
                queue.extend(possible(previous, left, symbols));
            }
        }
        let mut links = links.iter();
        symbols.retain(|_| links.next().is_some_and(|link| link.next != GONE));
    }
}

/// The neighbours of a symbol.
#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// What stands for the neighbour of a symbol that is part of the one before it.
const GONE: u32 = u32::MAX;

/// A merge that could be done, in the order in which it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Possible<S> {
    rank: u32,
    left: u32,
    merged: S,
}

#[cfg(test)]
mod tests {
    use luban_base::random::Stream;

    use super::*;

    /// The definition: of all merges that are possible, the one of the smallest rank, the leftmost of those.
    fn slowly(merges: &Merges, mut symbols: Vec<u32>) -> Vec<u32> {
        loop {
            let possible = symbols.windows(2).enumerate().map(|(at, pair)| (merges.find(pair[0], pair[1]), at));
            match possible.min_by_key(|((rank, _), at)| (*rank, *at)) {
                Some(((rank, merged), at)) if rank != NONE => {
                    symbols[at] = merged;
                    symbols.remove(at + 1);
                }
                _ => return symbols,
            }
        }
    }

    #[test]
    fn both_ways_follow_the_definition() {
        for case in 0..200 {
            let draws = Stream::new(case, &[]);
            let mut merges = Merges::with_capacity(300);
            for rank in 0..300 {
                let draw = |lane: u64| draws.below_at(4 * u64::from(rank) + lane, 4 + u64::from(rank) / 2) as u32;
                merges.insert([draw(0), draw(1)], rank / 2, 4 + rank / 2, Twice::First);
            }
            let length = 1 + draws.below_at(1 << 20, 90) as usize;
            let symbols: Vec<u32> = (0..length as u64).map(|at| draws.below_at((1 << 21) + at, 4) as u32).collect();
            let expected = slowly(&merges, symbols.clone());
            let find = |left, right| merges.find(left, right);
            let mut work = Work { symbols: symbols.clone(), ..Work::default() };
            work.merge_by_scan(find);
            assert_eq!(work.symbols, expected, "by scan");
            work.symbols = symbols;
            work.merge_by_queue(find);
            assert_eq!(work.symbols, expected, "by queue");
        }
    }

    #[test]
    fn a_pair_that_is_given_twice() {
        for (twice, expected) in [(Twice::First, (0, 7)), (Twice::Last, (1, 8))] {
            let mut merges = Merges::with_capacity(2);
            merges.insert([1, 2], 0, 7, twice);
            merges.insert([1, 2], 1, 8, twice);
            assert_eq!(merges.find(1, 2), expected);
            assert_eq!(merges.in_order().len(), 1);
        }
        assert_eq!(Merges::with_capacity(0).find(1, 2), (NONE, NONE));
    }
}
