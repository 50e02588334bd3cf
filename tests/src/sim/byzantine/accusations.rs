//! Evidence without end: its own conflicting votes again and again, and votes that conflict with nothing, or that another is
//! said to have signed.

use assay_ledger::tx::Action;
use assay_primitives::{AccountId, Hash32, Keypair, Signature, Signed, VoteContent, VoteKind};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::Vice;

/// The vice.
pub(super) struct Accusations {
    pub(super) random: ChaCha8Rng,
    pub(super) key: Keypair,
    pub(super) genesis: Hash32,
    /// Somebody honest.
    pub(super) victim: AccountId,
    /// What was sent last, to be sent again.
    pub(super) last: Option<Action>,
}

impl Accusations {
    fn vote(&mut self, height: u64, round: u32, block: Option<Hash32>) -> Signed<VoteContent> {
        let kind = VoteKind::Precommit;
        let vote = VoteContent { kind, height, round, block, validator: self.key.account() };
        Signed::new(vote, &self.genesis, &self.key)
    }

    fn evidence(&mut self, height: u64) -> Action {
        let round = self.random.gen_range(0..3);
        let block = Hash32(self.random.r#gen());
        let (mut first, mut second) = (self.vote(height, round, None), self.vote(height, round, Some(block)));
        match self.random.gen_range(0..6) {
            // These hold: the first such is the last one that anything comes of.
            0 | 1 => {}
            // No conflict.
            2 => second = first.clone(),
            3 => second = self.vote(height, round + 1, Some(block)),
            // Not signed by whoever it names.
            4 => (first.body.validator, second.body.validator) = (self.victim, self.victim),
            _ => second.signature = Signature([self.random.r#gen(); 64]),
        }
        Action::DoubleSign { first, second }
    }
}

impl Vice for Accusations {
    fn name(&self) -> &'static str {
        "evidence spam"
    }

    fn submit(&mut self, height: u64) -> Vec<Action> {
        let count = self.random.gen_range(1..12);
        let again = self.last.clone().into_iter();
        let all: Vec<Action> = again.chain((0..count).map(|_| self.evidence(height))).collect();
        self.last = all.last().cloned();
        all
    }
}
