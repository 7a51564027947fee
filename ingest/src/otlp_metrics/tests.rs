//! Requests built by hand, what is refused, and that no bytes make the decoder panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::decoded::DecodeErrorKind;
use crate::delta::{DeltaAccumulator, DeltaSettings};
use crate::shown::{lines, refused};
use crate::wire::{bytes, double, fixed64, message, number, packed, packed_doubles, packed_fixed64, zigzag};

const NOW_NS: i64 = 1_748_736_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn attribute(field: u64, key: &str, value: &str) -> Vec<u8> {
    message(field, [bytes(1, key), message(2, [bytes(1, value)])])
}

/// A request of one resource and one scope.
fn request(metrics: &[Vec<u8>]) -> Vec<u8> {
    let resource = message(
        1,
        [
            attribute(1, "service.namespace", "shop"),
            attribute(1, "service.name", "cart"),
            attribute(1, "service.instance.id", "i-1"),
            attribute(1, "host.name", "h"),
        ],
    );
    let scope = message(1, [bytes(1, "lib"), bytes(2, "1.0"), attribute(3, "team", "t")]);
    let scope_metrics = bytes(2, [scope, metrics.concat(), bytes(3, "http://schema")].concat());
    message(1, [scope_metrics, resource])
}

fn metric(name: &str, unit: &str, field: u64, data: &[Vec<u8>]) -> Vec<u8> {
    message(2, [bytes(1, name), bytes(2, "Says it."), bytes(3, unit), bytes(field, data.concat())])
}

fn cumulative() -> Vec<u8> {
    number(2, 2)
}

fn delta() -> Vec<u8> {
    number(2, 1)
}

/// Start and time of a point, in seconds.
fn times(start: u64, time: u64) -> Vec<u8> {
    [fixed64(2, start * SECOND), fixed64(3, time * SECOND)].concat()
}

fn sum(name: &str, temporality: Vec<u8>, points: &[Vec<u8>]) -> Vec<u8> {
    metric(name, "By", 7, &[temporality, number(3, 1), points.concat()])
}

fn point(start: u64, time: u64, value: f64) -> Vec<u8> {
    message(1, [times(start, time), double(4, value)])
}

fn classic(start: u64, time: u64, counts: [u64; 3]) -> Vec<u8> {
    message(
        1,
        [
            attribute(9, "path", "/"),
            times(start, time),
            fixed64(4, counts.iter().sum()),
            double(5, 7.5),
            packed_fixed64(6, counts),
            packed_doubles(7, [0.5, 10.0]),
        ],
    )
}

fn exponential(time: u64, scale: i64, offset: i64, counts: &[u64]) -> Vec<u8> {
    message(
        1,
        [
            times(1, time),
            fixed64(4, counts.iter().sum::<u64>() + 1),
            double(5, 3.5),
            zigzag(6, scale),
            fixed64(7, 1),
            message(8, [zigzag(1, offset), packed(2, counts.iter().copied())]),
        ],
    )
}

fn options() -> OtlpMetricsOptions {
    OtlpMetricsOptions { without_target_info: true, ..OtlpMetricsOptions::default() }
}

fn with(body: &[u8], options: &OtlpMetricsOptions) -> DecodedMetrics {
    decode(body, options, &Limits::default(), NOW_NS, Deltas::Keep).unwrap()
}

fn lines_of(metrics: &[Vec<u8>]) -> Vec<String> {
    let decoded = with(&request(metrics), &options());
    assert!(decoded.refused.is_empty(), "{:?}", refused(&decoded));
    lines(&decoded.batch)
}

