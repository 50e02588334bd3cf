//! Challenged texts of any miner: made again, and judged on chain.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use assay_ledger::{
    StoreError, query,
    records::{Challenge, ChallengeStatus},
    tx::Action,
};
use assay_primitives::{AccountId, Hash32, Keypair};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::RESEND_AFTER;
use crate::{
    roles::{ChainView, RoleMetrics},
    texts::{self, Texts},
};

/// Challenges looked at beside each other; the engine has one thread pool in any case.
const AT_ONCE: usize = 2;

/// Judges until `stop`. What goes wrong here is logged: the chain does not wait for one validator.
pub(super) async fn judge_texts(
    chain: Arc<dyn ChainView>,
    texts: Texts,
    key: Keypair,
    metrics: RoleMetrics,
    stop: CancellationToken,
) {
    let mut heights = chain.heights();
    let mut found: BTreeMap<Hash32, bool> = BTreeMap::new();
    let mut sent: BTreeMap<Hash32, u64> = BTreeMap::new();
    let (mut looking, mut tasks) = (BTreeSet::new(), JoinSet::new());
    loop {
        let height = *heights.borrow_and_update();
        match open_texts(&*chain, &key.account()) {
            Ok(open) => {
                found.retain(|id, _| open.contains_key(id));
                sent.retain(|id, _| open.contains_key(id));
                for (id, challenge) in open {
                    if let Some(holds) = found.get(&id) {
                        if sent.get(&id).is_none_or(|at| height >= at.saturating_add(RESEND_AFTER)) {
                            sent.insert(id, height);
                            say(&*chain, &key, &metrics, id, *holds).await;
                        }
                    } else if looking.len() < AT_ONCE && looking.insert(id) {
                        let texts = texts.clone();
                        tasks.spawn(async move { (id, holds(&texts, &challenge).await) });
                    }
                }
            }
            Err(error) => tracing::error!(%error, "challenged texts cannot be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = heights.changed() => if changed.is_err() { return stop.cancelled().await },
            Some(done) = tasks.join_next() => match done {
                Ok((id, Ok(holds))) => {
                    looking.remove(&id);
                    found.insert(id, holds);
                }
                // It stays among those that are looked at, so that it is not tried again and again.
                Ok((id, Err(reason))) => {
                    tracing::warn!(challenge = %id.short(), reason, "this validator cannot judge a challenged text");
                }
                Err(error) => tracing::error!(%error, "looking at a challenged text failed"),
            },
        }
    }
}

/// Open challenges of texts that this validator has not judged; none if it has no seat.
fn open_texts(chain: &dyn ChainView, me: &AccountId) -> Result<BTreeMap<Hash32, Challenge>, StoreError> {
    let view = &*chain.snapshot()?;
    if query::validator_set(view)?.power_of(me).is_none() {
        return Ok(BTreeMap::new());
    }
    let mut open = BTreeMap::new();
    for (id, challenge) in query::challenges(view)? {
        let is_open = matches!(challenge.status, ChallengeStatus::Open { .. });
        let is_text = challenge.request.body.input.text().is_some();
        if is_open && is_text && query::judgement(view, &id, me)?.is_none() {
            open.insert(id, challenge);
        }
    }
    Ok(open)
}

async fn holds(texts: &Texts, challenge: &Challenge) -> Result<bool, String> {
    let (request, response) = (&challenge.request.body, &challenge.response.body);
    let (Some(text), Some(told)) = (request.input.text(), response.output.text()) else {
        return Err("it is no text".into());
    };
    let llm = texts.ready(request.model).await.map_err(|e| e.to_string())?;
    match texts::look(&llm, text, told).await {
        Ok(look) => {
            tracing::info!(miner = %request.miner, verdict = %look.verdict, "looked at a challenged text");
            Ok(look.verdict.is_right())
        }
        // What the model cannot be asked, it cannot have answered.
        Err(error) if error.is_callers_fault() => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

async fn say(chain: &dyn ChainView, key: &Keypair, metrics: &RoleMetrics, challenge: Hash32, holds: bool) {
    match chain.submit(Action::Judge { challenge, holds }, key).await {
        Ok(tx) => {
            metrics.validator_judgements.inc();
            tracing::info!(challenge = %challenge.short(), tx = %tx.short(), holds, "judged a challenged text");
        }
        Err(error) => tracing::warn!(%challenge, %error, "a judgement was not submitted"),
    }
}
