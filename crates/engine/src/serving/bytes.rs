//! Rows as bytes, on their way into products: made once for all maps that take the same rows.

use luban_kernels::quantized;

use super::ServingWeight;
use super::rows::Rows;
use luban_model::ModelWeights;

/// Room for rows that become bytes, and whose bytes it holds at the moment.
#[derive(Debug, Default)]
pub(super) struct Bytes {
    rows: quantized::Rows,
    /// The content of the rows that these are, unless they are others.
    content: Option<u64>,
}

impl Bytes {
    /// Rows as bytes in blocks of so many elements, made now unless they are there.
    pub(super) fn of(&mut self, rows: &Rows, block: usize) -> &quantized::Rows {
        if self.content != Some(rows.content()) || self.rows.block() != block {
            self.rows.quantize(rows.values(), rows.width(), block);
            self.content = Some(rows.content());
        }
        &self.rows
    }

    /// Room for those of other rows.
    pub(super) fn room(&mut self) -> &mut quantized::Rows {
        self.content = None;
        &mut self.rows
    }

    /// Says that the room now holds these rows.
    pub(super) fn hold(&mut self, rows: &Rows) {
        self.content = Some(rows.content());
    }
}

/// Elements of a block where a model's layers take normalised rows as bytes.
pub(super) fn block(weights: &ModelWeights<ServingWeight>) -> Option<usize> {
    let first = weights.layers.first()?;
    Some(first.q.weight.map().as_bytes()?.layout().block)
}

#[cfg(test)]
mod tests {
    use super::super::rows::Memory;
    use super::*;

    #[test]
    fn rows_become_bytes_once_for_each_content_and_block() {
        let (memory, mut bytes) = (Memory::default(), Bytes::default());
        let mut rows = memory.rows(2, 64);
        rows.values_mut().fill(1.0);
        assert_eq!(bytes.of(&rows, 32).dequantized(1), [1.0; 64]);
        let content = bytes.content;
        bytes.of(&rows, 32);
        assert_eq!(bytes.content, content);
        assert_eq!(bytes.of(&rows, 64).block(), 64);
        rows.values_mut().fill(2.0);
        assert_eq!(bytes.of(&rows, 64).dequantized(0), [2.0; 64]);
        bytes.room().quantize(&[3.0; 64], 64, 64);
        assert_eq!(bytes.of(&rows, 64).dequantized(0), [2.0; 64]);
    }
}
