//! What holds for every input, over ten thousand of them each.

use super::*;
use proptest::prelude::*;

/// Values in sixteenths leave ties, which is where order and splitting could matter.
fn any_report() -> impl Strategy<Value = Report> {
    (any::<u32>(), 1u64..=u64::MAX / 64, any::<u32>()).prop_map(|(value, stake, confidence)| {
        // Among them both ends.
        let unit = |bits: u32| I32F32::from_bits(i64::from(bits) + i64::from(bits == u32::MAX));
        let tie = value % 2 == 0;
        Report {
            value: if tie { I32F32::from_bits(i64::from(value % 34 / 2) << 28) } else { unit(value) },
            stake: if tie { stake >> 48 | 1 } else { stake },
            confidence: if confidence % 8 == 0 { I32F32::ZERO } else { unit(confidence) },
        }
    })
}

fn reports(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Report>> {
    prop::collection::vec(any_report(), n)
}

fn stake(reports: &[Report]) -> u128 {
    reports.iter().map(|r| u128::from(r.stake)).sum()
}

/// `honest` and as much of the rest as holds at most so much stake.
fn against(honest: &[Report], rest: Vec<Report>, mut most: u128) -> Vec<Report> {
    let mut all = honest.to_vec();
    for mut r in rest {
        r.stake = u64::try_from(u128::from(r.stake).min(most)).unwrap();
        most -= u128::from(r.stake);
        all.push(r);
    }
    all
}

fn within(honest: &[Report], value: I32F32) -> bool {
    let values = || honest.iter().map(|r| r.value);
    values().min().unwrap() <= value && value <= values().max().unwrap()
}

fn ours() -> impl Iterator<Item = Method> {
    Method::ALL.into_iter().filter(|method| !method.is_seed())
}

fn by(method: Method, reports: &[Report]) -> Aggregate {
    aggregate(&Rules::of(method), Bounds::UNIT, reports).unwrap()
}

fn shuffled(n: std::ops::Range<usize>) -> impl Strategy<Value = (Vec<Report>, Vec<usize>)> {
    reports(n).prop_flat_map(|given| {
        let order: Vec<usize> = (0..given.len()).collect();
        (Just(given), Just(order).prop_shuffle())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn honest_stake_above_half_keeps_the_medians_in_the_honest_range_however_the_rest_is_split(
        honest in reports(3..8),
        rest in reports(0..20),
    ) {
        let all = against(&honest, rest, stake(&honest) - 1);
        for method in [Method::Robust, Method::WeightedMedian, Method::Median] {
            prop_assert!(within(&honest, by(method, &all).value), "{method}");
        }
    }

    #[test]
    fn as_much_stake_as_is_trimmed_keeps_no_trimmed_mean_out_of_the_honest_range(
        honest in reports(3..8),
        rest in reports(0..20),
        trim_ppm in prop_oneof![Just(333_333u32), 0u32..500_000],
    ) {
        // At most f of the whole: f / (1 - f) of the honest part.
        let most = stake(&honest) * u128::from(trim_ppm) / u128::from(1_000_000 - trim_ppm);
        let all = against(&honest, rest, most);
        let rules = Rules { trim_ppm, ..Rules::of(Method::TrimmedMean) };
        prop_assert!(within(&honest, aggregate(&rules, Bounds::UNIT, &all).unwrap().value));
    }

    #[test]
    fn a_twentieth_of_the_stake_in_twenty_keys_moves_robust_by_less_than_a_twentieth(
        honest in prop::collection::vec((0.78f64..0.82, 1_000u64..1_000_000), 3..12),
        attack in prop::collection::vec(0.0f64..=1.0, 20),
        together: bool,
    ) {
        let mut all: Vec<_> = honest.iter().map(|(value, stake)| report(*value, *stake)).collect();
        let alone = settle(&all).value;
        // 5 % of the whole in twenty equal keys.
        let each = u64::try_from(stake(&all) / 19 / 20).unwrap();
        all.extend(attack.iter().map(|value| report(if together { attack[0] } else { *value }, each)));
        let moved = settle(&all).value;
        prop_assert!((moved - alone).abs() < num(0.05), "from {alone} to {moved}");
    }

    #[test]
    fn splitting_or_merging_keys_changes_neither_value_nor_confidence_nor_who_is_flagged(
        whole in reports(3..10),
        at in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(1u64..1000, 1..12),
    ) {
        let at = at.index(whole.len());
        let mut split = whole.clone();
        let mut key = split.remove(at);
        for cut in cuts {
            let part = (key.stake / 1000).saturating_mul(cut).min(key.stake - 1);
            if part > 0 {
                split.push(Report { stake: part, ..key });
                key.stake -= part;
            }
        }
        split.push(key);
        for method in ours() {
            let (one, many) = (by(method, &whole), by(method, &split));
            prop_assert_eq!(one.value, many.value);
            prop_assert_eq!(one.confidence, many.confidence);
            prop_assert_eq!(one.mad_bits, many.mad_bits);
            prop_assert_eq!(one.agreeing_stake, many.agreeing_stake);
            let flagged: Vec<_> = (0..split.len()).filter(|i| many.is_outlier(*i as u32)).collect();
            let expected: Vec<_> = (0..split.len()).filter(|&i| {
                // The others moved up by one, the parts stand at the end.
                let was = if i + 1 >= whole.len() { at } else if i < at { i } else { i + 1 };
                one.is_outlier(was as u32)
            }).collect();
            prop_assert_eq!(flagged, expected, "{}", method);
        }
    }

    #[test]
    fn the_order_of_reports_does_not_matter((given, order) in shuffled(3..12)) {
        let shuffled: Vec<Report> = order.iter().map(|&i| given[i]).collect();
        for method in Method::ALL {
            let (a, b) = (by(method, &given), by(method, &shuffled));
            let mut back = b.clone();
            for outlier in &mut back.outliers {
                outlier.index = order[outlier.index as usize] as u32;
            }
            back.outliers.sort_unstable_by_key(|o| o.index);
            prop_assert_eq!(a, back, "{}", method);
        }
    }

    #[test]
    fn declared_confidence_changes_no_value_but_its_own_methods_and_raises_no_weight_above_the_stake(
        given in reports(3..12),
        declared in prop::collection::vec(0i64..=(1 << 32), 12),
        same in 1i64..=(1 << 32),
    ) {
        let mut other = given.clone();
        for (r, c) in other.iter_mut().zip(declared) {
            r.confidence = I32F32::from_bits(c);
        }
        for method in ours().filter(|method| *method != Method::ConfidenceWeighted) {
            let (a, b) = (by(method, &given), by(method, &other));
            prop_assert_eq!(a.value, b.value);
            prop_assert_eq!(a.outliers, b.outliers);
            prop_assert_eq!(a.agreeing_stake, b.agreeing_stake);
        }
        // Who declares no more than the others weighs its stake, however much they declare.
        for r in &mut other {
            r.confidence = I32F32::from_bits(same);
        }
        let value = |method| by(method, &other).value;
        prop_assert_eq!(value(Method::ConfidenceWeighted), value(Method::StakeWeighted));
    }

    #[test]
    fn confidence_is_a_share_and_the_value_lies_among_the_reports(given in reports(3..12)) {
        for method in Method::ALL {
            let settled = by(method, &given);
            prop_assert!(Bounds::UNIT.contains(settled.confidence), "{}", method);
            prop_assert!(within(&given, settled.value), "{}", method);
            if !method.is_seed() {
                prop_assert!(settled.agreeing_stake >= settled.valid_stake - settled.agreeing_stake);
            }
        }
        for method in [Method::Robust, Method::WeightedMedian] {
            prop_assert!(given.iter().any(|r| r.value == by(method, &given).value));
        }
    }

    #[test]
    fn a_trimmed_mean_is_that_of_the_single_pieces_of_stake(
        given in prop::collection::vec((0i64..=16, 1u64..6), 3..8),
        tenths in 0usize..5,
    ) {
        let reports: Vec<_> = given.iter()
            .map(|(value, stake)| Report { value: I32F32::from_bits(*value), ..report(0.0, *stake) }).collect();
        let rules = Rules { trim_ppm: 100_000 * tenths as u32, ..Rules::of(Method::TrimmedMean) };
        // Every grain in ten pieces, so that a tenth of all is a whole number of them.
        let mut pieces: Vec<i64> = given.iter().flat_map(|(value, stake)| vec![*value; 10 * *stake as usize]).collect();
        pieces.sort_unstable();
        let cut = pieces.len() / 10 * tenths;
        let kept = &pieces[cut..pieces.len() - cut];
        let expected = kept.iter().sum::<i64>() / kept.len() as i64;
        prop_assert_eq!(aggregate(&rules, Bounds::UNIT, &reports).unwrap().value.to_bits(), expected);
    }

    #[test]
    fn nothing_overflows_at_the_extremes(
        given in prop::collection::vec((extreme(), prop_oneof![Just(u64::MAX), Just(0), any::<u64>()], extreme()), 0..10),
        (lo, hi) in (extreme(), extreme()),
        (cut_off_milli, mad_floor_ppm, trim_ppm) in (edge(), edge(), edge()),
        min_validators in 0u32..4,
    ) {
        let reports: Vec<_> = given.into_iter()
            .map(|(value, stake, confidence)| Report { value, stake, confidence }).collect();
        for method in Method::ALL {
            let rules = Rules { method, min_validators, cut_off_milli, mad_floor_ppm, trim_ppm };
            let bounds = Bounds { lo, hi };
            match aggregate(&rules, bounds, &reports) {
                Ok(settled) => {
                    prop_assert!(Bounds::UNIT.contains(settled.confidence));
                    prop_assert!(method.is_seed() || bounds.contains(settled.value));
                    let valid = |i: usize| !settled.outliers.iter().any(|o| o.index as usize == i && o.reason.is_invalid());
                    let counted: Vec<_> = (0..reports.len()).filter(|i| valid(*i)).map(|i| reports[i]).collect();
                    prop_assert_eq!(counted.len(), settled.valid as usize);
                    prop_assert!(within(&counted, settled.value), "{}", method);
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}

fn extreme() -> impl Strategy<Value = I32F32> {
    prop_oneof![
        Just(I32F32::MIN),
        Just(I32F32::MAX),
        Just(I32F32::ZERO),
        Just(I32F32::ONE),
        any::<i64>().prop_map(I32F32::from_bits),
        (0i64..=1 << 32).prop_map(I32F32::from_bits),
    ]
}

fn edge() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), Just(500_000), any::<u32>()]
}
