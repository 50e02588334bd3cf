//! Whole epochs: upstream's scenarios, step by step, with what it stores between them.

use super::super::replay::{Setup, Subnet};
use super::super::{Bonding, Input, LiquidAlpha, Output, Params, epoch, to_u16};
use super::{assert_near, float, floats, ints, list, vectors};
use fixed::types::I32F32;
use serde_json::Value;

fn subnet(params: &Value) -> Subnet {
    let int = |key: &str| params[key].as_u64().unwrap();
    let proportion = |key: &str| (params[key].as_f64().unwrap() * 65_535.0) as u16;
    let liquid = || LiquidAlpha {
        low: proportion("alpha_low"),
        high: proportion("alpha_high"),
        steepness: int("alpha_sigmoid_steepness_param") as u16,
    };
    let bonding = if params["yuma3"].as_bool().unwrap() {
        let liquid_alpha = params["liquid_alpha"].as_bool().unwrap().then(liquid);
        Bonding::Yuma3 { liquid_alpha }
    } else {
        Bonding::Classic
    };
    let stake = ints(&params["stake"]);
    let registered = params.get("block_at_registration").map_or_else(|| vec![0; stake.len()], ints);
    Subnet::new(Setup {
        params: Params {
            kappa: int("kappa_u16") as u16,
            bonds_moving_average: int("bonds_moving_average") as u32,
            bonds_penalty: int("bonds_penalty_u16") as u16,
            bonding,
            ..Params::default()
        },
        stake,
        registered,
        emission: int("emission"),
        tempo: int("tempo"),
        activity_cutoff: params["activity_cutoff"].as_u64().unwrap_or(5_000),
        max_validators: int("max_validators") as u16,
    })
}

fn set_weights(subnet: &mut Subnet, uid: &str, block: u64, row: &Value) {
    let entries: Vec<_> = list(row).iter().map(ints).map(|e| (e[0] as u16, e[1] as u16)).collect();
    subnet.set_weights(uid.parse().unwrap(), block, &entries);
}

fn bond(output: &Output, i: usize, j: u16) -> u16 {
    let found = output.bonds[i].iter().find(|(k, _)| *k == j);
    found.map_or(0, |(_, bond)| *bond)
}

fn mutate(subnet: &mut Subnet, mutation: &Value) {
    for (key, value) in mutation.as_object().unwrap() {
        let uid = || key.rsplit('_').next().unwrap().parse().unwrap();
        match key.as_str() {
            "reregister_uid" => {} // the three below say what it changes
            key if key.starts_with("block_at_registration") => {
                subnet.set_registered(uid(), value.as_u64().unwrap());
            }
            key if key.starts_with("stake") => subnet.set_stake(uid(), value.as_u64().unwrap()),
            key if key.starts_with("validator_permit") => {
                subnet.set_permit(uid(), value.as_bool().unwrap());
            }
            other => panic!("unknown mutation {other}"),
        }
    }
}

