//! What this gateway owes the miners, and its payments.
//!
//! Each signed answer is billed by the tariff that its miner had on chain in the request's epoch, by the same sum as the
//! miner's own, so both know what is owed without a word. It is paid in one transaction for all miners: once an epoch,
//! sooner where much is due or a miner asks for it.

use std::{collections::BTreeMap, path::Path};

use assay_ledger::{
    MAX_BILLS, StateRead, StoreError, query,
    tx::{Action, Bill},
};
use assay_primitives::{AccountId, Amount, Keypair};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    home::{
        KeptError,
        kept::{self, Kept},
    },
    roles::ChainView,
};

/// So much to one miner is paid at once: half of what a miner lets a stranger owe.
const PROMPTLY: Amount = Amount(5_000_000);
/// Blocks after which a payment that did not show on chain is made again.
const RESEND_AFTER: u64 = 10;

/// The file, in the gateway's folder.
const FILE: &str = "billed.json";

/// By miner, all that this gateway was ever billed.
type Billed = BTreeMap<AccountId, Amount>;

/// The bills of a gateway's folder; none if there is no file.
///
/// # Errors
/// [`KeptError`] if it cannot be read.
pub(super) fn read(dir: &Path) -> Result<BTreeMap<AccountId, Amount>, KeptError> {
    kept::read(&dir.join(FILE))
}

#[derive(Debug)]
pub(super) struct Bills {
    billed: Kept<Billed>,
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
        Ok(Self { billed: Kept::open_in(dir, FILE)?, hurry: Notify::new() })
    }

    /// Books an answer's cost; `paid` is what the chain says of this miner, all of it for earlier answers where it is new here.
    pub(super) fn owe(&self, miner: &AccountId, cost: Amount, paid: Amount) {
        if cost == Amount::ZERO {
            return;
        }
        let due = self.billed.change(|billed| {
            let billed = billed.entry(*miner).or_insert(paid);
            *billed = Amount(billed.0.saturating_add(cost.0));
            billed.0.saturating_sub(paid.0)
        });
        if due >= PROMPTLY.0 {
            self.hurry();
        }
    }

    /// Pays as soon as may be.
    pub(super) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// What is due to each, as far as the payer's money goes; the rest of the list cannot be paid.
    fn due(&self, view: &dyn StateRead, payer: &AccountId) -> Result<Vec<Bill>, StoreError> {
        let paid: Billed = query::payments(view, payer)?.into_iter().collect();
        let fee = query::params(view)?.min_fee;
        let mut left = query::account(view, payer)?.balance.0.saturating_sub(fee);
        let (mut bills, mut unpaid) = (Vec::new(), 0u64);
        self.billed.look(|billed| {
            for (miner, billed) in billed {
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
            let saved = self.billed.saved("what the miners are owed").await;
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
