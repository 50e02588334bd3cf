//! Proposals from deposit to execution.

use assay_primitives::{AccountId, Amount};

use crate::{
    query,
    records::{Outcome, Proposal, ProposalStatus},
    tx::{Action, Ballot, ProposalKind},
    world::{FEE, World, key, quick_params},
};

/// A proposal of the owner without stake, with a title of its own.
pub(super) fn propose(world: &mut World, kind: ProposalKind) -> u64 {
    try_propose(world, kind, false).unwrap()
}

pub(super) fn try_propose(world: &mut World, kind: ProposalKind, urgent: bool) -> Result<u64, String> {
    let proposer = world.owners[7].clone();
    let title = format!("Asked after block {}", world.height());
    world.run(&proposer, Action::Propose { title, text: "Reasons".into(), kind, urgent })?;
    Ok(query::proposals(&world.state).unwrap().last().unwrap().id)
}

pub(super) fn parameter(name: &str) -> ProposalKind {
    ProposalKind::Parameter { name: name.into(), subnet: None }
}

pub(super) fn vote(world: &mut World, owner: usize, proposal: u64, ballot: Ballot) -> Result<(), String> {
    let owner = world.owners[owner].clone();
    world.run(&owner, Action::Vote { proposal, ballot })
}

pub(super) fn get(world: &World, id: u64) -> Proposal {
    query::proposal(&world.state, id).unwrap().unwrap()
}

/// All four owners with stake vote in one block, and the votes are counted.
pub(super) fn decide(world: &mut World, id: u64, ballots: [Ballot; 4]) -> Proposal {
    let votes: Vec<_> = ballots
        .iter()
        .zip(world.owners.clone())
        .map(|(ballot, owner)| world.sign(&owner, Action::Vote { proposal: id, ballot: *ballot }))
        .collect();
    assert!(world.block(&votes).results.iter().all(|r| r.ok));
    world.advance_to(get(world, id).voting_end + 2);
    get(world, id)
}

#[test]
fn a_choice_passes_waits_and_is_executed_and_the_deposit_comes_back() {
    let mut world = World::new();
    let proposer = world.owners[7].account();
    let before = world.balance(&proposer);
    let id = propose(&mut world, ProposalKind::Choice);
    assert_eq!(world.balance(&proposer), before - quick_params().gov_deposit - FEE.0);
    assert_eq!(get(&world, id).eligible, Amount::asy(4000).0);
    let proposal = decide(&mut world, id, [Ballot::Yes, Ballot::Yes, Ballot::No, Ballot::Abstain]);
    assert_eq!(proposal.status, ProposalStatus::Passed);
    assert_eq!(world.balance(&proposer), before - FEE.0);
    let Some(Outcome::Choice { tally, .. }) = proposal.outcome else { panic!("a tally") };
    assert_eq!((tally.yes, tally.no, tally.abstain), (Amount::asy(2000).0, Amount::asy(1000).0, Amount::asy(1000).0));
    world.advance_to(proposal.execute_at);
    assert_eq!(get(&world, id).status, ProposalStatus::Passed);
    world.block(&[]);
    assert_eq!(get(&world, id).status, ProposalStatus::Executed);
}

#[test]
fn ties_lose_vetoes_and_missed_quorums_burn_the_deposit() {
    let mut world = World::new();
    let id = propose(&mut world, ProposalKind::Choice);
    let tie = decide(&mut world, id, [Ballot::Yes, Ballot::Yes, Ballot::No, Ballot::No]);
    assert_eq!(tie.status, ProposalStatus::Rejected);
    let burned = query::supply(&world.state).unwrap().burned;
    let id = propose(&mut world, ProposalKind::Choice);
    let veto = decide(&mut world, id, [Ballot::Yes, Ballot::Yes, Ballot::Veto, Ballot::Veto]);
    assert_eq!(veto.status, ProposalStatus::Vetoed);
    let id = propose(&mut world, ProposalKind::Choice);
    vote(&mut world, 0, id, Ballot::Yes).unwrap();
    world.advance_to(get(&world, id).voting_end + 2);
    assert_eq!(get(&world, id).status, ProposalStatus::NoQuorum);
    let deposits = 2 * quick_params().gov_deposit;
    assert_eq!(query::supply(&world.state).unwrap().burned - burned, deposits + 7 * FEE.0);
}

