//! Whether the node lives and is ready, for whoever watches it.
//!
//! Who asks is answered from what the parts have told already: nothing here waits for the disk, the engine or a role, since a node
//! is asked most of all when one of them stands still.
//!
//! ```text
//! a part ends ──────────────────────────┐
//! engine's status ──────────────────────┼─> alive? ─no─> why        GET /livez
//! the store, read after each block ─────┘     │
//! age and rules of that block, engine's peers ┼─> ready? ─no─> why  GET /readyz, /health, `assay status`, `assay check`
//! the validator's own word after each block ──┘     └─> what else its operator should know
//! ```

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use assay_consensus::bft::EngineStatus;
use assay_ledger::query;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Shared, health};
use crate::{
    chain::{APP_VERSION, knows_rules},
    home::Role,
    roles::{Duty, Standing},
    rpc::Life,
    store::Store,
};

/// How long the store may take to read a few entries.
const READING: Duration = Duration::from_secs(30);
/// How long a validator's scoring may say nothing while blocks come, at least.
const SCORING: Duration = Duration::from_secs(60);

/// What the store said when it was last read.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The last block, and its time or that of genesis; or why the store cannot be read.
    tip: Result<(u64, u64), String>,
    /// The parameter `block_interval_ms`.
    interval: Duration,
    /// Whether this program knows the rules of the next block.
    rules: Result<(), String>,
    /// Since when it is being read again, if it is.
    reading: Option<Instant>,
}

impl Seen {
    pub(super) fn read(store: &Store) -> Self {
        let snapshot = store.snapshot();
        let found = || {
            let tip = snapshot.tip().map_err(|e| e.to_string())?;
            let params = query::params(&snapshot).map_err(|e| e.to_string())?;
            let version = query::app_version(&snapshot).map_err(|e| e.to_string())?;
            Ok::<_, String>((tip, params, version))
        };
        match found() {
            Ok((tip, params, version)) => Self {
                tip: Ok((tip.height, tip.time_ms)),
                interval: Duration::from_millis(params.block_interval_ms),
                rules: knows_rules(&version, tip.height, APP_VERSION),
                reading: None,
            },
            Err(e) => Self {
                tip: Err(format!("the store cannot be read: {e}")),
                interval: Duration::ZERO,
                rules: Ok(()),
                reading: None,
            },
        }
    }
}

/// What the node's parts have told of themselves.
pub(super) struct Pulse {
    /// Why the first part ended that was not told to.
    ended: Arc<Mutex<Option<String>>>,
    seen: watch::Sender<Seen>,
    duty: watch::Sender<Duty>,
    /// The node is told to stop.
    stop: CancellationToken,
}

/// Tells of a part's end, also when it panics.
pub(super) struct Part {
    words: String,
    name: &'static str,
    ended: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
}

impl Part {
    /// Tells how it ended.
    pub(super) fn ended(mut self, outcome: &eyre::Result<()>) {
        self.words = match outcome {
            Ok(()) => format!("the {} ended without being told to; the node is about to end", self.name),
            Err(e) => format!("the {} cannot go on, and the node is about to end: {e:#}", self.name),
        };
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            let words = std::mem::take(&mut self.words);
            self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(words);
        }
    }
}

impl Pulse {
    pub(super) fn new(seen: Seen, stop: CancellationToken) -> Self {
        Self { ended: Arc::default(), seen: watch::Sender::new(seen), duty: watch::Sender::new(Duty::default()), stop }
    }

    /// Of a part that begins.
    pub(super) fn part(&self, name: &'static str) -> Part {
        let words = format!("the {name} panicked, and the node is about to end");
        Part { words, name, ended: Arc::clone(&self.ended), stop: self.stop.clone() }
    }

    /// Where a validator tells whether it does its duty.
    pub(super) fn duty(&self) -> watch::Sender<Duty> {
        self.duty.clone()
    }

    /// How the node is, with its engine's status and the last committed height.
    pub(super) fn life(&self, engine: &EngineStatus, height: u64, role: Role) -> Life {
        let seen = self.seen.borrow().clone();
        let (unready, note) = match self.alive(engine, &seen) {
            Err(dead) => return Life { height, dead: Some(dead), ..Life::default() },
            Ok(()) => match self.ready(engine, &seen, height, role) {
                Ok(note) => (None, note),
                Err(unready) => (Some(unready), String::new()),
            },
        };
        Life { height, dead: None, unready, note }
    }

    fn alive(&self, engine: &EngineStatus, seen: &Seen) -> Result<(), String> {
        if let Some(words) = &*self.ended.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(words.clone());
        }
        health::answers(engine)?;
        if let Some(since) = seen.reading.map(|since| since.elapsed()).filter(|since| *since > READING) {
            return Err(format!("the store has not answered for {} s; look at the disk", since.as_secs()));
        }
        seen.tip.as_ref().map(|_| ()).map_err(Clone::clone)
    }

    /// What else is to be said, if it is ready.
    fn ready(&self, engine: &EngineStatus, seen: &Seen, height: u64, role: Role) -> Result<String, String> {
        if self.stop.is_cancelled() {
            return Err("the node is stopping".into());
        }
        seen.rules.clone()?;
        health::judge(engine, seen.interval)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Ok((tip, time_ms)) = seen.tip {
            health::fresh(tip, Duration::from_millis(time_ms), now, seen.interval)?;
        }
        if role != Role::Validator {
            return Ok(String::new());
        }
        let duty = self.duty.borrow();
        let (silent, patience) = (duty.at.elapsed(), SCORING.max(seen.interval * 20));
        if duty.height < height && silent > patience {
            return Err(format!(
                "this validator's scoring has looked at no block for {} s; its log says why, else restart the node",
                silent.as_secs()
            ));
        }
        match &duty.standing {
            Standing::Done => Ok(String::new()),
            Standing::Idle(words) => Ok(words.clone()),
            Standing::Neglected(words) => Err(words.clone()),
        }
    }
}

