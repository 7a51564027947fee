//! An immutable segment.

mod meta;

use std::ops::Range;
use std::sync::Arc;

use crate::batch::Stream;
use crate::error::StorageError;
use crate::read::{Predicate, Projection, Rows, Run};

pub use meta::{Lineage, SegmentMeta};

/// An immutable segment.
#[derive(Debug)]
pub struct Segment {}

#[allow(missing_docs, reason = "the skeleton of the contract")]
impl Segment {
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
    pub fn runs(&self) -> &[Run] {
        unimplemented!()
    }
    pub fn prune(&self, _predicate: &Predicate) -> Result<Vec<Range<u32>>, StorageError> {
        unimplemented!()
    }
    #[allow(clippy::type_complexity, reason = "the skeleton of the contract")]
    pub fn read<'a>(
        &'a self,
        _ranges: &[Range<u32>],
        _projection: &Projection,
    ) -> Result<Box<dyn Iterator<Item = Result<Rows, StorageError>> + Send + 'a>, StorageError> {
        unimplemented!()
    }
}
