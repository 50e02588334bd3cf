use std::convert::Infallible;

use assay_primitives::{AccountId, Certificate, Signature, Signed, VoteContent, VoteKind};

use super::{
    judge::{AHEAD, KEPT, KEPT_PER_HEIGHT, TOLD},
    *,
};

const GENESIS: Hash32 = Hash32([9; 32]);

fn keys(from: u8) -> Vec<Keypair> {
    let mut keys: Vec<_> = (from..from + 4).map(|n| Keypair::from_secret([n; 32])).collect();
    keys.sort_by_key(Keypair::account);
    keys
}

fn set_of(keys: &[Keypair]) -> ValidatorSet {
    let validator = |key: &Keypair| assay_primitives::Validator { account: key.account(), power: 10 };
    ValidatorSet::new(keys.iter().map(validator).collect()).unwrap()
}

/// The header of a height on a branch.
fn header(height: u64, branch: u8, set: &ValidatorSet) -> Header {
    Header {
        chain_id: "forks".into(),
        height,
        time_ms: 1000,
        parent: Hash32([branch; 32]),
        proposer: set.as_slice()[0].account,
        tx_root: Hash32([1; 32]),
        state_root: Hash32([branch; 32]),
        validators_hash: set.hash(&GENESIS),
        next_validators_hash: set.hash(&GENESIS),
        evidence_root: Hash32([3; 32]),
        app_version: 1,
    }
}

fn certify(header: &Header, round: u32, keys: &[Keypair]) -> SignedHeader {
    let (height, block) = (header.height, header.id(&GENESIS));
    let sign = |key: &Keypair| {
        let validator = key.account();
        let vote = VoteContent { kind: VoteKind::Precommit, height, round, block: Some(block), validator };
        (validator, Signed::new(vote, &GENESIS, key).signature)
    };
    let signatures = keys.iter().map(sign).collect();
    SignedHeader { header: header.clone(), certificate: Certificate { height, round, block, signatures } }
}

/// The branch that a node is on, and the other one.
const OURS: u8 = 1;
const THEIRS: u8 = 2;

/// A chain whose every header is of one branch and by one set.
struct Line {
    tip: u64,
    evidence_from: u64,
    keys: Vec<Keypair>,
}

impl Line {
    fn new(tip: u64) -> Self {
        Self { tip, evidence_from: 1, keys: keys(1) }
    }

    fn validators(&self) -> ValidatorSet {
        set_of(&self.keys)
    }

    /// Certified by three of the four: all but the `without`th.
    fn told(&self, height: u64, branch: u8, without: usize) -> SignedHeader {
        let mut keys = self.keys.clone();
        keys.remove(without);
        certify(&header(height, branch, &self.validators()), 0, &keys)
    }

    fn judge(&self) -> Judge {
        Judge::new(GENESIS, BTreeSet::new())
    }
}

impl OwnChain for Line {
    type Error = Infallible;

    fn height(&self) -> Result<u64, Infallible> {
        Ok(self.tip)
    }

    fn header(&self, height: u64) -> Result<Option<SignedHeader>, Infallible> {
        Ok((1..=self.tip).contains(&height).then(|| self.told(height, OURS, 3)))
    }

    fn set(&self, height: u64) -> Result<ValidatorSet, Infallible> {
        assert!((1..=self.tip + 1).contains(&height), "nobody knows the set of {height}");
        Ok(self.validators())
    }

    fn evidence_from(&self) -> Result<u64, Infallible> {
        Ok(self.evidence_from)
    }
}

fn verdict(judge: &mut Judge, chain: &Line, told: SignedHeader) -> GossipVerdict {
    let Judgement { verdict, found } = judge.header(chain, told).unwrap();
    assert!(found.is_none());
    verdict
}

/// Of a told fork.
fn verdict_of(judge: &mut Judge, chain: &Line, told: Fork) -> GossipVerdict {
    let Judgement { verdict, found } = judge.fork(chain, told).unwrap();
    assert!(found.is_none());
    verdict
}