/// Compares all that a step states; returns how many things it did.
fn compare(output: &Output, subnet: &Subnet, expect: &Value, what: &str) -> usize {
    let stated = expect.as_object().unwrap();
    let share = |values: &[I32F32], expected: &Value, name: &str| {
        let found: Vec<f64> = values.iter().map(|x| float(*x)).collect();
        assert_near(&found, &floats(expected), 2e-10, &format!("{what} {name}"));
    };
    let in_u16 = |values: &[I32F32], expected: &Value, name: &str| {
        let found: Vec<u64> = values.iter().map(|x| u64::from(to_u16(*x))).collect();
        assert_eq!(found, ints(expected), "{what} {name}");
    };
    for (key, expected) in stated {
        match key.as_str() {
            "emission" => assert_eq!(output.combined_emission, ints(expected), "{what}"),
            "dividends" => share(&output.dividends, expected, key),
            "incentive" => share(&output.incentive, expected, key),
            "consensus" => share(&output.consensus, expected, key),
            "dividends_u16" => in_u16(&output.dividends, expected, key),
            "incentive_u16" => in_u16(&output.incentive, expected, key),
            "consensus_u16" => in_u16(&output.consensus, expected, key),
            "bonds_to_uid" => {
                for (j, bonds) in expected.as_object().unwrap() {
                    for (i, expected) in ints(bonds).into_iter().enumerate() {
                        let found = bond(output, i, j.parse().unwrap());
                        assert_eq!(u64::from(found), expected, "{what} bond {i} to {j}");
                    }
                }
            }
            "bonds_u16" => {
                for (i, bonds) in expected.as_object().unwrap() {
                    for (j, expected) in bonds.as_object().unwrap() {
                        let found = bond(output, i.parse().unwrap(), j.parse().unwrap());
                        assert_eq!(u64::from(found), expected.as_u64().unwrap(), "{what} bond {i} to {j}");
                    }
                }
            }
            "stored_weights" => {
                for (i, weights) in expected.as_object().unwrap() {
                    let row = subnet.weights(i.parse().unwrap());
                    for (j, expected) in weights.as_object().unwrap() {
                        let uid: u16 = j.parse().unwrap();
                        let found = row.iter().find(|(k, _)| *k == uid).unwrap().1;
                        assert_eq!(Some(u64::from(found)), expected.as_u64(), "{what}");
                    }
                }
            }
            "note" => {}
            other => panic!("unknown expectation {other}"),
        }
    }
    let paid: u64 = output.server_emission.iter().chain(&output.validator_emission).sum();
    assert_eq!(paid + output.remainder, subnet.emission());
    stated.keys().filter(|key| *key != "note").count()
}

#[test]
fn classic_epochs_give_upstreams_integers_bit_for_bit() {
    let mut compared = 0;
    for case in list(&vectors()["epoch_vectors_classic"]) {
        let name = case["name"].as_str().unwrap();
        let mut subnet = subnet(&case["params"]);
        for step in list(&case["steps"]) {
            let block = step["block"].as_u64().unwrap();
            if step.get("mutate").is_some() {
                mutate(&mut subnet, &step["mutate"]);
            }
            for (uid, row) in step["set_weights"].as_object().into_iter().flatten() {
                set_weights(&mut subnet, uid, block, row);
            }
            for (uid, set) in step["set_weights_at"].as_object().into_iter().flatten() {
                set_weights(&mut subnet, uid, set["block"].as_u64().unwrap(), &set["weights"]);
            }
            let output = subnet.run(block).unwrap();
            compared += compare(&output, &subnet, &step["expect"], &format!("{name} block {block}"));
        }
    }
    assert_eq!(compared, 44);
}

