//! Strings by number and numbers by string, in three flat buffers.

use crate::hash::Hash;

/// What an empty slot holds.
const FREE: u32 = u32::MAX;

/// Byte strings with consecutive ids. An empty string stands for a gap: no look-up finds it.
#[derive(Debug)]
pub(crate) struct Table {
    bytes: Vec<u8>,
    /// Where each string ends.
    ends: Vec<u32>,
    /// Ids, by the hash of their strings; a power of two of them, at most two thirds taken.
    slots: Vec<u32>,
    hash: Hash,
}

impl Table {
    /// A table of these strings; of equal ones the first is found.
    pub(crate) fn new<'a>(strings: impl ExactSizeIterator<Item = &'a [u8]>) -> Self {
        let slots = vec![FREE; (strings.len() * 3 / 2 + 1).next_power_of_two()];
        let ends = Vec::with_capacity(strings.len());
        let mut table = Self { bytes: Vec::with_capacity(strings.len() * 8), ends, slots, hash: Hash::default() };
        for (id, string) in (0..).zip(strings) {
            table.bytes.extend_from_slice(string);
            table.ends.push(table.bytes.len() as u32);
            let slot = table.slot(string);
            if !string.is_empty() && table.slots[slot] == FREE {
                table.slots[slot] = id;
            }
        }
        table
    }

    /// How many there are, gaps included.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The string of an id; empty for a gap and for ids beyond the end.
    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = if id == 0 { 0 } else { self.ends[id - 1] };
        &self.bytes[start as usize..end as usize]
    }

    /// The id of a string.
    pub(crate) fn find(&self, string: &[u8]) -> Option<u32> {
        let id = self.slots[self.slot(string)];
        (id != FREE).then_some(id)
    }

    /// The strings in the order of their ids.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len() as u32).map(|id| self.get(id))
    }

    /// The slot where a string is, or would be.
    fn slot(&self, string: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash.of(string) as usize & mask;
        while self.slots[slot] != FREE && self.get(self.slots[slot]) != string {
            slot = (slot + 1) & mask;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_by_either_side() {
        let strings: Vec<String> = (0..5000).map(|i| "x".repeat(i % 7) + &i.to_string()).collect();
        let mut all: Vec<&[u8]> = strings.iter().map(String::as_bytes).collect();
        all[17] = b"";
        all[20] = all[3];
        let table = Table::new(all.iter().copied());
        assert_eq!(table.len(), 5000);
        for (id, string) in (0..).zip(&all) {
            assert_eq!(table.get(id), *string);
            let expected = match id {
                17 => None,
                20 => Some(3),
                _ => Some(id),
            };
            assert_eq!(table.find(string), expected);
        }
        assert_eq!([table.find(b"y"), table.find(b"")], [None, None]);
        assert!(table.get(5000).is_empty());
        assert!(Table::new([].into_iter()).find(b"a").is_none());
    }
}
