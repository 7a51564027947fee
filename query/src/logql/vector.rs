//! Numbers after the range step.

use super::ast::BinaryOp;

/// `left op right` of two numbers. Comparisons answer 1 or 0; division by zero is NaN, as in Loki.
pub fn scalar_operation(op: BinaryOp, left: f64, right: f64) -> f64 {
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        _ => f64::from(u8::from(op.comparison().is_some_and(|comparison| comparison.holds(left, right)))),
    }
}
