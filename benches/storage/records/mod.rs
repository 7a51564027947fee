//! Records of the shape of the reference load: about 330 bytes of JSON, a message of 60 to 250 bytes, a trace id and six
//! attributes.
#![allow(dead_code, clippy::unwrap_used, reason = "each bench uses some of it")]

use std::path::PathBuf;
use std::sync::Arc;

use storage::segment::{Segment, SegmentCache, SegmentOrder, WriteOptions, write_segment};
use storage::{Disk, Labels, Level, Lineage, LogBatch, LogBatchBuilder, NOT_OBSERVED, RealDisk, Stream, Tenant, Value};

/// Records of a batch.
pub(crate) const RECORDS: usize = 1_000;
const FIRST_NS: i64 = 1_748_736_000_000_000_000;
const DAY_NS: i64 = 86_400_000_000_000;

const MESSAGES: [&str; 5] = [
    "sshd(pam_unix)[{}]: session opened for user test by (uid={}) from 10.{}.7.9 port 443",
    "BLOCK* NameSystem.addStoredBlock: blockMap updated: 10.251.{}.80:50010 is added to blk_{}{} size 67108864",
    "GET /api/v2/orders/{}?page={} HTTP/1.1 status: 200 len: {} time: 0.2477829",
    "Received block blk_{}{} of size 67108864 from /10.250.{}.18 by the data node, writing it to the replica now",
    "generating core.{} because the kernel reported a machine check interrupt at address 0x{}{}",
];

/// A generator of numbers, the same on every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A batch, the same for the same seed.
pub(crate) fn batch(seed: u64) -> LogBatch {
    let mut numbers = Numbers(seed * 2 + 1);
    let mut builder = LogBatchBuilder::default();
    for i in 0..RECORDS {
        let service = numbers.next() % 20;
        let labels = [("service_name", format!("service-{service}")), ("k8s_namespace_name", "prod-eu".to_owned())];
        let resource = [("host_name", format!("node-{}.eu1.example.internal", numbers.next() % 10))];
        let stream = builder.stream(Stream::new(Labels::new(labels), Labels::new(resource)));
        let trace = [numbers.next().to_be_bytes(), numbers.next().to_be_bytes()].concat();
        let method = ["GET", "PUT", "POST"][(numbers.next() % 3) as usize];
        let path = format!("/api/v2/items/{}", numbers.next() % 1_000);
        let user = format!("u{}", numbers.next() % 100_000);
        let values = [
            ("trace_id", Value::Hex(&trace)),
            ("http_method", Value::Str(method)),
            ("http_status_code", Value::Int([200, 204, 404, 500][(numbers.next() % 4) as usize])),
            ("url_path", Value::Str(&path)),
            ("duration_ms", Value::Double((numbers.next() % 100_000) as f64 / 100.0)),
            ("user_id", Value::Str(&user)),
        ];
        for (key, value) in values {
            let key = builder.key(key);
            builder.attribute(key, value);
        }
        let mut message = String::new();
        for part in MESSAGES[(numbers.next() % 5) as usize].split("{}") {
            message.push_str(part);
            message.push_str(&(numbers.next() % 100_000).to_string());
        }
        let time = FIRST_NS + (seed as i64 * RECORDS as i64 + i as i64) * 1_000_003;
        builder.finish_record(stream, time, NOT_OBSERVED, Level::Info, &message);
    }
    builder.build()
}

/// What a segment is called.
pub(crate) fn order(id: u64) -> SegmentOrder {
    let day = (FIRST_NS / DAY_NS) as i32;
    SegmentOrder { id, tenant: Tenant::default(), day, created_ns: 0, lineage: Lineage::of_flush(1, 1, 0, 1) }
}

/// A folder with a segment of so many batches.
pub(crate) fn segment(batches: u64) -> (tempfile::TempDir, PathBuf, Arc<Segment>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1");
    let batches: Vec<Arc<LogBatch>> = (0..batches).map(|seed| Arc::new(batch(seed))).collect();
    let meta = write_segment(&RealDisk, &path, order(1), &batches, &WriteOptions::default()).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let segment = Segment::open(&disk, &path, meta, &SegmentCache::new(256 << 20)).unwrap();
    (folder, path, Arc::new(segment))
}
