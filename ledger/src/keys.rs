//! Where everything lies in the state. A key is a prefix in ASCII, ending in `/`, and fixed-width fields; numbers are
//! big-endian, so that a scan ascends. A value is the borsh encoding of its record unless said otherwise.
//!
//! | prefix | fields | value |
//! |---|---|---|
//! | `chain` | | [`Chain`](crate::records::Chain) |
//! | `params` | | [`Params`](assay_chain_spec::Params) in force |
//! | `supply` | | [`Supply`](crate::records::Supply) |
//! | `agenda` | | [`Agenda`](crate::records::Agenda): open proposals |
//! | `set/current`, `set/next` | | [`ValidatorSet`](assay_primitives::ValidatorSet) of the last block, and of the next |
//! | `setat/` | height | the set of the heights after this one, where it changed; genesis at 0 |
//! | `epoch/` | epoch | `u64`: first height of the epoch |
//! | `account/` | account | [`Account`](crate::records::Account) |
//! | `operator/` | account | [`Operator`](crate::records::Operator) |
//! | `validator/` | operator | [`ValidatorRecord`](crate::records::ValidatorRecord) |
//! | `delegation/` | validator, delegator | [`Amount`](assay_primitives::Amount), above zero |
//! | `delegated/` | delegator, validator | empty: index of the above |
//! | `stake/` | account | [`AccountStake`](crate::records::AccountStake): sum of its delegations |
//! | `stakeat/` | account, height | `u64`: that sum from this height until its next change, kept while a vote needs it |
//! | `unbonding/` | epoch, number | [`Unbonding`](crate::records::Unbonding) paid at the end of the epoch |
//! | `unbonds/` | operator, epoch, number | empty: index of the above |
//! | `redelegation/` | epoch, number | [`Redelegation`](crate::records::Redelegation) forgotten at the end of the epoch |
//! | `redelegates/` | from, epoch, number | empty: index of the above |
//! | `redelegated/` | account, to, epoch, number | empty: index of the above |
//! | `subnet/` | subnet | [`SubnetRecord`](crate::records::SubnetRecord) |
//! | `miner/` | operator | [`MinerRecord`](crate::records::MinerRecord) |
//! | `mines/` | subnet, operator | empty: index of the above, until some epochs after it retired |
//! | `mining/` | subnet | `u64`: miners in the market now |
//! | `asking/` | miner | [`Asking`](crate::records::Asking); absent where it never said |
//! | `paid/` | payer, miner | [`Amount`](assay_primitives::Amount): all that was ever paid for texts |
//! | `price/` | subnet | [`Amount`](assay_primitives::Amount): what a registration burns; `registration_fee` where absent |
//! | `model/` | model | [`ModelRecord`](crate::records::ModelRecord) |
//! | `modelname/` | name | [`ModelId`] |
//! | `modelbytes/` | model | the compiled model's bytes as they are |
//! | `modelgroth16/` | model | its `groth16` verifier's key as it is, where the genesis has one |
//! | `commitment/` | epoch, subnet, validator | [`Commitment`](crate::records::Commitment), until settled |
//! | `reveal/` | epoch, subnet, validator | [`Reveal`](crate::records::Reveal), the last [`crate::REVEALS_KEPT`] settled ones too |
//! | `permits/` | epoch | `Vec<(AccountId, Amount)>`: whose scores of this epoch count, with the stake it began with; until settled |
//! | `audit/` | epoch | [`Hash32`]: the seed of the audit of its scores, from the first block after it until it is settled |
//! | `bonds/` | subnet, validator | `Vec<(AccountId, u16)>` by ascending miner |
//! | `report/` | subnet, epoch | [`EpochReport`](crate::records::EpochReport) |
//! | `challenge/` | response | [`Challenge`](crate::records::Challenge) |
//! | `open/` | deadline, response | empty: index of open challenges |
//! | `challenges/` | epoch, challenger | `u64`: challenges it opened in this epoch |
//! | `judgement/` | response, validator | `bool`: whether the challenged text holds, by this validator |
//! | `refuted/` | response | `u64`: number of the slash |
//! | `doublesign/` | validator, height, round, kind | `u64`: number of the slash |
//! | `slash/` | number | [`Slash`](crate::records::Slash) |
//! | `lost/` | account, slash | [`Amount`](assay_primitives::Amount) of its stake that the slash took; the latest of each account |
//! | `proposal/` | number | [`Proposal`](crate::records::Proposal) |
//! | `vote/` | proposal, account | [`VoteRecord`](crate::records::VoteRecord) |
//! | `proxy/` | account | [`VoteDelegation`](crate::records::VoteDelegation): whose votes its stake follows |
//! | `proxies/` | delegate, account | empty: index of the above |
//! | `upgrade` | | [`AppVersion`](crate::records::AppVersion); absent until a first upgrade is decided |