#[test]
fn gauges_and_sums() {
    let exemplar = message(
        5,
        [fixed64(2, 9 * SECOND), double(3, 0.5), bytes(4, [1; 8]), bytes(5, [0xAB; 16]), attribute(7, "user", "u")],
    );
    let with_attributes = message(
        1,
        [
            times(1, 10),
            fixed64(6, -5_i64 as u64),
            attribute(7, "a.b", "x"),
            attribute(7, "a-b", "y"),
            attribute(7, "z", ""),
        ],
    );
    assert_eq!(
        lines_of(&[
            metric("mem.used", "1", 5, &[with_attributes, message(1, [double(4, 0.5)])]),
            sum(
                "sent",
                cumulative(),
                &[message(1, [times(1, 10), double(4, 2.0), exemplar]), message(1, [times(1, 11), number(8, 1)])]
            ),
            metric("queue", "", 7, &[cumulative(), point(1, 10, 3.0)]),
        ]),
        [
            "mem_used_ratio{a_b=y;x,instance=i-1,job=shop/cart} -5 @10000",
            "mem_used_ratio{instance=i-1,job=shop/cart} 0.5 @1748736000000",
            "sent_bytes_total{instance=i-1,job=shop/cart} 2 @10000 since 1000",
            "sent_bytes_total{instance=i-1,job=shop/cart} stale @11000 since 1000",
            "queue{instance=i-1,job=shop/cart} 3 @10000 since 1000",
            "sent_bytes_total{instance=i-1,job=shop/cart} exemplar {span_id=\"0101010101010101\", trace_id=\"abababababababababababababababab\", user=\"u\"} 0.5 @9000",
            "meta mem_used_ratio gauge \"Says it.\" \"\"",
            "meta sent_bytes_total counter \"Says it.\" \"bytes\"",
            "meta queue gauge \"Says it.\" \"\"",
        ]
    );
}

#[test]
fn histograms_of_explicit_bounds() {
    let exemplars = [7.0, 0.1, 99.0].map(|value| message(8, [double(3, value)])).concat();
    let mut data = classic(1, 10, [1, 2, 3]);
    data = bytes(1, [&data[2..], &exemplars].concat());
    assert_eq!(
        lines_of(&[metric("took", "s", 9, &[cumulative(), data])]),
        [
            "took_seconds_count{instance=i-1,job=shop/cart,path=/} 6 @10000 since 1000",
            "took_seconds_sum{instance=i-1,job=shop/cart,path=/} 7.5 @10000 since 1000",
            "took_seconds_bucket{instance=i-1,job=shop/cart,le=0.5,path=/} 1 @10000 since 1000",
            "took_seconds_bucket{instance=i-1,job=shop/cart,le=10,path=/} 3 @10000 since 1000",
            "took_seconds_bucket{instance=i-1,job=shop/cart,le=+Inf,path=/} 6 @10000 since 1000",
            "took_seconds_bucket{instance=i-1,job=shop/cart,le=0.5,path=/} exemplar {} 0.1 @10000",
            "took_seconds_bucket{instance=i-1,job=shop/cart,le=10,path=/} exemplar {} 7 @10000",
            "took_seconds_bucket{instance=i-1,job=shop/cart,le=+Inf,path=/} exemplar {} 99 @10000",
            "meta took_seconds histogram \"Says it.\" \"seconds\"",
        ]
    );
    let native = OtlpMetricsOptions { convert_histograms_to_nhcb: true, ..options() };
    let body = request(&[metric("took", "s", 9, &[cumulative(), classic(1, 10, [1, 0, 3])])]);
    assert_eq!(
        lines(&with(&body, &native).batch)[0],
        "took_seconds{instance=i-1,job=shop/cart,path=/} histogram Unknown schema=-53 count=4 sum=7.5 zero=0/0 pos=0+3:[1.0, 0.0, 3.0] neg=: [] bounds=[0.5, 10.0] @10000 since 1000"
            .replace(": []", ":[]")
    );
}

