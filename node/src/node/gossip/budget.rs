//! What a peer's gossip may cost this node.
//!
//! To find that a transaction is of no use takes some 20 µs, about 100 ms for a bundle full of them, and costs its sender nothing.
//! Each such transaction is therefore charged to the peer that it came from, as time which must pass:
//!
//! | transaction | charge | in a second |
//! |---|---|---|
//! | new: taken, and passed on | nothing | |
//! | known, or without a place beside what waits here | 0.2 ms | 5,000: 5 % of a core |
//! | refused by the state: no money, an old nonce, one far ahead | 2 ms | 500: 1 % of a core |
//!
//! An honest peer passes on what it found new itself, each transaction once: what comes from it is new here, or another brought it
//! before. That is charged so little that several times what the chain can take may come from each peer. Some of it is refused by
//! the state, when a block or a lost predecessor lies between: this may be a whole bundle now and then.
//!
//! While more than [`BURST`] is charged, a peer's bundles are left unread and not passed on. They are charged by their size, which
//! a peer of good faith does not notice, so that only who floods goes on to [`FAR`]. From there on it loses its standing with
//! gossip, and soon its say.

use std::{collections::BTreeMap, time::Duration};

use assay_ledger::Refusal;
use tokio::time::Instant;

use crate::{
    mempool::SubmitError,
    net::{GossipVerdict, PeerId},
};

/// For a transaction that is known, or that only has no place here: pools differ.
const KNOWN: Duration = Duration::from_micros(200);
/// For one that no honest peer takes.
const USELESS: Duration = Duration::from_millis(2);
/// For a KiB that is left unread: five MiB in a second are free.
const UNREAD: Duration = Duration::from_micros(200);

/// As much may be charged before bundles are left unread: 5,000 useless transactions, about as many as a bundle holds.
const BURST: Duration = Duration::from_secs(10);
/// From here on bundles count as invalid: 150 MiB came unread beyond what is free.
const FAR: Duration = Duration::from_secs(40);
/// More is not charged: who is silent for so long is forgotten.
const MOST: Duration = Duration::from_secs(60);

/// What a transaction that was not taken costs the peer that sent it. `in_a_block` says whether it stands in one.
pub(super) fn charge(refused: &SubmitError, in_a_block: impl Fn() -> bool) -> Duration {
    match refused {
        // The trouble is this node's own.
        SubmitError::Refused(refusal) if refusal.is_store() => Duration::ZERO,
        // It is known, and came late.
        SubmitError::Refused(Refusal::Nonce { expected, found, .. }) if found < expected && in_a_block() => KNOWN,
        SubmitError::Refused(_) | SubmitError::Malformed(_) => USELESS,
        SubmitError::Known(_)
        | SubmitError::Underpriced { .. }
        | SubmitError::LaneFull(_)
        | SubmitError::Overdrawn { .. }
        | SubmitError::Full(..) => KNOWN,
    }
}

/// Until when each peer's charges last. Whoever is not here owes nothing.
#[derive(Debug, Default)]
pub(super) struct Budgets(BTreeMap<PeerId, Instant>);

impl Budgets {
    /// What to say of a bundle of so many bytes without reading it; nothing if it is to be read.
    pub(super) fn unread(&mut self, peer: PeerId, bytes: usize, now: Instant) -> Option<GossipVerdict> {
        let owed = self.owed(&peer, now);
        if owed <= BURST {
            return None;
        }
        let size = u32::try_from(bytes / 1024).unwrap_or(u32::MAX);
        self.charge(peer, UNREAD.saturating_mul(size), now);
        Some(if owed > FAR { GossipVerdict::Reject } else { GossipVerdict::Ignore })
    }

    /// Charges a peer.
    pub(super) fn charge(&mut self, peer: PeerId, cost: Duration, now: Instant) {
        self.0.retain(|_, until| *until > now);
        if !cost.is_zero() {
            let owed = self.owed(&peer, now).saturating_add(cost).min(MOST);
            self.0.insert(peer, now + owed);
        }
    }

