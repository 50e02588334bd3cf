//! What miners ask for their texts.

use assay_primitives::Amount;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Prices are for so many tokens.
pub const TARIFF_TOKENS: u64 = 1_000_000;

/// Prices of a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// Of a request.
    pub prompt: Amount,
    /// Of an answer.
    pub completion: Amount,
}

impl Tariff {
    /// Nothing is asked.
    pub const FREE: Self = Self { prompt: Amount::ZERO, completion: Amount::ZERO };

    /// What one answer costs, rounded up to a grain; the largest amount where there is no such amount.
    pub fn of(&self, prompt: u64, completion: u64) -> Amount {
        let cost = |tokens: u64, price: Amount| u128::from(tokens) * u128::from(price.0);
        let sum = cost(prompt, self.prompt).saturating_add(cost(completion, self.completion));
        Amount(u64::try_from(sum.div_ceil(u128::from(TARIFF_TOKENS))).unwrap_or(u64::MAX))
    }
}

/// What a miner asks for. A change counts from the epoch after it, so that a request, which names its epoch, has one
/// price for whoever looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Asking {
    /// The prices of `since` and later epochs.
    pub tariff: Tariff,
    /// The first epoch of `tariff`.
    pub since: u64,
    /// The prices of the epochs before.
    pub before: Tariff,
}

impl Asking {
    /// The prices of an epoch. Of epochs longer past than the last change they are those of the change before it.
    pub fn at(&self, epoch: u64) -> Tariff {
        if epoch >= self.since { self.tariff } else { self.before }
    }
}
