//! More than a third of the power on both sides of a fork: nobody can hold two final blocks of one height off then, but the honest
//! nodes of both sides find out and say so.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use assay::home::FoundFork;
use assay_primitives::{AccountId, SignedHeader, light::Fork};
use assay_tests::{Network, Process, Setup, binary};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

/// What a node's log says.
fn log(network: &Network, node: usize) -> String {
    fs::read_to_string(network.log(node)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_by_two_of_four_ends_the_honest_nodes_of_both_sides_and_names_the_two() {
    let mut network = Network::new(Setup::dev()).unwrap();
    // The first two run twice. Both halves of each are honest programs: what makes them traitors is that neither knows of the other.
    let twins = [network.add_twin(0).unwrap(), network.add_twin(1).unwrap()];
    let sides = [[0, 1, 2], [twins[0], twins[1], 3]];
    let honest = [2, 3];
    let everybody = sides.concat();
    for side in &sides {
        for node in side {
            network.know(*node, side, &everybody).unwrap();
        }
    }
    network.start_all().unwrap();
    for node in honest {
        network.reach(node, 1, LIMIT).await.unwrap();
    }

    let liars: BTreeSet<AccountId> = network.homes[..2].iter().map(|home| home.operator.account()).collect();
    let began = Instant::now();
    for node in honest {
        let process = network.running[node].take().unwrap();
        let code = process.wait(LIMIT.saturating_sub(began.elapsed())).unwrap();
        let words = log(&network, node);
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains("two final blocks of height") && words.contains("The chain has forked"), "{words}");
        for account in &liars {
            assert!(words.contains(&account.to_string()), "{account} is not named in {words}");
        }
    }
    network.running.fill_with(|| None);

    let (genesis, set) = (network.spec.genesis_hash(), network.spec.validator_set().unwrap());
    for node in honest {
        let found = FoundFork::read(&network.homes[node].dir).unwrap().unwrap();
        let named: BTreeSet<AccountId> = found.fork.verify(&genesis, &set).unwrap().into_iter().collect();
        assert_eq!(named, liars);
        assert_eq!(found.signed_both.iter().map(|one| one.account).collect::<BTreeSet<_>>(), liars);
        assert_eq!(found.signed_both.iter().map(|one| one.power).sum::<u64>() * 2, found.total_power);
        // A side is too small for a block without its honest member.
        let (own, other) = found.sides();
        let honest = network.homes[node].operator.account();
        let signed = |header: &SignedHeader| header.certificate.signatures.iter().any(|(signer, _)| *signer == honest);
        assert!(signed(own) && !signed(other));
        // What stands in the file is for everybody to check.
        let file = fs::read_to_string(network.homes[node].dir.join("fork.json")).unwrap();
        let proof: Value = serde_json::from_str(&file).unwrap();
        assert_eq!(serde_json::from_value::<Fork>(proof["fork"].clone()).unwrap(), found.fork);
    }

    for node in honest {
        let home = &network.homes[node].dir;
        let (dir, second) = (home.display().to_string(), home.with_file_name(format!("again-{node}.log")));
        let again = Process::start(&["validator", "run", "--home", &dir], &second).unwrap();
        assert_eq!(again.wait(Duration::from_secs(20)).unwrap(), Some(1));
        let words = fs::read_to_string(second).unwrap();
        assert!(words.contains("two final blocks of height") && words.contains("fork-settled.json"), "{words}");
        let check = Command::new(binary().unwrap()).args(["check", "--no-prover", "--json", "--home", &dir]).output();
        let check = check.unwrap();
        let checks: Value = serde_json::from_slice(&check.stdout).unwrap();
        let forks = checks["checks"].as_array().unwrap().iter().find(|line| line["name"] == "forks").unwrap();
        assert_eq!((check.status.code(), &forks["ok"]), (Some(1), &Value::Bool(false)), "{checks}");
        fs::rename(home.join("fork.json"), home.join("fork-settled.json")).unwrap();
    }

    // Settled, both go on from where they were, and have heard it all before.
    for node in honest {
        network.start(node).unwrap();
    }
    for node in honest {
        let found = FoundFork::settled(&network.homes[node].dir).unwrap();
        network.reach(node, found[0].1.sides().0.header.height, LIMIT).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    network.all_run().unwrap();
}
