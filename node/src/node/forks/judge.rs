//! What a told header says about this node's chain. A verdict depends on the chain, on what was told before and on the message;
//! everything that is remembered is bounded.
//!
//! | told | verdict |
//! |---|---|
//! | of a height that evidence no longer reaches back to, or that this node has no header of | ignored |
//! | our own header | forwarded the first time, if its certificate holds |
//! | another header, by another validator set | ignored: that chain went apart from ours before |
//! | another header, by our set, certified | a **fork**, unless one of this set is settled |
//! | of a height above ours, certified by the set that votes next | forwarded the first time, and kept until we are there |
//! | of a height above ours, by another set | ignored: there is nothing yet to check it by |
//! | signed by too few, or badly | refused |
//!
//! A proof of a fork is judged as its two headers, of which one must be ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use assay_primitives::{Hash32, SignedHeader, Validator, ValidatorSet, light::Fork};

use crate::{
    home::{FoundFork, Side},
    net::GossipVerdict,
};

/// How far above the tip a header may be to be kept.
pub(super) const AHEAD: u64 = 64;
/// Most headers kept.
pub(super) const KEPT: usize = 64;
/// Most headers kept of one height.
pub(super) const KEPT_PER_HEIGHT: usize = 2;
/// Heights remembered as told.
pub(super) const TOLD: usize = 256;

/// The chain that a node is on.
pub(super) trait OwnChain {
    /// Why it cannot be read.
    type Error;

    /// The last committed height.
    fn height(&self) -> Result<u64, Self::Error>;

    /// The certified header of a committed height; `None` where this node was not there.
    fn header(&self, height: u64) -> Result<Option<SignedHeader>, Self::Error>;

    /// The set that votes, or voted, at a height, of those from 1 to the one after the last committed.
    fn set(&self, height: u64) -> Result<ValidatorSet, Self::Error>;

    /// The first height that evidence still reaches back to.
    fn evidence_from(&self) -> Result<u64, Self::Error>;
}

/// What is made of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) verdict: GossipVerdict,
    pub(super) found: Option<FoundFork>,
}

impl From<GossipVerdict> for Judgement {
    fn from(verdict: GossipVerdict) -> Self {
        Self { verdict, found: None }
    }
}

/// The latest heights whose header went round. Those at or below `forgotten` count as told, so that nothing goes round for ever.
#[derive(Default)]
struct Rounds {
    heights: BTreeSet<u64>,
    forgotten: u64,
}

impl Rounds {
    fn has(&self, height: u64) -> bool {
        height <= self.forgotten || self.heights.contains(&height)
    }

    fn add(&mut self, height: u64) {
        if self.has(height) {
            return;
        }
        self.heights.insert(height);
        if self.heights.len() > TOLD {
            self.forgotten = self.heights.pop_first().unwrap_or(self.forgotten);
        }
    }
}

/// Judges what is told.
pub(super) struct Judge {
    genesis: Hash32,
    /// Validator sets whose forks are settled.
    settled: BTreeSet<Hash32>,
    told: Rounds,
    /// Certified headers of heights above the tip, each once, at most [`KEPT_PER_HEIGHT`] a height and [`KEPT`] in all.
    kept: BTreeMap<u64, Vec<SignedHeader>>,
}

const IGNORED: GossipVerdict = GossipVerdict::Ignore;

impl Judge {
    pub(super) fn new(genesis: Hash32, settled: BTreeSet<Hash32>) -> Self {
        Self { genesis, settled, told: Rounds::default(), kept: BTreeMap::new() }
    }

    /// This node tells of its own header itself.
    pub(super) fn tells(&mut self, height: u64) {
        self.told.add(height);
    }

    /// Judges a header.
    ///
    /// # Errors
    /// If the chain cannot be read.
    pub(super) fn header<C: OwnChain>(&mut self, chain: &C, told: SignedHeader) -> Result<Judgement, C::Error> {
        let height = told.header.height;
        if height < chain.evidence_from()?.max(1) {
            return Ok(IGNORED.into());
        }
        let tip = chain.height()?;
        if height > tip {
            return Ok(self.keep(chain, tip, told)?.into());
        }
        let Some(own) = chain.header(height)? else { return Ok(IGNORED.into()) };
        if own.header != told.header {
            return self.compare(chain, Fork { first: own, second: told }, Side::First);
        }
        if self.told.has(height) {
            return Ok(IGNORED.into());
        }
        if let Err(e) = told.verify(&self.genesis, &chain.set(height)?) {
            tracing::debug!(height, "a told header is not certified: {e}");
            return Ok(GossipVerdict::Reject.into());
        }
        self.told.add(height);
        Ok(GossipVerdict::Accept.into())
    }

