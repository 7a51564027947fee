//! `ExportMetricsServiceRequest` in JSON.

use super::{Deltas, OtlpMetricsOptions};
use crate::decoded::{DecodeError, DecodedMetrics};
use crate::limits::Limits;
use crate::otlp_json::{KEY_VALUE, RESOURCE, SCOPE};
use crate::proto_json::{Field, Kind, field, to_protobuf};

/// [`super::decode`], of a body in JSON.
///
/// # Errors
/// As there.
pub fn decode_json(
    body: &[u8],
    options: &OtlpMetricsOptions,
    limits: &Limits,
    now_ns: i64,
    deltas: Deltas<'_>,
) -> Result<DecodedMetrics, DecodeError> {
    super::decode(&to_protobuf(body, &REQUEST)?, options, limits, now_ns, deltas)
}

static REQUEST: [Field; 1] = [field("resourceMetrics", 1, Kind::Many(&RESOURCE_METRICS))];

static RESOURCE_METRICS: [Field; 3] = [
    field("resource", 1, Kind::One(&RESOURCE)),
    field("scopeMetrics", 2, Kind::Many(&SCOPE_METRICS)),
    field("schemaUrl", 3, Kind::Text),
];

static SCOPE_METRICS: [Field; 3] =
    [field("scope", 1, Kind::One(&SCOPE)), field("metrics", 2, Kind::Many(&METRIC)), field("schemaUrl", 3, Kind::Text)];

static METRIC: [Field; 8] = [
    field("name", 1, Kind::Text),
    field("description", 2, Kind::Text),
    field("unit", 3, Kind::Text),
    field("gauge", 5, Kind::One(&GAUGE)),
    field("sum", 7, Kind::One(&SUM)),
    field("histogram", 9, Kind::One(&HISTOGRAM)),
    field("exponentialHistogram", 10, Kind::One(&EXPONENTIAL_HISTOGRAM)),
    field("summary", 11, Kind::One(&SUMMARY)),
];

static GAUGE: [Field; 1] = [field("dataPoints", 1, Kind::Many(&NUMBER))];

static SUM: [Field; 3] = [
    field("dataPoints", 1, Kind::Many(&NUMBER)),
    field("aggregationTemporality", 2, Kind::Enum(temporality)),
    field("isMonotonic", 3, Kind::Bool),
];

static HISTOGRAM: [Field; 2] =
    [field("dataPoints", 1, Kind::Many(&HISTOGRAM_POINT)), field("aggregationTemporality", 2, Kind::Enum(temporality))];

static EXPONENTIAL_HISTOGRAM: [Field; 2] = [
    field("dataPoints", 1, Kind::Many(&EXPONENTIAL_POINT)),
    field("aggregationTemporality", 2, Kind::Enum(temporality)),
];

static SUMMARY: [Field; 1] = [field("dataPoints", 1, Kind::Many(&SUMMARY_POINT))];

static NUMBER: [Field; 7] = [
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("asDouble", 4, Kind::Double),
    field("exemplars", 5, Kind::Many(&EXEMPLAR)),
    field("asInt", 6, Kind::Fixed64),
    field("attributes", 7, Kind::Many(&KEY_VALUE)),
    field("flags", 8, Kind::Integer),
];

static HISTOGRAM_POINT: [Field; 11] = [
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("bucketCounts", 6, Kind::Fixed64s),
    field("explicitBounds", 7, Kind::Doubles),
    field("exemplars", 8, Kind::Many(&EXEMPLAR)),
    field("attributes", 9, Kind::Many(&KEY_VALUE)),
    field("flags", 10, Kind::Integer),
    field("min", 11, Kind::Double),
    field("max", 12, Kind::Double),
];

static EXPONENTIAL_POINT: [Field; 14] = [
    field("attributes", 1, Kind::Many(&KEY_VALUE)),
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("scale", 6, Kind::ZigZag),
    field("zeroCount", 7, Kind::Fixed64),
    field("positive", 8, Kind::One(&BUCKETS)),
    field("negative", 9, Kind::One(&BUCKETS)),
    field("flags", 10, Kind::Integer),
    field("exemplars", 11, Kind::Many(&EXEMPLAR)),
    field("min", 12, Kind::Double),
    field("max", 13, Kind::Double),
    field("zeroThreshold", 14, Kind::Double),
];

