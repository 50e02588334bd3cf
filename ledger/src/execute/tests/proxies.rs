//! Votes that follow a delegate's.

use std::collections::BTreeMap;

use assay_primitives::{AccountId, Amount};
use proptest::prelude::*;

use super::governance::{get, parameter, propose, vote};
use crate::{
    keys, query,
    records::{Outcome, ProposalStatus, Tally, VoteRecord},
    standing, tree,
    tx::{Action, Ballot, ProposalKind},
    world::{World, quick_params},
};

const STAKE: u64 = 1000 * 1_000_000_000;

fn delegate(world: &mut World, from: usize, to: Option<usize>) -> Result<(), String> {
    let (owner, to) = (world.owners[from].clone(), to.map(|to| world.owners[to].account()));
    world.run(&owner, Action::DelegateVote { to })
}

fn tally(world: &World, id: u64) -> Tally {
    match standing(&world.state, &get(world, id)).unwrap().outcome {
        Outcome::Choice { tally, .. } => tally,
        other => panic!("expected a tally, found {other:?}"),
    }
}

fn record(world: &World, id: u64, owner: usize) -> Option<VoteRecord> {
    query::vote(&world.state, id, &world.owners[owner].account()).unwrap()
}

#[test]
fn stake_follows_its_delegates_vote_unless_it_votes_itself() {
    let mut world = World::new();
    delegate(&mut world, 1, Some(0)).unwrap();
    delegate(&mut world, 2, Some(0)).unwrap();
    let id = propose(&mut world, ProposalKind::Choice);
    vote(&mut world, 0, id, Ballot::Yes).unwrap();
    assert_eq!(tally(&world, id), Tally { yes: 3 * STAKE, ..Tally::default() });
    vote(&mut world, 2, id, Ballot::No).unwrap();
    assert_eq!(tally(&world, id), Tally { yes: 2 * STAKE, no: STAKE, ..Tally::default() });
    // The delegate changes its mind, and the stake that follows it with it.
    vote(&mut world, 0, id, Ballot::Abstain).unwrap();
    assert_eq!(tally(&world, id), Tally { abstain: 2 * STAKE, no: STAKE, ..Tally::default() });
    assert_eq!(record(&world, id, 1), None, "nothing is written before the votes are counted");

    world.advance_to(get(&world, id).voting_end + 2);
    let proposal = get(&world, id);
    assert_eq!(proposal.status, ProposalStatus::Rejected);
    let via = world.owners[0].account();
    let followed = record(&world, id, 1).unwrap();
    assert_eq!((followed.ballot, followed.stake, followed.via), (Ballot::Abstain, STAKE, Some(via)));
    assert_eq!(record(&world, id, 2).unwrap().via, None);
    // A light client checks the receipt under the state root, its own vote's as well as one that followed.
    for owner in [0, 1, 2] {
        let key = keys::vote(id, &world.owners[owner].account());
        let (value, proof) = tree::prove(&world.tree, world.height(), &key).unwrap();
        tree::verify_fact(&world.root, &key, &value.unwrap(), &proof).unwrap();
    }
}

#[test]
fn a_delegation_in_force_when_votes_are_counted_counts() {
    let mut world = World::new();
    let id = propose(&mut world, ProposalKind::Choice);
    vote(&mut world, 0, id, Ballot::Yes).unwrap();
    delegate(&mut world, 1, Some(0)).unwrap();
    assert_eq!(tally(&world, id).yes, 2 * STAKE);
    delegate(&mut world, 1, None).unwrap();
    assert_eq!(tally(&world, id).yes, STAKE);
    assert!(query::vote_delegators(&world.state, &world.owners[0].account()).unwrap().is_empty());
    assert_eq!(query::vote_delegation(&world.state, &world.owners[1].account()).unwrap(), None);
}

#[test]
fn one_hop_only_and_a_delegate_that_does_not_vote_carries_nobody() {
    let mut world = World::new();
    // 2 follows 1 follows 0, and 3 follows 2: only 1 is carried by 0's vote.
    delegate(&mut world, 1, Some(0)).unwrap();
    delegate(&mut world, 2, Some(1)).unwrap();
    delegate(&mut world, 3, Some(2)).unwrap();
    let id = propose(&mut world, ProposalKind::Choice);
    vote(&mut world, 0, id, Ballot::Yes).unwrap();
    assert_eq!(tally(&world, id).yes, 2 * STAKE);
    world.advance_to(get(&world, id).voting_end + 2);
    assert_eq!((record(&world, id, 2), record(&world, id, 3)), (None, None));
    // A circle carries each once, and only where somebody votes.
    delegate(&mut world, 0, Some(3)).unwrap();
    let id = propose(&mut world, ProposalKind::Choice);
    assert_eq!(tally(&world, id), Tally::default());
    vote(&mut world, 1, id, Ballot::No).unwrap();
    assert_eq!(tally(&world, id).no, 2 * STAKE);
}

