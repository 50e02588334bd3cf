//! Raw measures to marks.

use assay_primitives::Score;
use borsh::{BorshDeserialize, BorshSerialize};

/// Marks are multiples of this fraction of one: what two processors' last digits differ by rarely changes a mark.
const STEPS: f64 = 1024.0;

/// A measure's mark: the chance that an answer with it is honest (Platt, 1999), divided by that of a usual honest
/// answer and capped at one. Past what honest answers usually reach, more of the measure earns nothing more.
#[derive(Clone, Copy, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Calibration {
    /// The measure at which honest and bad answers are equally likely.
    pub centre: f64,
    /// How much of the measure changes the odds by a factor of e; above 0.
    pub width: f64,
    /// The measure from which the mark is full.
    pub full: f64,
}

/// `1 / (1 + e^-x)`
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-x))
}

/// A number as a mark: capped to 0..=1, not a number is 0, rounded down to 1024ths.
pub fn mark(value: f64) -> Score {
    // What is not a number stays so, and becomes 0 as an integer.
    let steps = libm::floor(value.clamp(0.0, 1.0) * STEPS);
    Score::ratio(steps as u64, STEPS as u64)
}

impl Calibration {
    /// The mark of a measure.
    pub fn mark(&self, measure: f64) -> Score {
        mark(self.share(measure))
    }

    /// The mark before it is rounded: where `full` is the largest measure there is, more of it always earns more.
    pub fn share(&self, measure: f64) -> f64 {
        let chance = |x: f64| logistic((x - self.centre) / self.width);
        (chance(measure) / chance(self.full)).clamp(0.0, 1.0)
    }

    /// A curve on measures of honest answers, in a range that ends at `most`: half of the mark is at what a share `half` of
    /// them do not reach, 95 of 100 at what a share `nearly` do not. `None` where these are not apart.
    pub fn by_honest(honest: &[f64], half: f64, nearly: f64, most: f64) -> Option<Self> {
        let centre = quantile(honest, half);
        let width = (quantile(honest, nearly) - centre) / libm::log(0.95 / 0.05);
        (width > 0.0 && width.is_finite()).then_some(Self { centre, width, full: most })
    }

    /// Fits to measures of honest and of bad answers, each side weighing the same; `full` becomes the measure that a
    /// share `usual` of the honest ones do not exceed. `None` where a side has fewer than 8, or honest ones do not
    /// measure more.
    pub fn fit(honest: &[f64], bad: &[f64], usual: f64) -> Option<Self> {
        if honest.len() < 8 || bad.len() < 8 {
            return None;
        }
        let all = || honest.iter().map(|x| (*x, 1.0)).chain(bad.iter().map(|x| (*x, 0.0)));
        let count = (honest.len() + bad.len()) as f64;
        let mean = all().map(|(x, _)| x).sum::<f64>() / count;
        let spread = (all().map(|(x, _)| (x - mean) * (x - mean)).sum::<f64>() / count).sqrt();
        if !spread.is_finite() || spread <= 0.0 {
            return None;
        }
        // Newton's method on the logistic loss of the standardised measure, with a little weight decay.
        let (mut slope, mut offset) = (1.0, 0.0);
        for _ in 0..50 {
            let (mut g0, mut g1, mut h00, mut h01, mut h11) = (1e-3 * slope, 0.0, 1e-3, 0.0, 1e-9);
            for (x, label) in all() {
                let z = (x - mean) / spread;
                let side = if label > 0.5 { honest.len() } else { bad.len() } as f64;
                let chance = logistic(slope * z + offset);
                let (error, curve) = ((chance - label) / side, chance * (1.0 - chance) / side);
                g0 += error * z;
                g1 += error;
                h00 += curve * z * z;
                h01 += curve * z;
                h11 += curve;
            }
            let determinant = h00 * h11 - h01 * h01;
            if determinant.abs() < 1e-15 {
                break;
            }
            slope -= (h11 * g0 - h01 * g1) / determinant;
            offset -= (h00 * g1 - h01 * g0) / determinant;
            slope = slope.clamp(-50.0, 50.0);
            offset = offset.clamp(-50.0, 50.0);
        }
        if slope <= 0.0 {
            return None;
        }
        Some(Self { centre: mean - offset / slope * spread, width: spread / slope, full: quantile(honest, usual) })
    }
}

/// The value below which a share of the values lies; 0 for none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(0.0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fitted() -> Calibration {
        let honest: Vec<f64> = (0..100).map(|i| 2.0 + f64::from(i) / 50.0).collect();
        let bad: Vec<f64> = (0..300).map(|i| f64::from(i) / 100.0).collect();
        Calibration::fit(&honest, &bad, 0.25).unwrap()
    }

    #[test]
    fn a_usual_honest_answer_has_the_full_mark_and_a_usual_bad_one_little() {
        let c = fitted();
        assert_eq!(c.mark(2.6), Score::ONE);
        assert!(c.mark(1.0) < Score::ratio(1, 10) && c.mark(2.2) > Score::ratio(1, 4));
        assert!(c.centre > 1.5 && c.centre < 3.0 && c.full > 2.4 && c.full < 2.6);
    }

    #[test]
    fn too_few_or_backward_examples_give_no_calibration() {
        assert_eq!(Calibration::fit(&[1.0; 3], &[0.0; 30], 0.5), None);
        let (low, high): (Vec<f64>, Vec<f64>) = (0..20).map(|i| (f64::from(i), f64::from(i) + 50.0)).unzip();
        assert_eq!(Calibration::fit(&low, &high, 0.5), None);
        assert_eq!(Calibration::fit(&[1.0; 20], &[1.0; 20], 0.5), None);
    }

    #[test]
    fn a_curve_by_honest_answers_goes_through_what_few_of_them_do_not_reach() {
        let honest: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
        let c = Calibration::by_honest(&honest, 0.02, 0.1, 1.0).unwrap();
        assert!((c.share(0.02) - 0.5).abs() < 1e-9 && (c.share(0.1) - 0.95).abs() < 1e-9);
        assert!(c.share(0.5) < c.share(0.6) && c.share(1.0) == 1.0);
        assert_eq!(Calibration::by_honest(&[0.5; 100], 0.02, 0.1, 1.0), None);
        assert_eq!(Calibration::by_honest(&[], 0.02, 0.1, 1.0), None);
    }

    #[test]
    fn what_is_no_number_earns_nothing() {
        assert_eq!(mark(f64::NAN), Score::ZERO);
        assert_eq!((mark(f64::INFINITY), mark(-1.0)), (Score::ONE, Score::ZERO));
        assert_eq!(fitted().mark(f64::NAN), Score::ZERO);
    }

    proptest! {
        #[test]
        fn more_of_a_measure_never_earns_less(a in -100.0f64..100.0, b in -100.0f64..100.0) {
            let c = fitted();
            prop_assert!(c.mark(a.min(b)) <= c.mark(a.max(b)));
        }
    }
}
