//! What this gateway owes the miners, and its payments.
//!
//! Each signed answer is billed by the tariff that its miner had on chain in the request's epoch, by the same sum as the
//! miner's own, so both know what is owed without a word. It is paid in one transaction for all miners: once an epoch,
//! sooner where much is due or a miner asks for it.
//!
//! Of an answer that was abandoned the two do not know the same: what was on its way stands in the miner's book and not
//! here. So what it may have cost beyond what was heard is kept as *open*, and a miner that says that it billed more is
//! believed as far as that goes, and a little further, for what a crash has cost this book.

use std::{collections::BTreeMap, path::Path};

use assay_ledger::{
    MAX_BILLS, StateRead, StoreError, query,
    tx::{Action, Bill},
};
use assay_primitives::{AccountId, Amount, Keypair};
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    home::{
        KeptError,
        kept::{self, Kept},
    },
    roles::ChainView,
};

/// So much of what cannot be explained is paid to a miner all the same, or a fiftieth of all that it was ever paid: as much
/// as it lets a stranger owe.
const UNEXPLAINED: Amount = Amount(10_000_000);
/// See [`UNEXPLAINED`].
const PART: u64 = 50;
/// So much to one miner is paid at once: half of what a miner lets a stranger owe.
const PROMPTLY: Amount = Amount(5_000_000);
/// Blocks after which a payment that did not show on chain is made again.
const RESEND_AFTER: u64 = 10;

/// The file, in the gateway's folder.
const FILE: &str = "bills.json";

/// What stands between this gateway and a miner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// All that this gateway was ever billed.
    pub billed: Amount,
    /// The most that abandoned answers may have cost beyond that.
    pub open: Amount,
    /// What was billed without an answer that explains it.
    pub unexplained: Amount,
}

impl Account {
    /// Takes a miner's word for what it billed, as far as it may be true; whether that changes anything.
    fn believe(&mut self, claimed: Amount, paid: Amount) -> bool {
        let more = claimed.0.saturating_sub(self.billed.0);
        let open = more.min(self.open.0);
        let most = UNEXPLAINED.0.max(paid.0 / PART).saturating_sub(self.unexplained.0);
        let unexplained = (more - open).min(most);
        self.billed.0 += open + unexplained;
        self.open.0 -= open;
        self.unexplained.0 += unexplained;
        open + unexplained > 0
    }
}

/// By miner.
type Accounts = BTreeMap<AccountId, Account>;

/// The bills of a gateway's folder; none if there is no file.
///
/// # Errors
/// [`KeptError`] if it cannot be read.
pub(super) fn read(dir: &Path) -> Result<Accounts, KeptError> {
    kept::read(&dir.join(FILE))
}

#[derive(Debug)]
pub(super) struct Bills {
    accounts: Kept<Accounts>,
    hurry: Notify,
}

/// How far payment has come.
#[derive(Default)]
struct Course {
    /// The epoch in which all that was due was paid.
    settled: Option<u64>,
    /// Whether something is to be paid before the next.
    hurried: bool,
    sent: Option<Sent>,
}

/// A payment on its way.
struct Sent {
    height: u64,
    /// What will have been paid to the first of its miners.
    until: (AccountId, Amount),
}

impl Bills {
    /// Those of a folder, which is made if need be.
    pub(super) fn open(dir: &Path) -> Result<Self, KeptError> {
        Ok(Self { accounts: Kept::open_in(dir, FILE)?, hurry: Notify::new() })
    }

    /// Books an answer's cost, and what it may have cost beyond that if it was abandoned; `paid` is what the chain says of this
    /// miner, all of it for earlier answers where it is new here.
    pub(super) fn owe(&self, miner: &AccountId, cost: Amount, open: Amount, paid: Amount) {
        if cost.0 == 0 && open.0 == 0 {
            return;
        }
        let due = self.accounts.change(|accounts| {
            let account = accounts.entry(*miner).or_insert(Account { billed: paid, ..Account::default() });
            account.billed = Amount(account.billed.0.saturating_add(cost.0));
            account.open = Amount(account.open.0.saturating_add(open.0));
            account.billed.0.saturating_sub(paid.0)
        });
        if due >= PROMPTLY.0 {
            self.hurry();
        }
    }

    /// A miner serves no more before it is paid, and says what it billed in all.
    pub(super) fn claim(&self, miner: &AccountId, claimed: Amount, paid: Amount) {
        let (believed, account) = self.accounts.change(|accounts| {
            let account = accounts.entry(*miner).or_insert(Account { billed: paid, ..Account::default() });
            (account.believe(claimed, paid), *account)
        });
        if account.billed < claimed {
            let billed = account.billed;
            tracing::warn!(%miner, %claimed, %billed, "a miner wants more than this gateway was billed, and is not paid it");
        } else if believed {
            tracing::info!(%miner, billed = %claimed, "a miner billed more than was heard of it, and is paid it");
        }
        self.hurry();
    }

