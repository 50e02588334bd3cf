//! Block headers, validator sets and the certificates that make a header final.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::{AccountId, Hash32, Signature, domain};

/// What a block says about itself. Its hash, under [`domain::HEADER`], is the block id that validators vote on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The chain's name, from its genesis.
    pub chain_id: String,
    /// 1 for the first block after genesis.
    pub height: u64,
    /// Milliseconds since the Unix epoch, by the proposer's clock; strictly above the parent's.
    pub time_ms: u64,
    /// The parent's block id; [`Hash32::ZERO`] at height 1.
    pub parent: Hash32,
    /// The operator account of the validator that built it.
    pub proposer: AccountId,
    /// Hash over the encoded transactions, in order.
    pub tx_root: Hash32,
    /// Root of the state tree *after* executing this block.
    pub state_root: Hash32,
    /// Hash of the validator set that votes on this block.
    pub validators_hash: Hash32,
    /// Hash of the validator set of the next height.
    pub next_validators_hash: Hash32,
    /// Hash over the evidence of misbehaviour in this block.
    pub evidence_root: Hash32,
    /// Version of the rules that executed it.
    pub app_version: u32,
}

impl Header {
    /// The block id.
    pub fn id(&self, genesis: &Hash32) -> Hash32 {
        domain::hash(domain::HEADER, genesis, self)
    }
}

/// One validator of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// The operator account; its key signs votes.
    pub account: AccountId,
    /// Voting power, at least 1.
    pub power: u64,
}

/// The validators of one height, sorted by account, each once, total power below 2^60.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValidatorSet(Vec<Validator>);

/// Why a list is not a validator set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorSetError {
    /// Accounts are not strictly ascending.
    #[error("validators must be sorted by account and named once; {0} is out of order or repeated")]
    Order(AccountId),
    /// A power of zero.
    #[error("validator {0} has no voting power")]
    NoPower(AccountId),
    /// Total power too large for the engine's arithmetic.
    #[error("total voting power must stay below 2^60, found {0}")]
    TooMuchPower(u128),
    /// Nobody.
    #[error("a validator set cannot be empty")]
    Empty,
}

impl ValidatorSet {
    /// Total power must stay below this.
    pub const POWER_LIMIT: u64 = 1 << 60;

    /// Builds a set from validators in any order.
    pub fn new(mut validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        validators.sort_by_key(|v| v.account);
        let set = Self(validators);
        set.check()?;
        Ok(set)
    }

    /// Checks what [`Self::new`] guarantees; decoded sets need it.
    pub fn check(&self) -> Result<(), ValidatorSetError> {
        if self.0.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if let Some(pair) = self.0.windows(2).find(|pair| pair[0].account >= pair[1].account) {
            return Err(ValidatorSetError::Order(pair[1].account));
        }
        if let Some(v) = self.0.iter().find(|v| v.power == 0) {
            return Err(ValidatorSetError::NoPower(v.account));
        }
        let total: u128 = self.0.iter().map(|v| u128::from(v.power)).sum();
        if total >= u128::from(Self::POWER_LIMIT) {
            return Err(ValidatorSetError::TooMuchPower(total));
        }
        Ok(())
    }

    /// The validators, by ascending account.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Validator> {
        self.0.iter()
    }

    /// The validators as a slice.
    pub fn as_slice(&self) -> &[Validator] {
        &self.0
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for the empty default, which is no valid set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The power of `account`, if it is a member.
    pub fn power_of(&self, account: &AccountId) -> Option<u64> {
        self.0.binary_search_by_key(account, |v| v.account).ok().map(|i| self.0[i].power)
    }

    /// Sum of all powers.
    pub fn total_power(&self) -> u64 {
        self.0.iter().map(|v| v.power).sum()
    }

    /// The hash that headers carry.
    pub fn hash(&self, genesis: &Hash32) -> Hash32 {
        domain::hash(domain::VALIDATOR_SET, genesis, self)
    }
}

/// The two kinds of vote of a round.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum VoteKind {
    /// First step: "I have seen and executed this block".
    Prevote,
    /// Second step: "I have seen two thirds prevote it".
    Precommit,
}

