//! Validators as processes of their own: crashes, restarts, and homes that do not belong.

use std::time::Duration;

use assay_tests::{Network, Process, Setup};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_validator_is_not_missed_and_catches_up_to_the_same_state_root() {
    let mut network = Network::new(Setup::dev()).unwrap();
    network.start_all().unwrap();
    network.reach(0, 3, LIMIT).await.unwrap();

    network.running[3].take().unwrap().kill().unwrap();
    let height = network.client(0).unwrap().status().await.unwrap().height;
    network.reach(0, height + 10, LIMIT).await.unwrap();

    network.start(3).unwrap();
    network.reach(3, height + 12, LIMIT).await.unwrap();
    for at in [1, height, height + 12] {
        network.reach(0, at, LIMIT).await.unwrap();
        assert_eq!(network.state_root(0, at).await.unwrap(), network.state_root(3, at).await.unwrap(), "height {at}");
    }

    // Asked nicely, it stops at once and without an error.
    let stopped = network.running[3].take().unwrap().terminate(Duration::from_secs(6)).unwrap();
    assert_eq!(stopped, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_home_is_refused_with_the_reason() {
    let mut network = Network::new(Setup::dev()).unwrap();
    network.start_all().unwrap();
    network.reach(0, 1, LIMIT).await.unwrap();
    let home = network.homes[0].dir.display().to_string();
    let log = network.homes[0].dir.join("second.log");
    let second = Process::start(&["validator", "run", "--home", &home], &log).unwrap();
    let code = second.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(code, Some(1));
    let words = std::fs::read_to_string(log).unwrap();
    assert!(words.contains("in use by another process"), "{words}");
}
