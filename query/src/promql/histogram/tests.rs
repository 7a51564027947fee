//! Tests of the arithmetic.
#![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests")]

use proptest::prelude::*;
use storage::metrics::{Histogram, ResetHint, Span};

use super::*;

/// Positive buckets from `offset` on; the count is their sum.
fn exponential(schema: i32, offset: i32, counts: &[f64]) -> Histogram {
    Histogram {
        schema,
        zero_threshold: 0.001,
        count: counts.iter().sum(),
        sum: 10.0,
        positive_spans: vec![Span { offset, length: counts.len() as u32 }],
        positive_buckets: counts.to_vec(),
        ..Histogram::default()
    }
}

fn custom(bounds: &[f64], counts: &[f64]) -> Histogram {
    Histogram {
        schema: Histogram::CUSTOM_SCHEMA,
        custom_values: bounds.to_vec(),
        zero_threshold: 0.0,
        ..exponential(0, 0, counts)
    }
}

fn expression(h: &Histogram) -> String {
    test_expression(h)
}

#[test]
fn bounds_of_schemas() {
    let check = |index, schema, bound: f64| assert_eq!(bucket_bound(index, schema, &[]), bound, "{index} of {schema}");
    check(0, 0, 1.0);
    check(1, 0, 2.0);
    check(-1, 0, 0.5);
    check(3, -1, 64.0);
    check(1, 1, std::f64::consts::SQRT_2.next_down());
    check(1, 8, 1.002_711_275_050_202_5);
    check(1024, 0, f64::MAX);
    check(1025, 0, f64::INFINITY);
    check(2048, 1, f64::MAX);
    check(256, -2, f64::MAX);
    check(257, -2, f64::INFINITY);
    check(-1074, 0, f64::from_bits(1));
    check(i32::MAX, 8, f64::INFINITY);
    check(i32::MIN, -4, 0.0);
    assert_eq!(bucket_bound(0, -53, &[5.0]), 5.0);
    assert_eq!(bucket_bound(1, -53, &[5.0]), f64::INFINITY);
    assert_eq!(bucket_bound(-1, -53, &[5.0]), f64::NEG_INFINITY);
}

#[test]
fn buckets_come_in_ascending_order() {
    let mut h = exponential(0, 1, &[1.0, 2.0]);
    h.positive_spans = vec![Span { offset: 1, length: 1 }, Span { offset: 1, length: 1 }];
    h.negative_spans = vec![Span { offset: 0, length: 2 }];
    h.negative_buckets = vec![3.0, 4.0];
    h.zero_count = 5.0;
    let all: Vec<_> = buckets(&h).map(|bucket| (bucket.lower, bucket.upper, bucket.count)).collect();
    let expected = [(-2.0, -1.0, 4.0), (-1.0, -0.5, 3.0), (-0.001, 0.001, 5.0), (1.0, 2.0, 1.0), (4.0, 8.0, 2.0)];
    assert_eq!(all, expected);
    let mut backwards: Vec<_> = buckets(&h).rev().map(|bucket| (bucket.lower, bucket.upper, bucket.count)).collect();
    backwards.reverse();
    assert_eq!(backwards, expected);
    assert_eq!(to_text(&h), "{count:3, sum:10, [-2,-1):4, [-1,-0.5):3, [-0.001,0.001]:5, (1,2]:1, (4,8]:2}");
}

