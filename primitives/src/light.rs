//! The light client's core: from the genesis validator set to any later header, without IO.
//!
//! A validator set changes only where a header's `next_validators_hash` differs from its `validators_hash`.
//! One [`SetChange`] for each such height is therefore enough to carry trust forward:
//!
//! ```text
//! genesis set --certifies--> header where the set changes --names--> next set --certifies--> … --> target header
//! ```
//!
//! Two headers of one height that one set certified are a [`Fork`]: nothing that hangs from either can be relied on.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Certificate, Hash32, Signed, SignedHeader, ValidatorSet, VoteContent, block::CertificateError,
    block::ValidatorSetError,
};

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

/// Two certified, differing headers of one height: proof that the chain has forked.
///
/// More than two thirds of the power signed each, so more than a third signed both, and no fewer who break the rules can bring a
/// fork about. If both were decided in one round, all who signed both broke them. Over two rounds an honest one may be among
/// them: it leaves a block that it precommitted where two thirds prevote another in a later round, which those who lie can feign.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// One.
    pub first: SignedHeader,
    /// The other.
    pub second: SignedHeader,
}

/// Why two headers prove no fork.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForkError {
    /// They stand one after the other, as headers do.
    #[error("the headers are of heights {first} and {second}: only two of one height are a fork")]
    Heights {
        /// The first one's height.
        first: u64,
        /// The second one's height.
        second: u64,
    },
    /// One block may have many certificates.
    #[error("both headers of height {height} are the same one: two certificates of one block are no fork")]
    SameHeader {
        /// Its height.
        height: u64,
    },
    /// A header is not final.
    #[error("the {which} header is not certified: {source}")]
    Certificate {
        /// `first` or `second`.
        which: &'static str,
        /// Why.
        source: CertificateError,
    },
}

impl Fork {
    /// Checks that both headers are final by `set`, the validator set of their height, and differ. Returns who signed both, by
    /// ascending account: more than a third of the power, and so never nobody.
    pub fn verify(&self, genesis: &Hash32, set: &ValidatorSet) -> Result<Vec<AccountId>, ForkError> {
        let (first, second) = (&self.first.header, &self.second.header);
        if first.height != second.height {
            return Err(ForkError::Heights { first: first.height, second: second.height });
        }
        if first == second {
            return Err(ForkError::SameHeader { height: first.height });
        }
        for (which, signed) in [("first", &self.first), ("second", &self.second)] {
            signed.verify(genesis, set).map_err(|source| ForkError::Certificate { which, source })?;
        }
        Ok(self.signed_both())
    }

    /// Who stands in both certificates, by the first one's order. Whether they signed is for [`Self::verify`] to say.
    fn signed_both(&self) -> Vec<AccountId> {
        let second: BTreeSet<_> = self.second.certificate.signatures.iter().map(|(account, _)| *account).collect();
        let first = self.first.certificate.signatures.iter().map(|(account, _)| *account);
        first.filter(|account| second.contains(account)).collect()
    }

    /// The two precommits of each who signed both, if both headers were decided in one round: what a ledger punishes. Votes of
    /// two rounds do not conflict by themselves. They hold if [`Self::verify`] says so.
    pub fn conflicting_votes(&self) -> Vec<(Signed<VoteContent>, Signed<VoteContent>)> {
        let (first, second) = (&self.first.certificate, &self.second.certificate);
        if first.round != second.round {
            return Vec::new();
        }
        let vote = |certificate: &Certificate, account: AccountId| {
            let (_, signature) = *certificate.signatures.iter().find(|(signer, _)| *signer == account)?;
            Some(Signed { body: certificate.vote_of(account), signature })
        };
        let both = self.signed_both().into_iter();
        both.filter_map(|account| vote(first, account).zip(vote(second, account))).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        Header, Keypair,
        block::tests::{certify, certify_in, header, keys, set_of},
    };

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

    /// A header of height 7 that leaves another state.
    fn leaving(state: u8, set: &ValidatorSet) -> Header {
        Header { state_root: Hash32([state; 32]), ..header(7, set, set, &GENESIS) }
    }

    fn accounts(keys: &[Keypair]) -> Vec<AccountId> {
        keys.iter().map(Keypair::account).collect()
    }

