//! Bodies built by hand, what is refused, and that no bytes make the decoder panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::shown::{lines, refused};
use crate::wire::{bytes, double, message, number, packed, packed_doubles, zigzag};

const NOW_NS: i64 = 1_748_736_000_000_000_000;

fn decoded(request: &[u8]) -> DecodedMetrics {
    decode_message(request, &Limits::default(), NOW_NS).unwrap()
}

fn symbols(of: &[&str]) -> Vec<u8> {
    of.iter().flat_map(|symbol| bytes(4, symbol)).collect()
}

const SYMBOLS: [&str; 11] =
    ["", "__name__", "hits_total", "job", "x", "How many.", "requests", "trace_id", "abc", "took_bucket", "took"];

fn refs<const N: usize>(of: [u64; N]) -> Vec<u8> {
    packed(1, of)
}

fn sample(value: f64, time: u64, start: u64) -> Vec<u8> {
    message(2, [double(1, value), number(2, time), number(3, start)])
}

fn request() -> Vec<u8> {
    let metadata = |kind: u64, help: u64, unit: u64| message(5, [number(1, kind), number(3, help), number(4, unit)]);
    let exemplar = message(4, [refs([7, 8]), double(2, 0.25), number(3, 1_500)]);
    let histogram = message(
        3,
        [
            number(1, 3),
            double(3, 18.5),
            zigzag(4, -53),
            message(11, [number(2, 2)]),
            packed(12, [2, 2]),
            number(15, 3_000),
            packed_doubles(16, [0.5, 5.0]),
            number(17, 900),
        ],
    );
    [
        symbols(&SYMBOLS),
        message(5, [refs([1, 2, 3, 4]), sample(1.0, 1_000, 500), sample(2.0, 2_000, 0), exemplar, metadata(1, 5, 6)]),
        // Its metadata are told already; its labels are one by one, and behind the sample.
        message(5, [sample(5.0, 1_000, 0), number(1, 1), number(1, 2), metadata(2, 0, 0), number(6, 700)]),
        message(5, [refs([1, 10, 3, 4]), histogram, metadata(3, 5, 0)]),
        message(5, [refs([1, 9]), sample(3.0, 4_000, 0), metadata(3, 5, 0)]),
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
            "hits_total{job=x} 1 @1000 since 500",
            "hits_total{job=x} 2 @2000",
            "hits_total 5 @1000 since 700",
            "took_bucket 3 @4000",
            "took{job=x} histogram Unknown schema=-53 count=3 sum=18.5 zero=0/0 pos=0+2:[1.0, 2.0] neg=:[] bounds=[0.5, 5.0] @3000 since 900",
            "hits_total{job=x} exemplar {trace_id=\"abc\"} 0.25 @1500",
            "meta hits_total counter \"How many.\" \"requests\"",
            "meta took histogram \"How many.\" \"\"",
        ]
    );
    let written = decoded.written();
    assert_eq!((written.samples, written.histograms, written.exemplars), (4, 1, 1));
}

#[test]
fn a_bad_series_is_refused_alone() {
    let histogram = message(3, [number(15, 1)]);
    let bad_exemplar = message(4, [refs([7, 99]), double(2, 1.0)]);
    let body = [
        symbols(&SYMBOLS),
        message(5, [refs([1, 99]), sample(1.0, 1, 0), sample(1.0, 2, 0)]),
        message(5, [refs([1, 2, 3]), sample(1.0, 1, 0)]),
        message(5, [refs([3, 4]), sample(1.0, 1, 0)]),
        message(5, [refs([1, 2])]),
        message(5, [refs([1, 2]), sample(1.0, 1, 0), histogram]),
        message(5, [refs([1, 2, 3, 4, 3, 4]), sample(1.0, 1, 0)]),
        message(5, [refs([1, 2]), sample(7.0, 1, 0), bad_exemplar]),
    ]
    .concat();
    let decoded = decoded(&body);
    assert_eq!(lines(&decoded.batch), ["hits_total 7 @1"]);
    assert_eq!(
        refused(&decoded),
        [
            "0 reference: a label refers to the symbol 99, there are 11",
            "1 reference: 3 label references are no pairs",
            "2 labels: the series has no metric name (__name__)",
            "3 malformed: the series has neither samples nor histograms",
            "4 malformed: the series has both samples and histograms",
            "5 labels: the label name \"job\" is there twice",
            "6 reference: a label refers to the symbol 99, there are 11",
        ]
    );
    assert_eq!(decoded.refused_count(), 7);
}

#[test]
fn the_table_begins_with_the_empty_text() {
    let error = decode_message(&symbols(&["x", ""]), &Limits::default(), NOW_NS).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::Malformed);
    assert!(decoded(b"").batch.is_empty());
}

#[test]
fn short_bodies_that_say_much_are_too_large() {
    let limits = Limits { metric_batch_bytes_max: 20_000, ..Limits::default() };
    let long = "x".repeat(5_000);
    let referring = message(5, [refs([1, 2]), sample(1.0, 1, 0)]).repeat(100);
    for body in [symbols(&[""; 2_000]), [symbols(&["", "__name__", &long]), referring].concat()] {
        assert_eq!(decode_message(&body, &limits, 0).unwrap_err().kind, DecodeErrorKind::TooLarge);
    }
}

proptest! {
    #[test]
    fn no_changed_body_makes_it_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8), cut in any::<usize>()) {
        let mut body = request();
        for (at, byte) in changes {
            let at = at % body.len();
            body[at] = byte;
        }
        body.truncate(body.len().min(cut % (2 * body.len())));
        if let Ok(decoded) = decode_message(&body, &Limits::default(), NOW_NS) {
            let _ = lines(&decoded.batch);
        }
    }
}
