//! Runs the commands of a script.

use super::answer::{Answer, Evaluated, Point, Times};
use super::at;
use super::compare::{check_answer, check_notes, check_sorted};
use super::evaluate::Evaluator;
use super::script::{Command, CommandKind, Eval, parse};
use super::store::MemorySource;
use crate::promql::ast::Expr;
use crate::promql::parser;

/// How one `eval` went.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its line in the script, from 1.
    pub line: usize,
    /// The query.
    pub expr: String,
    /// Why it failed.
    pub result: Result<(), String>,
}

/// Runs a script; what a script loads is gone at its end. An `eval` that fails does not stop it.
///
/// # Errors
/// The script cannot be read, or a `load` cannot be done.
pub fn run(script: &str) -> Result<Vec<Report>, String> {
    let evaluator = Evaluator::new()?;
    let mut source = MemorySource::default();
    let mut reports = Vec::new();
    for Command { line, kind } in parse(script)? {
        match kind {
            CommandKind::Clear => source = MemorySource::default(),
            CommandKind::Load(load) => source.load(&load).map_err(|why| format!("line {line}: {why}"))?,
            CommandKind::Eval(eval) => {
                let result = run_eval(&eval, &source, &evaluator);
                reports.push(Report { line, expr: eval.expr, result });
            }
        }
    }
    Ok(reports)
}

fn run_eval(eval: &Eval, source: &MemorySource, evaluator: &Evaluator) -> Result<(), String> {
    let expr = match parser::parse(&eval.expr) {
        Ok(expr) => expr,
        Err(error) => return check_failure(eval, &error.to_string()),
    };
    let time = match eval.times {
        Times::Instant(at) => at,
        Times::Range { .. } => return check(eval, evaluator.evaluate(source, &expr, &eval.expr, eval.times)),
    };
    let asked = |expr: &Expr, times| evaluator.evaluate(source, expr, &eval.expr, times);
    at_instant(eval, time, |times| asked(&expr, times))?;
    let Some(pinned) = at::pinned(&expr, time) else { return Ok(()) };
    at::other_times(time).into_iter().try_for_each(|other| {
        at_instant(eval, other, |times| asked(&pinned, times)).map_err(|why| format!("with @ {time} at {other}: {why}"))
    })
}

/// Evaluates at one time, and then over a range in whose middle that time is.
fn at_instant(eval: &Eval, time: i64, evaluate: impl Fn(Times) -> Result<Evaluated, String>) -> Result<(), String> {
    let evaluated = evaluate(Times::Instant(time));
    let is_scalar = evaluated.as_ref().is_ok_and(|evaluated| matches!(evaluated.answer, Answer::Scalar(_)));
    let failed = evaluated.is_err();
    check(eval, evaluated)?;
    let depends_on_range = ["start()", "end()", "range()", "step()"].iter().any(|call| eval.expr.contains(call));
    let has_range_form = eval.range_vector.is_none() && eval.string.is_none();
    if failed || depends_on_range || !has_range_form {
        return Ok(());
    }
    let times = Times::Range { start: time - 60_000, end: time + 60_000, step: 60_000 };
    let in_range_mode = |why: String| format!("as a range query: {why}");
    let over_range = evaluate(times).map_err(in_range_mode)?;
    if eval.ordered {
        return Ok(());
    }
    let Answer::Matrix(series) = over_range.answer else {
        return Err(in_range_mode("the answer is no matrix".to_owned()));
    };
    check_sorted(&series).map_err(in_range_mode)?;
    let mut vector = Vec::new();
    for (labels, points) in series {
        if let Some((_, point)) = points.into_iter().find(|(t, _)| *t == time) {
            vector.push((labels, point));
        }
    }
    let answer = match vector.first() {
        Some((_, Point::Float(value))) if is_scalar => Answer::Scalar(*value),
        _ => Answer::Vector(vector),
    };
    check_answer(eval, &answer).map_err(in_range_mode)
}

fn check(eval: &Eval, evaluated: Result<Evaluated, String>) -> Result<(), String> {
    match evaluated {
        Err(why) => check_failure(eval, &why),
        Ok(_) if eval.fail.is_some() => Err("expected an error, got none".to_owned()),
        Ok(evaluated) => {
            check_notes(&eval.warnings, &evaluated.warnings, "warning")?;
            check_notes(&eval.infos, &evaluated.infos, "info")?;
            check_answer(eval, &evaluated.answer)
        }
    }
}

fn check_failure(eval: &Eval, why: &str) -> Result<(), String> {
    match &eval.fail {
        Some(text) if text.matches(why) => Ok(()),
        Some(text) => Err(format!("expected the error {text:?}, got {why:?}")),
        None => Err(why.to_owned()),
    }
}
