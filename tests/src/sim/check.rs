//! What must hold whatever happens, checked as it happens.
//!
//! | invariant | checked |
//! |---|---|
//! | agreement | at each commit: the block and the state root are those that the others committed at that height |
//! | nothing lost | at each start: every block whose commit was acknowledged is there, and its transactions |
//! | no equivocation | at each vote and proposal sent: an honest validator said nothing else in that round, before a crash or after |
//! | supply | once a height: what everybody holds is what was minted and not burned |
//! | once | once a height: no transaction stood in a block before |
//! | nonces | once a height: each sender's are the next ones, in order |
//! | slashes | once a height: nobody honest is slashed for a double signature, and nobody twice |
//! | certificates | at each commit: more than two thirds of the power of that height's set signed |
//! | proofs | once a height: an account and the absence of one, proved against the root, and the header from genesis |
//! | progress | after healing: ten blocks in bounded time |
//!
//! The first violation is kept, in words.

use std::collections::{BTreeMap, BTreeSet};

use assay::{
    chain::{Block, Committed},
    store::Store,
};
use assay_chain_spec::ChainSpec;
use assay_consensus::bft::{
    ProposalContent,
    simulation::{Parcel, Said},
};
use assay_ledger::{
    Event, keys, query,
    records::{Slash, SlashReason},
    tree,
};
use assay_primitives::{
    AccountId, Certificate, Hash32, SignedHeader, ValidatorSet, VoteContent, VoteKind,
    light::{SetChange, verify_path},
};

/// The path of validator sets from genesis is followed at each such height; in between, the step from the last.
const PATH_EVERY: u64 = 8;

/// What a validator said in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Vote(Option<Hash32>),
    Proposal(Hash32, Option<u32>),
}

/// Who, whether a proposal, prevote or precommit, at which height and round.
type Place = (AccountId, u8, u64, u32);

/// A height that somebody has committed.
struct Agreed {
    block: Hash32,
    state_root: Hash32,
    transactions: Vec<Hash32>,
}

/// The invariants and what they were checked on.
pub(super) struct Checks {
    genesis: Hash32,
    first_set: ValidatorSet,
    /// Validators that may do as they like.
    faulty: BTreeSet<AccountId>,
    agreed: BTreeMap<u64, Agreed>,
    /// The last commit that each node acknowledged.
    acknowledged: BTreeMap<u8, u64>,
    said: BTreeMap<Place, Word>,
    transactions: BTreeSet<Hash32>,
    nonces: BTreeMap<AccountId, u64>,
    slashed: BTreeSet<AccountId>,
    /// Times that each was checked.
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// The highest round that decided.
    pub(super) highest_round: u32,
    /// What was violated first.
    pub(super) violation: Option<String>,
}

/// A check's outcome: what is wrong, in words.
type Held = Result<(), String>;

