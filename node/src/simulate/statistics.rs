//! A mean and how sure it is.

/// Two-sided 95 % quantiles of Student's t, by degrees of freedom from 1.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];
/// Beyond the table: the normal distribution's.
const NORMAL: f64 = 1.960;

/// A mean with its interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Estimate {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// The mean of independent values with its 95 % confidence interval by Student's t. One value has no width: its interval
/// is itself, and says nothing.
pub(super) fn estimate(values: &[f64]) -> Estimate {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let freedom = values.len().saturating_sub(1);
    if freedom == 0 {
        return Estimate { mean, low: mean, high: mean };
    }
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / freedom as f64;
    let half = STUDENT.get(freedom - 1).copied().unwrap_or(NORMAL) * (variance / count).sqrt();
    Estimate { mean, low: mean - half, high: mean + half }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_students_t() {
        // Mean 3, deviation sqrt(2.5), five values: half width 2.776 sqrt(2.5 / 5).
        let found = estimate(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(found.mean, 3.0);
        assert!((found.high - 3.0 - 2.776 * 0.5f64.sqrt()).abs() < 1e-12);
        assert!((found.high + found.low - 6.0).abs() < 1e-12);
        assert_eq!(estimate(&[2.0, 2.0]), Estimate { mean: 2.0, low: 2.0, high: 2.0 });
        assert_eq!(estimate(&[0.5]), Estimate { mean: 0.5, low: 0.5, high: 0.5 });
    }
}
