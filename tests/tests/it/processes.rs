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

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_found_before_anything_is_written() {
    let network = Network::new(Setup::dev()).unwrap();
    let dir = &network.homes[0].dir;
    let busy = std::net::TcpListener::bind((network.homes[0].config.rpc_listen, network.homes[0].config.ports.rpc));
    let port = busy.as_ref().unwrap().local_addr().unwrap().port().to_string();
    let (home, devnet) = (dir.display().to_string(), dir.with_file_name("devnet-of-a-busy-port"));
    let devnet_home = devnet.display().to_string();
    for args in [
        &["validator", "run", "--home", &home][..],
        &["devnet", "--epochs", "1", "--base-port", &port, "--home", &devnet_home],
    ] {
        let log = dir.with_file_name("busy.log");
        let code = Process::start(args, &log).unwrap().wait(Duration::from_secs(20)).unwrap();
        let words = std::fs::read_to_string(log).unwrap();
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(&port) && words.contains("cannot be taken"), "{words}");
    }
    assert!(!network.homes[0].store_dir().exists() && !devnet.exists());
}
