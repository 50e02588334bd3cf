//! The properties the parent module promises, and the cases that broke earlier designs.
#![allow(clippy::unwrap_used)]

mod methods;
mod properties;
mod seed_vectors;

use super::*;

fn num(value: f64) -> I32F32 {
    I32F32::from_num(value)
}

fn report(value: f64, stake: u64) -> Report {
    Report { value: num(value), stake, confidence: I32F32::ONE }
}

fn settle(reports: &[Report]) -> Aggregate {
    aggregate(&Rules::default(), Bounds::UNIT, reports).unwrap()
}

fn deviating(settled: &Aggregate) -> Vec<u32> {
    settled.outliers.iter().map(|o| o.index).collect()
}

#[test]
fn one_deviant_among_identical_reports_is_flagged_and_does_not_move_the_value() {
    let settled = settle(&[0.7, 0.7, 0.7, 0.0].map(|v| report(v, 10)));
    assert_eq!(settled.value, num(0.7));
    assert_eq!(deviating(&settled), [3]);
    assert_eq!(settled.mad_bits, 0);
    // A and D are 1, three quarters of the stake agree.
    assert_eq!(settled.confidence, num(0.75));
}

#[test]
fn of_two_halves_the_lower_one_settles_the_value() {
    let settled = settle(&[report(0.8, 50), report(0.2, 25), report(0.2, 25)]);
    assert_eq!(settled.value, num(0.2));
}

#[test]
fn the_value_comes_from_all_reports_so_that_flagging_honest_ones_gains_a_cabal_nothing() {
    let settled = settle(&[report(0.2, 26), report(0.8, 26), report(0.81, 48)]);
    assert_eq!(settled.value, num(0.8));
    assert_eq!(deviating(&settled), [0]);
}

#[test]
fn two_validators_are_no_consensus_when_three_are_asked_for() {
    let reports = [report(0.5, 10), report(0.5, 10), report(1.5, 10)];
    let outliers = vec![Outlier { index: 2, reason: OutlierReason::OutOfBounds }];
    assert_eq!(
        aggregate(&Rules::default(), Bounds::UNIT, &reports),
        Err(NoConsensus::TooFewValidators { valid: 2, needed: 3, outliers })
    );
}

#[test]
fn keys_without_stake_do_not_fill_the_quorum() {
    let reports = [report(0.5, 10), report(0.5, 10), report(0.5, 0)];
    let error = aggregate(&Rules::default(), Bounds::UNIT, &reports).unwrap_err();
    assert!(matches!(error, NoConsensus::TooFewValidators { valid: 2, .. }));
    let rules = Rules { min_validators: 0, ..Rules::default() };
    assert!(matches!(aggregate(&rules, Bounds::UNIT, &reports[2..]), Err(NoConsensus::NoStake { .. })));
    assert!(matches!(aggregate(&rules, Bounds::UNIT, &[]), Err(NoConsensus::NoStake { .. })));
}

#[test]
fn invalid_reports_never_count_and_are_named_with_a_reason() {
    let mut reports = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5].map(|v| report(v, 10));
    reports[0].value = num(1.25);
    reports[1].value = num(-0.25);
    reports[2].confidence = num(1.5);
    for r in &mut reports[..3] {
        r.stake = u64::MAX;
    }
    let settled = settle(&reports);
    assert_eq!((settled.value, settled.valid), (num(0.5), 3));
    assert_eq!(settled.valid_stake, 30);
    assert_eq!(settled.confidence, I32F32::ONE);
    let reasons: Vec<_> = settled.outliers.iter().map(|o| o.reason).collect();
    assert_eq!(reasons, [OutlierReason::OutOfBounds, OutlierReason::OutOfBounds, OutlierReason::ConfidenceOutOfRange]);
    assert!(reasons.iter().all(OutlierReason::is_invalid));
    assert!(settled.is_outlier(2) && !settled.is_outlier(3));
}

#[test]
fn a_twentieth_of_the_stake_in_twenty_keys_moves_the_result_by_less_than_a_twentieth() {
    let honest: Vec<_> = [0.78, 0.79, 0.80, 0.81, 0.82].map(|v| report(v, 19_000)).to_vec();
    let alone = settle(&honest).value;
    for attack in [0.0, 0.5, 1.0] {
        let mut all = honest.clone();
        all.extend((0..20).map(|_| report(attack, 250)));
        let moved = settle(&all);
        assert!((moved.value - alone).abs() < num(0.05), "{attack}: {}", moved.value);
        assert_eq!(deviating(&moved), (5..25).collect::<Vec<u32>>());
    }
}

#[test]
fn the_floor_tells_the_deviants_of_an_unanimous_majority_at_one_nineteenth_of_the_width() {
    // 3.5 / 0.6745 of 1 %: 5.18903 % of the width.
    let near = settle(&[0.5, 0.5, 0.5, 0.55188].map(|v| report(v, 1)));
    let far = settle(&[0.5, 0.5, 0.5, 0.55190].map(|v| report(v, 1)));
    assert_eq!(deviating(&near), Vec::<u32>::new());
    assert_eq!(deviating(&far), [3]);
}

#[test]
fn a_vote_on_a_number_is_settled_over_the_whole_range_without_overflow() {
    let bounds = Bounds { lo: I32F32::MIN, hi: I32F32::MAX };
    let extremes =
        [I32F32::MIN, I32F32::MAX, I32F32::MAX].map(|value| Report { value, stake: u64::MAX, confidence: I32F32::ONE });
    let rules = Rules { cut_off_milli: u32::MAX, mad_floor_ppm: u32::MAX, ..Rules::default() };
    let settled = aggregate(&rules, bounds, &extremes).unwrap();
    assert_eq!(settled.value, I32F32::MAX);
    assert_eq!(settled.valid_stake, 3 * u128::from(u64::MAX));
    let rules = Rules { mad_floor_ppm: 0, cut_off_milli: 0, ..rules };
    let settled = aggregate(&rules, bounds, &extremes).unwrap();
    assert_eq!(settled.outliers, [Outlier { index: 0, reason: OutlierReason::Deviates { z_milli: u64::MAX } }]);
}

#[test]
fn a_range_of_one_value_is_unanimous_and_an_empty_one_is_refused() {
    let one = Bounds { lo: num(5.0), hi: num(5.0) };
    let settled = aggregate(&Rules::default(), one, &[report(5.0, 1); 3]).unwrap();
    assert_eq!((settled.value, settled.confidence), (num(5.0), I32F32::ONE));
    let empty = Bounds { lo: num(5.0), hi: num(4.0) };
    assert!(matches!(aggregate(&Rules::default(), empty, &[report(5.0, 1); 3]), Err(NoConsensus::EmptyBounds { .. })));
}