#[test]
fn exponential_histograms_and_summaries() {
    let quantile = |at: f64, value: f64| message(6, [double(1, at), double(2, value)]);
    let summary = message(1, [times(0, 10), fixed64(4, 3), double(5, 1.5), quantile(0.5, 0.2), quantile(1.0, 0.9)]);
    let stale = message(1, [times(1, 12), zigzag(6, 1), number(10, 1)]);
    assert_eq!(
        lines_of(&[
            metric("e", "", 10, &[cumulative(), exponential(10, 1, -2, &[1, 0, 2]), exponential(11, 10, 0, &[1, 1, 1, 1, 5]), stale]),
            metric("q", "ms", 11, &[summary]),
        ]),
        [
            "q_milliseconds_sum{instance=i-1,job=shop/cart} 1.5 @10000",
            "q_milliseconds_count{instance=i-1,job=shop/cart} 3 @10000",
            "q_milliseconds{instance=i-1,job=shop/cart,quantile=0.5} 0.2 @10000",
            "q_milliseconds{instance=i-1,job=shop/cart,quantile=1} 0.9 @10000",
            "e{instance=i-1,job=shop/cart} histogram Unknown schema=1 count=4 sum=3.5 zero=1/1e-128 pos=-1+3:[1.0, 0.0, 2.0] neg=:[] @10000 since 1000"
                .replace("1e-128", &1e-128_f64.to_string())
                .as_str(),
            "e{instance=i-1,job=shop/cart} histogram Unknown schema=8 count=10 sum=3.5 zero=1/1e-128 pos=1+2:[4.0, 5.0] neg=:[] @11000 since 1000"
                .replace("1e-128", &1e-128_f64.to_string())
                .as_str(),
            "e{instance=i-1,job=shop/cart} histogram Unknown schema=1 count=0 sum=stale zero=0/0 pos=:[] neg=:[] @12000 since 1000",
            "meta e histogram \"Says it.\" \"\"",
            "meta q_milliseconds summary \"Says it.\" \"milliseconds\"",
        ]
    );
}

#[test]
fn resource_and_scope_become_labels() {
    let body = request(&[metric("up.now", "", 5, &[point(0, 10, 1.0), point(0, 400, 1.0)])]);
    assert_eq!(
        lines(&with(&body, &OtlpMetricsOptions::default()).batch),
        [
            "up_now{instance=i-1,job=shop/cart} 1 @10000",
            "up_now{instance=i-1,job=shop/cart} 1 @400000",
            "target_info{host_name=h,instance=i-1,job=shop/cart} 1 @10000",
            "target_info{host_name=h,instance=i-1,job=shop/cart} 1 @160000",
            "target_info{host_name=h,instance=i-1,job=shop/cart} 1 @310000",
            "target_info{host_name=h,instance=i-1,job=shop/cart} 1 @400000",
            "meta up_now gauge \"Says it.\" \"\"",
            "meta target_info gauge \"Target metadata\" \"\"",
        ]
    );
    let all = OtlpMetricsOptions {
        translation: TranslationStrategy::NoTranslation,
        promote_resource_attributes: PromotedAttributes::AllBut(vec!["service.name".to_owned()]),
        promote_scope_metadata: true,
        ..options()
    };
    assert_eq!(
        lines(&with(&body, &all).batch)[0],
        "up.now{host.name=h,instance=i-1,job=shop/cart,otel_scope_name=lib,otel_scope_schema_url=http://schema,otel_scope_team=t,otel_scope_version=1.0,service.instance.id=i-1,service.namespace=shop} 1 @10000"
    );
    let some = OtlpMetricsOptions {
        promote_resource_attributes: PromotedAttributes::Only(vec!["host.name".to_owned()]),
        keep_identifying_resource_attributes: true,
        ..OtlpMetricsOptions::default()
    };
    let shown = lines(&with(&body, &some).batch);
    assert_eq!(shown[0], "up_now{host_name=h,instance=i-1,job=shop/cart} 1 @10000");
    assert_eq!(
        shown[2],
        "target_info{host_name=h,instance=i-1,job=shop/cart,service_instance_id=i-1,service_name=cart,service_namespace=shop} 1 @10000"
    );
}

