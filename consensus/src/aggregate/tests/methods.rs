//! What single methods give, against values worked out by hand.

use super::*;

fn by(method: Method, reports: &[Report]) -> Aggregate {
    aggregate(&Rules::of(method), Bounds::UNIT, reports).unwrap()
}

fn assert_near(found: I32F32, expected: f64) {
    assert!((found.to_num::<f64>() - expected).abs() < 3e-10, "expected {expected}, found {found}");
}

const MEDIANS: [Method; 3] = [Method::Robust, Method::WeightedMedian, Method::Median];

#[test]
fn three_of_four_at_one_value_settle_it_in_every_method_but_the_means_and_all_flag_the_fourth() {
    let reports = [0.7, 0.7, 0.7, 0.0].map(|v| report(v, 10));
    for method in Method::ALL.into_iter().filter(|method| !method.is_seed()) {
        let settled = by(method, &reports);
        assert_eq!(deviating(&settled), [3], "{method}");
        match method.formula() {
            Formula::StakeWeighted | Formula::ConfidenceWeighted => {
                assert_near(settled.value, 0.525);
                // A = 1 - 2 * 0.175, D = 1, U = 3/4.
                assert_near(settled.confidence, 0.65 * 0.75);
            }
            // A third is cut off at either end: of the deviant, a quarter, nothing is left.
            _ => {
                assert_eq!(settled.value, num(0.7), "{method}");
                assert_eq!(settled.confidence, num(0.75), "{method}");
            }
        }
    }
}

#[test]
fn the_median_at_equal_stakes_is_the_textbooks() {
    assert_eq!(by(Method::Median, &[0.9, 0.25, 0.5].map(|v| report(v, 7))).value, num(0.5));
    assert_eq!(by(Method::Median, &[0.75, 0.25, 0.5, 1.0].map(|v| report(v, 7))).value, num(0.625));
    // Halves of the last bit go down.
    let one = I32F32::DELTA;
    let reports = [one, one, one * 2, one * 2].map(|value| Report { value, ..report(0.0, 1) });
    assert_eq!(by(Method::Median, &reports).value, one);
}

#[test]
fn the_median_is_the_middle_only_where_stake_is_cut_in_halves() {
    let reports = [report(0.25, 2), report(0.5, 1), report(1.0, 1)];
    assert_eq!(by(Method::Median, &reports).value, num(0.375));
    assert_eq!(by(Method::Robust, &reports).value, num(0.25));
    let reports = [report(0.25, 3), report(0.5, 1), report(1.0, 1)];
    assert_eq!(by(Method::Median, &reports).value, num(0.25));
}

#[test]
fn a_report_that_straddles_a_quantile_counts_with_the_stake_inside() {
    let reports = [report(0.0, 3), report(0.5, 4), report(1.0, 3)];
    let trimmed = |trim_ppm| {
        let rules = Rules { trim_ppm, ..Rules::of(Method::TrimmedMean) };
        aggregate(&rules, Bounds::UNIT, &reports[..]).unwrap().value
    };
    assert_eq!(trimmed(0), num(0.5));
    let lopsided = [report(0.0, 3), report(0.5, 4), report(0.75, 3)];
    let rules = Rules { trim_ppm: 200_000, ..Rules::of(Method::TrimmedMean) };
    // Of ten, two go at either end: one at 0, four at 0.5 and one at 0.75 are left.
    assert_near(aggregate(&rules, Bounds::UNIT, &lopsided).unwrap().value, (2.0 + 0.75) / 6.0);
    for trim_ppm in [300_000, 499_999, 500_000, 1_000_000, u32::MAX] {
        assert_eq!(trimmed(trim_ppm), num(0.5), "{trim_ppm}");
    }
    // From a half up the median's middle, which a trim of just below a half comes near.
    let halves = [report(0.25, 2), report(0.5, 1), report(1.0, 1)];
    for (trim_ppm, expected) in [(499_999, 0.375), (500_000, 0.375), (u32::MAX, 0.375)] {
        let rules = Rules { trim_ppm, ..rules };
        assert_near(aggregate(&rules, Bounds::UNIT, &halves).unwrap().value, expected);
    }
}

