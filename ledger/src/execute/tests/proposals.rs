//! What each kind of proposal does: executed, failed, vetoed, without a quorum, urgent.

use assay_chain_spec::Params;
use assay_primitives::{AccountId, Amount, ModelId};

use super::governance::{decide, get, parameter, propose, try_propose, vote};
use crate::{
    Event, MAX_UPGRADE_AHEAD, keys, query,
    records::{AppVersion, Outcome, Proposal, ProposalStatus, Upgrade},
    treasury, tree,
    tx::{Action, Ballot, ModelAction, ProposalKind},
    world::{FEE, World, key, quick_params, tiny_model},
};

const YES: [Ballot; 4] = [Ballot::Yes; 4];

/// All vote yes, and the proposal's time comes.
fn enacted(world: &mut World, id: u64) -> Proposal {
    let passed = decide(world, id, YES);
    assert_eq!(passed.status, ProposalStatus::Passed);
    world.advance_to(passed.execute_at + 1);
    get(world, id)
}

fn refused(proposal: &Proposal) -> &str {
    match proposal.outcome.as_ref().unwrap() {
        Outcome::Choice { refused, .. } | Outcome::Parameter { refused, .. } => refused.as_deref().unwrap(),
    }
}

fn treasury_pays(to: AccountId, amount: u64) -> ProposalKind {
    ProposalKind::Treasury { to, amount: Amount(amount) }
}

fn fund_treasury(world: &mut World, amount: u64) {
    let giver = world.owners[6].clone();
    world.run(&giver, Action::Transfer { to: treasury(), amount: Amount(amount) }).unwrap();
}

fn register(world: &mut World, bias: i64) -> ModelId {
    let owner = world.owners[4].clone();
    let model = tiny_model(bias);
    let name = format!("tiny-{bias}");
    world.run(&owner, Action::RegisterModel { subnet: 0, name, bytes: model.to_bytes() }).unwrap();
    model.id()
}

fn model(action: ModelAction, model: ModelId) -> ProposalKind {
    ProposalKind::Model { action, model }
}

fn served(world: &World) -> Vec<ModelId> {
    query::subnet(&world.state, 0).unwrap().unwrap().models
}

fn upgrade(version: u32, height: u64) -> ProposalKind {
    ProposalKind::Upgrade { version, height }
}

#[test]
fn a_text_is_a_signal_and_changes_nothing_but_its_own_record() {
    let mut world = World::new();
    let id = propose(&mut world, ProposalKind::Text);
    let proposal = enacted(&mut world, id);
    assert_eq!(proposal.status, ProposalStatus::Executed);
    assert_eq!(query::params(&world.state).unwrap(), quick_params());
}

#[test]
fn the_treasury_pays_what_was_voted_and_nothing_where_it_has_too_little() {
    let mut world = World::new();
    let to = key("builder", 0).account();
    fund_treasury(&mut world, 500);
    let id = propose(&mut world, treasury_pays(to, 500));
    assert_eq!(enacted(&mut world, id).status, ProposalStatus::Executed);
    assert_eq!((world.balance(&to), world.balance(&treasury())), (500, 0));

    let id = propose(&mut world, treasury_pays(to, 7));
    let burned = query::supply(&world.state).unwrap().burned;
    let failed = enacted(&mut world, id);
    assert_eq!(failed.status, ProposalStatus::Failed);
    assert!(refused(&failed).contains("the treasury has 0 ASY"), "{failed:?}");
    assert_eq!((world.balance(&to), world.balance(&treasury())), (500, 0));
    assert_eq!(query::supply(&world.state).unwrap().burned, burned + 4 * FEE.0, "the deposit came back");
    assert!(query::agenda(&world.state).unwrap().passed.is_empty(), "it is tried once");
}