fn found(judgement: Judgement) -> FoundFork {
    assert_eq!(judgement.verdict, GossipVerdict::Accept, "others must hear of it");
    judgement.found.unwrap()
}

fn who(found: &FoundFork) -> Vec<AccountId> {
    found.signed_both.iter().map(|one| one.account).collect()
}

#[test]
fn our_own_header_goes_round_once_whoever_certified_it() {
    let chain = Line::new(20);
    let mut judge = chain.judge();
    let mut junk = chain.told(8, OURS, 0);
    junk.certificate.signatures[1].1 = Signature([7; 64]);
    assert_eq!(verdict(&mut judge, &chain, junk), GossipVerdict::Reject);
    // What was refused keeps no good one from going round.
    assert_eq!(verdict(&mut judge, &chain, chain.told(8, OURS, 0)), GossipVerdict::Accept);
    for without in [0, 1] {
        assert_eq!(verdict(&mut judge, &chain, chain.told(8, OURS, without)), GossipVerdict::Ignore);
    }
    judge.tells(12);
    assert_eq!(verdict(&mut judge, &chain, chain.told(12, OURS, 0)), GossipVerdict::Ignore);
}

#[test]
fn what_went_round_is_forgotten_from_below_and_never_goes_round_again() {
    let rounds = TOLD as u64;
    let chain = Line::new(rounds + 10);
    let mut judge = chain.judge();
    (5..5 + rounds).for_each(|height| judge.tells(height));
    assert_eq!(
        verdict(&mut judge, &chain, chain.told(4, OURS, 0)),
        GossipVerdict::Accept,
        "there is room for one more"
    );
    // The lowest had to go, and was this one.
    assert_eq!(verdict(&mut judge, &chain, chain.told(4, OURS, 0)), GossipVerdict::Ignore);
    assert_eq!(verdict(&mut judge, &chain, chain.told(3, OURS, 0)), GossipVerdict::Ignore);
    let newest = rounds + 9;
    assert_eq!(verdict(&mut judge, &chain, chain.told(newest, OURS, 0)), GossipVerdict::Accept);
}

#[test]
fn another_certified_header_of_our_set_is_a_fork_that_names_who_signed_both() {
    let chain = Line::new(20);
    let found = found(chain.judge().header(&chain, chain.told(8, THEIRS, 0)).unwrap());
    // Ours lacks the last, theirs the first.
    assert_eq!(who(&found), [chain.keys[1].account(), chain.keys[2].account()]);
    assert_eq!(found.total_power, 40);
    let (own, other) = found.sides();
    assert_eq!((own.header.state_root, other.header.state_root), (Hash32([OURS; 32]), Hash32([THEIRS; 32])));
    found.fork.verify(&GENESIS, &chain.validators()).unwrap();
    assert_eq!(found.fork.conflicting_votes().len(), 2);
}

#[test]
fn another_header_that_is_not_certified_is_refused_and_proves_nothing() {
    let chain = Line::new(20);
    let mut judge = chain.judge();
    let theirs = header(8, THEIRS, &chain.validators());
    let mut junk = certify(&theirs, 0, &chain.keys);
    junk.certificate.signatures[0].1 = Signature([7; 64]);
    let mut ours = chain.told(8, OURS, 0);
    ours.header = theirs.clone();
    let mut twice = certify(&theirs, 0, &chain.keys[..2]);
    let last = twice.certificate.signatures[1];
    twice.certificate.signatures.push(last);
    for told in [
        junk,
        // Two of four, one of them twice, strangers, the certificate of another block, none.
        certify(&theirs, 0, &chain.keys[..2]),
        twice,
        certify(&theirs, 0, &keys(50)),
        ours,
        certify(&theirs, 0, &[]),
    ] {
        assert_eq!(verdict(&mut judge, &chain, told), GossipVerdict::Reject);
    }
    judge.header(&chain, certify(&theirs, 0, &chain.keys)).unwrap().found.unwrap();
}

#[test]
fn a_chain_with_another_set_went_apart_before_and_is_left_alone() {
    let chain = Line::new(20);
    let strangers = keys(50);
    let told = certify(&header(8, THEIRS, &set_of(&strangers)), 0, &strangers);
    assert_eq!(verdict(&mut chain.judge(), &chain, told), GossipVerdict::Ignore);
}

