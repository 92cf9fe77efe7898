//! Rows of a table by number.

use luban_kernels::embedding;

use crate::storage::{Buffer, Tensor};
use crate::tape::{Tape, Var};

/// The row of `table` for each id: ids × columns.
///
/// # Panics
/// If an id is not a row of the table.
pub fn embed(tape: &mut Tape, table: &Var, ids: &[u32]) -> Var {
    let columns = table.value().columns();
    let length = table.value().len();
    let mut output = Buffer::scratch(ids.len() * columns);
    embedding::gather(table.value(), columns, ids, &mut output);
    let output = Tensor::from_buffer(&[ids.len(), columns], output);
    let ids: Vec<u32> = if table.needs_grad() { ids.to_vec() } else { Vec::new() };
    let [output] = tape.record(&[table.edge()], [output], move |pass| {
        let Some(dy) = pass.take_output(0) else { return };
        if let Some(mut gradient) = pass.slot_to_add(0, length) {
            embedding::scatter_add(&mut gradient, columns, &ids, &dy);
            pass.put(0, gradient);
        }
    });
    output
}

/// The given rows of a matrix, in the given order.
///
/// # Panics
/// If a row is out of range.
pub fn gather_rows(tape: &mut Tape, matrix: &Var, rows: &[usize]) -> Var {
    let ids: Vec<u32> = rows.iter().map(|&row| u32::try_from(row).expect("more rows than 32 bits count")).collect();
    embed(tape, matrix, &ids)
}