    #[test]
    fn two_certified_headers_of_one_height_are_a_fork_and_name_who_signed_both() {
        let keys = keys(4);
        let set = set_of(&keys);
        let first = certify(&leaving(1, &set), &keys[..3], &GENESIS);
        let second = certify(&leaving(2, &set), &keys[1..], &GENESIS);
        let fork = Fork { first, second };
        assert_eq!(fork.verify(&GENESIS, &set).unwrap(), accounts(&keys[1..3]));
        let votes = fork.conflicting_votes();
        assert_eq!(votes.iter().map(|(vote, _)| vote.body.validator).collect::<Vec<_>>(), accounts(&keys[1..3]));
        for (one, other) in votes {
            one.verify(&GENESIS).unwrap();
            other.verify(&GENESIS).unwrap();
            assert_eq!((one.body.height, one.body.round), (other.body.height, other.body.round));
            assert!(one.body.kind == other.body.kind && one.body.block != other.body.block);
        }
        assert!(fork.verify(&Hash32([8; 32]), &set).is_err(), "not on another chain");
        let told = serde_json::to_string(&fork).unwrap();
        assert_eq!(serde_json::from_str::<Fork>(&told).unwrap(), fork);
    }

    #[test]
    fn a_fork_over_two_rounds_is_one_whose_votes_do_not_conflict_by_themselves() {
        let keys = keys(4);
        let set = set_of(&keys);
        let first = certify(&leaving(1, &set), &keys, &GENESIS);
        let second = certify_in(2, &leaving(2, &set), &keys[1..], &GENESIS);
        let fork = Fork { first, second };
        assert_eq!(fork.verify(&GENESIS, &set).unwrap(), accounts(&keys[1..]));
        assert!(fork.conflicting_votes().is_empty());
    }

    #[test]
    fn one_header_with_two_certificates_is_no_fork() {
        let keys = keys(4);
        let set = set_of(&keys);
        let header = leaving(1, &set);
        let (first, second) = (certify(&header, &keys[..3], &GENESIS), certify_in(1, &header, &keys[1..], &GENESIS));
        assert_ne!(first, second);
        assert_eq!(Fork { first, second }.verify(&GENESIS, &set), Err(ForkError::SameHeader { height: 7 }));
    }

    #[test]
    fn headers_of_two_heights_of_another_set_or_with_too_few_signatures_are_no_fork() {
        let all = keys(8);
        let (keys, others) = all.split_at(4);
        let (set, other) = (set_of(keys), set_of(others));
        let first = certify(&leaving(1, &set), keys, &GENESIS);
        let next = certify(&header(8, &set, &set, &GENESIS), keys, &GENESIS);
        let heights = Fork { first: first.clone(), second: next }.verify(&GENESIS, &set);
        assert_eq!(heights, Err(ForkError::Heights { first: 7, second: 8 }));

        let certificate_of = |second: SignedHeader, set: &ValidatorSet| {
            let verified = Fork { first: first.clone(), second }.verify(&GENESIS, set);
            match verified {
                Err(ForkError::Certificate { which, source }) => (which, source),
                found => panic!("{found:?}"),
            }
        };
        let of_others = certify(&leaving(2, &other), others, &GENESIS);
        assert!(matches!(certificate_of(of_others, &set), ("second", CertificateError::OtherSet { .. })));
        let strangers = certify(&leaving(2, &set), others, &GENESIS);
        assert!(matches!(certificate_of(strangers, &set), ("second", CertificateError::Stranger(_))));
        let short = certify(&leaving(2, &set), &keys[..2], &GENESIS);
        let no_quorum = CertificateError::NoQuorum { signed: 20, total: 40 };
        assert_eq!(certificate_of(short, &set), ("second", no_quorum));
        let good = certify(&leaving(2, &set), keys, &GENESIS);
        assert!(matches!(certificate_of(good, &other), ("first", CertificateError::OtherSet { .. })));
        let moved = SignedHeader { header: leaving(3, &set), ..first.clone() };
        assert!(matches!(certificate_of(moved, &set), ("second", CertificateError::OtherBlock { .. })));
    }
}
