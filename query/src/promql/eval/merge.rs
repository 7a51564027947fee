//! Series that have come to have the same labels become one, if they are never there at the same step.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use storage::Labels;

use super::column::{Grid, Series, filtered, is_metadata};
use crate::error::QueryError;

/// Takes the names off where they are to go, and puts together what is the same then.
pub(super) fn without_names(mut series: Vec<Series>, grid: Grid) -> Result<Vec<Series>, QueryError> {
    for one in series.iter_mut().filter(|one| one.drop_name) {
        if one.labels.iter().any(|(name, _)| is_metadata(name)) {
            one.labels = Arc::new(filtered(&one.labels, |name| !is_metadata(name)));
        }
        one.drop_name = false;
    }
    merged(series, grid)
}

/// Puts together what has the same labels, in the order in which they come first.
pub(super) fn merged(series: Vec<Series>, grid: Grid) -> Result<Vec<Series>, QueryError> {
    let mut place: FxHashMap<Arc<Labels>, usize> = FxHashMap::default();
    let mut out: Vec<Series> = Vec::with_capacity(series.len());
    for one in series {
        match place.get(&one.labels) {
            None => {
                place.insert(Arc::clone(&one.labels), out.len());
                out.push(one);
            }
            Some(&at) => {
                for step in 0..grid.count {
                    let Some(point) = one.column.get(step) else { continue };
                    if out[at].column.is_present(step) {
                        return Err(same_labels());
                    }
                    out[at].column.set(step, Some(point));
                }
            }
        }
    }
    Ok(out)
}

/// Two series of the same labels at the same time.
pub(super) fn same_labels() -> QueryError {
    QueryError::Execution("vector cannot contain metrics with the same labelset".to_owned())
}