/// What a consensus vote signs, under [`domain::VOTE`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteContent {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// The height voted on.
    pub height: u64,
    /// The round of that height, from 0.
    pub round: u32,
    /// The block voted for; `None` is a vote for nil.
    pub block: Option<Hash32>,
    /// Who votes.
    pub validator: AccountId,
}

impl crate::keys::Signable for VoteContent {
    const DOMAIN: &'static str = domain::VOTE;
    const NAME: &'static str = "vote";
    fn signer(&self) -> AccountId {
        self.validator
    }
}

/// More than two thirds of the power precommitted one block: it is final.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The block's height.
    pub height: u64,
    /// The round that decided.
    pub round: u32,
    /// The block id.
    pub block: Hash32,
    /// Precommit signatures, by ascending account, each account once.
    pub signatures: Vec<(AccountId, Signature)>,
}

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is about another block than the header beside it.
    #[error(
        "the certificate is for block {found} at height {found_height}, the header is block {expected} at height {expected_height}"
    )]
    OtherBlock {
        /// The header's id.
        expected: Hash32,
        /// The header's height.
        expected_height: u64,
        /// The certificate's block.
        found: Hash32,
        /// The certificate's height.
        found_height: u64,
    },
    /// The header names another validator set than the one that was to vote.
    #[error("height {height} must be certified by validator set {expected}, its header names {found}")]
    OtherSet {
        /// The header's height.
        height: u64,
        /// Hash of the trusted set.
        expected: Hash32,
        /// Hash in the header.
        found: Hash32,
    },
    /// A signer stands twice or out of order.
    #[error("signatures must be sorted by account and given once; {0} is out of order or repeated")]
    Order(AccountId),
    /// A signer outside the set.
    #[error("{0} signed but is not in the validator set")]
    Stranger(AccountId),
    /// A signature that does not hold.
    #[error(transparent)]
    Signature(#[from] crate::SignatureError),
    /// Not enough power.
    #[error("{signed} of {total} power signed; more than two thirds is needed")]
    NoQuorum {
        /// Power that signed.
        signed: u64,
        /// Power of the whole set.
        total: u64,
    },
}

impl Certificate {
    /// Checks every signature and the quorum (strictly more than two thirds of `validators`' power).
    pub fn verify(&self, genesis: &Hash32, validators: &ValidatorSet) -> Result<(), CertificateError> {
        let mut seen = BTreeSet::new();
        let mut signed = 0u64;
        for (account, signature) in &self.signatures {
            if seen.last().is_some_and(|last| last >= account) {
                return Err(CertificateError::Order(*account));
            }
            seen.insert(*account);
            let power = validators.power_of(account).ok_or(CertificateError::Stranger(*account))?;
            let vote = VoteContent {
                kind: VoteKind::Precommit,
                height: self.height,
                round: self.round,
                block: Some(self.block),
                validator: *account,
            };
            signature.verify("precommit", account, &domain::preimage(domain::VOTE, genesis, &vote))?;
            signed += power;
        }
        let total = validators.total_power();
        if u128::from(signed) * 3 <= u128::from(total) * 2 {
            return Err(CertificateError::NoQuorum { signed, total });
        }
        Ok(())
    }
}

/// A header with the certificate that makes it final.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHeader {
    /// The header.
    pub header: Header,
    /// Its certificate.
    pub certificate: Certificate,
}

