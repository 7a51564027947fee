//! Decimal arithmetic of floats, so that 0.1 + 0.2 is 0.3: what `addf`, `subf`, `mulf` and `divf` promise.

/// `coefficient * 10^exponent`.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    coefficient: i128,
    exponent: i32,
}

impl Decimal {
    /// The shortest decimal that reads back as the float.
    fn of(value: f64) -> Option<Self> {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let fraction = mantissa.split_once('.').map_or(0, |(_, f)| f.len());
        let coefficient = mantissa.replace('.', "").parse().ok()?;
        Some(Self { coefficient, exponent: exponent.parse::<i32>().ok()? - fraction as i32 })
    }

    fn float(self) -> f64 {
        format!("{}e{}", self.coefficient, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// The coefficient at a lower exponent.
    fn scaled(self, exponent: i32) -> Option<i128> {
        10_i128.checked_pow(u32::try_from(self.exponent - exponent).ok()?)?.checked_mul(self.coefficient)
    }
}

fn exactly(a: f64, b: f64, op: char) -> Option<f64> {
    let (a, b) = (Decimal::of(a)?, Decimal::of(b)?);
    let exponent = a.exponent.min(b.exponent);
    let result = match op {
        '+' => Decimal { coefficient: a.scaled(exponent)?.checked_add(b.scaled(exponent)?)?, exponent },
        '-' => Decimal { coefficient: a.scaled(exponent)?.checked_sub(b.scaled(exponent)?)?, exponent },
        '*' => Decimal { coefficient: a.coefficient.checked_mul(b.coefficient)?, exponent: a.exponent + b.exponent },
        _ => {
            // Sixteen digits behind the point, rounded half away from zero.
            let shift = u32::try_from(a.exponent - b.exponent + 16).ok()?;
            let numerator = a.coefficient.checked_mul(10_i128.checked_pow(shift)?)?;
            let (quotient, rest) = (numerator / b.coefficient, numerator % b.coefficient);
            let up = rest.abs().checked_mul(2)? >= b.coefficient.abs();
            let sign = if (numerator < 0) == (b.coefficient < 0) { 1 } else { -1 };
            Decimal { coefficient: quotient + if up { sign } else { 0 }, exponent: -16 }
        }
    };
    Some(result.float())
}

/// `a op b`; binary arithmetic where decimals would not fit.
pub(super) fn operate(a: f64, b: f64, op: char) -> Result<f64, String> {
    if op == '/' && b == 0.0 {
        return Err("decimal division by 0".to_owned());
    }
    Ok(exactly(a, b, op).unwrap_or(match op {
        '+' => a + b,
        '-' => a - b,
        '*' => a * b,
        _ => a / b,
    }))
}