#[test]
fn yuma3_epochs_give_upstreams_bonds_and_dividends() {
    let vectors = vectors();
    for case in list(&vectors["epoch_vectors_yuma3"]) {
        let name = case["name"].as_str().unwrap();
        let params = &case["params"];
        let (validators, miners) = (ints(&params["validators"]), ints(&params["miners"]));
        let tolerance = case["tolerance"].as_f64().unwrap();
        let mut subnet = self::subnet(params);
        subnet.run(0).unwrap();
        let at = |field: &str, t: usize| -> Option<Value> {
            match &case[field] {
                Value::Array(rows) => rows.get(t).cloned(),
                by_epoch => by_epoch.get(t.to_string()).cloned(),
            }
        };
        let mut compared = 0;
        for t in 0..=40 {
            let block = t as u64 + 1;
            if let Some(rows) = at("weights_by_epoch", t) {
                for (validator, row) in validators.iter().zip(list(&rows)) {
                    let row = miners.iter().zip(ints(row));
                    let row: Vec<_> = row.map(|(j, w)| (*j as u16, w as u16)).collect();
                    subnet.set_weights(*validator as u16, block, &row);
                }
            }
            let reset = &case["bonds_reset"];
            if reset["before_epoch"].as_u64() == Some(t as u64) {
                let gone = reset["clear_all_bonds_to_uid"].as_u64().unwrap() as u16;
                subnet.clear_bonds_to(gone);
            }
            let output = subnet.run(block).unwrap();
            let what = format!("{name} epoch {t}");
            let (dividends, bonds) = ("expected_dividends", "expected_bonds");
            let stated = |field| at(field, t).or_else(|| at(&format!("{field}_by_epoch"), t));
            if let Some(expected) = stated(dividends) {
                let found: Vec<f64> = output.dividends.iter().map(|x| float(*x)).collect();
                assert_near(&found, &floats(&expected), tolerance, &what);
                compared += 1;
            }
            if let Some(expected) = stated(bonds) {
                for (validator, row) in validators.iter().zip(list(&expected)) {
                    let found = |j: &u64| f64::from(bond(&output, *validator as usize, *j as u16)) / 65_535.0;
                    let found: Vec<f64> = miners.iter().map(found).collect();
                    assert_near(&found, &floats(row), tolerance, &what);
                }
                compared += 1;
            }
        }
        let whole = if name == "bonds_reset" { 14 } else { 12 };
        assert_eq!(compared, whole, "{name}");
    }
}

#[test]
fn an_honest_majority_keeps_the_emission_share_upstream_guarantees() {
    let vectors = vectors();
    let guarantee = &vectors["two_team_guarantee"];
    for row in list(&guarantee["rows"]) {
        let part = |key: &str| row[key].as_f64().unwrap();
        let count = |key: &str| row[key].as_u64().unwrap() as usize;
        let (validators, servers) = (count("validators"), count("servers"));
        let n = validators + servers;
        // Teams in proportion to their stake, as the setup of the simulation says.
        let honest_validators = (part("SH") * validators as f64) as usize;
        let honest_servers = (part("SH") * servers as f64) as usize;
        let honest = |uid: usize| uid < honest_validators || (validators..validators + honest_servers).contains(&uid);
        let mut input = Input {
            active: vec![true; n],
            last_update: vec![1; n],
            registered: vec![0; n],
            last_epoch: 1,
            weights: vec![vec![]; n],
            bonds: vec![vec![]; n],
            emission: 1_000_000_000,
            ..Input::default()
        };
        for uid in 0..n {
            let (team_stake, own, validators_of_team) = if honest(uid) {
                (part("SH"), part("WH"), honest_validators)
            } else {
                (1.0 - part("SH"), part("WC"), validators - honest_validators)
            };
            let is_validator = uid < validators;
            input.permit.push(is_validator);
            let stake = team_stake / validators_of_team as f64 * 1e15;
            input.stake.push(if is_validator { stake as u64 } else { 0 });
            if is_validator {
                let weight = |j: usize| {
                    let to_honest = honest(j) == honest(0);
                    let team = if to_honest { honest_servers } else { servers - honest_servers };
                    let whole = if to_honest == honest(uid) { own } else { 1.0 - own };
                    (j as u16, I32F32::from_num(whole / team as f64))
                };
                input.weights[uid] = (validators..n).map(weight).collect();
            }
        }
        input.new_permit = input.permit.clone();
        let params = Params { bonds_penalty: row["bonds_penalty_u16"].as_u64().unwrap() as u16, ..Params::default() };
        let output = epoch(&params, &input).unwrap();
        let of_honest = |amounts: &[u64]| -> u64 { (0..n).filter(|uid| honest(*uid)).map(|uid| amounts[uid]).sum() };
        let share = (of_honest(&output.server_emission) + of_honest(&output.validator_emission)) as f64 / 1e9;
        assert_near(
            &[share],
            &[part("honest_emission_share")],
            guarantee["tolerance"].as_f64().unwrap(),
            &row.to_string(),
        );
    }
}
