#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn vectors() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/seed_aggregator.json");
    let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    vectors["aggregator"].as_array().unwrap().clone()
}

fn settled(method: &str, json: &str) -> eyre::Result<Settled> {
    settle(method.parse()?, &parse(json.as_bytes())?)
}

/// The message a person sees.
fn refused(method: &str, json: &str) -> String {
    settled(method, json).unwrap_err().to_string()
}

/// Scores with the same confidence and stake.
fn reports(scores: &[f64]) -> String {
    let entries: Vec<_> = scores.iter().map(|s| json!({ "score": s, "confidence": 1, "stake": 10 })).collect();
    json!({ "input": entries }).to_string()
}

#[test]
fn the_seed_systems_vectors_can_be_given_as_they_stand_and_give_its_answers() {
    for case in vectors() {
        for (name, expected) in case["expected"].as_object().unwrap() {
            let what = format!("{}, {name}", case["name"]);
            let found = settled(&format!("seed_{name}"), &case.to_string()).unwrap();
            for (found, field) in [(found.value, "value"), (found.confidence, "confidence")] {
                let expected = expected[field].as_f64().unwrap();
                assert!((found - expected).abs() <= 1e-9, "{what}: expected {field} {expected}, found {found}");
            }
            let json = shown(&found, |outlier| words(&outlier.reason, 2.0));
            let uids: Vec<_> =
                json["outliers"].as_array().unwrap().iter().map(|o| format!("v{}", o["index"])).collect();
            assert_eq!(json!(uids), expected["outlier_uids"], "{what}");
            assert_eq!(json["error"], expected["error"], "{what}");
        }
    }
}

#[test]
fn three_of_four_settle_what_all_say_and_the_fourth_is_named_with_a_reason() {
    for method in ["robust", "weighted_median", "median", "trimmed_mean"] {
        let found = settled(method, &reports(&[0.7, 0.7, 0.7, 0.0])).unwrap();
        let json = shown(&found, |outlier| words(&outlier.reason, 3.5));
        let reason = "deviates: modified Z-score 47.215, above 3.5";
        let expected = json!({ "value": 0.7, "confidence": 0.75, "outliers": [{ "index": 3, "reason": reason }] });
        assert_eq!(json, expected, "{method}");
    }
}

#[test]
fn a_threshold_and_a_number_of_validators_are_taken() {
    let case = |extra: &str| format!("{{{extra} {}", &reports(&[0.5, 0.5, 0.5, 0.6])[1..]);
    let flagged = |extra| settled("robust", &case(extra)).unwrap().outliers.len();
    assert_eq!(flagged(""), 1);
    assert_eq!(flagged("\"outlier_threshold\": 6.75,"), 0);
    assert_eq!(flagged("\"outlier_threshold\": null, \"min_validators\": 4,"), 1);
    let error = refused("robust", &case("\"min_validators\": 5,"));
    assert!(error.contains("at least 5 valid reports with stake, found 4"), "{error}");
    let found = settled("seed_robust", &case("\"min_validators\": 5,")).unwrap();
    assert_eq!((found.value, found.confidence, found.error), (0.0, 0.0, Some("insufficient_validators")));
}

