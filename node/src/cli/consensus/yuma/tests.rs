//! Upstream's known answers through the very function that the command calls, and what it refuses.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn vectors(kind: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/yuma_upstream.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    all[kind].as_array().unwrap().clone()
}

/// What `--json` prints for a file's contents.
fn settled(scenario: &Value) -> eyre::Result<Vec<Value>> {
    let steps = Scenario::read(scenario.to_string().as_bytes())?.run()?;
    let shown = serde_json::to_value(Settled { steps: steps.iter().map(Step::new).collect() })?;
    Ok(shown["steps"].as_array().unwrap().clone())
}

fn refused(scenario: &Value) -> String {
    format!("{:#}", settled(scenario).unwrap_err())
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= tolerance, "{what}: expected {expected:?} within {tolerance}, found {found:?}");
    }
}

/// Whether all that is stated stands in what was found.
fn includes(found: &Value, stated: &Value) -> bool {
    match stated {
        Value::Object(fields) => fields.iter().all(|(name, stated)| includes(&found[name], stated)),
        other => found == other,
    }
}

#[test]
fn classic_vectors_hold_to_the_last_integer() {
    let mut compared = 0;
    for vector in vectors("epoch_vectors_classic") {
        let found = settled(&vector).unwrap();
        let steps = vector["steps"].as_array().unwrap();
        assert_eq!(found.len(), steps.len());
        for (step, found) in steps.iter().zip(&found) {
            assert_eq!(found["block"], step["block"]);
            for (name, expected) in step["expect"].as_object().unwrap() {
                let what = format!("{} block {} {name}", vector["name"], step["block"]);
                match name.as_str() {
                    "note" => continue,
                    "dividends" | "incentive" | "consensus" => {
                        assert_near(&floats(&found[name]), &floats(expected), 2e-10, &what);
                    }
                    "bonds_to_uid" => {
                        for (j, bonds) in expected.as_object().unwrap() {
                            for (i, bond) in bonds.as_array().unwrap().iter().enumerate() {
                                assert_eq!(&found["bonds_u16"][i.to_string()][j], bond, "{what}");
                            }
                        }
                    }
                    "bonds_u16" | "stored_weights" => assert!(includes(&found[name], expected), "{what}"),
                    _ => assert_eq!(&found[name], expected, "{what}"),
                }
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 44);
}

#[test]
fn yuma3_vectors_hold_within_their_tolerance() {
    let mut compared = 0;
    for vector in vectors("epoch_vectors_yuma3") {
        let found = settled(&vector).unwrap();
        let uids = |name: &str| vector["params"][name].as_array().unwrap().clone();
        let tolerance = vector["tolerance"].as_f64().unwrap();
        let stated = |name: &str| -> Vec<(usize, Value)> {
            match (&vector[name], &vector[format!("{name}_by_epoch")]) {
                (Value::Array(rows), _) => rows.iter().cloned().enumerate().collect(),
                (_, Value::Object(rows)) => rows.iter().map(|(t, row)| (t.parse().unwrap(), row.clone())).collect(),
                other => panic!("{name}: {other:?}"),
            }
        };
        for (t, expected) in stated("expected_dividends") {
            assert_eq!(found[t]["block"], t + 1);
            let what = format!("{} dividends {t}", vector["name"]);
            assert_near(&floats(&found[t]["dividends"]), &floats(&expected), tolerance, &what);
            compared += 1;
        }
        for (t, expected) in stated("expected_bonds") {
            for (i, row) in uids("validators").iter().zip(expected.as_array().unwrap()) {
                let bond = |j: &Value| found[t]["bonds_u16"][i.to_string()][j.to_string()].as_f64().unwrap() / 65_535.0;
                let bonds: Vec<f64> = uids("miners").iter().map(bond).collect();
                assert_near(&bonds, &floats(row), tolerance, &format!("{} bonds {t} of {i}", vector["name"]));
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 6 * 12 + 14);
}

#[test]
fn both_forms_of_a_scenario_give_the_same() {
    let by_epoch = vectors("epoch_vectors_yuma3").remove(6);
    let (mut steps, rows) = (vec![json!({ "block": 0 })], &by_epoch["weights_by_epoch"]);
    for t in 0..41 {
        let mut step = json!({ "block": t + 1 });
        for (i, row) in rows[t.to_string()].as_array().into_iter().flatten().enumerate() {
            step["set_weights"][i.to_string()] = json!([[3, row[0]], [4, row[1]]]);
        }
        if t == 20 {
            step["mutate"] = json!({ "clear_all_bonds_to_uid": 3 });
        }
        steps.push(step);
    }
    let found = settled(&json!({ "params": by_epoch["params"], "steps": steps })).unwrap();
    assert_eq!(found[1..], settled(&by_epoch).unwrap()[..]);
}

#[test]
fn defaults_are_upstreams_and_a_row_may_come_in_any_order() {
    let step = |row: Value| json!([{ "block": 0 }, { "block": 1, "set_weights": { "0": row } }]);
    let given = json!({ "params": { "stake": [5, 0, 0] }, "steps": step(json!([[2, 10], [1, 30]])) });
    let found = settled(&given).unwrap();
    assert_eq!(found[1]["incentive_u16"], json!([0, 49151, 16383]));
    assert_eq!(found[1]["server_emission"], json!([0, 375000000, 125000000]));
    assert_eq!(found[1]["validator_emission"], json!([500000000, 0, 0]));
    assert_eq!(found[1]["validator_trust_u16"][0], 65535);
    assert_eq!(found[1]["bonds_u16"]["0"], json!({ "0": 0, "1": 65535, "2": 65535 }));
    assert_eq!(found[1]["bonds_u16"]["2"], json!({ "0": 0, "1": 0, "2": 0 }));
}

#[test]
fn what_is_malformed_is_refused_by_name() {
    let good = || {
        json!({
            "name": "a word", "tolerance": { "emission": 0 }, "verified_by": ["nobody"], "epoch_count": 3,
            "params": { "n": 3, "stake": [5, 0, 0] },
            "steps": [{ "block": 1, "set_weights": { "0": [[1, 7]] }, "expect": {}, "note": "" }],
        })
    };
    settled(&good()).unwrap();
    let with = |path: &str, value: Value| {
        let mut changed = good();
        let (folder, name) = path.rsplit_once('/').unwrap();
        changed.pointer_mut(folder).unwrap()[name] = value;
        refused(&changed)
    };
    for (path, value, told) in [
        ("/other", json!({ "x": 1 }), "unknown field `other`"),
        ("/params/kapa_u16", json!(1), "params.kapa_u16: unknown field `kapa_u16`"),
        ("/params/kappa_u16", json!(65536), "params.kappa_u16: invalid value"),
        ("/params/stake", json!([1, -2]), "params.stake[1]: invalid value"),
        ("/params/n", json!(4), "params.n: differs"),
        ("/params/block_at_registration", json!([1]), "params.block_at_registration: expected 3 entries"),
        ("/params/liquid_alpha", json!(true), "params.liquid_alpha: goes with yuma3"),
        ("/params/alpha_low", json!(1.5), "params.alpha_low: expected 0 to 1"),
        ("/params/bonds_moving_average", json!(1_000_001), "`bonds_moving_average`"),
        ("/params/miners", json!([3]), "params.miners: names uid 3"),
        ("/params/stake", json!(vec![1; 4097]), "params.stake: has 4097 uids"),
        ("/epochs", json!(3), "epochs: goes with weights_by_epoch"),
        ("/weights_by_epoch", json!({}), "one of the two"),
        ("/steps/0/blok", json!(1), "steps[0].blok: unknown field `blok`"),
        ("/steps/0/set_weights", json!({ "3": [] }), "steps[0].set_weights.3: names uid 3"),
        ("/steps/0/set_weights", json!({ "x": [] }), "steps[0].set_weights.x: its name is no uid"),
        ("/steps/0/set_weights", json!({ "0": [[1, 2], [1, 2]] }), "weighs uid 1 twice"),
        ("/steps/0/set_weights", json!({ "0": [[1, 65536]] }), "steps[0].set_weights.0[0][1]: invalid value"),
        ("/steps/0/set_weights", json!({ "0": [[9, 1]] }), "steps[0].set_weights.0: names uid 9"),
        ("/steps/0/mutate", json!({ "stake_9": 1 }), "stake_9: names uid 9"),
        ("/steps/0/mutate", json!({ "stake_1": -1 }), "stake_1: expected a number"),
        ("/steps/0/mutate", json!({ "steak_1": 1 }), "unknown field `steak_1`"),
        ("/steps/0/mutate", json!({ "reregister_uid": 1 }), "expected block_at_registration_1"),
        ("/steps/0/mutate", json!({ "validator_permit_1": 1 }), "expected true or false"),
    ] {
        let found = with(path, value);
        assert!(found.contains(told), "{path}: {found}");
    }
    assert!(refused(&json!({ "steps": [] })).contains("missing field `params`"));
    assert!(refused(&json!([])).contains("invalid"));
    assert!(format!("{:#}", Scenario::read(b"{").unwrap_err()).contains("EOF"));
    let descending = json!({ "params": { "stake": [1] }, "steps": [{ "block": 2 }, { "block": 1 }] });
    assert!(refused(&descending).contains("steps[1].block: 1 is before 2"));
    let many = json!({ "params": { "stake": vec![0; 4096] }, "steps": vec![json!({ "block": 1 }); 5] });
    assert!(refused(&many).contains("at most 67108864"));
}

#[test]
fn people_see_a_table_for_each_epoch() {
    let given = json!({ "params": { "stake": [5, 0] }, "steps": [{ "block": 7 }, { "block": 8, "set_weights": { "0": [[1, 1]] } }] });
    let steps = Scenario::read(given.to_string().as_bytes()).unwrap().run().unwrap();
    let shown: Vec<String> = steps.iter().map(words).collect();
    assert!(shown[0].contains("block 7, 0 grain left"), "{}", shown[0]);
    assert!(shown[1].contains("1: 65535") && shown[1].contains("500000000"), "{}", shown[1]);
}