#[test]
fn a_number_settles_at_a_voted_value_names_the_outlier_and_comes_into_force() {
    let mut world = World::new();
    let id = propose(&mut world, parameter("min_fee"));
    let votes = [2000, 2500, 2000, 1_000_000_000].map(Ballot::Value);
    let proposal = decide(&mut world, id, votes);
    assert_eq!(proposal.status, ProposalStatus::Passed);
    let Some(Outcome::Parameter { value, previous, outliers, refused, .. }) = proposal.outcome else {
        panic!("a number")
    };
    assert_eq!((value, previous, refused), (Some(2000), 1000, None));
    assert_eq!(outliers.len(), 1);
    assert_eq!((outliers[0].0, outliers[0].1), (world.owners[3].account(), 1_000_000_000));
    world.advance_to(proposal.execute_at);
    assert_eq!(query::params(&world.state).unwrap().min_fee, 1000);
    world.block(&[]);
    assert_eq!(query::params(&world.state).unwrap().min_fee, 2000);
}

#[test]
fn a_changed_tempo_counts_from_the_next_epoch() {
    let mut world = World::new();
    world.block(&[]); // so that it is executed in the first block of an epoch, not in the last
    let id = propose(&mut world, parameter("tempo"));
    let proposal = decide(&mut world, id, [Ballot::Value(6); 4]);
    world.advance_to(proposal.execute_at + 1);
    let chain = query::chain(&world.state).unwrap();
    assert_eq!(query::params(&world.state).unwrap().tempo, 6);
    assert_eq!(chain.epoch_end - chain.epoch_start, 3, "the running epoch keeps its length");
    world.advance_to_epoch(chain.epoch + 1);
    let chain = query::chain(&world.state).unwrap();
    assert_eq!(chain.epoch_end - chain.epoch_start, 5);
}

#[test]
fn a_value_that_does_not_go_with_the_others_never_comes_into_force() {
    let mut world = World::new();
    let id = propose(&mut world, parameter("evidence_epochs"));
    let proposal = decide(&mut world, id, [Ballot::Value(9); 4]);
    assert_eq!(proposal.status, ProposalStatus::Rejected);
    let Some(Outcome::Parameter { value: Some(9), refused: Some(why), .. }) = proposal.outcome else {
        panic!("refused")
    };
    assert!(why.contains("unbonding_epochs"), "{why}");
    assert_eq!(query::params(&world.state).unwrap().evidence_epochs, 2);
}

#[test]
fn transactions_stay_large_enough_to_answer_a_challenge_to_any_model() {
    let mut world = World::new();
    let needed = query::models(&world.state).unwrap().into_iter().map(|model| model.answer_bytes).max().unwrap();
    let id = propose(&mut world, parameter("max_tx_bytes"));
    let proposal = decide(&mut world, id, [Ballot::Value(needed - 1); 4]);
    assert_eq!(proposal.status, ProposalStatus::Rejected);
    let Some(Outcome::Parameter { refused: Some(why), .. }) = proposal.outcome else { panic!("refused") };
    assert!(why.contains("a challenge to model"), "{why}");
    let id = propose(&mut world, parameter("max_tx_bytes"));
    let proposal = decide(&mut world, id, [Ballot::Value(needed); 4]);
    world.advance_to(proposal.execute_at + 1);
    assert_eq!(query::params(&world.state).unwrap().max_tx_bytes, needed);

    // With the least that is allowed a challenge can still be answered.
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let (request, response) = world.exchange(&miner, 1, None, None);
    let (challenge, validator) = (response.id(&world.genesis), world.validators[1].clone());
    world.run(&validator, Action::Challenge { request: request.clone(), response }).unwrap();
    world.run(&miner, Action::Answer { challenge, proof: world.prove(&request) }).unwrap();
}

#[test]
fn a_vote_needs_stake_of_the_snapshot_and_may_change_until_the_end() {
    let mut world = World::new();
    let id = propose(&mut world, ProposalKind::Choice);
    let (late, validator) = (world.owners[6].clone(), world.validators[0].account());
    world.run(&late, Action::Stake { validator, amount: Amount::asy(500) }).unwrap();
    assert!(vote(&mut world, 6, id, Ballot::Yes).unwrap_err().contains("had no stake at height 1"));
    vote(&mut world, 0, id, Ballot::Yes).unwrap();
    vote(&mut world, 0, id, Ballot::No).unwrap();
    assert_eq!(world.height(), get(&world, id).voting_end, "the last block for votes");
    let votes = query::votes(&world.state, id).unwrap();
    assert_eq!((votes.len(), votes[0].1.ballot, votes[0].1.stake), (1, Ballot::No, Amount::asy(1000).0));
    let error = vote(&mut world, 0, id, Ballot::Yes).unwrap_err();
    assert!(error.contains("were taken until height 5"), "{error}");
    assert!(vote(&mut world, 0, 77, Ballot::Yes).unwrap_err().contains("no proposal 77"));
}