    /// Pays as soon as may be.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// What is due to each, as far as the payer's money goes; the rest of the list cannot be paid.
    fn due(&self, view: &dyn StateRead, payer: &AccountId) -> Result<Vec<Bill>, StoreError> {
        let paid: BTreeMap<AccountId, Amount> = query::payments(view, payer)?.into_iter().collect();
        let fee = query::params(view)?.min_fee;
        let mut left = query::account(view, payer)?.balance.0.saturating_sub(fee);
        let (mut bills, mut unpaid) = (Vec::new(), 0u64);
        self.accounts.look(|accounts| {
            for (miner, Account { billed, .. }) in accounts {
                let due = billed.0.saturating_sub(paid.get(miner).map_or(0, |paid| paid.0));
                if due == 0 || bills.len() as u64 >= MAX_BILLS {
                    continue;
                }
                match left.checked_sub(due) {
                    Some(rest) => {
                        left = rest;
                        bills.push(Bill { miner: *miner, amount: Amount(due) });
                    }
                    None => unpaid = unpaid.saturating_add(due),
                }
            }
        });
        if unpaid > 0 {
            let (unpaid, left) = (Amount(unpaid), Amount(left));
            tracing::error!(account = %payer, %unpaid, %left, "this gateway cannot pay its miners, who will stop serving it; send it money");
        }
        Ok(bills)
    }

    /// Pays, and writes down what is owed, until `stop`; `payments` counts.
    pub(super) async fn settle(
        &self,
        chain: &dyn ChainView,
        key: &Keypair,
        payments: &Counter,
        stop: CancellationToken,
    ) {
        let (mut heights, mut course) = (chain.heights(), Course::default());
        loop {
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                () = self.hurry.notified() => {
                    course.hurried = true;
                    false
                }
                changed = heights.changed() => changed.is_err(),
            };
            // A payment is for what is written down.
            let saved = self.accounts.saved("what the miners are owed").await;
            if stopping {
                return;
            }
            if saved {
                match self.pay(chain, key, &mut course).await {
                    Ok(submitted) => drop(payments.inc_by(u64::from(submitted))),
                    Err(error) => tracing::error!(%error, "the miners cannot be paid now; it is tried again"),
                }
            }
        }
    }

    /// Pays what is due, if it is time; whether it did.
    async fn pay(&self, chain: &dyn ChainView, key: &Keypair, course: &mut Course) -> Result<bool, StoreError> {
        let (payer, view) = (key.account(), chain.snapshot()?);
        let now = query::chain(&*view)?;
        if let Some(Sent { height, until: (miner, until) }) = &course.sent {
            let arrived = query::paid(&*view, &payer, miner)? >= *until;
            if !arrived && now.height < height + RESEND_AFTER {
                return Ok(false);
            }
            // What did not arrive is due still.
            course.hurried |= !arrived;
            course.sent = None;
        }
        if !course.hurried && course.settled == Some(now.epoch) {
            return Ok(false);
        }
        let bills = self.due(&*view, &payer)?;
        let Some(first) = bills.first().copied() else {
            (course.settled, course.hurried) = (Some(now.epoch), false);
            return Ok(false);
        };
        let before = query::paid(&*view, &payer, &first.miner)?;
        let (miners, amount) = (bills.len(), Amount(bills.iter().map(|b| b.amount.0).sum()));
        match chain.submit(Action::PayUsage { bills }, key).await {
            Ok(id) => {
                tracing::info!(transaction = %id, miners, %amount, "miners are paid for texts");
                let until = Amount(before.0.saturating_add(first.amount.0));
                let sent = Some(Sent { height: now.height, until: (first.miner, until) });
                *course = Course { settled: Some(now.epoch), hurried: false, sent };
                Ok(true)
            }
            Err(error) => {
                tracing::warn!(%error, "a payment to miners was not submitted; it is tried again");
                Ok(false)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miner_is_believed_as_far_as_abandoned_answers_go_and_a_little_further() {
        let paid = Amount::asy(1);
        let mut account = Account { billed: paid, open: Amount(700), unexplained: Amount::ZERO };
        assert!(!account.believe(Amount(5), paid), "less than is known");
        assert!(account.believe(Amount(paid.0 + 300), paid));
        assert_eq!((account.billed.0 - paid.0, account.open.0, account.unexplained.0), (300, 400, 0));
        assert!(account.believe(Amount(u64::MAX), paid));
        let most = paid.0 / PART;
        assert_eq!((account.billed.0 - paid.0, account.open.0, account.unexplained.0), (700 + most, 0, most));
        assert!(!account.believe(Amount(u64::MAX), paid), "it asks for ever more");
    }
}