#[test]
fn labels_of_the_sample_win() {
    let attributes = ["le", "job", "__name__", "host.name"].map(|key| attribute(9, key, "mine")).concat();
    let histogram = message(1, [times(0, 10), fixed64(4, 0), attributes]);
    let promoted = OtlpMetricsOptions {
        promote_resource_attributes: PromotedAttributes::AllBut(Vec::new()),
        translation: TranslationStrategy::NoTranslation,
        ..options()
    };
    let decoded = with(&request(&[metric("h", "", 9, &[cumulative(), histogram])]), &promoted);
    assert_eq!(refused(&decoded), Vec::<String>::new());
    assert_eq!(
        lines(&decoded.batch)[1],
        "h_bucket{host.name=mine,instance=i-1,job=shop/cart,le=+Inf,service.instance.id=i-1,service.name=cart,service.namespace=shop} 0 @10000"
    );
}

#[test]
fn deltas_are_kept_or_added_up() {
    let body = |time: u64| {
        request(&[
            sum("d", delta(), &[point(time - 1, time, 2.0)]),
            metric("h", "", 9, &[delta(), classic(time - 1, time, [1, 1, 0])]),
            metric("e", "", 10, &[delta(), exponential(time, 1, 0, &[1])]),
        ])
    };
    let kept = lines(&with(&body(10), &options()).batch);
    assert_eq!(kept[0], "d_bytes_total{instance=i-1,job=shop/cart} 2 @10000 since 9000");
    assert!(kept.iter().any(|line| line.contains("histogram Gauge")), "{kept:?}");
    assert!(kept.iter().any(|line| line == "meta d_bytes_total unknown \"Says it.\" \"bytes\""), "{kept:?}");

    let accumulator = DeltaAccumulator::new(DeltaSettings::default());
    let add = |body: &[u8]| {
        let deltas = Deltas::Accumulate { accumulator: &accumulator, tenant: "a" };
        decode(body, &options(), &Limits::default(), NOW_NS, deltas).unwrap()
    };
    add(&body(10));
    let second = add(&body(12));
    assert_eq!(
        lines(&second.batch)[..5],
        [
            "d_bytes_total{instance=i-1,job=shop/cart} 4 @12000 since 9000",
            "h_count{instance=i-1,job=shop/cart,path=/} 4 @12000 since 9000",
            "h_sum{instance=i-1,job=shop/cart,path=/} 15 @12000 since 9000",
            "h_bucket{instance=i-1,job=shop/cart,le=0.5,path=/} 2 @12000 since 9000",
            "h_bucket{instance=i-1,job=shop/cart,le=10,path=/} 4 @12000 since 9000",
        ]
    );
    assert_eq!(second.batch.histograms()[0].histogram.count, 4.0);
    // The same again, as when the answer was lost.
    let again = add(&body(12));
    assert_eq!((lines(&again.batch), again.refused_count()), (lines(&second.batch), 0));
    let late = add(&body(11));
    assert_eq!((late.batch.len(), late.refused_count()), (0, 3));
    assert_eq!(late.refused_samples.keys().copied().collect::<Vec<_>>(), [RefusalReason::OutOfOrder]);
    let ended = add(&request(&[sum("d", delta(), &[message(1, [times(12, 13), number(8, 1)]), point(13, 14, 1.0)])]));
    assert_eq!(
        lines(&ended.batch)[..2],
        [
            "d_bytes_total{instance=i-1,job=shop/cart} stale @13000 since 12000",
            "d_bytes_total{instance=i-1,job=shop/cart} 1 @14000 since 13000",
        ]
    );
}