/// Reads the store after each block, until `stop`.
pub(super) async fn keep(node: Arc<Shared>, stop: CancellationToken) -> eyre::Result<()> {
    let (mut heights, seen) = (node.heights.clone(), &node.pulse.seen);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = heights.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            },
        }
        seen.send_modify(|seen| seen.reading = Some(Instant::now()));
        let store = Arc::clone(&node.store);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            found = tokio::task::spawn_blocking(move || Seen::read(&store)) => drop(seen.send_replace(found?)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn now_ms() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
    }

    fn seen() -> Seen {
        Seen { tip: Ok((5, now_ms())), interval: Duration::from_millis(500), rules: Ok(()), reading: None }
    }

    fn engine() -> EngineStatus {
        let now = Instant::now();
        EngineStatus {
            height: 5,
            round: 0,
            peers: 3,
            validator: true,
            syncing: false,
            last_progress: now,
            answered: now,
            busy_since: None,
            mute: false,
        }
    }

    fn well() -> Pulse {
        Pulse::new(seen(), CancellationToken::new())
    }

    /// So long ago; `None` on a machine that has not been up for so long.
    fn ago(seconds: u64) -> Option<Instant> {
        Instant::now().checked_sub(Duration::from_secs(seconds))
    }

    #[test]
    fn a_node_at_the_tip_lives_and_is_ready_and_a_stopping_one_is_not_ready() {
        let pulse = well();
        let life = pulse.life(&engine(), 5, Role::Node);
        assert_eq!(life, Life { height: 5, ..Life::default() });
        pulse.stop.cancel();
        let life = pulse.life(&engine(), 5, Role::Node);
        assert!(life.is_live() && !life.is_ready() && life.reason().contains("stopping"), "{life:?}");
    }

    #[test]
    fn a_part_that_ended_or_panicked_or_an_unreadable_store_is_the_end() {
        let pulse = well();
        pulse.part("disk").ended(&Err(eyre::eyre!("no space").wrap_err("cannot write")));
        pulse.part("gossip").ended(&Ok(()));
        let life = pulse.life(&engine(), 5, Role::Node);
        assert!(!life.is_live() && !life.is_ready());
        assert!(life.reason().contains("the disk cannot go on") && life.reason().contains("no space"), "{life:?}");

        let pulse = well();
        let part = pulse.part("gossip");
        assert!(pulse.life(&engine(), 5, Role::Node).is_live());
        drop(part);
        assert!(pulse.life(&engine(), 5, Role::Node).reason().contains("gossip panicked"));

        let pulse = well();
        pulse.stop.cancel();
        drop(pulse.part("gossip"));
        assert!(pulse.life(&engine(), 5, Role::Node).is_live());

        let pulse = well();
        pulse.seen.send_modify(|seen| seen.tip = Err("the store cannot be read: gone".into()));
        assert!(!pulse.life(&engine(), 5, Role::Node).is_live());
        let Some(long) = ago(31) else { return };
        let pulse = well();
        pulse.seen.send_modify(|seen| seen.reading = Some(long));
        assert!(pulse.life(&engine(), 5, Role::Node).reason().contains("has not answered for 31 s"));
    }

    #[test]
    fn a_node_that_is_behind_or_alone_lives_and_is_not_ready() {
        let pulse = well();
        let life = pulse.life(&EngineStatus { syncing: true, ..engine() }, 5, Role::Node);
        assert!(life.is_live() && !life.is_ready() && life.reason().contains("catching up"), "{life:?}");
        pulse.seen.send_modify(|seen| seen.tip = Ok((5, now_ms() - 60_000)));
        let life = pulse.life(&engine(), 5, Role::Node);
        assert!(life.is_live() && !life.is_ready() && life.reason().contains("60 s old"), "{life:?}");
        pulse.seen.send_modify(|seen| seen.rules = Err("version 2 is needed".into()));
        assert!(pulse.life(&engine(), 5, Role::Node).reason().contains("version 2"));
    }

    #[test]
    fn a_validator_without_a_seat_is_ready_and_says_so_and_one_that_neglects_its_duty_is_not() {
        let pulse = well();
        let says = |standing, at| {
            pulse.duty().send_replace(Duty { height: 4, at, standing });
            pulse.life(&engine(), 5, Role::Validator)
        };
        assert_eq!(says(Standing::Done, Instant::now()), Life { height: 5, ..Life::default() });
        let life = says(Standing::Idle("jailed".into()), Instant::now());
        assert!(life.is_ready() && life.reason() == "jailed", "{life:?}");
        let life = says(Standing::Neglected("no scores".into()), Instant::now());
        assert!(life.is_live() && !life.is_ready() && life.reason() == "no scores", "{life:?}");
        // Other roles have no such duty.
        assert!(pulse.life(&engine(), 5, Role::Node).is_ready());
        let Some(long) = ago(61) else { return };
        assert!(says(Standing::Done, long).reason().contains("looked at no block"));
    }
}