#[test]
fn the_stake_of_the_snapshot_counts_as_far_as_it_is_still_there() {
    let mut world = World::new();
    let (validator, late) = (world.validators[0].account(), world.owners[6].clone());
    delegate(&mut world, 1, Some(0)).unwrap();
    let id = propose(&mut world, ProposalKind::Choice);
    // The delegate takes its stake out; the newcomer buys some and follows it: too late for this vote.
    let owner = world.owners[0].clone();
    world.run(&owner, Action::Unstake { validator, amount: Amount(STAKE) }).unwrap();
    vote(&mut world, 0, id, Ballot::Yes).unwrap();
    world.run(&late, Action::Stake { validator, amount: Amount(STAKE) }).unwrap();
    world.run(&late, Action::DelegateVote { to: Some(owner.account()) }).unwrap();
    assert_eq!(tally(&world, id).yes, STAKE, "the follower's alone");
    world.advance_to(get(&world, id).voting_end + 2);
    assert_eq!(get(&world, id).status, ProposalStatus::NoQuorum, "a quarter of what was eligible then");
    // In the next vote the delegate has no stake and cannot vote, so it carries nobody.
    let id = propose(&mut world, ProposalKind::Choice);
    assert!(vote(&mut world, 0, id, Ballot::Yes).unwrap_err().contains("had no stake at height"));
    assert_eq!(tally(&world, id), Tally::default());
}

#[test]
fn a_number_that_follows_is_a_report_of_its_own() {
    let mut world = World::new();
    delegate(&mut world, 1, Some(0)).unwrap();
    let id = propose(&mut world, parameter("min_fee"));
    for (owner, value) in [(0, 3000), (2, 3100), (3, 1_000_000_000)] {
        vote(&mut world, owner, id, Ballot::Value(value)).unwrap();
    }
    let now = standing(&world.state, &get(&world, id)).unwrap();
    assert!(now.quorum && now.voted == 4 * STAKE && now.votes.len() == 4);
    let Outcome::Parameter { value, outliers, .. } = &now.outcome else { panic!("a number") };
    assert_eq!((*value, outliers.len(), outliers[0].0), (Some(3000), 1, world.owners[3].account()));
    // What it stands at is what it is counted as.
    world.advance_to(get(&world, id).voting_end + 2);
    let counted = get(&world, id);
    assert_eq!((counted.status, counted.outcome), (now.status, Some(now.outcome)));
    assert_eq!(query::votes(&world.state, id).unwrap(), now.votes);
}

#[test]
fn delegations_that_make_no_sense_are_refused() {
    let mut world = World::new();
    assert!(delegate(&mut world, 0, Some(0)).unwrap_err().contains("must be another account"));
    assert!(delegate(&mut world, 0, None).unwrap_err().contains("delegates its votes to nobody"));
    assert!(delegate(&mut world, 6, Some(0)).unwrap_err().contains("has no stake"));
    delegate(&mut world, 0, Some(1)).unwrap();
    assert!(delegate(&mut world, 0, Some(1)).unwrap_err().contains("exists already"));
    delegate(&mut world, 0, Some(2)).unwrap();
    assert!(query::vote_delegators(&world.state, &world.owners[1].account()).unwrap().is_empty());
    assert_eq!(query::vote_delegators(&world.state, &world.owners[2].account()).unwrap(), [world.owners[0].account()]);
}

/// What accounts do in a vote.
#[derive(Clone, Debug)]
enum Step {
    Stake(usize, u64),
    Unstake(usize, u64),
    Delegate(usize, Option<usize>),
    Vote(usize, Ballot),
    EndBlock,
}