static BUCKETS: [Field; 2] = [field("offset", 1, Kind::ZigZag), field("bucketCounts", 2, Kind::Integers)];

static SUMMARY_POINT: [Field; 7] = [
    field("startTimeUnixNano", 2, Kind::Fixed64),
    field("timeUnixNano", 3, Kind::Fixed64),
    field("count", 4, Kind::Fixed64),
    field("sum", 5, Kind::Double),
    field("quantileValues", 6, Kind::Many(&QUANTILE)),
    field("attributes", 7, Kind::Many(&KEY_VALUE)),
    field("flags", 8, Kind::Integer),
];

static QUANTILE: [Field; 2] = [field("quantile", 1, Kind::Double), field("value", 2, Kind::Double)];

static EXEMPLAR: [Field; 6] = [
    field("timeUnixNano", 2, Kind::Fixed64),
    field("asDouble", 3, Kind::Double),
    field("spanId", 4, Kind::Hex),
    field("traceId", 5, Kind::Hex),
    field("asInt", 6, Kind::Fixed64),
    field("filteredAttributes", 7, Kind::Many(&KEY_VALUE)),
];

fn temporality(name: &str) -> u64 {
    match name {
        "AGGREGATION_TEMPORALITY_DELTA" | "1" => 1,
        "AGGREGATION_TEMPORALITY_CUMULATIVE" | "2" => 2,
        _ => 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::shown::{lines, refused};

    #[test]
    fn every_kind_of_metric() {
        let body = br#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},
            "scopeMetrics":[{"scope":{"name":"lib"},"metrics":[
            {"name":"temp","unit":"Cel","description":"How warm.","gauge":{"dataPoints":[{"timeUnixNano":"1000000000","asDouble":1.5,
              "attributes":[{"key":"room","value":{"stringValue":"a"}}]}]}},
            {"name":"hits","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"startTimeUnixNano":"500000000","timeUnixNano":1000000000,"asInt":"0",
              "exemplars":[{"timeUnixNano":"900000000","asDouble":2.5,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}]}},
            {"name":"took","histogram":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[{"timeUnixNano":"1000000000","count":"3","sum":4.5,
              "bucketCounts":["1","2"],"explicitBounds":[0.5]}]}},
            {"name":"exp","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1000000000","count":4,"sum":9,"scale":-1,"zeroCount":"1","zeroThreshold":0.25,
              "positive":{"offset":-2,"bucketCounts":["1",2]}}]}},
            {"name":"sums","summary":{"dataPoints":[{"timeUnixNano":"1000000000","count":"2","sum":3,"quantileValues":[{"quantile":0.5,"value":1.25}]}]}}
            ]}]}]}"#;
        let decoded = decode_json(body, &OtlpMetricsOptions::default(), &Limits::default(), 9, Deltas::Keep).unwrap();
        assert!(refused(&decoded).is_empty(), "{:?}", refused(&decoded));
        assert_eq!(
            lines(&decoded.batch),
            [
                "temp_celsius{job=s,room=a} 1.5 @1000",
                "hits_total{job=s} 0 @1000 since 500",
                "took_count{job=s} 3 @1000",
                "took_sum{job=s} 4.5 @1000",
                "took_bucket{job=s,le=0.5} 1 @1000",
                "took_bucket{job=s,le=+Inf} 3 @1000",
                "sums_sum{job=s} 3 @1000",
                "sums_count{job=s} 2 @1000",
                "sums{job=s,quantile=0.5} 1.25 @1000",
                "exp{job=s} histogram Unknown schema=-1 count=4 sum=9 zero=1/0.25 pos=-1+2:[1.0, 2.0] neg=:[] @1000",
                "hits_total{job=s} exemplar {span_id=\"eee19b7ec3c1b174\", trace_id=\"5b8efff798038103d269b633813fc60c\"} 2.5 @900",
                "meta temp_celsius gauge \"How warm.\" \"celsius\"",
                "meta hits_total counter \"\" \"\"",
                "meta took histogram \"\" \"\"",
                "meta exp histogram \"\" \"\"",
                "meta sums summary \"\" \"\"",
            ]
        );
    }
}
