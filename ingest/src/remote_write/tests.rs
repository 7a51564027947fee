//! Bodies built by hand, what is refused, and that no bytes make the decoder panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use storage::metrics::STALE_NAN_BITS;

use super::*;
use crate::decoded::DecodeErrorKind;
use crate::shown::{lines, refused};
use crate::wire::{bytes, double, fixed64, message, number, packed, packed_doubles, zigzag};

const NOW_NS: i64 = 1_748_736_000_000_000_000;

fn decoded(request: &[u8]) -> DecodedMetrics {
    decode_message(request, &Limits::default(), NOW_NS).unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Vec<u8> {
    pairs.iter().flat_map(|(name, value)| message(1, [bytes(1, name), bytes(2, value)])).collect()
}

fn sample(value: f64, time: u64) -> Vec<u8> {
    message(2, [double(1, value), number(2, time)])
}

fn request() -> Vec<u8> {
    let whole = message(
        4,
        [
            number(1, 8),
            double(3, 18.5),
            zigzag(4, 1),
            double(5, 0.001),
            number(6, 2),
            message(8, [zigzag(1, 0), number(2, 1)]),
            packed(9, [2]),
            message(11, [zigzag(1, -2), number(2, 2)]),
            message(11, [zigzag(1, 3), number(2, 1)]),
            packed(12, [2, 4, 3]),
            number(14, 2),
            number(15, 3_000),
        ],
    );
    let float = message(
        4,
        [
            double(2, 2.5),
            fixed64(3, STALE_NAN_BITS),
            zigzag(4, -53),
            message(11, [number(2, 2)]),
            packed_doubles(13, [1.5, 1.0]),
            number(14, 3),
            number(15, 4_000),
            packed_doubles(16, [0.5, 5.0]),
        ],
    );
    let exemplar = message(3, [message(1, [bytes(1, "trace_id"), bytes(2, "abc")]), double(2, 0.25), number(3, 1_500)]);
    [
        bytes(
            1,
            [
                labels(&[("__name__", "up"), ("job", "x")]),
                sample(1.0, 1_000),
                sample(f64::from_bits(STALE_NAN_BITS), 2_000),
            ]
            .concat(),
        ),
        bytes(1, [labels(&[("job", "y"), ("__name__", "hits")]), sample(-0.0, 1_000), exemplar].concat()),
        bytes(1, [whole, float, labels(&[("__name__", "late")])].concat()),
        message(3, [number(1, 1), bytes(2, "hits"), bytes(4, "How many."), bytes(5, "requests")]),
    ]
    .concat()
}

#[test]
fn everything_that_it_can_say() {
    let decoded = decoded(&request());
    assert!(refused(&decoded).is_empty(), "{:?}", refused(&decoded));
    assert_eq!(
        lines(&decoded.batch),
        [
            "up{job=x} 1 @1000",
            "up{job=x} stale @2000",
            "hits{job=y} -0 @1000",
            "late histogram NotReset schema=1 count=8 sum=18.5 zero=2/0.001 pos=-2+2,3+1:[1.0, 3.0, 1.0] neg=0+1:[1.0] @3000",
            "late histogram Gauge schema=-53 count=2.5 sum=stale zero=0/0 pos=0+2:[1.5, 1.0] neg=:[] bounds=[0.5, 5.0] @4000",
            "hits{job=y} exemplar {trace_id=\"abc\"} 0.25 @1500",
            "meta hits counter \"How many.\" \"requests\"",
        ]
    );
    let written = decoded.written();
    assert_eq!((written.samples, written.histograms, written.exemplars), (3, 2, 1));
}

#[test]
fn a_bad_series_is_refused_alone() {
    let series = |content: &[&[u8]]| bytes(1, content.concat());
    let long = "x".repeat(20_000);
    let bad_histogram = message(4, [number(1, 5), number(15, 1)]);
    let body = [
        series(&[&labels(&[("job", "x")]), &sample(1.0, 1), &sample(1.0, 2)]),
        series(&[&labels(&[("__name__", ""), ("job", "x")]), &sample(1.0, 1)]),
        series(&[&labels(&[("__name__", "a"), ("", "x")]), &sample(1.0, 1)]),
        series(&[&labels(&[("__name__", "a"), ("b", "1"), ("b", "2")]), &sample(1.0, 1)]),
        series(&[&message(1, [bytes(1, "__name__"), bytes(2, b"\xFF")]), &sample(1.0, 1)]),
        series(&[&labels(&[("__name__", "a"), ("b", &long)]), &sample(1.0, 1)]),
        series(&[&labels(&[("__name__", "ok")]), &sample(1.0, u64::MAX), &sample(2.0, 2), &bad_histogram]),
        series(&[&labels(&[("__name__", "said_nothing")])]),
    ]
    .concat();
    let decoded = decoded(&body);
    assert_eq!(lines(&decoded.batch), ["ok 2 @2"]);
    assert_eq!(decoded.batch.series_count(), 1);
    assert_eq!(
        refused(&decoded),
        [
            "0 labels: the series has no metric name (__name__)",
            "1 labels: the series has no metric name (__name__)",
            "2 labels: the name of a label is empty",
            "3 labels: the label name \"b\" is there twice",
            "4 labels: a label is not UTF-8",
            "5 labels: the label 'b' has a value of 20000 bytes; names may have 1024, values 16384",
            "6 timestamp: the time -1 ms is not between 1970-01-01 and 2262-04-11",
            "6 histogram: 0 observations are in the buckets, the histogram has a count of 5",
        ]
    );
    assert_eq!(decoded.refused_count(), 9);
}

#[test]
fn the_body_is_snappy() {
    let pack = |bytes: &[u8]| snap::raw::Encoder::new().compress_vec(bytes).unwrap();
    let limits = Limits::default();
    assert_eq!(decode(&pack(&request()), &limits, NOW_NS).unwrap().batch.len(), 5);
    assert!(decode(&pack(b""), &limits, NOW_NS).unwrap().batch.is_empty());
    for bad in [&b""[..], b"\x00\x01garbage", &pack(b"\xff\xff\xffgarbage"), &pack(b"\x0a\x05ab")] {
        assert_eq!(decode(bad, &limits, NOW_NS).unwrap_err().kind, DecodeErrorKind::Malformed);
    }
    let small = Limits { body_bytes_max: 10, ..Limits::default() };
    assert_eq!(decode(&pack(&request()), &small, NOW_NS).unwrap_err().kind, DecodeErrorKind::TooLarge);
}

#[test]
fn short_bodies_that_say_much_are_too_large() {
    let name = labels(&[("__name__", "a")]);
    let limits = Limits { metric_batch_bytes_max: 10_000, ..Limits::default() };
    for (empty, field) in [("samples", 2), ("exemplars", 3), ("histograms", 4)] {
        let body = bytes(1, [name.clone(), bytes(field, b"").repeat(2_000)].concat());
        assert_eq!(decode_message(&body, &limits, 0).unwrap_err().kind, DecodeErrorKind::TooLarge, "{empty}");
    }
    let bad = decoded(&bytes(1, bytes(2, b"")).repeat(5_000));
    assert_eq!((bad.refused.len(), bad.refused_count()), (1_000, 5_000));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_message(&body, &Limits::default(), NOW_NS);
        let _ = decode(&body, &Limits::default(), NOW_NS);
    }

    #[test]
    fn no_changed_body_makes_it_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8), cut in any::<usize>()) {
        let mut body = request();
        for (at, byte) in changes {
            let at = at % body.len();
            body[at] = byte;
        }
        body.truncate(body.len().min(cut % (2 * body.len())));
        if let Ok(decoded) = decode_message(&body, &Limits::default(), NOW_NS) {
            prop_assert!(decoded.batch.memory_bytes() <= 100 * body.len() + 1_000);
            let _ = lines(&decoded.batch);
        }
    }
}