#[test]
fn keys_whose_stake_is_long_gone_end_no_node() {
    let chain = Line { evidence_from: 9, ..Line::new(20) };
    let mut judge = chain.judge();
    for height in [0, 1, 8] {
        assert_eq!(verdict(&mut judge, &chain, chain.told(height, THEIRS, 0)), GossipVerdict::Ignore);
        let fork = Fork { first: chain.told(height, OURS, 3), second: chain.told(height, THEIRS, 0) };
        assert_eq!(verdict_of(&mut judge, &chain, fork), GossipVerdict::Ignore);
    }
    found(judge.header(&chain, chain.told(9, THEIRS, 0)).unwrap());
    // Nor is there a height 0 where evidence reaches back to the beginning.
    let young = Line::new(20);
    assert_eq!(verdict(&mut young.judge(), &young, young.told(0, THEIRS, 0)), GossipVerdict::Ignore);
}

#[test]
fn a_header_above_the_tip_is_kept_and_looked_at_again_when_we_are_there() {
    let mut chain = Line::new(20);
    let mut judge = chain.judge();
    assert_eq!(verdict(&mut judge, &chain, chain.told(22, OURS, 0)), GossipVerdict::Accept);
    assert_eq!(verdict(&mut judge, &chain, chain.told(24, THEIRS, 0)), GossipVerdict::Accept);
    // Once each, whoever certified it.
    assert_eq!(verdict(&mut judge, &chain, chain.told(24, THEIRS, 1)), GossipVerdict::Ignore);
    for tip in 21..24 {
        chain.tip = tip;
        assert!(judge.catch_up(&chain).unwrap().is_none());
    }
    // Our own went round when it was kept.
    assert_eq!(verdict(&mut judge, &chain, chain.told(22, OURS, 1)), GossipVerdict::Ignore);
    chain.tip = 24;
    let found = judge.catch_up(&chain).unwrap().unwrap();
    assert_eq!((found.sides().0.header.height, who(&found).len()), (24, 2));
}

#[test]
fn what_is_kept_is_certified_near_and_bounded() {
    let chain = Line::new(20);
    let mut judge = chain.judge();
    let far = 20 + AHEAD;
    assert_eq!(verdict(&mut judge, &chain, chain.told(far + 1, THEIRS, 0)), GossipVerdict::Ignore);
    assert_eq!(verdict(&mut judge, &chain, chain.told(u64::MAX, THEIRS, 0)), GossipVerdict::Ignore);
    let strangers = keys(50);
    let unknown = certify(&header(30, THEIRS, &set_of(&strangers)), 0, &strangers);
    assert_eq!(verdict(&mut judge, &chain, unknown), GossipVerdict::Ignore, "nobody knows yet whose turn it is");
    let junk = certify(&header(30, THEIRS, &chain.validators()), 0, &chain.keys[..2]);
    assert_eq!(verdict(&mut judge, &chain, junk), GossipVerdict::Reject, "it takes nobody's place");

    for branch in 1..=KEPT_PER_HEIGHT as u8 {
        assert_eq!(verdict(&mut judge, &chain, chain.told(far, branch, 0)), GossipVerdict::Accept);
    }
    assert_eq!(verdict(&mut judge, &chain, chain.told(far, 99, 0)), GossipVerdict::Ignore);
    let mut kept = KEPT_PER_HEIGHT;
    for height in 21..far {
        let expected = if kept < KEPT { GossipVerdict::Accept } else { GossipVerdict::Ignore };
        assert_eq!(verdict(&mut judge, &chain, chain.told(height, THEIRS, 0)), expected, "{height}");
        kept += 1;
    }
    assert!(kept > KEPT);
}