#[test]
fn sums_have_the_buckets_of_both() {
    let check = |mut a: Histogram, b: Histogram, text: &str| {
        let (mut kahan, mut kept) = (a.clone(), None);
        add(&mut a, &b).unwrap();
        assert_eq!(expression(&a), text);
        kahan_add(&mut kahan, &b, &mut kept).unwrap();
        add(&mut kahan, &kept.unwrap()).unwrap();
        assert_eq!(expression(&kahan), text);
        sub(&mut a, &b).unwrap();
    };
    let e = exponential;
    check(e(0, 1, &[1.0, 2.0]), e(0, 1, &[3.0, 4.0]), "{{count:10 sum:20 z_bucket_w:0.001 offset:1 buckets:[4 6]}}");
    check(e(0, 1, &[1.0]), e(0, 3, &[4.0]), "{{count:5 sum:20 z_bucket_w:0.001 offset:1 buckets:[1 0 4]}}");
    check(e(0, 3, &[1.0]), e(0, -2, &[4.0]), "{{count:5 sum:20 z_bucket_w:0.001 offset:-2 buckets:[4 0 0 0 0 1]}}");
    check(e(1, 1, &[1.0; 4]), e(0, 1, &[4.0]), "{{count:8 sum:20 z_bucket_w:0.001 offset:1 buckets:[6 2]}}");
    check(e(0, 1, &[4.0]), e(1, 1, &[1.0; 4]), "{{count:8 sum:20 z_bucket_w:0.001 offset:1 buckets:[6 2]}}");
    let c = custom;
    check(
        c(&[1.0, 2.0], &[1.0, 2.0, 3.0]),
        c(&[1.0, 2.0], &[1.0]),
        "{{schema:-53 count:7 sum:20 custom_values:[1 2] buckets:[2 2 3]}}",
    );
    check(
        c(&[1.0, 2.0], &[1.0, 2.0, 3.0]),
        c(&[2.0, 4.0], &[1.0, 5.0]),
        "{{schema:-53 count:12 sum:20 custom_values:[2] buckets:[4 8]}}",
    );
    assert_eq!(add(&mut c(&[1.0], &[1.0]), &e(0, 0, &[1.0])), Err(HistogramError::IncompatibleSchema));
}

#[test]
fn outcomes() {
    let mut a = Histogram { reset_hint: ResetHint::Reset, ..custom(&[1.0], &[1.0]) };
    let b = Histogram { reset_hint: ResetHint::NotReset, ..custom(&[2.0], &[1.0]) };
    let outcome = sub(&mut a, &b).unwrap();
    assert_eq!(outcome, Outcome { counter_reset_collision: true, bounds_reconciled: true });
    assert_eq!((a.reset_hint, a.custom_values.len()), (ResetHint::Unknown, 0));
    let mut a = Histogram { reset_hint: ResetHint::Reset, ..exponential(0, 0, &[1.0]) };
    let b = Histogram { reset_hint: ResetHint::Gauge, ..exponential(0, 0, &[1.0]) };
    assert_eq!(add(&mut a, &b), Ok(Outcome::default()));
    assert_eq!(a.reset_hint, ResetHint::Gauge);
}

#[test]
fn the_wider_zero_bucket_takes_in_whole_buckets() {
    let mut narrow = exponential(0, 0, &[1.0, 2.0, 4.0]);
    narrow.zero_count = 8.0;
    let wide = Histogram { zero_threshold: 1.5, zero_count: 16.0, ..Histogram::default() };
    // 1.5 cuts the bucket from 1 to 2.
    let expected = "{{count:7 sum:10 z_bucket:27 z_bucket_w:2 offset:2 buckets:[4]}}";
    let mut sum = narrow.clone();
    add(&mut sum, &wide).unwrap();
    assert_eq!(expression(&sum), expected);
    let mut sum = wide.clone();
    add(&mut sum, &narrow).unwrap();
    assert_eq!(expression(&sum), expected);
    let (mut sum, mut kept) = (narrow.clone(), None);
    kahan_add(&mut sum, &wide, &mut kept).unwrap();
    assert_eq!(expression(&sum), expected);
    assert_eq!(kept.unwrap().positive_buckets.len(), sum.positive_buckets.len());
}

#[test]
fn kahan_keeps_what_rounding_drops() {
    let (mut sum, mut kept) = (exponential(0, 0, &[1e100]), None);
    for count in [1.0, -1e100] {
        kahan_add(&mut sum, &exponential(0, 0, &[count]), &mut kept).unwrap();
    }
    add(&mut sum, &kept.unwrap()).unwrap();
    assert_eq!((sum.count, sum.positive_buckets), (1.0, vec![1.0]));
}