#[test]
fn two_payments_share_what_the_treasury_has_and_the_second_fails_whole() {
    let mut world = World::new();
    let (first, second) = (key("builder", 1).account(), key("builder", 2).account());
    fund_treasury(&mut world, 100);
    let ids = [first, second].map(|to| propose(&mut world, treasury_pays(to, 60)));
    for proposal in ids {
        let yes = |owner: &assay_primitives::Keypair| world.sign(owner, Action::Vote { proposal, ballot: Ballot::Yes });
        let votes: Vec<_> = world.owners[..4].iter().map(yes).collect();
        assert!(world.block(&votes).results.iter().all(|r| r.ok));
    }
    world.advance_to(get(&world, ids[1]).execute_at + 1);
    assert_eq!(ids.map(|id| get(&world, id).status), [ProposalStatus::Executed, ProposalStatus::Failed]);
    assert_eq!((world.balance(&first), world.balance(&second), world.balance(&treasury())), (60, 0, 40));
}

#[test]
fn a_retired_model_leaves_its_market_and_its_past_answers_are_still_challenged() {
    let mut world = World::with(Params { tempo: 30, ..quick_params() });
    let next = register(&mut world, 11);
    let old = world.model.id();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let (request, response) = world.exchange(&miner, 1, None, None);
    let id = propose(&mut world, model(ModelAction::Retire, old));
    let proposal = enacted(&mut world, id);
    assert_eq!(proposal.status, ProposalStatus::Executed);
    assert_eq!(served(&world), [next]);
    let record = query::model(&world.state, &old).unwrap().unwrap();
    assert_eq!(record.retired, Some(proposal.execute_at));
    assert_eq!(query::model_by_name(&world.state, "tiny").unwrap().unwrap().id, old, "its name stays taken");

    let (challenge, validator) = (response.id(&world.genesis), world.validators[1].clone());
    world.run(&validator, Action::Challenge { request: request.clone(), response }).unwrap();
    world.run(&miner, Action::Answer { challenge, proof: world.prove(&request) }).unwrap();

    let error = try_propose(&mut world, model(ModelAction::Retire, old), false).unwrap_err();
    assert!(error.contains("is retired since height"), "{error}");
    let id = propose(&mut world, model(ModelAction::Promote, old));
    assert_eq!(enacted(&mut world, id).status, ProposalStatus::Executed);
    assert_eq!(served(&world), [old, next], "brought back, and first");
    assert_eq!(query::model(&world.state, &old).unwrap().unwrap().retired, None);
}

#[test]
fn a_promoted_model_is_the_first_of_its_subnet() {
    let mut world = World::new();
    let (first, second, third) = (world.model.id(), register(&mut world, 11), register(&mut world, 12));
    let id = propose(&mut world, model(ModelAction::Promote, third));
    enacted(&mut world, id);
    assert_eq!(served(&world), [third, first, second]);
    let error = try_propose(&mut world, model(ModelAction::Promote, third), false).unwrap_err();
    assert!(error.contains("is the first of subnet 0 already"), "{error}");
}

#[test]
fn a_subnet_without_models_still_ends_its_epochs() {
    let mut world = World::new();
    let miner = key("miner", 0);
    world.register_miner(4, &miner).unwrap();
    let (only, id) = (world.model.id(), propose(&mut world, model(ModelAction::Retire, tiny_model(10).id())));
    enacted(&mut world, id);
    assert!(served(&world).is_empty());
    let minted = query::supply(&world.state).unwrap().minted;
    world.advance_to_epoch(world.epoch() + 3);
    assert_eq!(query::supply(&world.state).unwrap().minted, minted, "nobody was asked, nobody is paid");
    let id = propose(&mut world, model(ModelAction::Promote, only));
    enacted(&mut world, id);
    assert_eq!(served(&world), [only]);
}

#[test]
fn what_happened_since_the_vote_fails_the_second_of_two_retirements() {
    let mut world = World::new();
    let old = world.model.id();
    let id = propose(&mut world, model(ModelAction::Retire, old));
    let error = try_propose(&mut world, model(ModelAction::Retire, old), true).unwrap_err();
    assert!(error.contains("proposal 1 asks the same"), "{error}");
    let passed = decide(&mut world, id, YES);
    let again = propose(&mut world, model(ModelAction::Retire, old));
    world.advance_to(passed.execute_at + 1);
    assert_eq!(get(&world, id).status, ProposalStatus::Executed);
    let failed = enacted(&mut world, again);
    assert_eq!(failed.status, ProposalStatus::Failed);
    assert!(refused(&failed).contains("is retired since height"), "{failed:?}");
}

