//! What a miner's registration burns: a price for each subnet that rises with demand and decays.
//!
//! ```text
//! a registration          price' = min(price * registration_rise / 10000, MOST_PRICE)
//! the end of an epoch     price' = floor + (price - floor) * (10000 - registration_decay) / 10000
//! ```
//!
//! `floor` is the parameter `registration_fee`; both divisions round down, and the price is never below the floor. Where
//! the floor is 0 registering is free and stays so. A price in a subnet's entry that fell back to the floor is removed.

use assay_chain_spec::Params;
use assay_primitives::{Amount, task::SubnetId};

use crate::{StateRead, StoreError, keys, overlay::Overlay, query};

/// The price rises no further, so that with any bond it fits 64 bits: 10^9 ASY.
const MOST_PRICE: Amount = Amount(1_000_000_000_000_000_000);

/// `amount * basis_points / 10000`, at most [`MOST_PRICE`].
fn scaled(amount: Amount, basis_points: u64) -> Amount {
    let exact = u128::from(amount.0) * u128::from(basis_points) / 10_000;
    Amount(u64::try_from(exact).unwrap_or(u64::MAX)).min(MOST_PRICE)
}

/// The price after a registration.
fn risen(params: &Params, price: Amount) -> Amount {
    scaled(price, params.registration_rise).max(price.min(MOST_PRICE))
}

/// The price after an epoch.
fn decayed(params: &Params, price: Amount) -> Amount {
    let floor = params.registration_fee;
    let excess = Amount(price.0.saturating_sub(floor));
    let left = scaled(excess, 10_000u64.saturating_sub(params.registration_decay));
    Amount(floor.saturating_add(left.0)).min(MOST_PRICE)
}

/// Lets the price of the subnet's next registration rise.
pub(super) fn rise(state: &mut Overlay<'_>, params: &Params, subnet: SubnetId) -> Result<(), StoreError> {
    let price = risen(params, query::registration_price(state, subnet)?);
    state.write(keys::price(subnet), &price);
    Ok(())
}

/// Lets all prices fall at the end of an epoch.
pub(crate) fn decay_prices(state: &mut Overlay<'_>, params: &Params) -> Result<(), StoreError> {
    for subnet in query::subnets(state)? {
        let key = keys::price(subnet.id);
        if state.get(&key)?.is_none() {
            continue;
        }
        let price = decayed(params, query::registration_price(state, subnet.id)?);
        if price.0 > params.registration_fee {
            state.write(key, &price);
        } else {
            state.remove(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn params() -> impl Strategy<Value = Params> {
        (0..=1_000_000_000_000_000u64, 10_000..=100_000u64, 1..=10_000u64).prop_map(|(fee, rise, decay)| Params {
            registration_fee: fee,
            registration_rise: rise,
            registration_decay: decay,
            ..Params::dev()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

        #[test]
        fn a_price_is_never_below_its_floor_nor_above_its_most_and_steps_are_monotone(
            params in params(),
            a in 0..=MOST_PRICE.0,
            b in 0..=MOST_PRICE.0,
        ) {
            let floor = Amount(params.registration_fee);
            let (low, high) = (Amount(a.min(b)).max(floor), Amount(a.max(b)).max(floor));
            for price in [low, high] {
                prop_assert!((price..=MOST_PRICE).contains(&risen(&params, price)));
                prop_assert!((floor..=price).contains(&decayed(&params, price)));
            }
            prop_assert!(risen(&params, low) <= risen(&params, high));
            prop_assert!(decayed(&params, low) <= decayed(&params, high));
        }

        #[test]
        fn without_registrations_every_price_falls_to_its_floor(params in params(), price in 0..=MOST_PRICE.0) {
            let floor = Amount(params.registration_fee);
            let mut price = Amount(price).max(floor);
            // One basis point an epoch halves the rest in 6932 epochs, and there are less than 60 halvings.
            for _ in 0..60 * 6_932 {
                if price == floor {
                    break;
                }
                let next = decayed(&params, price);
                prop_assert!(next < price, "a price above its floor falls each epoch");
                price = next;
            }
            prop_assert_eq!(price, floor);
        }
    }
}