#[test]
fn only_the_proportions_of_stakes_matter_and_decimals_are_exact() {
    let case = |stakes: [&str; 3]| {
        let entry = |(score, stake)| format!("{{\"score\": {score}, \"confidence\": 1, \"stake\": {stake}}}");
        let entries: Vec<_> = [0.25, 0.5, 1.0].into_iter().zip(stakes).map(entry).collect();
        format!("{{\"input\": [{}]}}", entries.join(","))
    };
    // Half of the stake lies at 0.25 and 0.5, which no sum of binary fractions would say.
    let value = |method, stakes| settled(method, &case(stakes)).unwrap().value;
    for stakes in
        [["1", "2", "3"], ["0.1", "0.2", "0.3"], ["1e-9", "2.0e-9", "3E-9"], ["1e18", "2e18", "3000000000000000000"]]
    {
        assert_eq!(value("robust", stakes), 0.5, "{stakes:?}");
        assert_eq!(value("median", stakes), 0.75, "{stakes:?}");
        assert!((value("stake_weighted", stakes) - 4.25 / 6.0).abs() < 3e-10, "{stakes:?}");
        assert!((value("seed_stake_weighted", stakes) - 4.25 / 6.0).abs() < 1e-9, "{stakes:?}");
    }
    assert_eq!(value("robust", ["18446744073709551615", "1", "1"]), 0.25);
    for (stakes, why) in [
        (["1", "1", "18446744073709551616"], "input[2].stake: expected less than 2^64, found 18446744073709552000"),
        (
            ["1", "0.5", "18446744073709551615"],
            "input[2].stake: expected less than 2^64 when counted in units of 10^-1",
        ),
        (["1", "0.0000000001", "1"], "input[1].stake: expected at most 9 decimals, found 0.0000000001"),
        (["1", "1", "-1"], "input[2].stake: expected a number from 0 up, found -1"),
        (["1", "1", "-0.5"], "input[2].stake: expected a number from 0 up, found -0.5"),
    ] {
        let error = refused("robust", &case(stakes));
        assert!(error.starts_with(why), "{error}");
    }
    for stakes in [["1e-20", "2e-20", "3e-20"], ["1e300", "2e300", "3e300"], ["5e-324", "10e-324", "15e-324"]] {
        let found = value("seed_stake_weighted", stakes);
        assert!((found - 4.25 / 6.0).abs() < 1e-9, "{stakes:?}: {found}");
    }
    // Beside a large stake a small one is not lost: its root is a thousandth.
    for stakes in [["1000000", "0", "1"], ["1e-9", "0", "1e-15"]] {
        let found = value("seed_robust", stakes);
        assert!((found - 251.0 / 1001.0).abs() < 1e-9, "{stakes:?}: {found}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let entry = "{\"score\": 0.5, \"confidence\": 1, \"stake\": 1}";
    let one = |entry: &str| format!("{{\"input\": [{entry}]}}");
    for (json, why) in [
        (String::new(), "EOF"),
        ("[]".into(), "expected an object with `input`"),
        ("{}".into(), "missing field `input`"),
        (one("7"), "input[0]: invalid type: integer `7`, expected an object with `score`, `confidence` and `stake`"),
        (one(""), "input: expected at least one report, found none"),
        (format!("{} x", one(entry)), "trailing characters"),
        (
            "{\"inputs\": []}".into(),
            "unknown field `inputs`, expected one of `outlier_threshold`, `min_validators`, `input`",
        ),
        (one("{\"score\": 0.5, \"confidence\": 1}"), "input[0]: missing field `stake`"),
        (one("{\"score\": 0.5, \"stake\": 1}"), "input[0]: missing field `confidence`"),
        (one(&entry.replace("0.5", "NaN")), "input[0].score: expected value"),
        (one(&entry.replace("0.5", "\"0.5\"")), "input[0].score: invalid type: string \"0.5\", expected f64"),
        (one(&entry.replace("0.5", "null")), "input[0].score: invalid type: null"),
        (one(&entry.replace("0.5", "1e999")), "input[0].score: number out of range"),
        (one(&entry.replace("score", "value")), "input[0].value: unknown field `value`"),
        (format!("{{\"min_validators\": -1, {}", &one(entry)[1..]), "min_validators: invalid value: integer `-1`"),
        (format!("{{\"outlier_threshold\": \"x\", {}", &one(entry)[1..]), "outlier_threshold: invalid type: string"),
        (format!("{{\"outlier_threshold\": -1, {}", &one(entry)[1..]), "outlier_threshold: expected a number from 0"),
        (
            format!("{{\"outlier_threshold\": 1.2345, {}", &one(entry)[1..]),
            "outlier_threshold: expected a number from 0",
        ),
    ] {
        let error = refused("robust", &json);
        assert!(error.contains(why), "{json}: expected {why:?}, found {error:?}");
    }
    for (from, to, why) in [("0.5", "3e9", "input[0].score"), ("1,", "-1,", "input[0].confidence")] {
        let json = format!("{{\"min_validators\": 1, {}", &one(&entry.replace(from, to))[1..]);
        let error = refused("seed_median", &json);
        assert!(error.starts_with(why), "{error}");
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same_number() {
    for bits in [0, 1, 2, (1 << 32) - 1, 1 << 32, 3_006_477_107, 1_431_655_765] {
        let x = I32F32::from_bits(bits);
        assert_eq!(I32F32::from_num(shortest(x).unwrap()), x);
    }
    assert_eq!(shortest(I32F32::from_num(0.7)).unwrap(), 0.7);
}

/// JSON of about the right form, with anything in its places.
fn nearly() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<f64>().prop_map(|x| x.to_string()),
        any::<i64>().prop_map(|x| x.to_string()),
        (0..=100u32).prop_map(|x| format!("0.{x}")),
        prop::sample::select(vec!["0", "1", "-0", "1e308", "1e-308", "18446744073709551615", "null", "\"x\"", "[]"])
            .prop_map(str::to_owned),
    ];
    let entry = prop::collection::vec(number.clone(), 3)
        .prop_map(|x| format!("{{\"score\":{},\"confidence\":{},\"stake\":{}}}", x[0], x[1], x[2]));
    (prop::collection::vec(entry, 0..4), number.clone(), number, any::<bool>()).prop_map(
        |(entries, cut_off, least, full)| {
            let input = entries.join(",");
            if full {
                format!("{{\"outlier_threshold\":{cut_off},\"min_validators\":{least},\"input\":[{input}]}}")
            } else {
                format!("{{\"input\":[{input}]}}")
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_bytes_make_the_reader_fail_but_with_an_error(
        bytes in prop::collection::vec(any::<u8>(), 0..24),
        json in nearly(),
        method in prop::sample::select(Method::ALL.to_vec()),
        spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        prop_assert!(parse(&bytes).is_err());
        let mut edited = json.clone().into_bytes();
        for (at, byte) in spoilt {
            let at = at.index(edited.len());
            edited[at] = byte;
        }
        for text in [json.as_bytes(), &edited] {
            let Ok(case) = parse(text) else { continue };
            if let Ok(settled) = settle(method, &case) {
                prop_assert!((0.0..=1.0).contains(&settled.confidence) && settled.value.is_finite());
            }
        }
    }
}