#[test]
fn max_tx_bytes_follows_the_models_that_can_be_challenged() {
    let mut world = World::new();
    let needed = query::model(&world.state, &world.model.id()).unwrap().unwrap().answer_bytes;
    let id = propose(&mut world, model(ModelAction::Retire, tiny_model(10).id()));
    enacted(&mut world, id);
    let epoch = world.epoch();
    let lower = |world: &mut World| {
        let id = propose(world, parameter("max_tx_bytes"));
        decide(world, id, [Ballot::Value(needed - 1); 4])
    };
    assert_eq!(lower(&mut world).status, ProposalStatus::Rejected, "a challenge to its last answers may be open");
    world.advance_to_epoch(epoch + quick_params().unbonding_epochs + 2);
    let passed = lower(&mut world);
    assert_eq!(passed.status, ProposalStatus::Passed);
    world.advance_to(passed.execute_at + 1);
    let error = try_propose(&mut world, model(ModelAction::Promote, tiny_model(10).id()), false).unwrap_err();
    assert!(error.contains("max_tx_bytes"), "{error}");
}

#[test]
fn an_upgrade_is_planned_replaced_and_comes_into_force_at_its_height() {
    let mut world = World::new();
    assert_eq!(query::app_version(&world.state).unwrap(), AppVersion::default());
    let (first, second) = (world.height() + 40, world.height() + 30);
    let id = propose(&mut world, upgrade(2, first));
    enacted(&mut world, id);
    let planned = |height, proposal| Some(Upgrade { version: 2, height, proposal });
    assert_eq!(query::app_version(&world.state).unwrap().planned, planned(first, id));
    let id = propose(&mut world, upgrade(2, second));
    enacted(&mut world, id);
    let version = query::app_version(&world.state).unwrap();
    assert_eq!((version.planned, version.at(second - 1), version.at(second)), (planned(second, id), 1, 2));
    // A light client sees the plan under the state root.
    let (value, proof) = tree::prove(&world.tree, world.height(), &keys::upgrade()).unwrap();
    tree::verify_fact(&world.root, &keys::upgrade(), &value.unwrap(), &proof).unwrap();

    world.advance_to(second);
    assert_eq!(query::app_version(&world.state).unwrap().version, 1);
    let outcome = world.block(&[]);
    assert!(outcome.events.contains(&Event::Upgraded { version: 2 }));
    let version = query::app_version(&world.state).unwrap();
    assert_eq!(version, AppVersion { version: 2, since: second, planned: None });
    assert!(try_propose(&mut world, upgrade(2, second + 100), false).unwrap_err().contains("must lie in 3..=3"));
    let id = propose(&mut world, upgrade(3, second + 100));
    enacted(&mut world, id);
    let version = query::app_version(&world.state).unwrap();
    assert_eq!((version.at(second + 99), version.at(second + 100)), (2, 3));
}

#[test]
fn an_upgrade_whose_version_came_otherwise_fails() {
    let mut world = World::new();
    // Two votes on version 2 at different heights; the later one is executed once the first is in force.
    let (early, late) = (world.height() + 13, world.height() + 60);
    let first = propose(&mut world, upgrade(2, early));
    let passed = decide(&mut world, first, YES);
    let second = propose(&mut world, upgrade(2, late));
    world.advance_to(passed.execute_at + 1);
    let decided = decide(&mut world, second, YES);
    assert_eq!(decided.status, ProposalStatus::Passed);
    world.advance_to(early.max(decided.execute_at) + 1);
    let failed = get(&world, second);
    assert_eq!(failed.status, ProposalStatus::Failed, "{failed:?}");
    assert!(refused(&failed).contains("must lie in 3..=3"), "{failed:?}");
    assert_eq!(query::app_version(&world.state).unwrap().at(late), 2);
}

