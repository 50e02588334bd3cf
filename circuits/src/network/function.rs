//! The functions of one number, the same bits on every machine: tables of a model are built with them.

use super::Function;

impl Function {
    /// Its value at `x`, as the ONNX specification says, in `f64`.
    pub fn apply(self, x: f64) -> f64 {
        match self {
            Self::Abs => x.abs(),
            Self::Floor => x.floor(),
            Self::Ceil => x.ceil(),
            Self::Round => x.round_ties_even(),
            Self::Sign if x == 0.0 => 0.0,
            Self::Sign => x.signum(),
            Self::Clip { low, high } => x.max(low).min(high),
            Self::LeakyRelu { slope } => leaky(x, slope),
            Self::Elu { alpha } => negative(x, |x| alpha * libm::expm1(x)),
            Self::Selu { alpha, gamma } => gamma * negative(x, |x| alpha * libm::expm1(x)),
            Self::Celu { alpha } => negative(x, |x| alpha * libm::expm1(x / alpha)),
            Self::ThresholdedRelu { alpha } => {
                if x > alpha {
                    x
                } else {
                    0.0
                }
            }
            Self::Sigmoid => sigmoid(x),
            Self::HardSigmoid { alpha, beta } => (alpha * x + beta).clamp(0.0, 1.0),
            Self::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Tanh => libm::tanh(x),
            Self::Softplus => softplus(x),
            Self::Softsign => x / (1.0 + x.abs()),
            Self::Mish => x * libm::tanh(softplus(x)),
            Self::Erf => libm::erf(x),
            Self::Gelu { tanh: false } => 0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2)),
            Self::Gelu { tanh: true } => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
                0.5 * x * (1.0 + libm::tanh(inner))
            }
            Self::Exp => libm::exp(x),
            Self::Log => libm::log(x),
            Self::Sqrt => x.sqrt(),
            Self::Reciprocal => 1.0 / x,
            Self::Power { exponent } => libm::pow(x, exponent),
            Self::Sin => libm::sin(x),
            Self::Cos => libm::cos(x),
            Self::Not => f64::from(x == 0.0),
            Self::Truncate => x.trunc(),
            Self::Wrap { low, high } => (x - low).rem_euclid(high - low + 1.0) + low,
        }
    }
}

fn leaky(x: f64, slope: f64) -> f64 {
    if x >= 0.0 { x } else { slope * x + 0.0 }
}

/// `x` where it is positive, else what `below` makes of it.
fn negative(x: f64, below: impl Fn(f64) -> f64) -> f64 {
    if x > 0.0 { x } else { below(x) }
}

/// Neither side overflows: only exponentials of negative numbers are taken.
fn sigmoid(x: f64) -> f64 {
    let e = libm::exp(-x.abs());
    if x >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::Function as F;

    #[test]
    fn functions_have_the_values_of_the_specification() {
        let near = |f: F, x: f64, y: f64| assert!((f.apply(x) - y).abs() < 1e-9, "{f:?} at {x}: {}", f.apply(x));
        for (x, y) in [(0.5, 0.0), (1.5, 2.0), (-0.5, 0.0), (-1.5, -2.0), (2.5, 2.0)] {
            near(F::Round, x, y);
        }
        near(F::Sign, -0.0, 0.0);
        near(F::LeakyRelu { slope: 0.0 }, -3.0, 0.0);
        assert!(F::LeakyRelu { slope: 0.0 }.apply(-3.0).is_sign_positive());
        near(F::Elu { alpha: 2.0 }, -1.0, 2.0 * ((-1f64).exp() - 1.0));
        near(F::Celu { alpha: 2.0 }, -1.0, 2.0 * ((-0.5f64).exp() - 1.0));
        near(F::ThresholdedRelu { alpha: 1.0 }, 1.0, 0.0);
        near(F::Sigmoid, -800.0, 0.0);
        near(F::Sigmoid, 0.0, 0.5);
        near(F::Softplus, 800.0, 800.0);
        near(F::HardSwish, 1.0, 4.0 / 6.0);
        near(F::Mish, 1.0, (1f64.exp() + 1.0).ln().tanh());
        near(F::Erf, 1.0, 0.842_700_792_949_714_9);
        near(F::Gelu { tanh: false }, 1.0, 0.841_344_746_068_543);
        near(F::Gelu { tanh: true }, 1.0, 0.841_191_990_608_276_4);
        near(F::Power { exponent: -0.5 }, 4.0, 0.5);
        near(F::Not, 0.0, 1.0);
        near(F::Truncate, -2.7, -2.0);
        for (x, y) in [(300.0, 44.0), (-1.0, 255.0), (255.0, 255.0), (0.0, 0.0), (-513.0, 255.0)] {
            near(F::Wrap { low: 0.0, high: 255.0 }, x, y);
        }
        for (x, y) in [(128.0, -128.0), (-129.0, 127.0), (-128.0, -128.0), (144.0, -112.0)] {
            near(F::Wrap { low: -128.0, high: 127.0 }, x, y);
        }
    }
}
