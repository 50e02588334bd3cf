//! Our types in the engine's clothes: heights, accounts, block ids, votes, proposals, validator sets.

use std::{fmt, sync::Arc};

use assay_primitives::{AccountId, Hash32, Keypair, Signature, VoteContent, VoteKind, domain, encode};
use borsh::{BorshDeserialize, BorshSerialize, io};
use malachitebft_core_types::{self as core, NilOrVal, Round, SignedExtension, VoteType};

use super::{executor::ProposalContent, parts::Part};

/// A block height, from 1.
#[derive(Copy, Clone, Default, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Height(pub(crate) u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl core::Height for Height {
    const ZERO: Self = Height(0);
    const INITIAL: Self = Height(1);
    fn increment_by(&self, n: u64) -> Self {
        Height(self.0.saturating_add(n))
    }
    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Height)
    }
    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// A validator's operator account.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Address(pub(crate) AccountId);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.short())
    }
}

impl core::Address for Address {}

/// What is voted on: the block's id. The block itself travels in proposal parts.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct BlockId(pub(crate) Hash32);

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0.0[..6]))
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::Value for BlockId {
    type Id = BlockId;
    fn id(&self) -> BlockId {
        *self
    }
}

/// Ed25519 with the workspace's own types; an account is its public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

impl core::SigningScheme for Ed25519 {
    type DecodingError = String;
    type Signature = Signature;
    type PublicKey = AccountId;
    type PrivateKey = Keypair;

    fn decode_signature(bytes: &[u8]) -> Result<Signature, String> {
        bytes.try_into().map(Signature).map_err(|_| format!("a signature has 64 bytes, found {}", bytes.len()))
    }
    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.0.to_vec()
    }
    fn decode_public_key(bytes: &[u8]) -> Result<AccountId, String> {
        bytes.try_into().map(AccountId).map_err(|_| format!("a public key has 32 bytes, found {}", bytes.len()))
    }
    fn encode_public_key(key: &AccountId) -> Vec<u8> {
        key.0.to_vec()
    }
}

fn undefined_round() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a signed message needs a round of 0 or more, found none")
}

/// A proposal; on the wire and under its signature it is a [`ProposalContent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: BlockId,
    pub(crate) pol_round: Round,
    pub(crate) proposer: Address,
}

impl Proposal {
    /// What is signed; `None` without a round.
    pub(crate) fn content(&self) -> Option<ProposalContent> {
        Some(ProposalContent {
            height: self.height.0,
            round: self.round.as_u32()?,
            block: self.value.0,
            valid_round: self.pol_round.as_u32(),
            proposer: self.proposer.0,
        })
    }

    /// The bytes under the signature; `None` without a round.
    pub(crate) fn preimage(&self, genesis: &Hash32) -> Option<Vec<u8>> {
        Some(domain::preimage(domain::PROPOSAL, genesis, &self.content()?))
    }
}

impl From<ProposalContent> for Proposal {
    fn from(content: ProposalContent) -> Self {
        Self {
            height: Height(content.height),
            round: Round::new(content.round),
            value: BlockId(content.block),
            pol_round: content.valid_round.map_or(Round::Nil, Round::new),
            proposer: Address(content.proposer),
        }
    }
}

impl BorshSerialize for Proposal {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.content().ok_or_else(undefined_round)?.serialize(writer)
    }
}

impl BorshDeserialize for Proposal {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        ProposalContent::deserialize_reader(reader).map(Self::from)
    }
}

impl core::Proposal<Ctx> for Proposal {
    fn height(&self) -> Height {
        self.height
    }
    fn round(&self) -> Round {
        self.round
    }
    fn value(&self) -> &BlockId {
        &self.value
    }
    fn take_value(self) -> BlockId {
        self.value
    }
    fn pol_round(&self) -> Round {
        self.pol_round
    }
    fn validator_address(&self) -> &Address {
        &self.proposer
    }
}

/// A vote; on the wire and under its signature it is a [`VoteContent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vote {
    pub(crate) kind: VoteType,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<BlockId>,
    pub(crate) validator: Address,
    /// Always `None`: extensions are disabled, and not encoded.
    pub(crate) extension: Option<SignedExtension<Ctx>>,
}

impl Vote {
    /// What is signed; `None` without a round.
    pub(crate) fn content(&self) -> Option<VoteContent> {
        Some(VoteContent {
            kind: match self.kind {
                VoteType::Prevote => VoteKind::Prevote,
                VoteType::Precommit => VoteKind::Precommit,
            },
            height: self.height.0,
            round: self.round.as_u32()?,
            block: match self.value {
                NilOrVal::Nil => None,
                NilOrVal::Val(id) => Some(id.0),
            },
            validator: self.validator.0,
        })
    }

    /// The bytes under the signature, the same that [`assay_primitives::Certificate::verify`] checks.
    pub(crate) fn preimage(&self, genesis: &Hash32) -> Option<Vec<u8>> {
        Some(domain::preimage(domain::VOTE, genesis, &self.content()?))
    }
}

