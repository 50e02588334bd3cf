//! The light client's core: from the genesis validator set to any later header, without IO.
//!
//! A validator set changes only where a header's `next_validators_hash` differs from its `validators_hash`.
//! One [`SetChange`] for each such height is therefore enough to carry trust forward:
//!
//! ```text
//! genesis set --certifies--> header where the set changes --names--> next set --certifies--> … --> target header
//! ```

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{Hash32, SignedHeader, ValidatorSet, block::CertificateError, block::ValidatorSetError};

/// A certified header after which another validator set votes, with that set.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetChange {
    /// The last header that the old set certifies.
    pub signed: SignedHeader,
    /// The set of the next height.
    pub next: ValidatorSet,
}

/// Why a path does not lead from genesis to the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// A certificate on the path does not hold.
    #[error("height {height} is not certified: {source}")]
    Certificate {
        /// Where.
        height: u64,
        /// Why.
        source: CertificateError,
    },
    /// The set beside a change is not the one its header names.
    #[error("the validator set given for the heights after {height} is not the one that header names")]
    OtherNextSet {
        /// Where.
        height: u64,
    },
    /// A decoded set is no set.
    #[error("the validator set after height {height} is malformed: {source}")]
    BadSet {
        /// Where.
        height: u64,
        /// Why.
        source: ValidatorSetError,
    },
    /// Heights do not ascend.
    #[error("the path to height {target} goes through height {height}, which is not below it")]
    Order {
        /// The offending height.
        height: u64,
        /// The height after it.
        target: u64,
    },
}

/// Follows `changes` from `genesis_set` and checks that `target` is final. Returns the set that certified it.
pub fn verify_path(
    genesis: &Hash32,
    genesis_set: &ValidatorSet,
    changes: &[SetChange],
    target: &SignedHeader,
) -> Result<ValidatorSet, TrustError> {
    let mut set = genesis_set.clone();
    let mut last = 0;
    for change in changes {
        let height = change.signed.header.height;
        if height <= last || height >= target.header.height {
            return Err(TrustError::Order { height, target: target.header.height });
        }
        change.signed.verify(genesis, &set).map_err(|source| TrustError::Certificate { height, source })?;
        change.next.check().map_err(|source| TrustError::BadSet { height, source })?;
        if change.next.hash(genesis) != change.signed.header.next_validators_hash {
            return Err(TrustError::OtherNextSet { height });
        }
        set = change.next.clone();
        last = height;
    }
    let height = target.header.height;
    target.verify(genesis, &set).map_err(|source| TrustError::Certificate { height, source })?;
    Ok(set)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::block::tests::{certify, header, keys, set_of};

    const GENESIS: Hash32 = Hash32([9; 32]);

    #[test]
    fn trust_follows_a_set_change_and_no_shortcut() {
        let keys = keys(8);
        let (old, new) = (set_of(&keys[..4]), set_of(&keys[4..]));
        let change =
            SetChange { signed: certify(&header(10, &old, &new, &GENESIS), &keys[..4], &GENESIS), next: new.clone() };
        let target = certify(&header(20, &new, &new, &GENESIS), &keys[4..], &GENESIS);
        assert_eq!(verify_path(&GENESIS, &old, std::slice::from_ref(&change), &target).unwrap(), new);
        assert!(matches!(verify_path(&GENESIS, &old, &[], &target), Err(TrustError::Certificate { height: 20, .. })));
        let forged = SetChange { next: old.clone(), ..change.clone() };
        assert!(matches!(
            verify_path(&GENESIS, &old, &[forged], &target),
            Err(TrustError::OtherNextSet { height: 10 })
        ));
        let twice = [change.clone(), change];
        assert!(matches!(verify_path(&GENESIS, &old, &twice, &target), Err(TrustError::Order { .. })));
    }
}
