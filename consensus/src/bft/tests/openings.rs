//! What one proposer can make the others execute and store.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use assay_primitives::{AccountId, Hash32, Keypair, Signed, ValidatorSet, block::Validator, encode};
use malachitebft_app_channel::{AppMsg, NetworkRequest};
use malachitebft_core_types::Round;
use malachitebft_engine::host::SyncedValueOutcome;
use tokio::sync::{mpsc, oneshot, watch};

use super::counter::{Block, Counter};
use crate::bft::{
    EngineStatus, Executor, StopReason,
    app::App,
    blocking::Blocking,
    context::{Address, Height},
    handlers,
    parts::{Assembled, Init, Streams},
    watch::watch_network,
};

const GENESIS: Hash32 = Hash32([9; 32]);

fn status() -> EngineStatus {
    EngineStatus { height: 0, round: 0, peers: 3, validator: false, syncing: false, last_progress: Instant::now() }
}

fn app(proposer: &Keypair) -> App<Counter> {
    let set = ValidatorSet::new(vec![Validator { account: proposer.account(), power: 10 }]).unwrap();
    let executor = Counter::new(set.clone());
    App {
        tip: executor.tip(),
        executor: Arc::new(Mutex::new(executor)),
        blocking: Blocking::OnThreads,
        genesis: GENESIS,
        account: AccountId([1; 32]),
        key: None,
        block_interval: Duration::ZERO,
        max_block_bytes: 10_000,
        set,
        round: 0,
        streams: Streams::new(10_000),
        future: Vec::new(),
        first_seen: Default::default(),
        judged: Default::default(),
        openings: Default::default(),
        halted: None,
        network: mpsc::channel(1).0,
        net_requests: mpsc::channel(1).0,
        status: watch::channel(status()).0,
        started_ms: 1,
        streams_sent: 0,
    }
}

/// The `n`-th of the proposer's blocks for height 1; all have the right sum but those over 100.
fn block(proposer: &Keypair, round: u32, n: u8) -> Assembled {
    let sum = if n > 100 { 7 } else { 1 };
    let account = proposer.account();
    let bytes =
        encode(&Block { height: 1, parent: Hash32::ZERO, proposer: account, time_ms: 5, sum, payload: vec![n] });
    let digest = Hash32::digest(&bytes);
    let length = bytes.len() as u32;
    let init = Init { height: 1, round, valid_round: None, proposer: account, block: digest, length, digest };
    Assembled { init: Signed::new(init, &GENESIS, proposer), bytes }
}

#[tokio::test]
async fn a_proposer_of_many_blocks_has_two_of_a_round_executed_and_saved() {
    let proposer = Keypair::from_secret([1; 32]);
    let mut app = app(&proposer);
    for n in 0..20 {
        let value = app.assess(block(&proposer, 0, n)).await.unwrap();
        assert_eq!(value.is_some(), n < 2, "{n}");
        // The same again costs nothing.
        assert!(app.assess(block(&proposer, 0, n)).await.unwrap().is_none());
        assert!(app.open(&block(&proposer, 0, n).init).is_err());
    }
    assert!(app.assess(block(&proposer, 1, 30)).await.unwrap().is_some(), "each round has its own places");
    let executor = app.executor.lock().unwrap();
    assert_eq!(executor.store().processed, 3);
    assert_eq!(executor.undecided(1, 0).unwrap().len(), 2);
}

#[tokio::test]
async fn an_ignored_block_still_comes_in_a_later_round_and_by_catching_up() {
    let proposer = Keypair::from_secret([1; 32]);
    let mut app = app(&proposer);
    for n in 0..2 {
        assert!(app.assess(block(&proposer, 0, n)).await.unwrap().is_some());
    }
    let ignored = block(&proposer, 0, 2);
    assert!(app.assess(ignored.clone()).await.unwrap().is_none());
    let again = Init { round: 3, valid_round: Some(0), ..ignored.init.body.clone() };
    let again = Assembled { init: Signed::new(again, &GENESIS, &proposer), bytes: ignored.bytes };
    assert!(app.assess(again).await.unwrap().unwrap().validity.is_valid());

    let synced = block(&proposer, 0, 3);
    let (reply, answer) = oneshot::channel();
    let message = AppMsg::ProcessSyncedValue {
        height: Height(1),
        round: Round::new(0),
        proposer: Address(proposer.account()),
        value_bytes: synced.bytes.into(),
        reply,
    };
    handlers::handle(&mut app, message).await.unwrap();
    assert!(matches!(answer.await.unwrap(), SyncedValueOutcome::Verdict(value) if value.validity.is_valid()));
    let executor = app.executor.lock().unwrap();
    assert!(executor.undecided_block(&synced.init.body.block).unwrap().is_some());
}

#[tokio::test]
async fn an_invalid_block_is_executed_once_and_not_stored() {
    let proposer = Keypair::from_secret([1; 32]);
    let mut app = app(&proposer);
    let value = app.assess(block(&proposer, 0, 101)).await.unwrap().unwrap();
    assert!(!value.validity.is_valid());
    assert!(app.assess(block(&proposer, 0, 101)).await.unwrap().is_none());
    let executor = app.executor.lock().unwrap();
    assert_eq!(executor.store().processed, 1);
    assert!(executor.store().undecided.is_empty());
}

#[tokio::test]
async fn a_network_that_does_not_answer_stops_the_node() {
    let (network, mut questions) = mpsc::channel(4);
    let (consensus, _answers) = mpsc::channel(4);
    // As the engine answers when its network has died.
    tokio::spawn(async move {
        while let Some(NetworkRequest::DumpState(reply)) = questions.recv().await {
            let _ = reply.send(None);
        }
    });
    let (status, seen) = watch::channel(status());
    let watching = watch_network(status, network, consensus, Default::default());
    let reason = tokio::time::timeout(Duration::from_secs(20), watching).await.unwrap();
    assert!(matches!(&reason, StopReason::Engine(text) if text.contains("the consensus network stopped")), "{reason}");
    assert_eq!(seen.borrow().peers, 0);
}