#[test]
fn a_bad_point_is_refused_alone() {
    let body = request(&[
        metric("a", "", 5, &[point(0, 1, 1.0), message(1, [fixed64(3, u64::MAX)]), point(0, 3, 3.0)]),
        metric("b", "", 7, &[point(0, 1, 1.0), point(0, 2, 1.0)]),
        metric("@", "", 5, &[point(0, 1, 1.0)]),
        metric("c", "", 5, &[message(1, [times(0, 1), attribute(7, "", "x")])]),
        metric("d", "", 9, &[cumulative(), message(1, [packed_fixed64(6, [1]), packed_doubles(7, [1.0])])]),
        metric("e", "", 10, &[cumulative(), exponential(1, -5, 0, &[1]), exponential(1, 0, i64::from(i32::MAX), &[1])]),
        metric("f", "", 11, &[message(1, [attribute(7, "big", &"x".repeat(20_000))])]),
    ]);
    let decoded = with(&body, &options());
    assert_eq!(
        lines(&decoded.batch)[..2],
        ["a{instance=i-1,job=shop/cart} 1 @1000", "a{instance=i-1,job=shop/cart} 3 @3000"]
    );
    assert_eq!(
        refused(&decoded),
        [
            "1 timestamp: the time 18446744073709 ms is not between 1970-01-01 and 2262-04-11",
            "3 kind: the metric \"b\" is neither cumulative nor delta",
            "5 labels: the metric name \"@\" cannot be brought over",
            "6 labels: the name of an attribute is empty",
            "7 histogram: 1 bounds cannot have 1 buckets",
            "8 histogram: the scale -5 is below -4",
            "9 histogram: there is no bucket 2147483648",
            "10 labels: the label 'big' has a value of 20000 bytes; names may have 1024, values 16384",
        ]
    );
    assert_eq!(decoded.refused_count(), 9);
}

#[test]
fn bodies_that_say_too_much_are_refused() {
    let limits = Limits { metric_batch_bytes_max: 20_000, ..Limits::default() };
    let many = request(&[metric("a", "", 5, &[message(1, [times(0, 1)]).repeat(1_000)])]);
    let bounds: Vec<f64> = (0..500).map(f64::from).collect();
    let histogram = message(1, [packed_fixed64(6, vec![0; 501]), packed_doubles(7, bounds)]);
    for body in [many, request(&[metric("h", "", 9, &[cumulative(), histogram])])] {
        let error = decode(&body, &options(), &limits, NOW_NS, Deltas::Keep).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::TooLarge);
    }
    let far_apart = request(&[metric("a", "", 5, &[point(0, 1, 1.0), point(0, 9_000_000_000, 1.0)])]);
    assert!(with(&far_apart, &OtlpMetricsOptions::default()).batch.len() < 110);
}

fn everything() -> Vec<u8> {
    request(&[
        metric("mem.used", "1", 5, &[point(0, 10, 1.0)]),
        sum("sent", delta(), &[point(1, 10, 2.0)]),
        metric("took", "s", 9, &[cumulative(), classic(1, 10, [1, 2, 3])]),
        metric("e", "", 10, &[delta(), exponential(10, 1, -2, &[1, 0, 2])]),
    ])
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&body, &options(), &Limits::default(), NOW_NS, Deltas::Keep);
    }

    #[test]
    fn no_changed_body_makes_it_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut body = everything();
        for (at, byte) in changes {
            let at = at % body.len();
            body[at] = byte;
        }
        let accumulator = DeltaAccumulator::new(DeltaSettings::default());
        let deltas = Deltas::Accumulate { accumulator: &accumulator, tenant: "a" };
        for native in [false, true] {
            let options = OtlpMetricsOptions { convert_histograms_to_nhcb: native, ..OtlpMetricsOptions::default() };
            if let Ok(decoded) = decode(&body, &options, &Limits::default(), NOW_NS, deltas) {
                prop_assert!(decoded.batch.memory_bytes() <= 200 * body.len() + 1_000);
                let _ = lines(&decoded.batch);
            }
        }
    }
}
