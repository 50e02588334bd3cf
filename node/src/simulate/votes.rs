//! Flash stake: what weight in votes a short stay of money buys.
//!
//! Honest play stakes once and votes on every proposal; the attack stakes when it hears of one and takes the money out
//! when the vote is over. What is gained is the weight that counted, for each grain and block that money was bound.

use assay_chain_spec::GenesisAccount;
use assay_ledger::{query, tx::Ballot};
use assay_primitives::{Amount, Keypair};
use rand::Rng as _;

use super::{
    Defence, Outcome, SimulationError, Work, actions,
    chain::Chain,
    draw::Draw,
    exam::Exam,
    population::{Cast, key},
    setting::Setting,
};

/// Epochs between the beginnings of two votes: a vote, and the time in which money comes out.
const ROUND: u64 = 10;
/// Blocks in which a vote may begin.
const BEGINNINGS: u64 = 16;
/// Blocks of a round.
const ROUND_BLOCKS: u64 = 40;

struct Votes {
    chain: Chain,
    voters: Vec<Keypair>,
    each: Amount,
    cast: Cast,
    /// Grains times blocks.
    bound: f64,
}

/// Plays a setting to its end.
pub(super) fn run(setting: &Setting, exam: &Exam) -> Result<Outcome, SimulationError> {
    let draw = Draw::new(setting.seed);
    let cast = Cast::new(setting, draw);
    let mut spec = cast.spec(setting, exam.model());
    let voters: Vec<_> = (0..setting.miners as u64).map(|n| key(draw, "voter", n)).collect();
    let each = Amount(setting.stakes().attacker.0 / voters.len().max(1) as u64);
    let balance = Amount(each.0 + Amount::asy(1).0);
    spec.accounts.extend(voters.iter().map(|v| GenesisAccount { account: v.account(), balance }));
    let mut votes = Votes { chain: Chain::new(&spec)?, voters, each, cast, bound: 0.0 };
    let flash = setting.attack.is_some();
    if !flash {
        votes.stake()?;
    }
    votes.block(true)?;
    let mut weight = 0.0;
    for round in 0..(setting.epochs / ROUND).max(1) {
        let begins = draw.stream("vote", [round, 0, 0]).gen_range(0..BEGINNINGS);
        let mut left = ROUND_BLOCKS - begins;
        (0..begins).try_for_each(|_| votes.block(true))?;
        let from = votes.chain.now()?.height;
        weight += votes.round(flash, setting.is_without(Defence::StakeSnapshot))?;
        left = left.saturating_sub(votes.chain.now()?.height - from);
        (0..left).try_for_each(|_| votes.block(true))?;
    }
    let gain = if votes.bound > 0.0 { weight / votes.bound } else { 0.0 };
    Ok(Outcome { gain, earned: Work::NONE, work: Work::NONE })
}

impl Votes {
    fn block(&mut self, sound: bool) -> Result<(), SimulationError> {
        if sound {
            self.chain.sound_block()?;
        } else {
            self.chain.block()?;
        }
        for voter in &self.voters {
            let account = voter.account();
            let leaving = query::unbondings_of(&self.chain.state, &account)?;
            let staked = query::stake_of(&self.chain.state, &account)?;
            self.bound += staked.0 as f64 + leaving.iter().map(|u| u.amount.0 as f64).sum::<f64>();
        }
        Ok(())
    }

    fn stake(&mut self) -> Result<(), SimulationError> {
        let validator = self.cast.validators[0].operator.account();
        for voter in &self.voters {
            self.chain.send(voter, actions::stake(validator, self.each))?;
        }
        Ok(())
    }

    /// One proposal from its making to the count; gives the weight of the attacker's votes.
    fn round(&mut self, flash: bool, unsnapped: bool) -> Result<f64, SimulationError> {
        // Where the stake of the count decides, whoever comes before it is in time. The ledger here has a snapshot, so the
        // money must come before the proposal to stand in it.
        if flash && unsnapped {
            self.stake()?;
            self.block(true)?;
        }
        let proposal = self.chain.now()?.next_proposal;
        let proposer = self.cast.validators[0].owner.clone();
        self.chain.send(&proposer, actions::propose_choice())?;
        self.block(true)?;
        if flash && !unsnapped {
            self.stake()?;
            self.block(true)?;
        }
        for validator in &self.cast.validators {
            self.chain.send(&validator.owner, actions::vote(proposal, Ballot::No))?;
        }
        for voter in &self.voters {
            self.chain.send(voter, actions::vote(proposal, Ballot::Yes))?;
        }
        self.block(false)?;
        while query::agenda(&self.chain.state)?.voting.contains_key(&proposal) {
            self.block(true)?;
        }
        if flash {
            let validator = self.cast.validators[0].operator.account();
            for voter in &self.voters {
                self.chain.send(voter, actions::unstake(validator, self.each))?;
            }
            self.block(true)?;
        }
        let counted = query::votes(&self.chain.state, proposal)?;
        let ours = |account| self.voters.iter().any(|voter| voter.account() == account);
        Ok(counted.iter().filter(|(account, _)| ours(*account)).map(|(_, vote)| vote.stake as f64).sum())
    }
}
