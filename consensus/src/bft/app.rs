//! The application's side of the engine: what the handlers share.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use assay_primitives::{AccountId, Hash32, Keypair, Signed, ValidatorSet};
use malachitebft_app_channel::app::types::ProposedValue;
use malachitebft_app_channel::{NetworkMsg, NetworkRequest, Reply};
use malachitebft_core_types::{HeightParams, Round, Validity};
use malachitebft_engine::{host::Next, util::streaming::StreamId};
use tokio::sync::{mpsc, watch};

use super::{
    EngineStatus,
    blocking::Blocking,
    context::{Address, BlockId, Ctx, Height, proposer_index},
    executor::{Executor, Fault, Tip, Undecided, Verdict},
    parts::{Assembled, Init, Streams, split},
    settings::timeouts,
};

/// Complete blocks kept for heights above the next one.
const FUTURE_BLOCKS: usize = 4;
/// How far above the tip a proposal may be to be kept.
const FUTURE_HEIGHTS: u64 = 3;
/// How far above the current round a proposal may be; the engine looks no further either.
const FUTURE_ROUNDS: u32 = 10;

/// Openings of one round that are looked at: an honest proposer signs one, and two are more than enough to
/// show that one is not. Without a limit, every further one would be executed and written to disk here.
///
/// No block is lost by it: one that two thirds prevoted comes again under the opening of a later round's
/// proposer, and one that is decided comes by catching up.
const OPENINGS: usize = 2;

/// An opening of the next height, and what became of its block.
#[derive(Debug)]
pub(crate) struct Opening {
    init: Signed<Init>,
    standing: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Its block has not come in full.
    Awaited,
    /// Its bytes are not the block that it names, or the block is invalid.
    Refused,
    Valid,
}

/// The end of an engine whose application may not take part in the next height.
pub(crate) struct Halted {
    /// Until then peers are served.
    pub(crate) until: Instant,
    /// What the engine stops with.
    pub(crate) fault: Fault,
    /// The engine waits for it, and must not find it dropped while peers are served.
    pub(crate) _unanswered: Reply<Next<Ctx>>,
}

/// Everything the handlers work on. Invariant: `set` is the validator set of `tip.height + 1`, and `judged`,
/// `openings` belong to that height.
pub(crate) struct App<E> {
    pub(crate) executor: Arc<Mutex<E>>,
    pub(crate) blocking: Blocking,
    pub(crate) genesis: Hash32,
    /// The operator's account, or one that nobody has the key of.
    pub(crate) account: AccountId,
    pub(crate) key: Option<Keypair>,
    /// From the first sight of one block's proposal to the start of the next height; zero means no waiting.
    pub(crate) block_interval: Duration,
    pub(crate) max_block_bytes: usize,
    pub(crate) tip: Tip,
    pub(crate) set: ValidatorSet,
    pub(crate) round: u32,
    pub(crate) streams: Streams,
    /// Blocks that came before their parent was committed here.
    pub(crate) future: Vec<Assembled>,
    /// When a proposal of a height was first seen: the beat that block times follow.
    pub(crate) first_seen: BTreeMap<u64, Instant>,
    /// Blocks prepared or found valid in this run.
    pub(crate) judged: BTreeSet<Hash32>,
    /// Signed openings by round, at most [`OPENINGS`] each.
    pub(crate) openings: BTreeMap<u32, Vec<Opening>>,
    pub(crate) network: mpsc::Sender<NetworkMsg<Ctx>>,
    pub(crate) net_requests: mpsc::Sender<NetworkRequest>,
    pub(crate) status: watch::Sender<EngineStatus>,
    /// Set once the application may go no further.
    pub(crate) halted: Option<Halted>,
    /// Makes stream ids unique over restarts.
    pub(crate) started_ms: u64,
    pub(crate) streams_sent: u64,
}

/// Milliseconds since the Unix epoch by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs `work` on the executor, where it may block.
pub(crate) async fn with<E: Executor, T: Send + 'static>(
    executor: &Arc<Mutex<E>>,
    blocking: Blocking,
    work: impl FnOnce(&mut E) -> T + Send + 'static,
) -> Result<T, Fault> {
    let executor = Arc::clone(executor);
    let done = blocking.run(move || work(&mut executor.lock().unwrap_or_else(PoisonError::into_inner)));
    done.await
        .map_err(|e| Fault(format!("the application panicked or was cut off: {e}; see the log above and report it")))
}

