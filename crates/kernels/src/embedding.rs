//! Rows of a table by number, and the gradient of that.

use crate::matmul::assert_len;
use crate::pool::{SharedMut, parallel_columns, parallel_ranges};

/// `out[r] = table[ids[r]]`, rows of `width` elements.
///
/// # Panics
/// If the lengths do not agree or an id is no row of the table.
pub fn gather(table: &[f32], width: usize, ids: &[u32], out: &mut [f32]) {
    check("gather", table.len(), width, ids, out.len());
    rows(width, out, |r, out| out.copy_from_slice(&table[ids[r] as usize * width..][..width]), ids.len());
}

/// `dtable[ids[r]] += dy[r]`, row after row.
///
/// # Panics
/// If the lengths do not agree or an id is no row of the table.
pub fn scatter_add(dtable: &mut [f32], width: usize, ids: &[u32], dy: &[f32]) {
    check("scatter_add", dtable.len(), width, ids, dy.len());
    let dtable = SharedMut::new(dtable);
    parallel_columns(ids.len(), width, |columns| {
        for (&id, dy) in ids.iter().zip(dy.chunks_exact(width)) {
            // SAFETY: ranges of columns do not overlap, and each is summed by one task.
            let sums = unsafe { dtable.slice(id as usize * width + columns.start, columns.len()) };
            sums.iter_mut().zip(&dy[columns.clone()]).for_each(|(sum, dy)| *sum += dy);
        }
    });
}

fn rows(width: usize, out: &mut [f32], fill: impl Fn(usize, &mut [f32]) + Sync, rows: usize) {
    let out = SharedMut::new(out);
    parallel_ranges(rows, width, |rows| {
        for r in rows {
            // SAFETY: rows do not overlap, and each belongs to one range.
            fill(r, unsafe { out.slice(r * width, width) });
        }
    });
}

fn check(what: &str, table: usize, width: usize, ids: &[u32], rows: usize) {
    assert!(width > 0 && table.is_multiple_of(width), "{what}: a table of {table} elements in rows of {width}");
    assert_len(what, rows, &[ids.len(), width]);
    if let Some(beyond) = ids.iter().find(|&&id| id as usize >= table / width) {
        panic!("{what}: id {beyond} in a table of {} rows", table / width);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_same_bits, random, same_everywhere};

    #[test]
    fn gathers_and_scatters_as_defined() {
        for (entries, width, rows) in [(3, 1, 5), (10, 17, 40), (50, 192, 300), (4, 8, 0)] {
            let (table, dy) = (random(1, entries * width), random(2, rows * width));
            let ids: Vec<u32> = (0..rows).map(|r| (r * r % entries) as u32).collect();
            let got = same_everywhere(|| {
                let (mut a, mut c) = (dy.clone(), table.clone());
                gather(&table, width, &ids, &mut a);
                scatter_add(&mut c, width, &ids, &dy);
                [a, c].concat()
            });
            let row = |r: usize| ids[r] as usize * width..(ids[r] as usize + 1) * width;
            let expected: Vec<f32> = (0..rows).flat_map(|r| table[row(r)].to_vec()).collect();
            let mut sums = table.clone();
            for r in 0..rows {
                sums[row(r)].iter_mut().zip(&dy[r * width..]).for_each(|(sum, dy)| *sum += dy);
            }
            assert_same_bits(&got, &[expected, sums].concat(), "embedding");
        }
    }

    #[test]
    #[should_panic(expected = "id 4 in a table of 4 rows")]
    fn an_id_beyond_the_table_is_refused() {
        gather(&[0.0; 8], 2, &[1, 4], &mut [0.0; 4]);
    }
}
