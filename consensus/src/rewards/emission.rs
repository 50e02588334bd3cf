//! How incentive and dividends share the emission, and who is paid when there are none.

use super::arith::{div_by_sum, sum};
use fixed::types::I32F32;

/// Shares of the emission; `server` and `validator` together sum to at most 1, and so does `combined`.
pub(super) struct Shares {
    pub(super) server: Vec<I32F32>,
    pub(super) validator: Vec<I32F32>,
    pub(super) combined: Vec<I32F32>,
}

impl Shares {
    pub(super) fn new(
        incentive: &[I32F32],
        dividends: &[I32F32],
        active_stake: &[I32F32],
        all_stake: &[I32F32],
    ) -> Self {
        let both = incentive.iter().zip(dividends);
        let combined: Vec<I32F32> = both.map(|(i, d)| i.saturating_add(*d)).collect();
        let total = sum(combined.iter().copied());
        if total == 0 {
            let no_active = active_stake.iter().all(|s| *s == I32F32::ZERO);
            let stake = if no_active { all_stake } else { active_stake };
            return Self {
                server: vec![I32F32::ZERO; incentive.len()],
                validator: stake.to_vec(),
                combined: stake.to_vec(),
            };
        }
        let of_total = |x: &[I32F32]| x.iter().map(|x| div_by_sum(*x, total)).collect();
        Self { server: of_total(incentive), validator: of_total(dividends), combined: of_total(&combined) }
    }
}