#[test]
fn proposals_that_make_no_sense_are_refused_when_they_are_made() {
    let mut world = World::new();
    let to = world.owners[0].account();
    for (kind, reason) in [
        (treasury_pays(to, 0), "the amount in grain must lie in"),
        (treasury_pays(treasury(), 5), "the treasury itself"),
        (model(ModelAction::Retire, ModelId([9; 32])), "there is no model"),
        (model(ModelAction::Promote, world.model.id()), "is the first of subnet 0 already"),
        (upgrade(1, 500), "must lie in 2..=2"),
        (upgrade(3, 500), "must lie in 2..=2"),
        (upgrade(2, 3), "the upgrade's height must lie in"),
        (upgrade(2, u64::MAX), "the upgrade's height must lie in"),
    ] {
        let error = try_propose(&mut world, kind.clone(), false).unwrap_err();
        assert!(error.contains(reason), "{kind:?}: {error}");
    }
    assert!(query::proposals(&world.state).unwrap().is_empty());
    let earliest = world.height() + 1 + quick_params().gov_voting_blocks + quick_params().gov_timelock_blocks + 1;
    assert!(try_propose(&mut world, upgrade(2, earliest), false).is_err());
    assert!(try_propose(&mut world, upgrade(2, earliest + 2), false).is_ok());
    let far = world.height() + 1 + quick_params().gov_voting_blocks + quick_params().gov_timelock_blocks + 2;
    assert!(try_propose(&mut world, upgrade(2, far + MAX_UPGRADE_AHEAD + 1), false).is_err());
}

#[test]
fn the_same_question_is_under_vote_once() {
    let mut world = World::new();
    let (proposer, other) = (world.owners[7].clone(), world.owners[6].clone());
    let ask = |title: &str, kind| Action::Propose { title: title.into(), text: String::new(), kind, urgent: false };
    world.run(&proposer, ask("one", ProposalKind::Text)).unwrap();
    let error = world.run(&other, ask("one", ProposalKind::Text)).unwrap_err();
    assert!(error.contains("proposal 1 asks the same and is under vote until height 5"), "{error}");
    world.run(&other, ask("two", ProposalKind::Text)).unwrap();
    world.run(&other, ask("one", ProposalKind::Choice)).unwrap();
}

#[test]
fn every_kind_can_be_vetoed_or_miss_its_quorum_and_then_does_nothing() {
    for kind in 0..4u8 {
        for missed in [false, true] {
            let mut world = World::new();
            fund_treasury(&mut world, 500);
            let (to, only) = (key("builder", 0).account(), world.model.id());
            let kind = match kind {
                0 => ProposalKind::Text,
                1 => treasury_pays(to, 500),
                2 => model(ModelAction::Retire, only),
                _ => upgrade(2, 100),
            };
            let id = propose(&mut world, kind);
            let ended = if missed {
                vote(&mut world, 0, id, Ballot::Yes).unwrap();
                world.advance_to(get(&world, id).voting_end + 2);
                get(&world, id)
            } else {
                decide(&mut world, id, [Ballot::Yes, Ballot::Yes, Ballot::Veto, Ballot::Veto])
            };
            let expected = if missed { ProposalStatus::NoQuorum } else { ProposalStatus::Vetoed };
            assert_eq!(ended.status, expected);
            world.advance_to(ended.execute_at + 3);
            assert_eq!(get(&world, id).status, expected);
            assert_eq!((world.balance(&to), world.balance(&treasury())), (0, 500));
            assert_eq!(served(&world), [only]);
            assert_eq!(query::app_version(&world.state).unwrap().planned, None);
        }
    }
}