impl From<VoteContent> for Vote {
    fn from(content: VoteContent) -> Self {
        Self {
            kind: match content.kind {
                VoteKind::Prevote => VoteType::Prevote,
                VoteKind::Precommit => VoteType::Precommit,
            },
            height: Height(content.height),
            round: Round::new(content.round),
            value: content.block.map_or(NilOrVal::Nil, |id| NilOrVal::Val(BlockId(id))),
            validator: Address(content.validator),
            extension: None,
        }
    }
}

impl BorshSerialize for Vote {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.content().ok_or_else(undefined_round)?.serialize(writer)
    }
}

impl BorshDeserialize for Vote {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        VoteContent::deserialize_reader(reader).map(Self::from)
    }
}

impl core::Vote<Ctx> for Vote {
    fn height(&self) -> Height {
        self.height
    }
    fn round(&self) -> Round {
        self.round
    }
    fn value(&self) -> &NilOrVal<BlockId> {
        &self.value
    }
    fn take_value(self) -> NilOrVal<BlockId> {
        self.value
    }
    fn vote_type(&self) -> VoteType {
        self.kind
    }
    fn validator_address(&self) -> &Address {
        &self.validator
    }
    fn extension(&self) -> Option<&SignedExtension<Ctx>> {
        self.extension.as_ref()
    }
    fn take_extension(&mut self) -> Option<SignedExtension<Ctx>> {
        self.extension.take()
    }
    fn extend(self, extension: SignedExtension<Ctx>) -> Self {
        Self { extension: Some(extension), ..self }
    }
}

/// One validator of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validator {
    address: Address,
    power: u64,
}

impl core::Validator<Ctx> for Validator {
    fn address(&self) -> &Address {
        &self.address
    }
    fn public_key(&self) -> &AccountId {
        &self.address.0
    }
    fn voting_power(&self) -> u64 {
        self.power
    }
}

/// The validators of one height, by ascending account. Cheap to clone: the engine does so often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ValidatorSet(Arc<Vec<Validator>>);

impl From<&assay_primitives::ValidatorSet> for ValidatorSet {
    fn from(set: &assay_primitives::ValidatorSet) -> Self {
        Self(Arc::new(set.iter().map(|v| Validator { address: Address(v.account), power: v.power }).collect()))
    }
}

impl core::ValidatorSet<Ctx> for ValidatorSet {
    fn count(&self) -> usize {
        self.0.len()
    }
    fn total_voting_power(&self) -> u64 {
        self.0.iter().map(|v| v.power).sum()
    }
    fn get_by_address(&self, address: &Address) -> Option<&Validator> {
        self.0.binary_search_by_key(address, |v| v.address).ok().map(|i| &self.0[i])
    }
    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.0.get(index)
    }
}

/// The index of the proposer of (height, round) in a set given by its powers.
///
/// Round 0 is drawn in proportion to power from a hash of genesis and height; each further round takes
/// the next validator, so that one that is down never blocks two rounds in a row.
pub fn proposer_index(genesis: &Hash32, height: u64, round: u32, powers: &[u64]) -> usize {
    let total: u64 = powers.iter().sum();
    let seed = Hash32::digest(&encode(&("assay/proposer/1", genesis, height)));
    let (mut low, mut high) = ([0; 8], [0; 8]);
    low.copy_from_slice(&seed.0[..8]);
    high.copy_from_slice(&seed.0[8..16]);
    // 128 bits make the bias of the remainder negligible against a total below 2^60.
    let draw = (u128::from_le_bytes([low, high].concat().try_into().expect("two times eight bytes"))
        % u128::from(total.max(1))) as u64;
    let mut sum = 0u64;
    let first = powers.iter().position(|power| {
        sum += power;
        draw < sum
    });
    let count = powers.len() as u64;
    ((first.unwrap_or(0) as u64 + u64::from(round)) % count.max(1)) as usize
}

/// The bundle of all these types, and the chain they belong to.
#[derive(Clone, Debug)]
pub(crate) struct Ctx {
    pub(crate) genesis: Hash32,
}

impl core::Context for Ctx {
    type Address = Address;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = ValidatorSet;
    type Timeouts = core::LinearTimeouts;
    type Value = BlockId;
    type Vote = Vote;
    type Extension = Vec<u8>;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(&self, set: &'a ValidatorSet, height: Height, round: Round) -> &'a Validator {
        let powers: Vec<u64> = set.0.iter().map(|v| v.power).collect();
        &set.0[proposer_index(&self.genesis, height.0, round.as_u32().unwrap_or(0), &powers)]
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: BlockId,
        pol_round: Round,
        proposer: Address,
    ) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, value: NilOrVal<BlockId>, validator: Address) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, value, validator, extension: None }
    }

    fn new_precommit(&self, height: Height, round: Round, value: NilOrVal<BlockId>, validator: Address) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, value, validator, extension: None }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn proposers_come_in_proportion_to_power_and_change_every_round() {
        let (genesis, powers) = (Hash32([3; 32]), [10, 20, 70]);
        let mut counts = [0u32; 3];
        for height in 1..=2000 {
            let first = proposer_index(&genesis, height, 0, &powers);
            counts[first] += 1;
            assert_ne!(first, proposer_index(&genesis, height, 1, &powers));
            assert_eq!(first, proposer_index(&genesis, height, 3, &powers));
        }
        assert!((150..250).contains(&counts[0]) && (320..480).contains(&counts[1]), "{counts:?}");
    }
}
