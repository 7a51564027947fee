//! Lines as Telegraf and others write them, what is refused, and that no bytes make the decoder panic.
#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;
use crate::decoded::DecodeErrorKind;
use crate::shown::{lines, refused};

fn decoded_as(body: &str, precision: Precision, database: &str) -> DecodedMetrics {
    let options = InfluxOptions { precision, database: database.to_owned() };
    decode(body.as_bytes(), &options, &Limits::default(), 7_000_999_999).unwrap()
}

#[track_caller]
fn check(body: &str, expected: &[&str]) {
    let decoded = decoded_as(body, Precision::Nanoseconds, "");
    assert!(refused(&decoded).is_empty(), "{:?}", refused(&decoded));
    assert_eq!(lines(&decoded.batch), expected, "{body}");
}

#[test]
fn lines_become_samples() {
    check(
        "cpu,cpu=cpu0,host=a usage_idle=99.5,usage_user=0.5 1700000000123456789\n\
         # a comment\n\n\
         mem,host=a used=12i,free=3u,ok=t,bad=FALSE 1700000000000000000\r\n\
         swap total=-1.5e3",
        &[
            "cpu_usage_idle{cpu=cpu0,host=a} 99.5 @1700000000123",
            "cpu_usage_user{cpu=cpu0,host=a} 0.5 @1700000000123",
            "mem_used{host=a} 12 @1700000000000",
            "mem_free{host=a} 3 @1700000000000",
            "mem_ok{host=a} 1 @1700000000000",
            "mem_bad{host=a} 0 @1700000000000",
            "swap_total -1500 @7000",
        ],
    );
}

#[test]
fn escapes_are_undone() {
    check(r"a\,b\ c,t\=1=x\,y\ z,p=C:\dir f\ 1=1 1000000", &[r"a,b c_f 1{p=C:\dir,t=1=x,y z} 1 @1"]);
    check(r"\ a,\,t=v f=1 1000000", &[" a_f{,t=v} 1 @1"]);
    check("m,z=1,a=é v=1 1000000", &["m_v{a=é,z=1} 1 @1"]);
}

#[test]
fn text_is_no_sample_unless_it_is_a_number() {
    check(
        "s format=\"1 day,\nand \\\"more\\\" x=1 2\",n=\"17\",v=2 3000000\nt only=\"text\" 1",
        &["s_n 17 @3", "s_v 2 @3"],
    );
}

#[test]
fn precision_and_database() {
    for (name, time) in
        [("n", 0), ("us", 1), ("ms", 1_500), ("s", 1_500_000), ("m", 90_000_000), ("h", 5_400_000_000_i64)]
    {
        let decoded = decoded_as("m v=1 1500", Precision::named(name).unwrap(), "");
        assert_eq!(lines(&decoded.batch), [format!("m_v 1 @{time}")], "{name}");
    }
    assert_eq!(Precision::named("d"), None);
    let decoded = decoded_as("m v=1 1\nm,db=own v=1 1", Precision::Seconds, "telegraf");
    assert_eq!(lines(&decoded.batch), ["m_v{db=telegraf} 1 @1000", "m_v{db=own} 1 @1000"]);
}

#[test]
fn bad_lines_are_refused_alone() {
    let body = "good v=1 1\nbad\nbad,t v=1\nbad,=x v=1\nbad,t=a=b v=1\nbad v\nbad v=\nbad v=x\nbad =1\nbad v=1 x\n\
                bad v=1 1 2\nbad v=nan\nbad v=1x\n,t=1 v=1\n\ngood v=2 1\nbad,a=1,a=2 v=1\nbad v=1 -1000000\nbad v=\"open";
    let decoded = decoded_as(body, Precision::Nanoseconds, "");
    assert_eq!(lines(&decoded.batch), ["good_v 1 @0", "good_v 2 @0"]);
    assert_eq!(
        refused(&decoded),
        [
            "2 malformed: unable to parse 'bad': missing fields",
            "3 malformed: unable to parse 'bad,t v=1': missing tag value",
            "4 malformed: unable to parse 'bad,=x v=1': missing tag key",
            "5 malformed: unable to parse 'bad,t=a=b v=1': invalid tag format",
            "6 malformed: unable to parse 'bad v': missing field value",
            "7 malformed: unable to parse 'bad v=': missing field value",
            "8 malformed: unable to parse 'bad v=x': invalid number",
            "9 malformed: unable to parse 'bad =1': missing field key",
            "10 malformed: unable to parse 'bad v=1 x': bad timestamp",
            "11 malformed: unable to parse 'bad v=1 1 2': bad timestamp",
            "12 malformed: unable to parse 'bad v=nan': invalid number",
            "13 malformed: unable to parse 'bad v=1x': invalid number",
            "14 malformed: unable to parse ',t=1 v=1': missing measurement",
            "17 labels: the label name \"a\" is there twice",
            "18 timestamp: the time -1 ms is not between 1970-01-01 and 2262-04-11",
            "19 malformed: unable to parse 'bad v=\"open': unbalanced quotes",
        ]
    );
}

#[test]
fn a_short_line_that_says_much_is_too_large() {
    let limits = Limits { metric_batch_bytes_max: 20_000, ..Limits::default() };
    let body = format!("m,t={} {}v=1", "x".repeat(1_000), "f=1,".repeat(500));
    let options = InfluxOptions { precision: Precision::Seconds, database: String::new() };
    assert_eq!(decode(body.as_bytes(), &options, &limits, 0).unwrap_err().kind, DecodeErrorKind::TooLarge);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body in "[a-c,= \\\\\"\n#0-9ié]{0,60}") {
        let decoded = decoded_as(&body, Precision::Nanoseconds, "x");
        let _ = lines(&decoded.batch);
    }

    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..100)) {
        let options = InfluxOptions { precision: Precision::Hours, database: String::new() };
        let _ = decode(&body, &options, &Limits::default(), 0);
    }
}