#[test]
fn an_urgent_proposal_is_in_force_sooner_and_needs_more_agreement() {
    let params = Params { gov_timelock_blocks: 6, gov_urgent_timelock_blocks: 1, ..quick_params() };
    let mut world = World::with(params.clone());
    let urgent = |world: &mut World, kind| try_propose(world, kind, true).unwrap();
    let id = urgent(&mut world, ProposalKind::Text);
    let proposal = get(&world, id);
    assert!(proposal.urgent);
    assert_eq!((proposal.threshold, proposal.quorum), (6670, 6670));
    assert_eq!(proposal.execute_at, proposal.voting_end + 2);
    assert_eq!(enacted(&mut world, id).status, ProposalStatus::Executed);

    // Two of three would pass any other proposal, and half of the stake would be its quorum.
    let ballots = [Ballot::Yes, Ballot::Yes, Ballot::No, Ballot::Abstain];
    let id = urgent(&mut world, ProposalKind::Text);
    assert_eq!(decide(&mut world, id, ballots).status, ProposalStatus::Rejected);
    let id = propose(&mut world, ProposalKind::Text);
    assert_eq!(decide(&mut world, id, ballots).status, ProposalStatus::Passed);
    let half = |world: &mut World, id, ballot| {
        for owner in 0..2 {
            vote(world, owner, id, ballot).unwrap();
        }
        world.advance_to(get(world, id).voting_end + 2);
        get(world, id)
    };
    let id = urgent(&mut world, ProposalKind::Text);
    assert_eq!(half(&mut world, id, Ballot::Yes).status, ProposalStatus::NoQuorum);
    let id = urgent(&mut world, parameter("min_fee"));
    let missed = half(&mut world, id, Ballot::Value(5000));
    assert_eq!(missed.status, ProposalStatus::NoQuorum);
    assert!(matches!(missed.outcome, Some(Outcome::Parameter { value: None, .. })), "{missed:?}");
    let id = urgent(&mut world, parameter("min_fee"));
    let passed = decide(&mut world, id, [Ballot::Value(5000); 4]);
    world.advance_to(passed.execute_at + 1);
    assert_eq!(query::params(&world.state).unwrap().min_fee, 5000);
}

#[test]
fn votes_of_the_wrong_kind_name_what_is_expected() {
    let mut world = World::new();
    let to = world.owners[0].account();
    for (kind, name) in [
        (ProposalKind::Text, "text proposals take yes, no, abstain or veto"),
        (treasury_pays(to, 5), "treasury proposals take"),
        (upgrade(2, 500), "upgrade proposals take"),
    ] {
        let id = propose(&mut world, kind);
        let error = vote(&mut world, 0, id, Ballot::Value(5)).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn a_subnet_gets_a_value_of_its_own_that_the_chain_and_other_rules_heed() {
    let mut world = World::new();
    let own = |name: &str, subnet| ProposalKind::Parameter { name: name.into(), subnet: Some(subnet) };
    let error = try_propose(&mut world, own("tempo", 0), false).unwrap_err();
    assert!(error.contains("the whole chain's") && error.contains("kappa"), "{error}");
    assert!(try_propose(&mut world, own("kappa", 9), false).unwrap_err().contains("no subnet 9"));

    let id = propose(&mut world, own("alpha_low", 0));
    let passed = decide(&mut world, id, [Ballot::Value(58_000); 4]);
    world.advance_to(passed.execute_at + 1);
    assert_eq!(get(&world, id).status, ProposalStatus::Executed);
    let of_subnet = query::params_of(&world.state, 0).unwrap();
    assert_eq!((of_subnet.alpha_low, query::params(&world.state).unwrap().alpha_low), (58_000, 45_875));
    assert_eq!(query::subnet(&world.state, 0).unwrap().unwrap().params.get("alpha_low"), Some(&58_000));

    // The chain's upper end must stay above what the subnet has of its own.
    let id = propose(&mut world, parameter("alpha_high"));
    let lost = decide(&mut world, id, [Ballot::Value(50_000); 4]);
    assert_eq!(lost.status, ProposalStatus::Rejected);
    assert!(refused(&lost).contains("in subnet 0"), "{}", refused(&lost));
}

#[test]
fn stake_that_leaves_before_the_count_decides_nothing() {
    let mut world = World::new();
    let id = propose(&mut world, ProposalKind::Choice);
    for (owner, ballot) in [(0, Ballot::Yes), (1, Ballot::No), (2, Ballot::No)] {
        vote(&mut world, owner, id, ballot).unwrap();
    }
    let (owner, validator) = (world.owners[1].clone(), world.validators[1].account());
    world.run(&owner, Action::Unstake { validator, amount: Amount::asy(1000) }).unwrap();
    world.advance_to(get(&world, id).voting_end + 2);
    let proposal = get(&world, id);
    let Some(Outcome::Choice { tally, .. }) = &proposal.outcome else { panic!("a tally") };
    assert_eq!((tally.yes, tally.no), (Amount::asy(1000).0, Amount::asy(1000).0));
    let record = query::votes(&world.state, id).unwrap().into_iter().find(|(voter, _)| *voter == owner.account());
    assert_eq!(record.unwrap().1.stake, 0);
}
