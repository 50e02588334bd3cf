//! Whole networks of engines in this process.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use assay_primitives::{Hash32, Keypair, ValidatorSet, block::Validator};
use borsh::BorshDeserialize;
use tempfile::TempDir;

use super::counter::{Block, Counter};
use crate::bft::{Engine, EngineConfig, StartError, StopReason, WatermarkError, start};

const GENESIS: Hash32 = Hash32([9; 32]);
const MAX_BLOCK: usize = 2 * 1024 * 1024;

fn keys(n: u8) -> Vec<Keypair> {
    (1..=n).map(|i| Keypair::from_secret([i; 32])).collect()
}

fn set_of(keys: &[Keypair]) -> ValidatorSet {
    ValidatorSet::new(keys.iter().map(|k| Validator { account: k.account(), power: 10 }).collect()).unwrap()
}

struct Node {
    config: EngineConfig,
    app: Counter,
    engine: Option<Engine>,
}

impl Node {
    async fn start(&mut self) {
        self.engine = Some(start(self.config.clone(), self.app.clone()).await.unwrap());
    }

    async fn stop(&mut self) {
        self.engine.take().unwrap().stop().await;
    }
}

struct Network {
    nodes: Vec<Node>,
    _folder: TempDir,
}

/// `validators` keys make the set; of `count` nodes, those without a key of their own follow.
fn network(name: &str, count: usize, validators: usize, keys: &[Keypair], interval: Duration) -> Network {
    let folder = tempfile::tempdir().unwrap();
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    let set = set_of(&keys[..validators]);
    let nodes = (0..count).map(|i| Node {
        config: EngineConfig {
            chain_id: format!("test-{name}"),
            genesis: GENESIS,
            moniker: format!("{name}-{i}"),
            listen: addresses[i],
            peers: addresses.iter().copied().filter(|a| *a != addresses[i]).collect(),
            home: folder.path().join(i.to_string()),
            network_key: Keypair::from_secret([100 + i as u8; 32]),
            signer: keys.get(i).cloned(),
            max_block_bytes: MAX_BLOCK,
        },
        app: Counter { intervals: [(1, interval)].into(), ..Counter::new(set.clone()) },
        engine: None,
    });
    Network { nodes: nodes.collect(), _folder: folder }
}

impl Network {
    async fn start(&mut self) {
        for node in &mut self.nodes {
            node.start().await;
        }
    }

