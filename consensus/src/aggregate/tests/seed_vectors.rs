//! The seed system's own answers, and its formulas in floats.

use super::super::seed::{self, Settled};
use super::*;
use fixed::types::{I64F64, U64F64};
use proptest::prelude::*;
use serde_json::Value;

/// Most that a result may differ.
const TOLERANCE: f64 = 1e-9;

/// `tests/vectors/seed_aggregator.json`; its `source` says where every value comes from.
fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/seed_aggregator.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    vectors["aggregator"].as_array().unwrap().clone()
}

fn of(entry: &Value, name: &str) -> f64 {
    entry[name].as_f64().unwrap()
}

fn exact(score: f64, confidence: f64, stake: f64) -> seed::Report {
    seed::Report {
        score: I64F64::from_num(score),
        confidence: I64F64::from_num(confidence),
        stake: U64F64::from_num(stake),
    }
}

fn indices(outliers: &[Outlier]) -> Vec<u64> {
    outliers.iter().map(|o| u64::from(o.index)).collect()
}

fn assert_near(found: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= TOLERANCE, "{what}: expected {expected}, found {found}");
}

#[test]
fn every_case_of_every_method_gives_the_seed_systems_answer() {
    let mut compared = 0;
    for case in cases() {
        let min_validators = u32::try_from(case["min_validators"].as_u64().unwrap()).unwrap();
        let cut_off = of(&case, "outlier_threshold");
        let input = case["input"].as_array().unwrap();
        let exact: Vec<_> = input.iter().map(|e| exact(of(e, "score"), of(e, "confidence"), of(e, "stake"))).collect();
        let reports: Vec<_> = input
            .iter()
            .map(|e| Report {
                value: num(of(e, "score")),
                stake: e["stake"].as_u64().unwrap(),
                confidence: num(of(e, "confidence")),
            })
            .collect();
        for (name, expected) in case["expected"].as_object().unwrap() {
            let what = format!("{}, {name}", case["name"]);
            let method: Method = format!("seed_{name}").parse().unwrap();
            let cut_off_milli = (1000.0 * cut_off) as u32;
            let rules = Rules { min_validators, cut_off_milli, ..Rules::of(method) };
            let on_ledger = aggregate(&rules, Bounds::UNIT, &reports);
            let at_length = seed::settle(method.formula(), I64F64::from_num(cut_off), min_validators, &exact);
            compared += 1;
            if expected["error"] == "insufficient_validators" {
                assert_eq!((of(expected, "value"), of(expected, "confidence")), (0.0, 0.0), "{what}");
                let too_few = |e: &NoConsensus| matches!(e, NoConsensus::TooFewValidators { .. });
                assert!(too_few(&on_ledger.unwrap_err()) && too_few(&at_length.unwrap_err()), "{what}");
                continue;
            }
            assert_eq!(expected["error"], Value::Null, "{what}");
            let uids: Vec<_> =
                expected["outlier_uids"].as_array().unwrap().iter().map(|uid| uid.as_str().unwrap()).collect();
            let on_ledger = on_ledger.unwrap();
            let at_length = at_length.unwrap();
            for (value, confidence, outliers) in [
                (on_ledger.value.to_num(), on_ledger.confidence.to_num(), &on_ledger.outliers),
                (at_length.value.to_num(), at_length.confidence.to_num(), &at_length.outliers),
            ] {
                assert_near(value, &expected["value"], &what);
                assert_near(confidence, &expected["confidence"], &what);
                let flagged: Vec<_> = indices(outliers).iter().map(|i| format!("v{i}")).collect();
                assert_eq!(flagged, uids, "{what}");
                assert_eq!(expected["num_outliers"], flagged.len(), "{what}");
            }
        }
    }
    assert_eq!(compared, 14 * 6);
}