impl SignedHeader {
    /// Checks that the certificate is for this header, by the set the header names, which must be `validators`.
    pub fn verify(&self, genesis: &Hash32, validators: &ValidatorSet) -> Result<(), CertificateError> {
        let (expected, found) = (validators.hash(genesis), self.header.validators_hash);
        if expected != found {
            return Err(CertificateError::OtherSet { height: self.header.height, expected, found });
        }
        let id = self.header.id(genesis);
        if id != self.certificate.block || self.header.height != self.certificate.height {
            return Err(CertificateError::OtherBlock {
                expected: id,
                expected_height: self.header.height,
                found: self.certificate.block,
                found_height: self.certificate.height,
            });
        }
        self.certificate.verify(genesis, validators)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::{Keypair, Signed};

    pub(crate) fn keys(n: u8) -> Vec<Keypair> {
        let mut keys: Vec<_> = (1..=n).map(|i| Keypair::from_secret([i; 32])).collect();
        keys.sort_by_key(Keypair::account);
        keys
    }

    pub(crate) fn set_of(keys: &[Keypair]) -> ValidatorSet {
        ValidatorSet::new(keys.iter().map(|k| Validator { account: k.account(), power: 10 }).collect()).unwrap()
    }

    pub(crate) fn header(height: u64, set: &ValidatorSet, next: &ValidatorSet, genesis: &Hash32) -> Header {
        Header {
            chain_id: "test".into(),
            height,
            time_ms: height * 1000,
            parent: Hash32::ZERO,
            proposer: set.as_slice()[0].account,
            tx_root: Hash32([1; 32]),
            state_root: Hash32([2; 32]),
            validators_hash: set.hash(genesis),
            next_validators_hash: next.hash(genesis),
            evidence_root: Hash32([3; 32]),
            app_version: 1,
        }
    }

    pub(crate) fn certify(header: &Header, keys: &[Keypair], genesis: &Hash32) -> SignedHeader {
        let block = header.id(genesis);
        let sign = |key: &Keypair| {
            let vote = VoteContent {
                kind: VoteKind::Precommit,
                height: header.height,
                round: 0,
                block: Some(block),
                validator: key.account(),
            };
            (key.account(), Signed::new(vote, genesis, key).signature)
        };
        let signatures = keys.iter().map(sign).collect();
        SignedHeader {
            header: header.clone(),
            certificate: Certificate { height: header.height, round: 0, block, signatures },
        }
    }

    const GENESIS: Hash32 = Hash32([9; 32]);

    #[test]
    fn three_of_four_certify_and_two_do_not() {
        let keys = keys(4);
        let set = set_of(&keys);
        let header = header(5, &set, &set, &GENESIS);
        certify(&header, &keys[..3], &GENESIS).verify(&GENESIS, &set).unwrap();
        let short = certify(&header, &keys[..2], &GENESIS).verify(&GENESIS, &set);
        assert_eq!(short, Err(CertificateError::NoQuorum { signed: 20, total: 40 }));
    }

    #[test]
    fn exactly_two_thirds_is_not_enough() {
        let keys = keys(3);
        let set = set_of(&keys);
        let header = header(5, &set, &set, &GENESIS);
        assert!(certify(&header, &keys[..2], &GENESIS).verify(&GENESIS, &set).is_err());
    }

    #[test]
    fn repeated_strange_and_foreign_signatures_are_refused() {
        let keys = keys(4);
        let set = set_of(&keys);
        let header = header(5, &set, &set, &GENESIS);
        let mut twice = certify(&header, &keys[..3], &GENESIS);
        let first = twice.certificate.signatures[0];
        twice.certificate.signatures.insert(0, first);
        assert!(matches!(twice.verify(&GENESIS, &set), Err(CertificateError::Order(_))));
        let strangers = [Keypair::from_secret([99; 32])];
        assert!(matches!(
            certify(&header, &strangers, &GENESIS).verify(&GENESIS, &set),
            Err(CertificateError::Stranger(_))
        ));
        let foreign = certify(&header, &keys, &Hash32([8; 32]));
        assert!(foreign.verify(&GENESIS, &set).is_err());
    }

    #[test]
    fn a_set_refuses_repeats_zero_power_and_overflow() {
        let a = AccountId([1; 32]);
        let of = |power| Validator { account: a, power };
        assert!(matches!(ValidatorSet::new(vec![of(1), of(1)]), Err(ValidatorSetError::Order(_))));
        assert!(matches!(ValidatorSet::new(vec![of(0)]), Err(ValidatorSetError::NoPower(_))));
        assert!(matches!(ValidatorSet::new(vec![of(1 << 60)]), Err(ValidatorSetError::TooMuchPower(_))));
        assert!(matches!(ValidatorSet::new(vec![]), Err(ValidatorSetError::Empty)));
    }
}
