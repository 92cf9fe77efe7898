//! How the values of a page are written: runs of small numbers, differences, and byte strings by these.

use super::Result;
use super::thrift::{Reader, zigzag};

/// Most lengths of a page that are held at once.
const LENGTHS_MAX: u64 = 16 << 20;
/// Values of a part of a block of differences are a multiple of this.
const PACKED_GROUP: usize = 8;

/// Numbers of a few bits each, in runs: either one again and again, or packed one after another.
#[derive(Debug)]
pub(super) struct Runs {
    place: usize,
    end: usize,
    width: u32,
    run: Run,
}

#[derive(Clone, Copy, Debug)]
enum Run {
    Same {
        value: u32,
        left: u64,
    },
    /// By bits.
    Packed {
        bit: u64,
        left: u64,
    },
}

impl Runs {
    /// Of numbers of `width` bits at these places of a page.
    pub(super) fn new(place: usize, end: usize, width: u32) -> Result<Self> {
        match width {
            0..=32 => Ok(Self { place, end, width, run: Run::Same { value: 0, left: 0 } }),
            _ => Err(format!("numbers of {width} bits stand where at most 32 do")),
        }
    }

    /// The next number; `page` is always the same.
    pub(super) fn next(&mut self, page: &[u8]) -> Result<u32> {
        loop {
            match &mut self.run {
                Run::Same { left: 0, .. } | Run::Packed { left: 0, .. } => self.begin(page)?,
                Run::Same { value, left } => {
                    *left -= 1;
                    return Ok(*value);
                }
                Run::Packed { bit, left } => {
                    let value = bits(page, *bit, self.width);
                    (*bit, *left) = (*bit + u64::from(self.width), *left - 1);
                    return Ok(value as u32);
                }
            }
        }
    }

    fn begin(&mut self, page: &[u8]) -> Result<()> {
        let bytes = page.get(self.place..self.end).ok_or("its numbers end too early")?;
        let mut reader = Reader::new(bytes);
        let head = reader.varint()?;
        self.place = self.end - reader.left();
        let count = head >> 1;
        let bytes = match head & 1 {
            0 => u64::from(self.width.div_ceil(8)),
            _ => count.saturating_mul(u64::from(self.width)),
        };
        if count == 0 || bytes > (self.end - self.place) as u64 {
            return Err(format!("a run of {count} numbers needs {bytes} bytes; {} are left", self.end - self.place));
        }
        let bit = 8 * self.place as u64;
        self.run = match head & 1 {
            0 => Run::Same { value: bits(page, bit, 8 * bytes as u32) as u32, left: count },
            _ => Run::Packed { bit, left: count.saturating_mul(8) },
        };
        self.place += bytes as usize;
        Ok(())
    }
}

/// So many bits (64 at most) from one on, the lowest first; those beyond the end are zero.
fn bits(page: &[u8], from: u64, width: u32) -> u64 {
    let (byte, shift) = ((from / 8) as usize, from % 8);
    let mut all = 0_u128;
    for (index, byte) in page.iter().skip(byte).take(9).enumerate() {
        all |= u128::from(*byte) << (8 * index);
    }
    let mask = if width >= 64 { u64::MAX } else { (1 << width) - 1 };
    (all >> shift) as u64 & mask
}

/// Reads all lengths that are written as differences; gives them, and where they end.
pub(super) fn lengths(page: &[u8], place: usize) -> Result<(Vec<u32>, usize)> {
    let bytes = page.get(place..).ok_or("its lengths are missing")?;
    let mut reader = Reader::new(bytes);
    let (block, parts) = (reader.varint()?, reader.varint()?);
    let (count, mut value) = (reader.varint()?, zigzag(reader.varint()?));
    let part = block.checked_div(parts).unwrap_or(0) as usize;
    let fits = parts <= 1024 && block <= 1 << 20 && part.is_multiple_of(PACKED_GROUP) && part > 0;
    if !fits || count > LENGTHS_MAX {
        return Err(format!("{count} lengths in blocks of {block} and {parts} parts are more than are read here"));
    }
    let mut lengths = Vec::new();
    let mut add = |value: i64| {
        let length = u32::try_from(value).map_err(|_| format!("{value} stands where a length should"))?;
        lengths.push(length);
        Ok::<_, String>(())
    };
    if count > 0 {
        add(value)?;
    }
    let mut left = (count as usize).saturating_sub(1);
    while left > 0 {
        let least = zigzag(reader.varint()?);
        let widths: Vec<u8> = (0..parts).map(|_| reader.byte()).collect::<Result<_>>()?;
        for width in widths {
            if left == 0 {
                break;
            }
            let packed = reader.take(u64::from(width) * (part / 8) as u64)?;
            if width > 64 {
                return Err(format!("differences of {width} bits stand where at most 64 do"));
            }
            for index in 0..part.min(left) {
                let more = bits(packed, index as u64 * u64::from(width), width.into()) as i64;
                value = value.wrapping_add(least).wrapping_add(more);
                add(value)?;
            }
            left = left.saturating_sub(part);
        }
    }
    Ok((lengths, place + bytes.len() - reader.left()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_read_one_number_at_a_time() {
        // Five times 3, then eight packed numbers of two bits: 0 1 2 3 3 2 1 0.
        let page = [0xFF, 10, 3, 3, 0b11_10_01_00, 0b00_01_10_11];
        let mut runs = Runs::new(1, page.len(), 2).unwrap();
        let read: Vec<u32> = (0..13).map(|_| runs.next(&page).unwrap()).collect();
        assert_eq!(read, [3, 3, 3, 3, 3, 0, 1, 2, 3, 3, 2, 1, 0]);
        assert!(runs.next(&page).is_err());
        assert!(Runs::new(0, 1, 33).is_err());
        let mut lying = Runs::new(0, 2, 2).unwrap();
        assert!(lying.next(&[0x7F, 0]).unwrap_err().contains("126 bytes; 1 are left"));
        let mut none = Runs::new(0, 3, 0).unwrap();
        assert_eq!(none.next(&[0x0A, 0, 0]), Ok(0));
    }

    #[test]
    fn lengths_are_sums_of_differences() {
        // 7, 5, 3, 1, 2, 3, 4, 5, as the format's own example: blocks of 8 in one part, least difference -2, two bits.
        let page = [8, 1, 8, 14, 3, 2, 0b11_00_00_00, 0b00_11_11_11, 9];
        assert_eq!(lengths(&page, 0).unwrap(), (vec![7, 5, 3, 1, 2, 3, 4, 5], 8));
        assert!(lengths(&[8, 1, 8, 14, 3, 2], 0).is_err());
        assert!(lengths(&[8, 0, 8, 14, 3, 2, 0, 0], 0).is_err());
        assert!(lengths(&[8, 1, 2, 1, 0, 0], 0).unwrap_err().contains("-1 stands where a length"));
    }
}