#[test]
fn scaled_and_divided() {
    let mut h = exponential(0, 0, &[2.0, 4.0]);
    scale(&mut h, 0.5);
    assert_eq!((h.count, h.sum, &h.positive_buckets[..]), (3.0, 5.0, &[1.0, 2.0][..]));
    scale(&mut h, -1.0);
    assert_eq!(h.reset_hint, ResetHint::Gauge);
    divide(&mut h, -1.0);
    assert_eq!(h.count, 3.0);
    divide(&mut h, 0.0);
    assert_eq!((h.count, h.positive_buckets.len(), h.positive_spans.len()), (f64::INFINITY, 0, 0));
    assert!(has_overflow(&h) && !has_overflow(&exponential(0, 0, &[1.0])));
}

#[test]
fn compacted() {
    let check = |max_empty, counts: &[f64], spans: &[(i32, u32)], left: &[f64]| {
        let mut h = exponential(0, 5, &[0.0, 1.0, 0.0, 0.0, 2.0, 0.0, 3.0, 0.0]);
        compact(&mut h, max_empty);
        let spans: Vec<_> = spans.iter().map(|&(offset, length)| Span { offset, length }).collect();
        assert_eq!((&h.positive_spans, &h.positive_buckets[..]), (&spans, left), "{counts:?}");
    };
    check(0, &[], &[(6, 1), (2, 1), (1, 1)], &[1.0, 2.0, 3.0]);
    check(1, &[], &[(6, 1), (2, 3)], &[1.0, 2.0, 0.0, 3.0]);
    check(2, &[], &[(6, 6)], &[1.0, 0.0, 0.0, 2.0, 0.0, 3.0]);
    let mut empty = exponential(0, 5, &[0.0, 0.0]);
    compact(&mut empty, 0);
    assert_eq!((empty.positive_spans.len(), empty.positive_buckets.len()), (0, 0));
}

#[test]
fn resets() {
    let check = |now: &Histogram, before: &Histogram, reset| assert_eq!(detect_reset(now, before), reset, "{now:?}");
    let (e, c) = (exponential, custom);
    let before = e(1, 1, &[1.0, 2.0]);
    check(&before, &before, false);
    check(&e(1, 1, &[2.0, 2.0]), &before, false);
    check(&e(1, 1, &[2.0, 1.0, 5.0]), &before, true);
    check(&e(1, 2, &[5.0]), &before, true);
    check(&e(1, 1, &[1.0]), &before, true);
    check(&e(2, 1, &[9.0, 9.0, 9.0, 9.0]), &before, true);
    check(&e(0, 1, &[3.0]), &before, false);
    check(&e(0, 1, &[2.0, 5.0]), &before, true);
    check(&Histogram { zero_threshold: 0.0, ..before.clone() }, &before, true);
    check(&Histogram { zero_threshold: 2.0, zero_count: 3.0, count: 4.0, ..e(1, 3, &[1.0]) }, &before, false);
    check(&Histogram { zero_threshold: 2.0, zero_count: 2.0, count: 4.0, ..e(1, 3, &[1.0]) }, &before, true);
    check(&Histogram { reset_hint: ResetHint::Reset, ..before.clone() }, &before, true);
    check(&Histogram { reset_hint: ResetHint::NotReset, ..e(1, 1, &[0.5]) }, &before, false);
    check(&c(&[1.0], &[3.0]), &before, true);
    check(&e(0, 0, &[9.0]), &c(&[1.0], &[3.0]), true);
    check(&c(&[1.0, 2.0], &[1.0, 1.0, 9.0]), &c(&[2.0, 3.0], &[2.0, 1.0]), false);
    check(&c(&[1.0, 2.0], &[1.0, 0.0, 9.0]), &c(&[2.0, 3.0], &[2.0, 1.0]), true);
}