    async fn reach(&self, which: &[usize], height: u64, within: Duration) {
        let began = Instant::now();
        while which.iter().any(|i| self.nodes[*i].app.height() < height) {
            let heights: Vec<u64> = self.nodes.iter().map(|n| n.app.height()).collect();
            assert!(began.elapsed() < within, "height {height} not reached in {within:?}: {heights:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn check_agreement(&self) {
        let lowest = self.nodes.iter().map(|n| n.app.height()).min().unwrap();
        for height in 1..=lowest {
            let first = self.nodes[0].app.store().decided[&height].0.clone();
            for node in &self.nodes {
                let (bytes, certificate) = node.app.store().decided[&height].clone();
                assert_eq!(bytes, first, "height {height}");
                let block = Block::try_from_slice(&bytes).unwrap();
                assert_eq!(block.sum, (1..=height).sum::<u64>(), "an invalid block was committed at {height}");
                let set = node.app.sets.range(..=height).next_back().unwrap().1;
                certificate.verify(&GENESIS, set).unwrap();
                assert_eq!(certificate.block, Hash32::digest(&bytes));
            }
        }
    }

    async fn stop(&mut self) {
        for node in &mut self.nodes {
            if let Some(engine) = node.engine.take() {
                engine.stop().await;
            }
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_validators_and_a_full_node_agree_with_certificates_that_verify() {
    let mut network = network("agree", 5, 4, &keys(4), Duration::ZERO);
    let began = Instant::now();
    network.start().await;
    network.reach(&[0, 1, 2, 3, 4], 5, Duration::from_secs(60)).await;
    println!("5 heights {:.0} ms after the start", ms(began.elapsed()));
    let (from, began) = (network.nodes[0].app.height(), Instant::now());
    network.reach(&[0, 1, 2, 3, 4], from + 60, Duration::from_secs(60)).await;
    let heights = network.nodes[0].app.height() - from;
    println!("{:.1} ms/height with 4 validators and a full node", ms(began.elapsed()) / heights as f64);
    let status = network.nodes[4].engine.as_ref().unwrap().status().borrow().clone();
    assert!(!status.validator && status.peers == 4 && status.height >= from, "{status:?}");
    network.stop().await;
    network.check_agreement();
    let mut metrics = String::new();
    crate::bft::encode_metrics(&mut metrics);
    assert!(metrics.contains("agree-0"), "metrics carry the moniker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_follow_the_interval_and_a_full_node_the_validators() {
    let interval = Duration::from_millis(400);
    let mut network = network("pace", 5, 4, &keys(4), interval);
    // The follower joins late, so that it has to find the beat.
    for node in &mut network.nodes[..4] {
        node.start().await;
    }
    network.reach(&[0], 5, Duration::from_secs(60)).await;
    network.nodes[4].start().await;
    network.reach(&[0, 4], 24, Duration::from_secs(60)).await;
    network.stop().await;
    network.check_agreement();
    let (validator, follower) = (network.nodes[0].app.store(), network.nodes[4].app.store());
    let took = validator.committed_at[&18] - validator.committed_at[&8];
    println!("{:.0} ms/height at an interval of {:.0} ms", ms(took) / 10.0, ms(interval));
    assert!((3_900.0..6_000.0).contains(&ms(took)), "{took:?}");
    // It has had six seconds to find the beat, on a machine that may be busy.
    let lags: Vec<f64> = (20..=24)
        .map(|h| ms(follower.committed_at[&h].saturating_duration_since(validator.committed_at[&h])))
        .collect();
    println!("lag of the full node, ms: {lags:.0?}");
    assert!(lags.iter().all(|lag| *lag < 1000.0), "{lags:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_without_a_stopped_validator_and_it_catches_up() {
    let mut network = network("crash", 4, 4, &keys(4), Duration::ZERO);
    network.start().await;
    network.reach(&[0, 1, 2, 3], 5, Duration::from_secs(60)).await;
    network.nodes[3].stop().await;
    let stopped_at = network.nodes[3].app.height();
    let (from, began) = (network.nodes[0].app.height(), Instant::now());
    network.reach(&[0, 1, 2], from + 10, Duration::from_secs(90)).await;
    println!("{:.0} ms/height without one of four", ms(began.elapsed()) / 10.0);
    assert!(network.nodes[3].app.height() <= stopped_at + 1);
    let (target, began) = (network.nodes[0].app.height() + 5, Instant::now());
    network.nodes[3].start().await;
    network.reach(&[0, 1, 2, 3], target, Duration::from_secs(60)).await;
    println!("caught up {} heights {:.0} ms after its restart", target - stopped_at, ms(began.elapsed()));
    network.stop().await;
    network.check_agreement();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_block_is_never_committed_and_large_ones_travel() {
    let mut network = network("invalid", 4, 4, &keys(4), Duration::ZERO);
    for node in &mut network.nodes {
        node.app.payload = 1_000_000;
    }
    network.nodes[1].app.builds_wrong = true;
    network.start().await;
    network.reach(&[0, 2, 3], 12, Duration::from_secs(120)).await;
    network.stop().await;
    network.check_agreement();
    let wrong = network.nodes[1].config.signer.as_ref().unwrap().account();
    let store = network.nodes[0].app.store();
    assert!(store.decided.values().all(|(bytes, _)| Block::try_from_slice(bytes).unwrap().proposer != wrong));
    assert!(store.decided.values().any(|(_, certificate)| certificate.round > 0), "the wrong proposer had no turn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_key_joins_the_set_votes_without_a_restart() {
    let keys = keys(5);
    let mut network = network("join", 5, 4, &keys, Duration::from_millis(50));
    for node in &mut network.nodes {
        node.app.sets.insert(8, set_of(&keys));
    }
    network.start().await;
    network.reach(&[0, 1, 2, 3, 4], 30, Duration::from_secs(60)).await;
    assert!(network.nodes[4].engine.as_ref().unwrap().status().borrow().validator);
    network.stop().await;
    network.check_agreement();
    let store = network.nodes[0].app.store();
    let joined = keys[4].account();
    let signed: Vec<u64> = store
        .decided
        .iter()
        .filter(|(_, (_, c))| c.signatures.iter().any(|(a, _)| *a == joined))
        .map(|(h, _)| *h)
        .collect();
    assert!(!signed.is_empty() && signed[0] >= 8, "{signed:?}");
    let built =
        store.decided.values().filter(|(bytes, _)| Block::try_from_slice(bytes).unwrap().proposer == joined).count();
    println!("the joined validator signed {} and built {built} of {} heights", signed.len(), store.decided.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_interval_holds_from_the_next_height_on() {
    let mut network = network("tempo", 4, 4, &keys(4), Duration::ZERO);
    for node in &mut network.nodes {
        node.app.intervals.insert(5, Duration::from_millis(700));
    }
    network.start().await;
    network.reach(&[0, 1, 2, 3], 9, Duration::from_secs(60)).await;
    network.stop().await;
    network.check_agreement();
    let store = network.nodes[0].app.store();
    let took = store.committed_at[&9] - store.committed_at[&5];
    println!("{:.0} ms/height after the change", ms(took) / 4.0);
    assert!(took > Duration::from_millis(4 * 700 - 200), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_blocks_travel_and_are_caught_up_with() {
    // With pauses: the other tests run beside this one, and some of them look at the clock.
    let mut network = network("largest", 5, 4, &keys(4), Duration::from_secs(2));
    for node in &mut network.nodes {
        node.config.max_block_bytes = 8 * 1024 * 1024;
        node.app.payload = 8 * 1024 * 1024 - 200;
    }
    for node in &mut network.nodes[..4] {
        node.start().await;
    }
    network.reach(&[0, 1, 2, 3], 3, Duration::from_secs(120)).await;
    network.nodes[4].start().await;
    network.reach(&[4], 3, Duration::from_secs(120)).await;
    network.stop().await;
    network.check_agreement();
    let store = network.nodes[4].app.store();
    assert!(store.decided[&1].0.len() > 8 * 1024 * 1024 - 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_finds_a_decided_block_invalid_stops_and_says_so() {
    let mut network = network("differs", 5, 4, &keys(4), Duration::from_millis(100));
    network.nodes[4].app.refused_height = Some(4);
    network.start().await;
    let engine = network.nodes[4].engine.as_mut().unwrap();
    let reason = tokio::time::timeout(Duration::from_secs(60), engine.stopped()).await.unwrap();
    assert!(matches!(&reason, StopReason::Fault(fault) if fault.0.contains("finds block 4 invalid")), "{reason}");
    assert_eq!(network.nodes[4].app.height(), 3);
    network.stop().await;
    network.check_agreement();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_height_of_unknown_rules_is_never_begun_and_every_node_comes_as_far() {
    let mut network = network("halt", 5, 4, &keys(4), Duration::from_millis(50));
    for node in &mut network.nodes {
        node.app.unknown_from = Some(6);
    }
    network.start().await;
    for node in &mut network.nodes {
        let engine = node.engine.as_mut().unwrap();
        let reason = tokio::time::timeout(Duration::from_secs(60), engine.stopped()).await.unwrap();
        assert_eq!(reason, StopReason::Fault(crate::bft::Fault("height 6 needs another program".into())));
        assert_eq!(node.app.height(), 5, "the last height that all know the rules of");
        assert!(node.app.store().undecided.keys().all(|(height, _)| *height < 6));
    }
    network.stop().await;
    network.check_agreement();
    let refused = start(network.nodes[0].config.clone(), network.nodes[0].app.clone()).await;
    assert!(matches!(refused, Err(StartError::Fault(fault)) if fault.0.contains("height 6")));
    // A program that knows the rules goes on where the other stopped.
    for node in &mut network.nodes {
        node.app.unknown_from = None;
    }
    network.start().await;
    network.reach(&[0, 1, 2, 3, 4], 9, Duration::from_secs(60)).await;
    network.stop().await;
    network.check_agreement();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_application_stops_its_engine_with_the_reason() {
    let mut network = network("fault", 1, 1, &keys(1), Duration::ZERO);
    network.nodes[0].app.faulty_height = Some(3);
    network.start().await;
    let engine = network.nodes[0].engine.as_mut().unwrap();
    let reason = tokio::time::timeout(Duration::from_secs(30), engine.stopped()).await.unwrap();
    assert!(matches!(&reason, StopReason::Fault(fault) if fault.0.contains("disk is full")), "{reason}");
    assert_eq!(network.nodes[0].app.height(), 2);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_validator_restarts_on_its_log_again_and_again() {
    let mut network = network("alone", 1, 1, &keys(1), Duration::ZERO);
    for round in 1..=5 {
        network.start().await;
        network.reach(&[0], round * 10, Duration::from_secs(30)).await;
        network.stop().await;
    }
    network.check_agreement();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_that_lost_its_store_and_log_refuses_to_sign_again() {
    let mut network = network("lost", 1, 1, &keys(1), Duration::ZERO);
    network.start().await;
    network.reach(&[0], 5, Duration::from_secs(30)).await;
    network.stop().await;
    let node = &mut network.nodes[0];
    node.app = Counter::new(node.app.sets[&1].clone());
    std::fs::remove_file(node.config.home.join("consensus.wal")).unwrap();
    node.start().await;
    let reason = tokio::time::timeout(Duration::from_secs(30), node.engine.as_mut().unwrap().stopped()).await.unwrap();
    assert!(matches!(&reason, StopReason::Engine(text) if text.contains("refusing to sign")), "{reason}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_of_another_key_is_refused() {
    let mut network = network("foreign", 1, 1, &keys(1), Duration::ZERO);
    network.start().await;
    network.reach(&[0], 20, Duration::from_secs(30)).await;
    network.stop().await;
    let node = &mut network.nodes[0];
    node.config.signer = Some(Keypair::from_secret([77; 32]));
    let refused = start(node.config.clone(), node.app.clone()).await;
    let refused = refused.expect_err("another key's watermark");
    assert!(matches!(refused, StartError::Watermark(WatermarkError::Foreign { .. })), "{refused}");
}
