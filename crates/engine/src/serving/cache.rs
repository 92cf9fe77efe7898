//! Keys and values of the positions that sequences have behind them.

use luban_kernels::attention::Shape;
use luban_kernels::attention::cached::{self, Arena, ArenaMut, CachedSequence, Format, Placement};
use luban_model::{Batch, Spec};

/// The arenas of all layers, and which blocks the sequences of the present batch hold.
#[derive(Debug)]
pub(super) struct Cache {
    format: Format,
    layers: Vec<Layer>,
    blocks_total: usize,
    /// The batch's block numbers, sequence after sequence, and where each sequence's end.
    tables: Vec<u32>,
    ends: Vec<usize>,
    placement: Placement,
}

/// One layer's arenas. Fresh memory that nobody has written to costs nothing yet.
#[derive(Debug)]
struct Layer {
    shape: Shape,
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Bytes of one block over all layers.
pub(crate) fn block_bytes(spec: &Spec, format: Format) -> u64 {
    let floats = format.block_len(&shape(spec, 0)) as u64;
    floats * 2 * 4 * spec.layers as u64
}

/// A layer's attention, as the kernels take it. Layers differ in their reach only, so their blocks are alike.
pub(super) fn shape(spec: &Spec, layer: usize) -> Shape {
    luban_model::recording::attention_shape(spec, layer)
}

impl Cache {
    pub(super) fn new(spec: &Spec, format: Format, blocks_total: usize) -> Self {
        let floats = format.block_len(&shape(spec, 0)) * blocks_total;
        let layer = |layer| Layer { shape: shape(spec, layer), keys: vec![0.0; floats], values: vec![0.0; floats] };
        let layers = (0..spec.layers).map(layer).collect();
        Self { format, layers, blocks_total, tables: Vec::new(), ends: Vec::new(), placement: Placement::default() }
    }

    /// Says which blocks the next batch's sequences hold, in their order.
    pub(super) fn place<'a>(&mut self, sequences: impl Iterator<Item = &'a [u32]>) {
        self.tables.clear();
        self.ends.clear();
        for blocks in sequences {
            self.tables.extend_from_slice(blocks);
            self.ends.push(self.tables.len());
        }
        assert!(self.tables.iter().all(|&block| (block as usize) < self.blocks_total), "a block outside the cache");
    }

    /// Copies what a block holds, in every layer.
    pub(super) fn copy_block(&mut self, from: u32, to: u32) {
        for Layer { shape, keys, values } in &mut self.layers {
            let floats = self.format.block_len(shape);
            let start = from as usize * floats;
            for arena in [keys, values] {
                arena.copy_within(start..start + floats, to as usize * floats);
            }
        }
    }

    /// Attention of a batch's rows: their keys and values go into the cache, and each row sees its sequence up to
    /// itself.
    pub(super) fn attend(&mut self, layer: usize, batch: &Batch, [q, k, v]: [&[f32]; 3], out: &mut [f32]) {
        assert_eq!(self.ends.len(), batch.sequences().len(), "each sequence of a batch needs its blocks");
        let mut placement = std::mem::take(&mut self.placement);
        placement.clear();
        for (index, rows) in batch.sequences().iter().enumerate() {
            let first_position = batch.positions().get(rows.start).map_or(0, |&position| position as usize);
            placement.push(CachedSequence { rows: rows.clone(), first_position, blocks: self.table(index) });
        }
        let (format, Layer { shape, keys, values }) = (self.format, &mut self.layers[layer]);
        cached::append(shape, &placement, [k, v], ArenaMut { format, keys, values });
        cached::attend(shape, &mut placement, q, Arena { format, keys, values }, out);
        self.placement = placement;
    }

    fn table(&self, sequence: usize) -> &[u32] {
        let start = if sequence == 0 { 0 } else { self.ends[sequence - 1] };
        &self.tables[start..self.ends[sequence]]
    }
}