#[test]
fn quantiles() {
    let check = |q, h: &Histogram, expected: f64| {
        let (value, note) = quantile(q, h);
        assert!((value - expected).abs() < 1e-9 || value == expected, "{q}: {value} is not {expected}");
        assert_eq!(note, None);
    };
    let h = exponential(0, 1, &[10.0]);
    check(0.5, &h, 2.0_f64.sqrt());
    check(1.0, &h, 2.0);
    check(-0.1, &h, f64::NEG_INFINITY);
    check(1.1, &h, f64::INFINITY);
    assert!(quantile(0.5, &Histogram::default()).0.is_nan());
    check(0.25, &custom(&[2.0, 4.0], &[10.0, 10.0]), 1.0);
    check(0.75, &custom(&[2.0, 4.0], &[10.0, 10.0]), 3.0);
    check(0.9, &custom(&[2.0], &[1.0, 9.0]), 2.0);
    let nan = Histogram { count: 20.0, sum: f64::NAN, ..h.clone() };
    assert_eq!(quantile(0.25, &nan), (2.0_f64.sqrt(), Some(QuantileNote::NanSkew)));
    assert!(matches!(quantile(0.9, &nan), (value, Some(QuantileNote::NanResult)) if value.is_nan()));
}

#[test]
fn fractions() {
    let check = |lower, upper, h: &Histogram, expected: f64| {
        let (value, left_out) = fraction(lower, upper, h);
        assert!((value - expected).abs() < 1e-9, "{lower} to {upper}: {value} is not {expected}");
        assert!(!left_out);
    };
    let h = exponential(0, 1, &[10.0, 30.0]);
    check(1.0, 2.0, &h, 0.25);
    check(f64::NEG_INFINITY, 2.0_f64.sqrt(), &h, 0.125);
    check(2.0, f64::INFINITY, &h, 0.75);
    check(3.0, 3.0, &h, 0.0);
    check(0.0, 1.0, &custom(&[2.0, 4.0], &[10.0, 10.0]), 0.25);
    check(-5.0, 3.0, &custom(&[2.0, 4.0], &[10.0, 10.0]), 0.75);
    let nan = Histogram { count: 80.0, sum: f64::NAN, ..h.clone() };
    assert_eq!(fraction(f64::NEG_INFINITY, f64::INFINITY, &nan), (0.5, true));
}

#[test]
fn trimmed() {
    let check = |trim: fn(&mut Histogram, f64), bound, mut h: Histogram, text: &str| {
        trim(&mut h, bound);
        assert_eq!(expression(&h), text);
    };
    let h = || Histogram { zero_threshold: 0.0, ..exponential(0, 1, &[8.0, 4.0]) };
    check(trim_upper, 4.0, h(), "{{count:12 sum:10 offset:1 buckets:[8 4]}}");
    check(trim_upper, 2.0, h(), "{{count:8 sum:11.313708498984761 offset:1 buckets:[8]}}");
    check(trim_lower, 2.0, h(), "{{count:4 sum:11.313708498984761 offset:2 buckets:[4]}}");
    check(trim_upper, 0.0, h(), "{{}}");
    let c = || custom(&[2.0, 4.0], &[4.0, 4.0, 4.0]);
    check(trim_upper, 3.0, c(), "{{schema:-53 count:6 sum:9 custom_values:[2 4] buckets:[4 2]}}");
    check(trim_lower, 1.0, c(), "{{schema:-53 count:10 sum:31 custom_values:[2 4] buckets:[2 4 4]}}");
    check(trim_lower, 5.0, c(), "{{schema:-53 count:4 sum:20 custom_values:[2 4] offset:2 buckets:[4]}}");
}

#[test]
fn spread() {
    let h = Histogram { sum: 16.0, ..custom(&[2.0, 4.0], &[4.0, 4.0]) };
    assert_eq!((avg(&h), stdvar(&custom(&[0.0], &[0.0])).is_nan()), (2.0, true));
    let h = Histogram { sum: 8.0 * 8.0_f64.sqrt(), ..exponential(0, 2, &[8.0]) };
    assert_eq!((stdvar(&h), stddev(&h)), (0.0, 0.0));
}

