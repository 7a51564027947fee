//! Columns of the attributes that share the map column, as it is read.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};

use super::reader::Wanted;

/// Takes keys out of the residual map: those asked for, or all.
pub(super) fn sparse_columns(
    residual: &ArrayRef,
    wanted: &Wanted,
    dense: &[&str],
    out: &mut Vec<(Arc<str>, ArrayRef)>,
) -> Option<()> {
    let map = residual.as_map_opt()?;
    let keys = map.keys().as_string_opt::<i32>()?;
    let values = map.values().as_string_opt::<i32>()?;
    let mut builders: HashMap<Arc<str>, SparseColumn> = HashMap::new();
    for row in 0..map.len() {
        let (start, end) = (map.value_offsets()[row], map.value_offsets()[row + 1]);
        for at in start as usize..end as usize {
            let key = keys.value(at);
            if !wanted.all_sparse && !wanted.sparse.iter().any(|k| **k == *key) {
                continue;
            }
            if let Some(column) = builders.get_mut(key) {
                column.set(row, values.value(at));
            } else {
                let mut column = SparseColumn::default();
                column.set(row, values.value(at));
                builders.insert(key.into(), column);
            }
        }
    }
    let mut found: Vec<(Arc<str>, SparseColumn)> = builders.into_iter().collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, column) in found {
        // A key with a column of its own is here only where a row had it twice: the first value counts.
        if !out.iter().any(|(k, _)| *k == key) && !dense.contains(&key.as_ref()) {
            out.push((key, Arc::new(column.finish(map.len()))));
        }
    }
    Some(())
}

#[derive(Default)]
struct SparseColumn {
    builder: StringBuilder,
    rows: usize,
}

impl SparseColumn {
    fn set(&mut self, row: usize, value: &str) {
        if row < self.rows {
            return;
        }
        self.builder.append_nulls(row - self.rows);
        self.builder.append_value(value);
        self.rows = row + 1;
    }

    fn finish(mut self, rows: usize) -> StringArray {
        self.builder.append_nulls(rows - self.rows);
        self.builder.finish()
    }
}