fn step() -> impl Strategy<Value = Step> {
    let ballot = prop_oneof![Just(Ballot::Yes), Just(Ballot::No), Just(Ballot::Abstain), Just(Ballot::Veto)];
    prop_oneof![
        2 => (0..8usize, 1..2000u64).prop_map(|(a, n)| Step::Stake(a, n)),
        2 => (0..8usize, 1..2000u64).prop_map(|(a, n)| Step::Unstake(a, n)),
        4 => (0..8usize, prop::option::weighted(0.8, 0..8usize)).prop_map(|(a, b)| Step::Delegate(a, b)),
        4 => (0..8usize, ballot).prop_map(|(a, b)| Step::Vote(a, b)),
        2 => Just(Step::EndBlock),
    ]
}

/// Stake by account, reckoned from the delegations themselves.
fn stakes(world: &World) -> BTreeMap<AccountId, u64> {
    world.owners.iter().map(|o| (o.account(), query::stake_of(&world.state, &o.account()).unwrap().0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// [`World`] checks after every block that money is conserved.
    #[test]
    fn no_stake_counts_twice_nor_more_than_was_eligible(
        before in prop::collection::vec(step(), 0..20),
        after in prop::collection::vec(step(), 0..60),
    ) {
        let params = assay_chain_spec::Params { gov_voting_blocks: 30, ..quick_params() };
        let mut world = World::with(params);
        let validator = world.validators[0].account();
        let play = |world: &mut World, id: u64, steps: &[Step]| {
            for step in steps {
                if id > 0 && world.height() >= get(world, id).voting_end {
                    break;
                }
                let (owner, action) = match step {
                    Step::Stake(a, n) => (*a, Action::Stake { validator, amount: Amount::asy(*n) }),
                    Step::Unstake(a, n) => (*a, Action::Unstake { validator, amount: Amount::asy(*n) }),
                    Step::Delegate(a, b) => (*a, Action::DelegateVote { to: b.map(|b| world.owners[b].account()) }),
                    Step::Vote(a, ballot) => (*a, Action::Vote { proposal: id, ballot: *ballot }),
                    Step::EndBlock => {
                        world.block(&[]);
                        continue;
                    }
                };
                let owner = world.owners[owner].clone();
                // Much of it is refused, which is as good.
                let _ = world.run(&owner, action);
            }
        };
        play(&mut world, 0, &before);
        let id = propose(&mut world, ProposalKind::Choice);
        let snapshot = stakes(&world);
        play(&mut world, id, &after);
        let proposal = get(&world, id);
        let now = standing(&world.state, &proposal).unwrap();
        prop_assert!(now.voted <= proposal.eligible);
        prop_assert_eq!(proposal.eligible, snapshot.values().sum::<u64>());
        let cast = query::votes(&world.state, id).unwrap();
        for pair in now.votes.windows(2) {
            prop_assert!(pair[0].0 < pair[1].0, "each account once");
        }
        for (account, vote) in &now.votes {
            let now = query::stake_of(&world.state, account).unwrap().0;
            prop_assert_eq!(vote.stake, snapshot[account].min(now), "the stake of the snapshot that is still there");
            let own = cast.iter().find(|(voter, _)| voter == account);
            match (vote.via, own) {
                (None, Some((_, own))) => prop_assert_eq!((own.ballot, own.height), (vote.ballot, vote.height)),
                (Some(via), None) => {
                    prop_assert_eq!(query::vote_delegation(&world.state, account).unwrap().unwrap().to, via);
                    let theirs = cast.iter().find(|(voter, _)| *voter == via).unwrap();
                    prop_assert_eq!(theirs.1.ballot, vote.ballot);
                }
                other => prop_assert!(false, "{account} counts as {other:?}"),
            }
        }
        // Whoever had stake and a delegate that voted is counted.
        for (account, stake) in &snapshot {
            let stake = &query::stake_of(&world.state, account).unwrap().0.min(*stake);
            if *stake == 0 {
                continue;
            }
            let to = query::vote_delegation(&world.state, account).unwrap().map(|d| d.to);
            let voted = |who: &AccountId| cast.iter().any(|(voter, _)| voter == who);
            let counts = voted(account) || to.is_some_and(|to| voted(&to));
            prop_assert_eq!(now.votes.iter().any(|(voter, vote)| voter == account && vote.stake == *stake), counts);
        }
        world.advance_to(proposal.voting_end + 2);
        prop_assert_eq!(query::votes(&world.state, id).unwrap(), now.votes);
        let Some(Outcome::Choice { tally, .. }) = get(&world, id).outcome else { panic!("a tally") };
        prop_assert_eq!(tally.yes + tally.no + tally.abstain + tally.veto, now.voted);
    }
}