#[test]
fn a_told_fork_counts_as_found_if_this_node_is_on_one_of_its_sides() {
    let chain = Line::new(20);
    let mut judge = chain.judge();
    let (ours, theirs) = (chain.told(8, OURS, 1), chain.told(8, THEIRS, 0));
    let one = found(judge.fork(&chain, Fork { first: ours.clone(), second: theirs.clone() }).unwrap());
    let other = found(judge.fork(&chain, Fork { first: theirs.clone(), second: ours.clone() }).unwrap());
    for found in [one, other] {
        assert_eq!(found.sides(), (&ours, &theirs));
        assert_eq!(who(&found), [chain.keys[2].account(), chain.keys[3].account()]);
    }
    let elsewhere = Fork { first: chain.told(8, 3, 0), second: theirs.clone() };
    assert_eq!(verdict_of(&mut judge, &chain, elsewhere), GossipVerdict::Ignore);

    let refused = |first: &SignedHeader, second: SignedHeader| {
        let fork = Fork { first: first.clone(), second };
        assert_eq!(verdict_of(&mut chain.judge(), &chain, fork), GossipVerdict::Reject);
    };
    refused(&ours, chain.told(8, OURS, 2));
    refused(&ours, chain.told(9, THEIRS, 0));
    refused(&ours, certify(&theirs.header, 0, &chain.keys[..2]));
    refused(&theirs, certify(&ours.header, 0, &chain.keys[..2]));
}

#[test]
fn a_told_fork_above_the_tip_is_found_when_this_node_stands_on_a_side_of_it() {
    let mut chain = Line::new(20);
    let mut judge = chain.judge();
    let fork = Fork { first: chain.told(21, OURS, 3), second: chain.told(21, THEIRS, 0) };
    assert_eq!(verdict_of(&mut judge, &chain, fork.clone()), GossipVerdict::Accept);
    assert_eq!(verdict_of(&mut judge, &chain, fork.clone()), GossipVerdict::Ignore, "once");
    let junk = certify(&header(22, THEIRS, &chain.validators()), 0, &chain.keys[..2]);
    let half = Fork { first: chain.told(22, OURS, 3), second: junk };
    assert_eq!(verdict_of(&mut judge, &chain, half), GossipVerdict::Reject);
    chain.tip = 21;
    assert_eq!(judge.catch_up(&chain).unwrap().unwrap().fork, fork);
}

#[test]
fn of_a_settled_set_no_fork_is_found_again_and_of_another_set_one_is() {
    let mut chain = Line::new(20);
    let mut judge = Judge::new(GENESIS, BTreeSet::from([chain.validators().hash(&GENESIS)]));
    for height in [4, 8, 12] {
        assert_eq!(verdict(&mut judge, &chain, chain.told(height, THEIRS, 0)), GossipVerdict::Ignore);
        let fork = Fork { first: chain.told(height, OURS, 3), second: chain.told(height, THEIRS, 0) };
        assert_eq!(verdict_of(&mut judge, &chain, fork), GossipVerdict::Ignore);
    }
    assert_eq!(verdict(&mut judge, &chain, chain.told(8, OURS, 0)), GossipVerdict::Accept, "ours goes round as ever");
    chain.keys = keys(50);
    found(judge.header(&chain, chain.told(8, THEIRS, 0)).unwrap());
}

#[test]
fn validators_tell_every_few_blocks_and_where_another_set_takes_over() {
    let chain = Line::new(20);
    let heights: Vec<u64> = (1..=9).filter(|height| is_told(&header(*height, OURS, &chain.validators()))).collect();
    assert_eq!(heights, [4, 8]);
    let last = Header { next_validators_hash: Hash32([5; 32]), ..header(7, OURS, &chain.validators()) };
    assert!(is_told(&last));
}

#[test]
fn a_fork_of_the_most_validators_there_can_be_fits_a_message() {
    let most = assay_chain_spec::Params::bounds("max_validators").unwrap().high;
    let mut signed = Line::new(1).told(1, OURS, 0);
    signed.header.chain_id = "c".repeat(48);
    let signature = signed.certificate.signatures[0];
    signed.certificate.signatures = vec![signature; usize::try_from(most).unwrap()];
    let fork = Box::new(Fork { first: signed.clone(), second: signed });
    assert!(encode(&Told::Fork { fork, turn: 0 }).len() * 2 < Topic::Headers.max_bytes());
}
