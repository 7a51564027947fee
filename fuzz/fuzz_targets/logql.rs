//! No text makes the LogQL parser panic; what it accepts is read back from its own output as the same tree, and runs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use query::logql::pipeline::{NoMetadata, Pipeline, Row};
use query::logql::{Expr, literals, parse, pretty, to_line};
use storage::Labels;

fuzz_target!(|text: &str| {
    let Ok(expr) = parse(text) else { return };
    // NaN, which two literals can make, is not equal to itself.
    if expr == expr.clone() {
        assert_eq!(parse(&to_line(&expr)).as_ref(), Ok(&expr));
        assert_eq!(parse(&pretty(&expr)).as_ref(), Ok(&expr));
    }
    let Expr::Log(log) = expr else { return };
    let Ok(pipeline) = Pipeline::new(&log.stages) else { return };
    let stream = Labels::new([("app", "web")]);
    // The query is its own line: it has quotes, braces and pairs.
    let mut row = Row::new(&NoMetadata);
    row.start(0, &stream, 0, text);
    let passes = pipeline.run(&mut row);
    if passes {
        for clause in literals::needles(&log.stages, &|_| false) {
            let folded: String = text.chars().map(literals::fold).collect();
            assert!(clause.iter().any(|n| if n.ignore_case { folded.contains(&n.text) } else { text.contains(&n.text) }));
        }
    }
});