fn must(holds: bool, otherwise: impl FnOnce() -> String) -> Held {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl Checks {
    /// Nothing has happened yet.
    pub(super) fn new(spec: &ChainSpec, faulty: BTreeSet<AccountId>) -> eyre::Result<Self> {
        Ok(Self {
            genesis: spec.genesis_hash(),
            first_set: spec.validator_set()?,
            faulty,
            agreed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            said: BTreeMap::new(),
            transactions: BTreeSet::new(),
            nonces: BTreeMap::new(),
            slashed: BTreeSet::new(),
            counts: BTreeMap::new(),
            highest_round: 0,
            violation: None,
        })
    }

    /// Counts a check, and keeps the first violation.
    pub(super) fn check(&mut self, name: &'static str, held: Held) {
        *self.counts.entry(name).or_default() += 1;
        if let Err(reason) = held {
            self.violation.get_or_insert(format!("{name}: {reason}"));
        }
    }

    /// A message leaves a machine.
    pub(super) fn said(&mut self, parcel: &Parcel) {
        let (place, word) = match parcel.said() {
            None => return,
            Some(Said::Vote(vote)) => {
                let VoteContent { kind, height, round, block, validator } = vote.body;
                let kind = if kind == VoteKind::Prevote { 1 } else { 2 };
                ((validator, kind, height, round), Word::Vote(block))
            }
            Some(Said::Proposal(proposal)) => {
                let ProposalContent { height, round, block, valid_round, proposer } = proposal.body;
                ((proposer, 0, height, round), Word::Proposal(block, valid_round))
            }
        };
        if self.faulty.contains(&place.0) {
            return;
        }
        let first = self.said.entry(place).or_insert_with(|| word.clone()).clone();
        let held = must(first == word, || format!("{place:?} said {first:?} and then {word:?}"));
        self.check("no equivocation", held);
    }

    /// A node was started on what its disk holds.
    pub(super) fn recovered(&mut self, node: u8, store: &Store) {
        let held = self.is_whole(node, store);
        self.check("nothing lost", held);
    }

    fn is_whole(&self, node: u8, store: &Store) -> Held {
        let tip = store.tip().map_err(words)?;
        let acknowledged = self.acknowledged.get(&node).copied().unwrap_or(0);
        must(tip.height >= acknowledged, || {
            format!("node {node} acknowledged height {acknowledged} and came back at {}", tip.height)
        })?;
        for (height, agreed) in self.agreed.range(..=tip.height) {
            let bytes = store.block(*height).map_err(words)?.ok_or(format!("node {node} has no block {height}"))?;
            let block = Block::decode(&bytes).map_err(words)?.header.id(&self.genesis);
            must(block == agreed.block, || format!("node {node} came back with another block {height}"))?;
            must(store.certificate(*height).map_err(words)?.is_some(), || {
                format!("node {node} has no certificate of block {height}")
            })?;
            for id in &agreed.transactions {
                let record = store.transaction(id).map_err(words)?;
                must(record.is_some_and(|record| record.height == *height), || {
                    format!("node {node} does not know transaction {id} of block {height}")
                })?;
            }
        }
        match self.agreed.get(&tip.height) {
            Some(agreed) => must(tip.state_root == agreed.state_root && tip.id == agreed.block, || {
                format!("node {node} came back with another tip at height {}", tip.height)
            }),
            None => Ok(()),
        }
    }

    /// A node has committed a block, durably.
    pub(super) fn committed(
        &mut self,
        node: u8,
        store: &Store,
        committed: &Committed,
        bytes: &[u8],
        certificate: &Certificate,
    ) {
        let (height, block, state_root) = (committed.header.height, committed.id, committed.header.state_root);
        self.acknowledged.insert(node, height);
        self.highest_round = self.highest_round.max(certificate.round);
        let held = store.validators(height).map_err(words).and_then(|set| {
            let header = SignedHeader { header: committed.header.clone(), certificate: certificate.clone() };
            header.verify(&self.genesis, &set).map_err(words)
        });
        self.check("certificates", held);
        if let Some(agreed) = self.agreed.get(&height) {
            let held = must((agreed.block, agreed.state_root) == (block, state_root), || {
                format!(
                    "node {node} committed block {block} with state {state_root} at height {height}, \
                     another committed {} with {}",
                    agreed.block, agreed.state_root
                )
            });
            self.check("agreement", held);
            return;
        }
        let transactions = committed.results.iter().map(|result| result.id).collect();
        self.agreed.insert(height, Agreed { block, state_root, transactions });
        self.first_of_height(store, committed, bytes);
    }

    /// What is the same on every node that agrees is checked once.
    fn first_of_height(&mut self, store: &Store, committed: &Committed, bytes: &[u8]) {
        let held = self.is_next_of_each_sender(bytes);
        self.check("nonces", held);
        for result in &committed.results {
            let held = must(self.transactions.insert(result.id), || format!("{} stands in two blocks", result.id));
            self.check("once", held);
        }
        for event in &committed.events {
            if let Event::Slashed { slash } = event {
                let held = self.may_be_slashed(slash);
                self.check("slashes", held);
            }
        }
        self.check("supply", adds_up(store));
        let held = self.proves(store, committed);
        self.check("proofs", held);
    }

    fn is_next_of_each_sender(&mut self, bytes: &[u8]) -> Held {
        let block = Block::decode(bytes).map_err(words)?;
        for tx in &block.transactions {
            let (signer, found) = (tx.body.signer, tx.body.nonce);
            let expected = self.nonces.entry(signer).or_default();
            must(found == *expected, || format!("{signer} has nonce {found} executed, {expected} comes next"))?;
            *expected += 1;
        }
        Ok(())
    }

    fn may_be_slashed(&mut self, slash: &Slash) -> Held {
        if slash.reason != SlashReason::DoubleSign {
            return Ok(());
        }
        must(self.faulty.contains(&slash.account), || format!("{} is honest and was slashed", slash.account))?;
        must(self.slashed.insert(slash.account), || format!("{} was slashed twice", slash.account))
    }

    /// What a light client would be told, and would believe.
    fn proves(&self, store: &Store, committed: &Committed) -> Held {
        let (height, root) = (committed.header.height, committed.header.state_root);
        let snapshot = store.snapshot();
        let present = keys::account(&committed.header.proposer);
        let present = match tree::prove(&snapshot, height, &present).map_err(words)? {
            (Some(value), proof) => tree::verify_fact(&root, &present, &value, &proof),
            (None, proof) => tree::verify_absence(&root, &present, &proof),
        };
        present.map_err(words)?;
        let (key, supply) = (keys::supply(), tree::prove(&snapshot, height, &keys::supply()).map_err(words)?);
        let value = supply.0.ok_or("the state has no supply")?;
        tree::verify_fact(&root, &key, &value, &supply.1).map_err(words)?;
        let absent = keys::account(&AccountId(committed.id.0));
        let (value, proof) = tree::prove(&snapshot, height, &absent).map_err(words)?;
        must(value.is_none(), || "an account that nobody made".into())?;
        tree::verify_absence(&root, &absent, &proof).map_err(words)?;
        must(tree::verify_fact(&committed.id, &key, &[0], &proof).is_err(), || "another root proves a fact".into())?;
        if !height.is_multiple_of(PATH_EVERY) {
            return Ok(());
        }
        let header = |height: u64| {
            let bytes = store.block(height).map_err(words)?.ok_or("a block is missing")?;
            let certificate = store.certificate(height).map_err(words)?.ok_or("a certificate is missing")?;
            Ok::<_, String>(SignedHeader { header: Block::decode(&bytes).map_err(words)?.header, certificate })
        };
        let changes = store.set_changes(height).map_err(words)?.into_iter();
        let changes = changes.map(|(first, next)| Ok(SetChange { signed: header(first - 1)?, next }));
        let changes = changes.collect::<Result<Vec<_>, String>>()?;
        verify_path(&self.genesis, &self.first_set, &changes, &header(height)?).map(drop).map_err(words)
    }

    /// Blocks that somebody has committed.
    pub(super) fn height(&self) -> u64 {
        self.agreed.keys().next_back().copied().unwrap_or(0)
    }

    /// Transactions in them.
    pub(super) fn executed(&self) -> usize {
        self.transactions.len()
    }
}

/// What everybody holds is what there is.
fn adds_up(store: &Store) -> Held {
    let snapshot = store.snapshot();
    let held = query::holdings(&snapshot).map_err(words)?;
    let supply = query::supply(&snapshot).map_err(words)?;
    let found: u128 =
        [held.balances, held.stakes, held.bonds, held.unbonding, held.deposits].into_iter().map(u128::from).sum();
    let expected = u128::from(supply.genesis) + u128::from(supply.minted) - u128::from(supply.burned);
    must(found == expected, || format!("accounts hold {found} grain, there are {expected}"))
}
