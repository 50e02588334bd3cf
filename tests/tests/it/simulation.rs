//! The deterministic simulator, as `make sim` runs it.

use std::process::{Command, Output};

use assay_tests::sim::Report;

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(arguments).output().unwrap()
}

#[test]
fn every_invariant_holds_over_200_seeds_of_faults() {
    let output = sim(&["--seeds", "200"]);
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}");
    for invariant in [
        "agreement",
        "certificates",
        "no equivocation",
        "nonces",
        "nothing lost",
        "once",
        "progress",
        "proofs",
        "supply",
    ] {
        assert!(text.contains(&format!("  {invariant} ")), "{invariant} was never checked: {text}");
    }
}

#[test]
fn a_seed_gives_one_trace_in_every_process_and_another_seed_another() {
    let report = |seed: &str| -> Report {
        let output = sim(&["--seed", seed]);
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let (first, second, other) = (report("7"), report("7"), report("8"));
    assert_eq!(first, second);
    assert_ne!(first.trace, other.trace);
    assert!(first.failures + first.partitions > 0, "{first:?}");
}
