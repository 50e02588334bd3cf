//! What requesters owe for texts: what was billed to each, against what the chain says it paid.
//!
//! Kept in memory and written once a second where something changed: a miner that is killed forgets a second of its bills
//! at most. Of a requester that it has not met, or whose account was lost, it takes all that was paid to be all that was
//! owed.

use std::{collections::BTreeMap, path::Path};

use assay_primitives::{AccountId, Amount};
use tokio_util::sync::CancellationToken;

use crate::home::{KeptError, kept::Kept};

/// What a requester may owe that never paid: accounts cost nothing, so strangers get little.
const STRANGER: Amount = Amount(10_000_000);
/// The part of all it ever paid that a requester may always owe. Where the two books differ, a refusal says what this one has;
/// what the requester does not believe must not shut an old customer out.
const DIFFERENCE: u64 = 50;
/// Most requesters that are remembered; beyond it those who were billed least are forgotten.
const MOST: usize = 65_536;

/// The most that a requester may owe that has paid so much: at first what a stranger may, then as much as it paid, up to
/// `most` or a fiftieth of all it ever paid.
pub(super) fn limit(most: Amount, paid: Amount) -> Amount {
    Amount(paid.0.saturating_add(STRANGER.0)).min(most.max(Amount(paid.0 / DIFFERENCE)))
}

/// By requester, all that it was ever billed.
#[derive(Debug)]
pub(super) struct CreditBook(Kept<BTreeMap<AccountId, Amount>>);

impl CreditBook {
    /// The book in `dir`, which is made if need be.
    pub(super) fn open(dir: &Path) -> Result<Self, KeptError> {
        Kept::open_in(dir, "billed.json").map(Self)
    }

    /// What a requester owes that has paid so much.
    pub(super) fn owed(&self, requester: &AccountId, paid: Amount) -> Amount {
        let known = self.0.look(|billed| billed.get(requester).copied());
        let billed = known.unwrap_or_else(|| {
            self.0.change(|billed| {
                if billed.len() >= MOST {
                    let least = billed.iter().min_by_key(|(_, billed)| **billed).map(|(id, _)| *id);
                    least.map(|id| billed.remove(&id));
                }
                *billed.entry(*requester).or_insert(paid)
            })
        });
        Amount(billed.0.saturating_sub(paid.0))
    }

    /// Bills a requester that [`CreditBook::owed`] has looked at.
    pub(super) fn bill(&self, requester: &AccountId, cost: Amount) {
        self.0.change(|billed| {
            let billed = billed.entry(*requester).or_insert(Amount::ZERO);
            *billed = Amount(billed.0.saturating_add(cost.0));
        });
    }

    /// Writes what changes, until `stop`, and then once more.
    pub(super) async fn keep(&self, stop: &CancellationToken) {
        self.0.keep("what requesters owe", stop).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn requester(n: u32) -> AccountId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        AccountId(id)
    }

    #[test]
    fn debts_outlive_a_restart_and_payments_take_them_away() {
        let folder = tempfile::tempdir().unwrap();
        let book = CreditBook::open(folder.path()).unwrap();
        assert_eq!(book.owed(&requester(1), Amount(50)), Amount::ZERO, "of a stranger all was paid");
        book.bill(&requester(1), Amount(7));
        assert_eq!(book.owed(&requester(1), Amount(50)), Amount(7));
        book.0.save().unwrap();
        let book = CreditBook::open(folder.path()).unwrap();
        assert_eq!(book.owed(&requester(1), Amount(52)), Amount(5));
        assert_eq!(book.owed(&requester(1), Amount(90)), Amount::ZERO);
    }

    #[test]
    fn trust_grows_with_what_was_paid_up_to_a_limit() {
        let most = Amount::asy(1);
        assert_eq!(limit(most, Amount::ZERO), STRANGER);
        assert_eq!(limit(most, Amount(5)), Amount(STRANGER.0 + 5));
        assert_eq!(limit(most, Amount::asy(20)), most);
        assert_eq!(limit(most, Amount::asy(500)), Amount::asy(10));
        assert_eq!(limit(most, Amount(u64::MAX)), Amount(u64::MAX / 50));
        assert_eq!(limit(Amount::ZERO, Amount::ZERO), Amount::ZERO);
    }

    #[test]
    fn a_crowd_of_strangers_fills_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let book = CreditBook::open(folder.path()).unwrap();
        book.owed(&requester(0), Amount::ZERO);
        book.bill(&requester(0), Amount(9));
        for n in 1..=MOST as u32 + 10 {
            book.owed(&requester(n), Amount::ZERO);
        }
        assert_eq!(book.0.look(BTreeMap::len), MOST);
        assert_eq!(book.owed(&requester(0), Amount::ZERO), Amount(9), "who owes is remembered");
    }
}
