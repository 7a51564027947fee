//! No template of a rule makes reading or filling it panic, and none makes more than it may.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use query::template::prometheus::{Data, Number, QueriedSample, Querier, expand};

struct Echo;

impl Querier for Echo {
    fn query(&self, expr: &str) -> Result<Vec<QueriedSample>, String> {
        let sample = |name: &str, value: f64| QueriedSample {
            labels: BTreeMap::from([("instance".to_owned(), name.to_owned())]),
            value: Number::Float(value),
        };
        if expr.is_empty() { Err("empty".to_owned()) } else { Ok(vec![sample(expr, 1.5), sample("a", f64::NAN)]) }
    }
}

fuzz_target!(|text: &str| {
    let labels = BTreeMap::from([("job".to_owned(), "api".to_owned()), ("empty".to_owned(), String::new())]);
    let data = Data {
        external_labels: labels.clone(),
        labels,
        external_url: "http://localhost:7600/x".to_owned(),
        value: Number::Float(0.25),
        at_ms: 1_700_000_000_000,
    };
    if let Ok(filled) = expand("fuzz", text, &data, &Echo) {
        // One text beyond the bound, and one value shown.
        assert!(filled.len() <= text.len() + (48 << 20));
    }
});