#[test]
fn stake_counts_as_it_was_at_the_snapshot_whatever_moves_after() {
    let mut world = World::new();
    let (mover, validator) = (world.owners[5].clone(), world.validators[0].account());
    world.run(&mover, Action::Stake { validator, amount: Amount::asy(10) }).unwrap();
    let first = propose(&mut world, ProposalKind::Choice);
    world.run(&mover, Action::Stake { validator, amount: Amount::asy(20) }).unwrap();
    let second = propose(&mut world, ProposalKind::Choice);
    world.run(&mover, Action::Unstake { validator, amount: Amount::asy(30) }).unwrap();
    let stake =
        |world: &World, id: u64, who: &AccountId| query::stake_at(&world.state, who, get(world, id).snapshot).unwrap();
    assert_eq!(stake(&world, first, &mover.account()), Amount::asy(10).0);
    assert_eq!(stake(&world, second, &mover.account()), Amount::asy(30).0);
    assert_eq!(query::stake_of(&world.state, &mover.account()).unwrap(), Amount::ZERO);
    vote(&mut world, 5, second, Ballot::Yes).unwrap();
    assert_eq!(query::votes(&world.state, second).unwrap()[0].1.stake, Amount::asy(30).0);
    world.advance_to(get(&world, second).voting_end + 2);
    world.run(&mover, Action::Stake { validator, amount: Amount::asy(1) }).unwrap();
    let kept = crate::StateRead::scan(&world.state, &crate::keys::stake_history(&mover.account())).unwrap();
    assert!(kept.is_empty(), "no vote is open, so nothing is kept");
}

#[test]
fn malformed_proposals_and_ballots_of_the_wrong_kind_are_refused() {
    let mut world = World::new();
    let proposer = world.owners[7].clone();
    let with = |title: &str, text: usize, kind| Action::Propose {
        title: title.into(),
        text: "x".repeat(text),
        kind,
        urgent: false,
    };
    for (action, reason) in [
        (with("", 0, ProposalKind::Choice), "must lie in"),
        (with(&"x".repeat(121), 0, ProposalKind::Choice), "must lie in"),
        (with("two\nlines", 0, ProposalKind::Choice), "one line"),
        (with("x", 4097, ProposalKind::Choice), "must lie in"),
        (with("x", 0, parameter("tempa")), "no parameter"),
    ] {
        let error = world.run(&proposer, action).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    let id = propose(&mut world, ProposalKind::Choice);
    assert!(vote(&mut world, 0, id, Ballot::Value(5)).unwrap_err().contains("choice proposals take"));
    let id = propose(&mut world, parameter("tempo"));
    assert!(vote(&mut world, 0, id, Ballot::Yes).unwrap_err().contains("names a number"));
    assert!(vote(&mut world, 0, id, Ballot::Value(3)).unwrap_err().contains("must lie in 4..="));
}

#[test]
fn a_vote_is_counted_by_the_rules_it_was_opened_under() {
    let mut world = World::new();
    let rule = propose(&mut world, parameter("gov_quorum"));
    let rule = decide(&mut world, rule, [Ballot::Value(10_000); 4]);
    world.advance_to(rule.execute_at - 1);
    let id = propose(&mut world, ProposalKind::Choice);
    let ballots: Vec<_> = (0..2)
        .map(|owner| world.sign(&world.owners[owner], Action::Vote { proposal: id, ballot: Ballot::Yes }))
        .collect();
    assert!(world.block(&ballots).results.iter().all(|r| r.ok));
    assert_eq!(query::params(&world.state).unwrap().gov_quorum, 10_000);
    let proposal = get(&world, id);
    assert_eq!((proposal.quorum, proposal.threshold, proposal.veto), (4000, 5000, 3340));
    world.advance_to(proposal.voting_end + 2);
    assert_eq!(get(&world, id).status, ProposalStatus::Passed, "half of the stake voted");
}
