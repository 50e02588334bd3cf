//! `ConsensusReady`: the engine asks where to start. Unanswered, no height ever starts.
//!
//! The answer is the height after the last committed one. It waits until more than two thirds of the power
//! is connected, or a few seconds: a first round among strangers only costs its timeouts.

use std::time::{Duration, Instant};

use assay_primitives::AccountId;
use malachitebft_app_channel::{NetworkRequest, Reply};
use malachitebft_core_types::HeightParams;

use crate::bft::{
    app::App,
    context::{Ctx, Height},
    executor::Executor,
};

const PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

pub(crate) fn handle<E: Executor>(app: &App<E>, reply: Reply<(Height, HeightParams<Ctx>)>) {
    let start = (Height(app.tip.height + 1), app.params());
    let (set, requests) = (app.set.clone(), app.net_requests.clone());
    let own = if app.is_validator() { set.power_of(&app.account).unwrap_or(0) } else { 0 };
    tokio::spawn(async move {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let connected = match NetworkRequest::dump_state(&requests).await {
                Ok(Some(dump)) => dump.peers.values().filter_map(|peer| peer.consensus_public_key.clone()).collect(),
                _ => Vec::new(),
            };
            let mut accounts: Vec<AccountId> =
                connected.into_iter().filter_map(|key| key.try_into().ok().map(AccountId)).collect();
            accounts.sort();
            accounts.dedup();
            let power = own + accounts.iter().filter_map(|account| set.power_of(account)).sum::<u64>();
            if u128::from(power) * 3 > u128::from(set.total_power()) * 2 {
                break;
            }
            tokio::time::sleep(POLL).await;
        }
        tracing::info!(height = start.0.0, waited_ms = began.elapsed().as_millis() as u64, "starting consensus");
        // A closed channel means that the engine is stopping.
        let _ = reply.send(start);
    });
}