    /// Judges a proof that the chain has forked.
    ///
    /// # Errors
    /// If the chain cannot be read.
    pub(super) fn fork<C: OwnChain>(&mut self, chain: &C, told: Fork) -> Result<Judgement, C::Error> {
        let height = told.first.header.height;
        if height != told.second.header.height || told.first.header == told.second.header {
            return Ok(GossipVerdict::Reject.into());
        }
        if height < chain.evidence_from()?.max(1) {
            return Ok(IGNORED.into());
        }
        let tip = chain.height()?;
        if height > tip {
            // It is one for this node once it stands on one of its sides.
            let verdicts = [self.keep(chain, tip, told.first)?, self.keep(chain, tip, told.second)?];
            return Ok(match verdicts {
                [GossipVerdict::Accept, GossipVerdict::Accept] => GossipVerdict::Accept.into(),
                both if both.contains(&GossipVerdict::Reject) => GossipVerdict::Reject.into(),
                _ => IGNORED.into(),
            });
        }
        let Some(own) = chain.header(height)? else { return Ok(IGNORED.into()) };
        if own.header == told.first.header {
            self.compare(chain, told, Side::First)
        } else if own.header == told.second.header {
            self.compare(chain, told, Side::Second)
        } else {
            // Of a chain that this one is no part of. If this one has a third header of that height, it is told of by itself.
            Ok(IGNORED.into())
        }
    }

    /// Headers kept until now whose height this node has reached.
    ///
    /// # Errors
    /// If the chain cannot be read.
    pub(super) fn catch_up<C: OwnChain>(&mut self, chain: &C) -> Result<Option<FoundFork>, C::Error> {
        let above = self.kept.split_off(&chain.height()?.saturating_add(1));
        for told in mem::replace(&mut self.kept, above).into_values().flatten() {
            if let Some(found) = self.header(chain, told)?.found {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Judges two differing headers of one height, one of them this node's own.
    fn compare<C: OwnChain>(&self, chain: &C, fork: Fork, own: Side) -> Result<Judgement, C::Error> {
        let (ours, other) = match own {
            Side::First => (&fork.first, &fork.second),
            Side::Second => (&fork.second, &fork.first),
        };
        let (height, set) = (ours.header.height, ours.header.validators_hash);
        if other.header.validators_hash != set {
            tracing::debug!(height, other = %other.certificate.block, "a header of a chain that went apart from this one before");
            return Ok(IGNORED.into());
        }
        if self.settled.contains(&set) {
            return Ok(IGNORED.into());
        }
        let set = chain.set(height)?;
        // The stranger first: what is made up ends at its first signature.
        let signed_both = other
            .verify(&self.genesis, &set)
            .map_err(|e| e.to_string())
            .and_then(|()| fork.verify(&self.genesis, &set).map_err(|e| e.to_string()));
        let signed_both = match signed_both {
            Ok(accounts) => accounts,
            Err(e) => {
                tracing::debug!(height, "no proof of a fork: {e}");
                return Ok(GossipVerdict::Reject.into());
            }
        };
        let signed_both =
            signed_both.into_iter().filter_map(|account| Some(Validator { account, power: set.power_of(&account)? }));
        let found = FoundFork { signed_both: signed_both.collect(), total_power: set.total_power(), fork, own };
        Ok(Judgement { verdict: GossipVerdict::Accept, found: Some(found) })
    }

    /// Keeps a header of a height above the tip, if the set that votes next has certified it.
    fn keep<C: OwnChain>(&mut self, chain: &C, tip: u64, told: SignedHeader) -> Result<GossipVerdict, C::Error> {
        let height = told.header.height;
        if height > tip.saturating_add(AHEAD) {
            return Ok(IGNORED);
        }
        let set = chain.set(tip.saturating_add(1))?;
        if told.header.validators_hash != set.hash(&self.genesis) {
            return Ok(IGNORED);
        }
        let of_height = self.kept.get(&height).map(Vec::as_slice).unwrap_or_default();
        let full = of_height.len() >= KEPT_PER_HEIGHT || self.kept.values().map(Vec::len).sum::<usize>() >= KEPT;
        if full || of_height.iter().any(|kept| kept.header == told.header) {
            return Ok(IGNORED);
        }
        if let Err(e) = told.verify(&self.genesis, &set) {
            tracing::debug!(height, "a told header is not certified: {e}");
            return Ok(GossipVerdict::Reject);
        }
        self.kept.entry(height).or_default().push(told);
        Ok(GossipVerdict::Accept)
    }
}