    fn owed(&self, peer: &PeerId, now: Instant) -> Duration {
        self.0.get(peer).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_ledger::{
        MemoryState,
        tx::{Action, Transaction},
    };
    use assay_primitives::{Amount, Hash32, Signed, encode};

    use super::*;
    use crate::{
        chain::tests::{key, spec},
        mempool::Mempool,
    };

    const BUNDLE: usize = 1 << 20;
    const IN_IT: u32 = 5000;

    fn peer(n: u8) -> PeerId {
        crate::net::peer_id(&key(n))
    }

    #[test]
    fn who_sends_useless_bundles_is_left_unread_for_a_while_and_nobody_else_is() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        for bundle in 0..2 {
            assert_eq!(budgets.unread(peer(1), BUNDLE, start), None, "{bundle}");
            budgets.charge(peer(1), USELESS * IN_IT, start);
        }
        assert_eq!(budgets.unread(peer(1), 1, start), Some(GossipVerdict::Ignore));
        assert_eq!(budgets.unread(peer(2), BUNDLE, start), None);
        let later = start + USELESS * IN_IT;
        assert_eq!(budgets.unread(peer(1), BUNDLE, later), None);
        budgets.charge(peer(2), Duration::ZERO, later + BURST);
        assert!(budgets.0.is_empty(), "who owes nothing takes no room");
    }

    #[test]
    fn who_floods_on_loses_its_standing_and_is_forgotten_a_minute_later() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        budgets.charge(peer(1), USELESS * IN_IT * 2, start);
        let verdicts: Vec<_> = (0..1000).map(|_| budgets.unread(peer(1), BUNDLE, start).unwrap()).collect();
        let ignored = verdicts.iter().filter(|verdict| **verdict == GossipVerdict::Ignore).count();
        assert!((90..120).contains(&ignored), "{ignored}");
        assert!(verdicts[ignored..].iter().all(|verdict| *verdict == GossipVerdict::Reject));
        assert_eq!(budgets.unread(peer(1), BUNDLE, start + MOST), None);
    }

    #[test]
    fn who_passes_on_what_others_brought_before_is_always_read() {
        let (mut budgets, start) = (Budgets::default(), Instant::now());
        // Bundles of 100, forty in a second; one transaction of a hundred is refused by the state.
        for step in 0..4000 {
            let now = start + Duration::from_millis(25) * step;
            assert_eq!(budgets.unread(peer(1), 20_000, now), None);
            budgets.charge(peer(1), KNOWN * 99 + USELESS, now);
        }
        // One whose bundles are left unread comes back while it goes on like that.
        let now = start + Duration::from_secs(100);
        budgets.charge(peer(1), USELESS * IN_IT * 2, now);
        let read =
            (0..4000).find(|step| budgets.unread(peer(1), 20_000, now + Duration::from_millis(25) * *step).is_none());
        assert!(read.is_some_and(|step| step < 1000), "{read:?}");
    }

    #[test]
    fn what_the_state_refuses_costs_more_than_what_is_known() {
        let spec = spec();
        let genesis = spec.genesis_hash();
        let (pool, mut state) = (Mempool::new(genesis), MemoryState::default());
        state.apply(&assay_ledger::genesis::genesis(&spec).unwrap());
        let sent = |n, nonce| {
            let action = Action::Transfer { to: key(3).account(), amount: Amount(1) };
            let tx = Transaction { signer: key(n).account(), nonce, fee: Amount(1000), action };
            pool.submit_gossiped(|| state.clone(), &encode(&Signed::new(tx, &genesis, &key(n))))
        };
        let cost = |n, nonce| charge(&sent(n, nonce).unwrap_err(), || false);
        sent(2, 0).unwrap();
        assert_eq!(cost(2, 0), KNOWN);
        assert_eq!(cost(9, 0), USELESS, "nobody has funded this account");
        assert_eq!(cost(2, 10_000), USELESS, "far ahead");
        let stale = Refusal::Nonce { signer: key(2).account(), expected: 5, found: 4 }.into();
        assert_eq!(charge(&stale, || true), KNOWN, "it stands in a block");
        assert_eq!(charge(&stale, || false), USELESS);
        assert_eq!(charge(&SubmitError::Known(Hash32::ZERO), || false), KNOWN);
    }
}