use assay_primitives::{AccountId, Hash32, ModelId, VoteKind, task::SubnetId};

fn join(prefix: &str, fields: &[&[u8]]) -> Vec<u8> {
    let mut key = prefix.as_bytes().to_vec();
    fields.iter().for_each(|field| key.extend_from_slice(field));
    key
}

macro_rules! keys {
    ($($(#[$doc:meta])+ $name:ident($($arg:ident: $type:ty => $field:expr),*) = $prefix:literal;)+) => {
        $($(#[$doc])+ pub fn $name($($arg: $type),*) -> Vec<u8> { join($prefix, &[$($field),*]) })+
    };
}

keys! {
    /// The chain's counters.
    chain() = "chain";
    /// Parameters in force.
    params() = "params";
    /// The supply.
    supply() = "supply";
    /// Open proposals.
    agenda() = "agenda";
    /// The set that voted on the last block.
    set_current() = "set/current";
    /// The set that votes on the next block.
    set_next() = "set/next";
    /// The set of the heights after `height`.
    set_after(height: u64 => &height.to_be_bytes()) = "setat/";
    /// First height of an epoch.
    epoch_start(epoch: u64 => &epoch.to_be_bytes()) = "epoch/";
    /// An account.
    account(id: &AccountId => &id.0) = "account/";
    /// An operator key's role.
    operator(id: &AccountId => &id.0) = "operator/";
    /// A validator.
    validator(operator: &AccountId => &operator.0) = "validator/";
    /// What a delegator has with a validator.
    delegation(validator: &AccountId => &validator.0, delegator: &AccountId => &delegator.0) = "delegation/";
    /// Prefix of a validator's delegations.
    delegations_to(validator: &AccountId => &validator.0) = "delegation/";
    /// Index entry of a delegation.
    delegated(delegator: &AccountId => &delegator.0, validator: &AccountId => &validator.0) = "delegated/";
    /// Prefix of a delegator's index entries.
    delegated_by(delegator: &AccountId => &delegator.0) = "delegated/";
    /// Sum of an account's delegations.
    stake(id: &AccountId => &id.0) = "stake/";
    /// That sum as it was from a height on.
    stake_from(id: &AccountId => &id.0, height: u64 => &height.to_be_bytes()) = "stakeat/";
    /// Prefix of an account's past sums.
    stake_history(id: &AccountId => &id.0) = "stakeat/";
    /// Money paid at the end of an epoch.
    unbonding(release: u64 => &release.to_be_bytes(), number: u64 => &number.to_be_bytes()) = "unbonding/";
    /// Prefix of the money paid at the end of an epoch.
    unbondings_of_epoch(release: u64 => &release.to_be_bytes()) = "unbonding/";
    /// Index entry of an unbonding.
    unbonds(operator: &AccountId => &operator.0, release: u64 => &release.to_be_bytes(), number: u64 => &number.to_be_bytes()) = "unbonds/";
    /// Prefix of an operator's index entries.
    unbonds_from(operator: &AccountId => &operator.0) = "unbonds/";
    /// Stake that moved and is forgotten at the end of an epoch.
    redelegation(release: u64 => &release.to_be_bytes(), number: u64 => &number.to_be_bytes()) = "redelegation/";
    /// Prefix of the moved stake forgotten at the end of an epoch.
    redelegations_of_epoch(release: u64 => &release.to_be_bytes()) = "redelegation/";
    /// Index entry of stake that moved from a validator.
    redelegates(from: &AccountId => &from.0, release: u64 => &release.to_be_bytes(), number: u64 => &number.to_be_bytes()) = "redelegates/";
    /// Prefix of a validator's index entries.
    redelegates_from(from: &AccountId => &from.0) = "redelegates/";
    /// Index entry of an account's stake that moved to a validator.
    redelegated(account: &AccountId => &account.0, to: &AccountId => &to.0, release: u64 => &release.to_be_bytes(), number: u64 => &number.to_be_bytes()) = "redelegated/";
    /// Prefix of an account's index entries of one validator.
    redelegated_to(account: &AccountId => &account.0, to: &AccountId => &to.0) = "redelegated/";
    /// A subnet.
    subnet(id: SubnetId => &id.to_be_bytes()) = "subnet/";
    /// A miner.
    miner(operator: &AccountId => &operator.0) = "miner/";
    /// Index entry of a miner.
    mines(subnet: SubnetId => &subnet.to_be_bytes(), operator: &AccountId => &operator.0) = "mines/";
    /// Prefix of a subnet's index entries.
    mines_in(subnet: SubnetId => &subnet.to_be_bytes()) = "mines/";
    /// Count of a subnet's miners.
    mining(subnet: SubnetId => &subnet.to_be_bytes()) = "mining/";
    /// What a miner asks for its texts.
    asking(miner: &AccountId => &miner.0) = "asking/";
    /// What a payer has paid a miner for texts.
    paid(payer: &AccountId => &payer.0, miner: &AccountId => &miner.0) = "paid/";
    /// Prefix of all that a payer has paid.
    paid_by(payer: &AccountId => &payer.0) = "paid/";
    /// The price of a subnet's next registration.
    price(subnet: SubnetId => &subnet.to_be_bytes()) = "price/";
    /// A model.
    model(id: &ModelId => &id.0) = "model/";
    /// A model's id by its name.
    model_name(name: &str => name.as_bytes()) = "modelname/";
    /// A model's bytes.
    model_bytes(id: &ModelId => &id.0) = "modelbytes/";
    /// A model's `groth16` verifier's key.
    model_groth16(id: &ModelId => &id.0) = "modelgroth16/";
    /// A commitment to scores.
    commitment(epoch: u64 => &epoch.to_be_bytes(), subnet: SubnetId => &subnet.to_be_bytes(), validator: &AccountId => &validator.0) = "commitment/";
    /// Prefix of an epoch's commitments in a subnet.
    commitments(epoch: u64 => &epoch.to_be_bytes(), subnet: SubnetId => &subnet.to_be_bytes()) = "commitment/";
    /// Revealed scores.
    reveal(epoch: u64 => &epoch.to_be_bytes(), subnet: SubnetId => &subnet.to_be_bytes(), validator: &AccountId => &validator.0) = "reveal/";
    /// Prefix of an epoch's reveals in a subnet.
    reveals(epoch: u64 => &epoch.to_be_bytes(), subnet: SubnetId => &subnet.to_be_bytes()) = "reveal/";
    /// Validators whose scores of an epoch count.
    permits(epoch: u64 => &epoch.to_be_bytes()) = "permits/";
    /// The seed of the audit of an epoch's scores.
    audit(epoch: u64 => &epoch.to_be_bytes()) = "audit/";
    /// A validator's bonds to miners.
    bonds(subnet: SubnetId => &subnet.to_be_bytes(), validator: &AccountId => &validator.0) = "bonds/";
    /// A settled epoch.
    report(epoch: u64 => &subnet.to_be_bytes(), subnet: SubnetId => &epoch.to_be_bytes()) = "report/";
    /// Prefix of a subnet's settled epochs.
    reports(subnet: SubnetId => &subnet.to_be_bytes()) = "report/";
    /// A challenge, by the response's id.
    challenge(response: &Hash32 => &response.0) = "challenge/";
    /// Index entry of an open challenge.
    open_challenge(deadline: u64 => &deadline.to_be_bytes(), response: &Hash32 => &response.0) = "open/";
    /// Prefix of the challenges with one deadline.
    open_challenges(deadline: u64 => &deadline.to_be_bytes()) = "open/";
    /// Count of a challenger's challenges in an epoch.
    challenge_count(epoch: u64 => &epoch.to_be_bytes(), challenger: &AccountId => &challenger.0) = "challenges/";
    /// Prefix of an epoch's counts.
    challenge_counts(epoch: u64 => &epoch.to_be_bytes()) = "challenges/";
    /// A validator's judgement of a challenged text.
    judgement(response: &Hash32 => &response.0, validator: &AccountId => &validator.0) = "judgement/";
    /// Prefix of the judgements of one challenged text.
    judgements(response: &Hash32 => &response.0) = "judgement/";
    /// A refuted response.
    refuted(response: &Hash32 => &response.0) = "refuted/";
    /// A punished pair of votes.
    double_sign(validator: &AccountId => &validator.0, height: u64 => &height.to_be_bytes(), round: u32 => &round.to_be_bytes(), kind: VoteKind => &[kind as u8]) = "doublesign/";
    /// A slash.
    slash(number: u64 => &number.to_be_bytes()) = "slash/";
    /// What an account lost by a slash.
    lost(account: &AccountId => &account.0, slash: u64 => &slash.to_be_bytes()) = "lost/";
    /// Prefix of an account's losses.
    lost_by(account: &AccountId => &account.0) = "lost/";
    /// A proposal.
    proposal(id: u64 => &id.to_be_bytes()) = "proposal/";
    /// A vote.
    vote(proposal: u64 => &proposal.to_be_bytes(), voter: &AccountId => &voter.0) = "vote/";
    /// Prefix of a proposal's votes.
    votes(proposal: u64 => &proposal.to_be_bytes()) = "vote/";
    /// Whose votes an account's stake follows.
    vote_delegation(id: &AccountId => &id.0) = "proxy/";
    /// Index entry of a vote's delegation.
    vote_delegator(delegate: &AccountId => &delegate.0, id: &AccountId => &id.0) = "proxies/";
    /// Prefix of a delegate's index entries.
    vote_delegators(delegate: &AccountId => &delegate.0) = "proxies/";
    /// The version of the rules.
    upgrade() = "upgrade";
}

/// Prefixes of whole kinds, for scans.
pub mod all {
    /// All accounts.
    pub const ACCOUNTS: &[u8] = b"account/";
    /// All validators.
    pub const VALIDATORS: &[u8] = b"validator/";
    /// All delegations.
    pub const DELEGATIONS: &[u8] = b"delegation/";
    /// All unbonding money.
    pub const UNBONDINGS: &[u8] = b"unbonding/";
    /// All stake that moved and is not forgotten.
    pub const REDELEGATIONS: &[u8] = b"redelegation/";
    /// All subnets.
    pub const SUBNETS: &[u8] = b"subnet/";
    /// All miners.
    pub const MINERS: &[u8] = b"miner/";
    /// All models.
    pub const MODELS: &[u8] = b"model/";
    /// All open challenges' index entries.
    pub const OPEN_CHALLENGES: &[u8] = b"open/";
    /// All slashes.
    pub const SLASHES: &[u8] = b"slash/";
    /// All proposals.
    pub const PROPOSALS: &[u8] = b"proposal/";
    /// All changes of the validator set.
    pub const SET_CHANGES: &[u8] = b"setat/";
}

/// The number in the last eight bytes of a key.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The account in the last 32 bytes of a key.
pub(crate) fn last_account(key: &[u8]) -> Option<AccountId> {
    key.last_chunk::<32>().map(|bytes| AccountId(*bytes))
}

/// The hash in the last 32 bytes of a key.
pub(crate) fn last_hash(key: &[u8]) -> Option<Hash32> {
    key.last_chunk::<32>().map(|bytes| Hash32(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_keys_ascend_as_they_count() {
        assert!(slash(255) < slash(256));
        assert!(report(1, 7) < report(256, 7) && report(256, 7) < report(0, 8));
        assert!(report(3, 7).starts_with(&reports(7)));
        assert_eq!(last_number(&slash(77)), Some(77));
    }

    #[test]
    fn no_kind_of_key_is_the_beginning_of_another() {
        let a = AccountId([1; 32]);
        let h = Hash32([1; 32]);
        let m = ModelId([1; 32]);
        let kinds = [
            chain(),
            params(),
            supply(),
            agenda(),
            set_current(),
            set_next(),
            set_after(1),
            epoch_start(1),
            account(&a),
            operator(&a),
            validator(&a),
            delegation(&a, &a),
            delegated(&a, &a),
            stake(&a),
            stake_from(&a, 1),
            unbonding(1, 1),
            unbonds(&a, 1, 1),
            redelegation(1, 1),
            redelegates(&a, 1, 1),
            redelegated(&a, &a, 1, 1),
            price(1),
            asking(&a),
            paid(&a, &a),
            lost(&a, 1),
            subnet(1),
            miner(&a),
            mines(1, &a),
            mining(1),
            model(&m),
            model_name("x"),
            model_bytes(&m),
            model_groth16(&m),
            commitment(1, 1, &a),
            reveal(1, 1, &a),
            permits(1),
            audit(1),
            bonds(1, &a),
            report(1, 1),
            challenge(&h),
            open_challenge(1, &h),
            challenge_count(1, &a),
            judgement(&h, &a),
            refuted(&h),
            double_sign(&a, 1, 1, VoteKind::Prevote),
            slash(1),
            proposal(1),
            vote(1, &a),
            vote_delegation(&a),
            vote_delegator(&a, &a),
            upgrade(),
        ];
        for (i, one) in kinds.iter().enumerate() {
            let prefix = |key: &[u8]| key.split_inclusive(|b| *b == b'/').next().map(<[u8]>::to_vec);
            for other in &kinds[i + 1..] {
                let same_family = one.starts_with(b"set/") && other.starts_with(b"set/");
                assert!(same_family || prefix(one) != prefix(other));
                assert!(!other.starts_with(one) && !one.starts_with(other));
            }
        }
    }
}