/// The formulas of the module's documentation, in floats.
fn in_floats(formula: Formula, cut_off: f64, reports: &[[f64; 3]]) -> (f64, f64, Vec<u64>) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let middle = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
    };
    let weighted = |of: &[[f64; 3]], weight: fn(&[f64; 3]) -> f64| {
        let total: f64 = of.iter().map(weight).sum();
        let scores: Vec<_> = of.iter().map(|r| r[0]).collect();
        if total == 0.0 { mean(&scores) } else { of.iter().map(|r| r[0] * weight(r)).sum::<f64>() / total }
    };
    let scores: Vec<f64> = reports.iter().map(|r| r[0]).collect();
    let m = middle(scores.clone());
    let mad = middle(scores.iter().map(|s| (s - m).abs()).collect());
    let far = |r: &[f64; 3]| scores.len() >= 3 && mad != 0.0 && (0.6745 * (r[0] - m) / mad).abs() > cut_off;
    let outliers: Vec<u64> = (0u64..).zip(reports).filter(|(_, r)| far(r)).map(|(i, _)| i).collect();
    let clean: Vec<_> = reports.iter().filter(|r| !far(r)).copied().collect();
    let value = match formula {
        Formula::Median => m,
        Formula::WeightedMedian => {
            let mut sorted = reports.to_vec();
            sorted.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
            let total = sorted.iter().fold(0.0, |sum, r| sum + r[1]);
            let mut reached = 0.0;
            let place = sorted.iter().position(|r| {
                reached += r[1] / total;
                reached.is_nan() || reached >= 0.5
            });
            sorted[place.unwrap()][0]
        }
        Formula::TrimmedMean if clean.is_empty() => mean(&scores),
        Formula::TrimmedMean => weighted(&clean, |_| 1.0),
        Formula::StakeWeighted => weighted(reports, |r| r[2]),
        Formula::ConfidenceWeighted => weighted(reports, |r| r[1]),
        Formula::Robust if clean.is_empty() => mean(&scores),
        Formula::Robust => weighted(&clean, |r| r[1] * r[2].sqrt()),
    };
    let average = mean(&scores);
    let std = mean(&scores.iter().map(|s| (s - average).powi(2)).collect::<Vec<_>>()).sqrt();
    let declared = mean(&reports.iter().map(|r| r[1]).collect::<Vec<_>>());
    let kept = 1.0 - 0.3 * outliers.len() as f64 / scores.len() as f64;
    let confidence = 0.4 * (1.0 - (2.0 * std).min(0.5)) + 0.4 * declared + 0.2 * kept;
    (value, confidence.clamp(0.5, 1.0), outliers)
}

/// Numbers as people write them, and with them the ties they make.
fn number(most: u32) -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (0..=20u32).prop_map(move |n| f64::from(n) / 20.0 * f64::from(most)),
        4 => (0..=1000u32).prop_map(move |n| f64::from(n) / 1000.0 * f64::from(most)),
        2 => 0.0..=f64::from(most),
        1 => Just(0.0),
        1 => (0..=9i32).prop_map(|n| 10f64.powi(-n)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn the_formulas_in_integers_are_those_in_floats(
        reports in prop::collection::vec((number(1), number(1), number(1000)), 1..10),
        // Scores and stakes of any size; the seed system limits neither. Stakes have at most some nine decimals.
        (factor, offset) in (prop_oneof![Just(1.0), Just(10.0)], prop_oneof![Just(0.0), Just(-3.0)]),
        unit in prop_oneof![Just(1.0), Just(1e9), Just(1e15)],
        cut_off in prop_oneof![Just(2.0), Just(3.5), Just(0.0), Just(-1.0), Just(1e6), 0.1f64..10.0],
    ) {
        let reports: Vec<_> = reports.into_iter().map(|(s, c, t)| [s * factor + offset, c, t * unit]).collect();
        // Another unit for all stakes, so that 64 fractional bits hold the small ones too: only proportions matter.
        let other_unit = if unit < 1.0 { 2f64.powi(40) } else { 1.0 };
        let exact: Vec<_> = reports.iter().map(|[s, c, t]| exact(*s, *c, *t * other_unit)).collect();
        for method in Method::ALL.into_iter().filter(|method| method.is_seed()) {
            let (value, confidence, outliers) = in_floats(method.formula(), cut_off, &reports);
            let Settled { value: v, confidence: c, outliers: o, .. } =
                seed::settle(method.formula(), I64F64::from_num(cut_off), 0, &exact).unwrap();
            prop_assert!((v.to_num::<f64>() - value).abs() < TOLERANCE, "{method}: expected {value}, found {v}");
            prop_assert!((c.to_num::<f64>() - confidence).abs() < TOLERANCE, "{method}: expected {confidence}, found {c}");
            prop_assert_eq!(indices(&o), outliers, "{}", method);
        }
    }
}
