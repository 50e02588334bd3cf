//! `assay devnet`, as a newcomer's first command, judged by its JSON report.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use assay_tests::binary;
use serde_json::Value;

fn run(arguments: &[&str]) -> Value {
    let output = Command::new(binary().unwrap()).args(arguments).stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "assay {arguments:?} failed, {}: {said}\n{errors}", output.status);
    // One object and nothing else: anything more would be trailing characters.
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("stdout is not one JSON object: {e}\n{errors}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn miners<'a>(report: &'a Value, behaviour: &'a str) -> impl Iterator<Item = &'a Value> {
    let epochs = report["epochs"].as_array().unwrap().iter();
    epochs.flat_map(|e| e["miners"].as_array().unwrap()).filter(move |m| m["behaviour"] == behaviour)
}

#[test]
fn three_epochs_pay_the_honest_and_slash_the_tamperer_and_the_books_balance() {
    let report =
        run(&["devnet", "--epochs", "3", "--json", "--adversaries", "lazy,tamper,copy", "--base-port", "11200"]);

    let roots: BTreeSet<_> = report["state_roots"].as_object().unwrap().values().map(Value::to_string).collect();
    assert_eq!(report["state_roots"].as_object().unwrap().len(), 12, "every node reports its root");
    assert_eq!(roots.len(), 1, "all state roots are equal: {}", report["state_roots"]);
    assert_eq!(report["epochs"].as_array().unwrap().len(), 3);

    for epoch in report["epochs"].as_array().unwrap() {
        let lines = || epoch["miners"].as_array().unwrap().iter();
        let honest: Vec<&Value> = lines().filter(|m| m["behaviour"] == "honest").collect();
        assert_eq!(honest.len(), 2);
        assert_eq!(lines().filter(|m| m["behaviour"] == "teller").count(), 2);
        for miner in &honest {
            assert!(number(&miner["proofs_verified"]) >= 1.0, "an honest miner is verified in every epoch: {miner}");
        }
        let (a, b) = (number(&honest[0]["incentive"]), number(&honest[1]["incentive"]));
        assert!((a - b).abs() <= 0.2 * a.max(b), "honest incentives differ by less than a fifth: {a} and {b}");
    }
    for teller in miners(&report, "teller") {
        assert_eq!(number(&teller["proofs_rejected"]), 0.0, "every text is made again and right: {teller}");
        assert!(number(&teller["responses"]) > 0.0 && teller["responses"] == teller["proofs_verified"], "{teller}");
    }
    for lazy in miners(&report, "lazy").chain(miners(&report, "copy")) {
        assert!(number(&lazy["incentive"]) < 0.05, "{lazy}");
    }
    let tamper: Vec<&Value> = miners(&report, "tamper").collect();
    assert!(tamper.iter().any(|m| number(&m["proofs_rejected"]) > 0.0), "{tamper:?}");
    assert!(tamper.iter().all(|m| number(&m["reward"]) == 0.0), "{tamper:?}");
    let slashed = report["slashes"].as_array().unwrap();
    assert!(slashed.iter().any(|s| s["account"] == tamper[0]["account"]), "{slashed:?}");
    let honest: BTreeSet<_> = miners(&report, "honest").map(|m| m["account"].to_string()).collect();
    assert!(slashed.iter().all(|s| !honest.contains(&s["account"].to_string())), "no honest miner is slashed");

    let supply = &report["supply"];
    let of = |name: &str| i128::from(supply[name].as_u64().unwrap());
    assert_eq!(of("genesis") + of("minted") - of("burned"), of("total"), "{supply}");

    let proposals = report["proposals"].as_array().unwrap();
    for kind in ["choice", "parameter"] {
        let found = proposals.iter().find(|p| p["kind"] == kind).unwrap();
        assert_eq!(found["status"], "executed", "{found}");
    }
    let parameter = &proposals.iter().find(|p| p["kind"] == "parameter").unwrap()["result"];
    assert_eq!(parameter["value"], parameter["in_force"]);
    assert_ne!(parameter["value"], parameter["previous"]);
    assert_eq!(parameter["outliers"], 1, "the voter far from the others is named: {parameter}");
}

#[test]
fn a_start_that_was_killed_at_once_is_made_up_for_by_the_next() {
    let home = tempfile::tempdir().unwrap();
    let arguments = ["devnet", "--home", home.path().to_str().unwrap(), "--base-port", "11600", "--json"];
    let mut first = Command::new(binary().unwrap())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Killed between two steps of the script: the next start finds the miners registered, and nothing after that done.
    let mut said = BufReader::new(first.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("is registered")), "the devnet ended by itself");
    first.kill().unwrap();
    first.wait().unwrap();

    let report = run(&[&arguments[..], &["--epochs", "1"]].concat());
    assert_eq!(report["epochs"][0]["miners"].as_array().unwrap().len(), 6, "{report}");
    let earned: Vec<f64> = miners(&report, "honest").map(|miner| number(&miner["incentive"])).collect();
    assert!(earned.len() >= 2 && earned.iter().all(|incentive| *incentive > 0.3), "{earned:?}");
    assert_eq!(report["proposals"].as_array().unwrap().len(), 2);
    // What is done is remembered, and not done again.
    let manifest = std::fs::read_to_string(home.path().join("devnet.json")).unwrap();
    assert!(manifest.contains("\"played\": true"));
    let again = run(&[&arguments[..], &["--epochs", "1"]].concat());
    assert_eq!(again["proposals"].as_array().unwrap().len(), 2);
}

#[test]
fn a_run_that_is_interrupted_before_its_epochs_are_settled_fails() {
    let home = tempfile::tempdir().unwrap();
    let mut run = Command::new(binary().unwrap())
        .args(["devnet", "--home", home.path().to_str().unwrap(), "--base-port", "11700", "--epochs", "1", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while !home.path().join("devnet.json").exists() {
        assert!(run.try_wait().unwrap().is_none(), "the devnet ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_secs(1));
    assert!(Command::new("kill").args(["-TERM", &run.id().to_string()]).status().unwrap().success());
    let output = run.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("interrupted before"), "{errors}");
}

#[test]
fn a_busy_port_is_named_and_nothing_is_left_running() {
    let _taken = std::net::TcpListener::bind("127.0.0.1:11404").unwrap();
    let output = Command::new(binary().unwrap())
        .args(["devnet", "--epochs", "1", "--base-port", "11400", "--json"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("11404"), "the port is named: {errors}");
    assert!(output.stdout.is_empty());
}