#[test]
fn json() {
    let check = |h: &Histogram, text: &str| {
        let mut out = String::new();
        write_json(h, &mut out);
        assert_eq!(out, text);
    };
    check(&Histogram::default(), r#"{"count":"0","sum":"0"}"#);
    let mut h = exponential(0, 1, &[1.0, 0.0, 1e21]);
    h.zero_count = 2.0;
    check(
        &h,
        r#"{"count":"1e+21","sum":"10","buckets":[[3,"-0.001","0.001","2"],[0,"1","2","1"],[0,"4","8","1e+21"]]}"#,
    );
}

#[test]
fn classic() {
    let buckets = |pairs: &[(f64, f64)]| -> Vec<_> {
        pairs.iter().map(|&(upper, count)| ClassicBucket { upper, count }).collect()
    };
    let check = |q, pairs: &[(f64, f64)], expected: f64| {
        let value = bucket_quantile(q, &mut buckets(pairs)).value;
        assert!(value == expected || value.is_nan() && expected.is_nan(), "{value} is not {expected}");
    };
    let inf = f64::INFINITY;
    check(0.5, &[(inf, 10.0), (1.0, 5.0), (2.0, 10.0)], 1.0);
    check(0.25, &[(1.0, 5.0), (2.0, 10.0), (inf, 10.0)], 0.5);
    check(0.99, &[(1.0, 5.0), (inf, 10.0)], 1.0);
    check(0.1, &[(-1.0, 5.0), (inf, 10.0)], -1.0);
    check(0.1, &[(1.0, 5.0)], f64::NAN);
    check(0.1, &[(inf, 5.0)], f64::NAN);
    let mended = bucket_quantile(0.5, &mut buckets(&[(1.0, 5.0), (2.0, 3.0), (inf, 10.0)]));
    assert!(mended.forced_monotonic && !mended.fixed_precision);
    assert_eq!((mended.min_bucket, mended.max_bucket, mended.max_difference), (2.0, 2.0, 2.0));
    let all = [(1.0, 5.0), (2.0, 10.0), (inf, 20.0)];
    assert_eq!(bucket_fraction(0.5, 1.5, &mut buckets(&all)), 0.25);
    assert_eq!(bucket_fraction(-1.0, inf, &mut buckets(&all)), 1.0);
    assert!(bucket_fraction(0.0, 1.0, &mut Vec::new()).is_nan());
}

prop_compose! {
    /// Anything, spans that fit no buckets among them.
    fn any_histogram()(
        schema in prop_oneof![-4..=8_i32, Just(Histogram::CUSTOM_SCHEMA)],
        spans in prop::collection::vec((-50..50_i32, 0..5_u32), 0..4),
        counts in prop::collection::vec(prop_oneof![Just(0.0), 0.0..9.0_f64], 0..9),
        zero_threshold in prop_oneof![Just(0.0), 0.0..4.0_f64],
        custom_values in prop::collection::vec(-9.0..9.0_f64, 0..5),
    ) -> Histogram {
        let spans: Vec<_> = spans.into_iter().map(|(offset, length)| Span { offset, length }).collect();
        Histogram {
            schema, zero_threshold, zero_count: 1.0, count: counts.iter().sum(), sum: 3.0,
            positive_spans: spans.clone(), positive_buckets: counts.clone(),
            negative_spans: spans, negative_buckets: counts, custom_values, ..Histogram::default()
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics(a in any_histogram(), b in any_histogram(), q in -0.1..1.1_f64, bound in -9.0..9.0_f64) {
        let (mut sum, mut kahan, mut kept) = (a.clone(), a.clone(), None);
        let _ = add(&mut sum, &b);
        let _ = kahan_add(&mut kahan, &b, &mut kept);
        let _ = kahan_add(&mut kahan, &a, &mut kept);
        let _ = sub(&mut sum, &a);
        compact(&mut sum, 1);
        trim_upper(&mut sum, bound);
        trim_lower(&mut kahan, bound);
        let _ = (quantile(q, &sum), fraction(q, bound, &a), stdvar(&a), detect_reset(&a, &b), equals(&a, &b));
        let _ = (to_text(&a), test_expression(&b), copy_to_schema(&a, -4));
        prop_assert_eq!(buckets(&a).count(), buckets(&a).rev().count());
    }
}
