//! Batches not yet in a segment.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::Stream;

use crate::read::{Predicate, Projection, Rows};

/// Batches not yet in a segment.
#[derive(Debug)]
pub struct MemoryPart {}

#[allow(missing_docs, reason = "the skeleton of the contract")]
impl MemoryPart {
    pub fn streams(&self) -> &[Arc<Stream>] {
        unimplemented!()
    }
    pub fn time_bounds(&self) -> Option<(i64, i64)> {
        unimplemented!()
    }
    pub fn row_count(&self) -> u32 {
        unimplemented!()
    }
    pub fn attribute_keys(&self) -> Vec<Arc<str>> {
        unimplemented!()
    }
    pub fn prune(&self, _predicate: &Predicate) -> Vec<Range<u32>> {
        unimplemented!()
    }
    pub fn read<'a>(
        &'a self,
        _ranges: &[Range<u32>],
        _streams: Option<&[bool]>,
        _projection: &Projection,
    ) -> impl Iterator<Item = Rows> + Send + use<'a> {
        std::iter::empty()
    }
}
