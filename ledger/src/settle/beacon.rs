//! The beacon: public randomness made of the salts that validators reveal with their scores.
//!
//! ```text
//! beacon' = H("assay/beacon/1", genesis, (beacon, e, [(validator, subnet, salt), …]))
//! ```
//!
//! The shares are the salts of the sheets of epoch `e` that were revealed in `e + 1`, of validators with a permit for `e`, whose
//! pay depends on revealing, ascending by validator and subnet. They were fixed by the commitments of epoch `e`, before anyone saw another's. The
//! new beacon stands from the block after the last one of `e + 1`: tasks of an epoch are seeded by a value fixed before it
//! began. Where nobody revealed it stands as it is. `docs/adr/0006-the-beacon-is-the-salts.md` says what a validator that withholds its share gains.

use assay_primitives::domain;

use crate::{StoreError, execute::Env, keys, overlay::Overlay, query};

/// Domain of the beacon.
const BEACON: &str = "assay/beacon/1";

/// Mixes the shares of epoch `scored` in; in the block that settles it.
pub(super) fn mix(state: &mut Overlay<'_>, env: &Env<'_>, scored: u64) -> Result<(), StoreError> {
    let mut shares = Vec::new();
    let subnets = query::subnets(state)?;
    for (validator, _) in query::permits(state, scored)? {
        for subnet in &subnets {
            if let Some(reveal) = query::reveal(state, scored, subnet.id, &validator)? {
                shares.push((validator, subnet.id, reveal.salt));
            }
        }
    }
    if shares.is_empty() {
        return Ok(());
    }
    let mut chain = query::chain(state)?;
    chain.randomness = domain::hash(BEACON, &env.block.genesis, &(chain.randomness, scored, shares));
    state.write(keys::chain(), &chain);
    Ok(())
}