/// The engine's form of a proposal.
pub(crate) fn proposed(undecided: &Undecided) -> ProposedValue<Ctx> {
    ProposedValue {
        height: Height(undecided.height),
        round: Round::new(undecided.round),
        valid_round: undecided.valid_round.map_or(Round::Nil, Round::new),
        proposer: Address(undecided.proposer),
        value: BlockId(undecided.block),
        validity: Validity::from_bool(undecided.valid),
    }
}

/// Judges a block against every account that may have built it; the round's own proposer comes first.
pub(crate) fn judge<E: Executor>(
    executor: &mut E,
    height: u64,
    builders: &[AccountId],
    bytes: &[u8],
    now_ms: Option<u64>,
) -> Result<Verdict, Fault> {
    let mut first = None;
    for builder in builders {
        match executor.process(height, *builder, bytes, now_ms)? {
            Verdict::Valid(id) => return Ok(Verdict::Valid(id)),
            invalid => first = first.or(Some(invalid)),
        }
    }
    Ok(first.unwrap_or(Verdict::Invalid { reason: "nobody may propose at this height".into() }))
}

impl<E: Executor> App<E> {
    /// Runs `work` on the executor, where it may block.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut E) -> T + Send + 'static,
    ) -> Result<T, Fault> {
        with(&self.executor, self.blocking, work).await
    }

    /// The parameters of the next height.
    pub(crate) fn params(&self) -> HeightParams<Ctx> {
        HeightParams::new((&self.set).into(), timeouts(self.block_interval), None)
    }

    /// The proposer of a round of the next height.
    pub(crate) fn proposer(&self, round: u32) -> AccountId {
        let powers: Vec<u64> = self.set.iter().map(|v| v.power).collect();
        self.set.as_slice()[proposer_index(&self.genesis, self.tip.height + 1, round, &powers)].account
    }

    /// Who may have built a block that stands in `round`: its proposer, or, for a block proposed again
    /// after `again` (a round), a proposer of an earlier round.
    pub(crate) fn builders(&self, round: u32, again: Option<u32>) -> Vec<AccountId> {
        let mut builders = vec![self.proposer(round)];
        let rounds = (0..=again.unwrap_or(0)).rev().take(self.set.len());
        for earlier in rounds.filter(|_| again.is_some()) {
            let builder = self.proposer(earlier);
            if !builders.contains(&builder) {
                builders.push(builder);
            }
        }
        builders
    }

    /// Whether an opening is by the proposer we expect, near enough, and signed.
    pub(crate) fn admit(&self, init: &Signed<Init>) -> Result<(), String> {
        let (next, found) = (self.tip.height + 1, &init.body);
        if found.height < next || found.height > self.tip.height + FUTURE_HEIGHTS {
            return Err(format!("expected a block of height {next} or a little above, found {}", found.height));
        }
        if found.height == next {
            if found.round > self.round.saturating_add(FUTURE_ROUNDS) {
                return Err(format!("round {} is too far above {}", found.round, self.round));
            }
            let expected = self.proposer(found.round);
            if expected != found.proposer {
                return Err(format!("expected proposer {expected}, found {}", found.proposer));
            }
        } else if found.round > FUTURE_ROUNDS || self.set.power_of(&found.proposer).is_none() {
            return Err(format!("{} is no validator that we know", found.proposer));
        }
        if found.valid_round.is_some_and(|valid| valid >= found.round) {
            return Err("a block can only be proposed again in a later round".into());
        }
        init.verify(&self.genesis).map_err(|e| e.to_string())
    }

    /// Admits an opening, and gives it one of its round's places if it is for the next height.
    pub(crate) fn open(&mut self, init: &Signed<Init>) -> Result<(), String> {
        self.admit(init)?;
        if init.body.height != self.tip.height + 1 {
            return Ok(());
        }
        let openings = self.openings.entry(init.body.round).or_default();
        match openings.iter().find(|opening| opening.init.body == init.body) {
            Some(Opening { standing: Standing::Awaited, .. }) => Ok(()),
            Some(_) => Err("this block is judged already".into()),
            None if openings.len() >= OPENINGS => {
                Err(format!("the proposer of round {} signed {OPENINGS} openings before", init.body.round))
            }
            None => {
                openings.push(Opening { init: init.clone(), standing: Standing::Awaited });
                Ok(())
            }
        }
    }

    /// The signed opening of a valid block of another proposer.
    pub(crate) fn opening(&self, round: u32, block: &Hash32) -> Option<&Signed<Init>> {
        let mut valid = self.openings.get(&round)?.iter().filter(|opening| opening.standing == Standing::Valid);
        valid.find(|opening| opening.init.body.block == *block).map(|opening| &opening.init)
    }

    /// Judges an assembled block of the next height, and saves it if it is valid; `None` if it is not what its
    /// opening says.
    pub(crate) async fn assess(&mut self, block: Assembled) -> Result<Option<ProposedValue<Ctx>>, Fault> {
        // Its opening may have come when the proposer of its height was not known.
        if let Err(reason) = self.open(&block.init) {
            tracing::warn!(%reason, "refusing a proposed block");
            return Ok(None);
        }
        let Assembled { init, bytes } = block;
        let body = init.body.clone();
        let builders = self.builders(body.round, body.valid_round);
        let judged = self.judged.contains(&body.block);
        let assessed = self.with(move |executor| assess(executor, body, &builders, judged, bytes)).await??;
        let valid = assessed.as_ref().is_some_and(|value| value.validity.is_valid());
        if valid {
            self.judged.insert(init.body.block);
        }
        let mut openings = self.openings.get_mut(&init.body.round).into_iter().flatten();
        if let Some(opening) = openings.find(|opening| opening.init.body == init.body) {
            opening.standing = if valid { Standing::Valid } else { Standing::Refused };
        }
        Ok(assessed)
    }

    /// Keeps a block whose parent is not committed here yet.
    pub(crate) fn keep_for_later(&mut self, block: Assembled) {
        if self.future.iter().any(|kept| kept.init.body == block.init.body) {
            return;
        }
        if self.future.len() >= FUTURE_BLOCKS {
            // Its proposer's own first, so that nobody can drive out the others'.
            let proposer = block.init.body.proposer;
            let own = self.future.iter().position(|kept| kept.init.body.proposer == proposer);
            self.future.remove(own.unwrap_or(0));
        }
        self.future.push(block);
    }

    /// Opens, signs, cuts and publishes a block that this node proposes.
    pub(crate) async fn publish_own(&mut self, undecided: &Undecided) {
        let Some(key) = &self.key else { return };
        let init = Init {
            height: undecided.height,
            round: undecided.round,
            valid_round: undecided.valid_round,
            proposer: undecided.proposer,
            block: undecided.block,
            length: u32::try_from(undecided.bytes.len()).unwrap_or(u32::MAX),
            digest: Hash32::digest(&undecided.bytes),
        };
        let init = Signed::new(init, &self.genesis, key);
        self.publish(init, &undecided.bytes).await;
    }

    /// Publishes a block under an opening that is signed already.
    pub(crate) async fn publish(&mut self, init: Signed<Init>, bytes: &[u8]) {
        self.streams_sent += 1;
        let id = [&self.account.0[..8], &self.started_ms.to_be_bytes(), &self.streams_sent.to_be_bytes()].concat();
        for message in split(&StreamId::new(id.into()), init, bytes) {
            if self.network.send(NetworkMsg::PublishProposalPart(message)).await.is_err() {
                // The engine is stopping; the loop will see its channel close.
                return;
            }
        }
    }

    /// Notes that a proposal of `height` exists.
    pub(crate) fn see(&mut self, height: u64) {
        self.first_seen.entry(height).or_insert_with(Instant::now);
    }

    /// Whether this node's key votes at the next height.
    pub(crate) fn is_validator(&self) -> bool {
        self.key.is_some() && self.set.power_of(&self.account).is_some()
    }
}

fn assess<E: Executor>(
    executor: &mut E,
    init: Init,
    builders: &[AccountId],
    judged: bool,
    bytes: Vec<u8>,
) -> Result<Option<ProposedValue<Ctx>>, Fault> {
    if executor.block_id(&bytes) != Some(init.block) {
        tracing::warn!(height = init.height, round = init.round, proposer = %init.proposer, "the proposed bytes are not the block they are said to be");
        return Ok(None);
    }
    let valid = judged
        || match judge(executor, init.height, builders, &bytes, Some(now_ms()))? {
            Verdict::Valid(id) => id == init.block,
            Verdict::Invalid { reason } => {
                tracing::warn!(height = init.height, round = init.round, proposer = %init.proposer, %reason, "invalid block proposed");
                false
            }
        };
    let Init { height, round, valid_round, proposer, block, .. } = init;
    let undecided = Undecided { height, round, valid_round, proposer, block, bytes, valid };
    if valid {
        // An invalid one is never asked for again, and would only fill the disk.
        executor.save_undecided(&undecided)?;
    }
    Ok(Some(proposed(&undecided)))
}
