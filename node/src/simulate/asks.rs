//! Draining a miner: how many asks of strangers the product's miner takes on.
//!
//! Honest play is one requester who holds the floor and keeps within the quota. The attack has the same money on several
//! keys and asks twice as often with each. What is gained is the number of asks that are admitted in one minute.

use std::sync::Arc;

use assay_chain_spec::GenesisAccount;
use assay_ledger::{MemoryState, StoreError, tx::Action};
use assay_primitives::{
    Amount, Hash32, Keypair, Signed,
    task::{Input, Request},
};
use async_trait::async_trait;
use tokio::sync::watch;

use super::{
    Defence, Outcome, SimulationError, Work, actions,
    chain::Chain,
    draw::Draw,
    exam::Exam,
    population::{Cast, SUBNET, key},
    setting::Setting,
};
use crate::{
    net::Ask,
    roles::{ChainView, Miner, MinerConfig, RoleMetrics, Snapshot, SubmitError},
    texts::Texts,
};

/// A chain that stands still.
struct Still {
    genesis: Hash32,
    state: Arc<MemoryState>,
    heights: watch::Sender<u64>,
}

#[async_trait]
impl ChainView for Still {
    fn genesis(&self) -> Hash32 {
        self.genesis
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let state: Snapshot = self.state.clone();
        Ok(state)
    }

    fn heights(&self) -> watch::Receiver<u64> {
        self.heights.subscribe()
    }

    async fn submit(&self, _: Action, _: &Keypair) -> Result<Hash32, SubmitError> {
        Err(SubmitError::Unavailable("this chain stands still".into()))
    }
}

/// Plays a setting to its end.
pub(super) fn run(setting: &Setting, exam: &Exam) -> Result<Outcome, SimulationError> {
    let draw = Draw::new(setting.seed);
    let cast = Cast::new(setting, draw);
    let miner = &cast.miners[0];
    let dir = tempfile::tempdir().map_err(|e| SimulationError::Disk(e.to_string()))?;
    let texts = Texts::at(dir.path().join("models"));
    let mut config = MinerConfig::new(miner.operator.clone(), dir.path().join("log"), dir.path().join("keys"), texts);
    let (floor, quota) = (config.floor, config.asks_per_minute);
    let open = setting.is_without(Defence::Admission);
    if open {
        (config.floor, config.asks_per_minute) = (Amount::ZERO, u32::MAX);
    }

    let requesters: Vec<_> = (0..setting.miners as u64).map(|n| key(draw, "requester", n)).collect();
    let balance = Amount(floor.0 / requesters.len().max(1) as u64);
    let mut spec = cast.spec(setting, exam.model());
    spec.accounts.extend(requesters.iter().map(|r| GenesisAccount { account: r.account(), balance }));
    let mut chain = Chain::new(&spec)?;
    chain.send(&miner.owner, actions::register_miner(&miner.owner, &miner.operator, &chain.genesis))?;
    chain.sound_block()?;

    let view = Still { genesis: chain.genesis, state: Arc::new(chain.state), heights: watch::channel(1).0 };
    let server = Miner::open(Arc::new(view), config, RoleMetrics::default())
        .map_err(|e| SimulationError::Disk(e.to_string()))?;
    let tries = if setting.attack.is_some() { 2 * quota } else { quota };
    let mut admitted = 0;
    for requester in &requesters {
        let taken = (0..tries).filter(|n| server.admit(&ask(&chain.genesis, exam, requester, miner, *n)).is_ok());
        let taken = u32::try_from(taken.count()).unwrap_or(u32::MAX);
        // The quota refills with the clock. What came in by that, while this machine was slow, is no part of the minute.
        admitted += if open { taken } else { taken.min(quota) };
    }
    Ok(Outcome { gain: f64::from(admitted), earned: Work::NONE, work: Work::NONE })
}

fn ask(genesis: &Hash32, exam: &Exam, requester: &Keypair, miner: &super::population::Miner, number: u32) -> Ask {
    let mut nonce = [0; 16];
    nonce[..4].copy_from_slice(&number.to_le_bytes());
    let input = vec![0; exam.model().input_len()];
    let body = Request {
        requester: requester.account(),
        miner: miner.operator.account(),
        subnet: SUBNET,
        model: exam.model().id(),
        epoch: 0,
        nonce,
        input: Input::Numbers(input),
    };
    Ask { request: Signed::new(body, genesis, requester), want_proof: true, want_compact: false }
}