#[test]
fn declared_confidence_weighs_in_one_method_and_only_down() {
    let sure = |value, stake, confidence| Report { confidence: num(confidence), ..report(value, stake) };
    let reports = [sure(0.25, 100, 1.0), sure(0.5, 100, 0.5), sure(0.75, 200, 0.0)];
    assert_near(by(Method::ConfidenceWeighted, &reports).value, (0.25 + 0.5 * 0.5) / 1.5);
    assert_near(by(Method::StakeWeighted, &reports).value, (0.25 + 0.5 + 2.0 * 0.75) / 4.0);
    for method in MEDIANS {
        assert!(by(method, &reports).value >= num(0.5), "{method}");
    }
    // Nobody is sure of anything: no weight, so stake alone decides.
    let unsure = reports.map(|r| Report { confidence: I32F32::ZERO, ..r });
    let settled = by(Method::ConfidenceWeighted, &unsure);
    assert_near(settled.value, 0.5625);
    assert_eq!(settled.confidence, I32F32::ZERO);
}

#[test]
fn half_of_the_stake_moves_the_means_and_less_than_half_no_median() {
    let reports = [report(0.78, 20), report(0.8, 20), report(0.82, 15), report(0.0, 45)];
    for method in MEDIANS {
        assert!(by(method, &reports).value >= num(0.78), "{method}");
    }
    assert!(by(Method::StakeWeighted, &reports).value < num(0.45));
    // And a third no trimmed mean.
    let reports = [report(0.78, 20), report(0.8, 20), report(0.82, 27), report(0.0, 33)];
    assert!(by(Method::TrimmedMean, &reports).value >= num(0.78));
}

#[test]
fn a_hundred_thousand_reports_of_the_largest_stake_do_not_overflow() {
    let reports: Vec<_> = (0..100_000u32)
        .map(|i| Report {
            value: if i % 2 == 0 { I32F32::MIN } else { I32F32::MAX },
            stake: u64::MAX,
            confidence: I32F32::ONE,
        })
        .collect();
    let bounds = Bounds { lo: I32F32::MIN, hi: I32F32::MAX };
    for method in Method::ALL {
        let settled = aggregate(&Rules::of(method), bounds, &reports).unwrap();
        assert_eq!((settled.valid, settled.valid_stake), (100_000, 100_000 * u128::from(u64::MAX)), "{method}");
        match method.formula() {
            Formula::Robust | Formula::WeightedMedian if !method.is_seed() => assert_eq!(settled.value, I32F32::MIN),
            Formula::WeightedMedian => assert_eq!(settled.value, I32F32::MIN),
            _ => assert!(settled.value.abs() <= I32F32::DELTA, "{method}: {}", settled.value),
        }
    }
}

#[test]
fn the_seed_systems_methods_count_keys_whatever_their_stake_and_however_far_they_are() {
    // Two keys without stake, out of bounds, against one.
    let reports = [report(0.5, 1_000_000), report(7.0, 0), report(7.0, 0)];
    let settled = by(Method::SeedMedian, &reports);
    assert_eq!((settled.value, settled.valid, settled.valid_stake), (num(7.0), 3, 1_000_000));
    assert_eq!(by(Method::SeedStakeWeighted, &reports).value, num(0.5));
    let error = aggregate(&Rules::of(Method::SeedMedian), Bounds::UNIT, &reports[..2]).unwrap_err();
    assert_eq!(error, NoConsensus::TooFewValidators { valid: 2, needed: 3, outliers: vec![] });
    let negative = Report { confidence: -I32F32::DELTA, ..reports[0] };
    let error = aggregate(&Rules::of(Method::SeedMedian), Bounds::UNIT, &[reports[0], negative, negative]).unwrap_err();
    assert_eq!(error, NoConsensus::OutOfRange { index: 1, field: "confidence" });
    for min_validators in [0, 1] {
        let rules = Rules { min_validators, ..Rules::of(Method::SeedMedian) };
        assert!(matches!(aggregate(&rules, Bounds::UNIT, &[]), Err(NoConsensus::TooFewValidators { .. })));
        assert_eq!(aggregate(&rules, Bounds::UNIT, &reports[..1]).unwrap().value, num(0.5));
    }
}
