//! What one run is of.

use std::collections::BTreeSet;

use assay_primitives::Amount;

use super::{Attack, Defence, population::STAKE};

/// What a miner's place costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Economy {
    /// As on a development network.
    Usual,
    /// At the price that free entry leads to.
    Priced,
}

/// One run: a world, and how the attacker plays in it. Equal settings come out equal, so each is run once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Setting {
    /// The attack; `None` for honest play.
    pub(super) attack: Option<Attack>,
    /// The world that the attack is played in, which decides what the party gains by it.
    pub(super) arena: Arena,
    /// The attacker's share of all stake, in basis points.
    pub(super) share: u64,
    /// Its validator keys.
    pub(super) validators: usize,
    /// Its miner keys; or the keys it asks or votes with.
    pub(super) miners: usize,
    /// Its miners are worse than the others.
    pub(super) poor_miners: bool,
    /// What a miner's place costs.
    pub(super) economy: Economy,
    /// Validators challenge answers at random.
    pub(super) challenges: bool,
    /// Epochs that are scored.
    pub(super) epochs: u64,
    /// Of all chance.
    pub(super) seed: u64,
    /// Defences that are switched off.
    pub(super) without: BTreeSet<Defence>,
}

/// What is played for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Arena {
    /// Money, by scores and answers.
    Market,
    /// Weight of votes.
    Votes,
    /// A miner's time.
    Asks,
}

/// All stake, parted.
pub(super) struct Stakes {
    pub(super) honest: Amount,
    pub(super) attacker: Amount,
}

impl Setting {
    /// A row's attack, with this seed.
    pub(super) fn attack(plan: &super::Plan, seed: u64) -> Self {
        let (attack, keys) = (plan.attack, plan.keys);
        let keyed = |own: bool| if own { keys } else { 1 };
        let validating = attack.validates();
        let mining = match attack {
            Attack::ValidatorCabal | Attack::ValidatorShading => 2,
            _ if validating => 0,
            _ => keyed(true),
        };
        Self {
            attack: Some(attack),
            arena: attack.arena(),
            share: plan.share,
            validators: if attack.arena() == Arena::Market { keyed(validating) } else { 0 },
            miners: mining,
            poor_miners: matches!(attack, Attack::ValidatorCabal | Attack::ValidatorShading),
            economy: if attack == Attack::SybilMiners { Economy::Priced } else { Economy::Usual },
            challenges: attack == Attack::WithheldProof,
            epochs: plan.epochs,
            seed,
            without: plan.without.clone(),
        }
    }

    /// Honest play with the same stake and keys in the same world.
    pub(super) fn honest(&self) -> Self {
        let mut twin = Self { attack: None, ..self.clone() };
        match self.attack {
            // These attacks are the keys: honest play is one.
            Some(Attack::SybilMiners | Attack::MinerDrain) => twin.miners = 1,
            Some(Attack::SplitStake) => twin.validators = 1,
            _ => {}
        }
        // What honest play never runs into makes no other world.
        twin.without.retain(|defence| matches!(defence, Defence::Audit | Defence::Canaries | Defence::BurnPrice));
        twin
    }

    pub(super) fn is_without(&self, defence: Defence) -> bool {
        self.without.contains(&defence)
    }

    pub(super) fn stakes(&self) -> Stakes {
        let attacker = STAKE.basis_points(self.share);
        Stakes { honest: Amount(STAKE.0 - attacker.0), attacker }
    }
}
