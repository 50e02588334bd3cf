//! Random blocks over several epochs: the books add up after each, and two machines agree on every root.

use assay_chain_spec::Params;
use assay_primitives::{AccountId, Amount, Hash32, Keypair, Score, Signed, VoteContent, VoteKind};
use proptest::prelude::*;

use crate::{
    Event, build, least_fee, query,
    tx::{Action, Ballot, Bill, Consent, Endpoint, ModelAction, ProposalKind},
    world::{World, key, quick_params, sheet, unaudited},
};

/// A step in the life of the network, drawn small so that failures shrink to something readable.
#[derive(Clone, Debug)]
enum Step {
    Transfer(u8, u8, u64),
    Stake(u8, u8, u64),
    Unstake(u8, u8, u64),
    Redelegate(u8, u8, u8, u64),
    Unjail(u8),
    Mismatch(u8),
    RegisterMiner(u8, u8),
    RetireMiner(u8, u8),
    RegisterValidator(u8, u64),
    Commit(u8),
    Reveal(u8),
    Refute(u8, bool),
    Challenge(u8, u8),
    DoubleSign(u8),
    Propose(u8, u8, bool),
    Delegate(u8, Option<u8>),
    Vote(u8, u8, u8),
    Pay(u8, u8, u64),
    EndBlock,
}

/// Amounts around what the rules compare with: nothing, one grain, some, everything, more than everything.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        1..2_000_000_000_000u64,
        Just(100_000_000_000),
        Just(1_000_000_000_000),
        Just(u64::MAX),
        any::<u64>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..8u8, 0..8u8, amount()).prop_map(|(a, b, n)| Step::Transfer(a, b, n)),
        1 => (0..8u8, 0..5u8, amount()).prop_map(|(a, v, n)| Step::Stake(a, v, n)),
        1 => (0..8u8, 0..5u8, amount()).prop_map(|(a, v, n)| Step::Unstake(a, v, n)),
        2 => (0..8u8, 0..5u8, 0..5u8, amount()).prop_map(|(a, v, w, n)| Step::Redelegate(a, v, w, n)),
        1 => (0..5u8).prop_map(Step::Unjail),
        1 => (0..4u8).prop_map(Step::Mismatch),
        1 => (0..8u8, 0..4u8).prop_map(|(a, m)| Step::RegisterMiner(a, m)),
        1 => (0..8u8, 0..4u8).prop_map(|(a, m)| Step::RetireMiner(a, m)),
        1 => (4..6u8, amount()).prop_map(|(a, n)| Step::RegisterValidator(a, n)),
        5 => (0..4u8).prop_map(Step::Commit),
        5 => (0..4u8).prop_map(Step::Reveal),
        1 => (0..4u8, any::<bool>()).prop_map(|(m, wrong)| Step::Refute(m, wrong)),
        1 => (0..4u8, 0..4u8).prop_map(|(v, m)| Step::Challenge(v, m)),
        1 => (3..5u8).prop_map(Step::DoubleSign),
        1 => (0..8u8, 0..6u8, any::<bool>()).prop_map(|(a, kind, urgent)| Step::Propose(a, kind, urgent)),
        1 => (0..8u8, prop::option::of(0..8u8)).prop_map(|(a, b)| Step::Delegate(a, b)),
        1 => (0..8u8, 1..4u8, 0..6u8).prop_map(|(a, p, b)| Step::Vote(a, p, b)),
        1 => (0..8u8, 0..4u8, amount()).prop_map(|(a, m, n)| Step::Pay(a, m, n)),
        7 => Just(Step::EndBlock),
    ]
}

fn validator(n: u8) -> Keypair {
    key("validator", u64::from(n))
}

fn miner(n: u8) -> Keypair {
    key("miner", u64::from(n))
}

/// Scores that differ by validator and miner, and are the same whenever they are asked for.
fn scores(world: &World, v: u8) -> Vec<(AccountId, Score)> {
    let miners = query::miners(&world.state, 0).unwrap();
    let score = |id: &AccountId| Score::ratio(u64::from(id.0[0] % 16) + u64::from(v), 20);
    miners.iter().map(|m| (m.operator, score(&m.operator))).collect()
}

fn action(world: &World, step: &Step) -> (Keypair, Action) {
    let owner = |n: u8| world.owners[usize::from(n)].clone();
    let endpoint = Endpoint::default();
    match *step {
        Step::Transfer(a, b, n) => (owner(a), Action::Transfer { to: owner(b).account(), amount: Amount(n) }),
        Step::Stake(a, v, n) => (owner(a), Action::Stake { validator: validator(v).account(), amount: Amount(n) }),
        Step::Unstake(a, v, n) => (owner(a), Action::Unstake { validator: validator(v).account(), amount: Amount(n) }),
        Step::Redelegate(a, v, w, n) => {
            let (from, to) = (validator(v).account(), validator(w).account());
            (owner(a), Action::Redelegate { from, to, amount: Amount(n) })
        }
        Step::Unjail(v) => (validator(v), Action::Unjail { validator: validator(v).account() }),
        Step::Mismatch(v) => {
            let sheet = sheet(&validator(v), world.epoch().saturating_sub(1), &[]);
            (validator(v), unaudited(sheet))
        }
        Step::RegisterMiner(a, m) => {
            let consent = Consent::sign(owner(a).account(), &miner(m), &world.genesis);
            let (most, operator) = (Amount::asy(100), miner(m).account());
            (owner(a), Action::RegisterMiner { subnet: 0, most, operator, consent, endpoint })
        }
        Step::RetireMiner(a, m) => (owner(a), Action::RetireMiner { operator: miner(m).account() }),
        Step::RegisterValidator(a, n) => {
            let consent = Consent::sign(owner(a).account(), &validator(4), &world.genesis);
            let operator = validator(4).account();
            (owner(a), Action::RegisterValidator { operator, consent, stake: Amount(n), take: 500, endpoint })
        }
        Step::Commit(v) => {
            let epoch = world.epoch();
            let commitment = sheet(&validator(v), epoch, &scores(world, v)).commitment(&world.genesis);
            (validator(v), Action::CommitScores { subnet: 0, epoch, commitment })
        }
        Step::Reveal(v) => {
            let sheet = sheet(&validator(v), world.epoch().saturating_sub(1), &scores(world, v));
            (validator(v), unaudited(sheet))
        }
        Step::Refute(m, wrong) => {
            let (request, response) = world.exchange(&miner(m), 1, wrong.then(|| vec![1, 1]), None);
            (owner(0), Action::Refute { request, response, proof: None })
        }
        Step::Challenge(v, m) => {
            let (request, response) = world.exchange(&miner(m), 2, None, None);
            (validator(v), Action::Challenge { request, response })
        }
        Step::DoubleSign(v) => {
            let vote = |block| {
                let (height, validator) = (world.height().max(1), validator(v).account());
                VoteContent { kind: VoteKind::Precommit, height, round: 0, block, validator }
            };
            let sign = |block| Signed::new(vote(block), &world.genesis, &validator(v));
            (owner(1), Action::DoubleSign { first: sign(None), second: sign(Some(Hash32::ZERO)) })
        }
        Step::Propose(a, kind, urgent) => {
            let model = world.model.id();
            let kinds = [
                ProposalKind::Choice,
                ProposalKind::Parameter { name: "epoch_emission".into(), subnet: None },
                ProposalKind::Text,
                ProposalKind::Model { action: ModelAction::Retire, model },
                ProposalKind::Treasury { to: owner(a).account(), amount: Amount(u64::from(a) + 1) },
                ProposalKind::Upgrade { version: 2, height: world.height() + 12 },
            ];
            let kind = kinds[usize::from(kind)].clone();
            (owner(a), Action::Propose { title: "t".into(), text: String::new(), kind, urgent })
        }
        Step::Delegate(a, b) => (owner(a), Action::DelegateVote { to: b.map(|b| owner(b).account()) }),
        Step::Vote(a, proposal, b) => {
            let ballots =
                [Ballot::Yes, Ballot::No, Ballot::Abstain, Ballot::Veto, Ballot::Value(5), Ballot::Value(500)];
            (owner(a), Action::Vote { proposal: u64::from(proposal), ballot: ballots[usize::from(b)] })
        }
        Step::Pay(a, m, n) => {
            let bill = Bill { miner: miner(m).account(), amount: Amount(n) };
            (owner(a), Action::PayUsage { bills: vec![bill] })
        }
        Step::EndBlock => unreachable!("ends the block, is no transaction"),
    }
}

/// Lives through the steps; [`World`] checks the books and the agreement of two executions after every block.
fn live(steps: &[Step]) -> (World, Vec<Event>) {
    // Small markets and short patience, so that pruning and jailing happen too.
    let params = Params { max_miners: 2, jail_after_missed: 2, jail_epochs: 1, ..quick_params() };
    let mut world = World::with(params);
    let (mut pending, mut events) = (Vec::new(), Vec::new());
    for step in steps.iter().chain(std::iter::repeat_n(&Step::EndBlock, 9)) {
        if !matches!(step, Step::EndBlock) {
            let (key, action) = action(&world, step);
            let queued =
                pending.iter().filter(|tx: &&crate::SignedTransaction| tx.body.signer == key.account()).count();
            let nonce = query::account(&world.state, &key.account()).unwrap().nonce + queued as u64;
            let fee = least_fee(&query::params(&world.state).unwrap(), &action);
            pending.push(world.sign_with(&key, action, nonce, fee));
            continue;
        }
        let mut candidates = std::mem::take(&mut pending).into_iter();
        let (chosen, built) = build(&world.state, &world.context(), &mut candidates, usize::MAX).unwrap();
        let outcome = world.block(&chosen);
        assert_eq!(outcome, built);
        events.extend(outcome.events);
    }
    (world, events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn money_is_conserved_by_whatever_a_few_transactions_do(steps in prop::collection::vec(step(), 1..16)) {
        live(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn money_is_conserved_in_every_block_and_every_machine_gets_the_same_root(steps in prop::collection::vec(step(), 1..160)) {
        let (world, _) = live(&steps);
        let (again, _) = live(&steps);
        prop_assert_eq!(world.root, again.root);
        prop_assert_eq!(&world.state, &again.state);
        let bonded: u64 = query::slashes(&world.state).unwrap().iter().map(|s| s.amount.0).sum();
        prop_assert!(bonded <= query::supply(&world.state).unwrap().burned);
    }
}

#[test]
fn a_long_random_life_reaches_every_rule() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut minted, mut slashed, mut proposals) = (0, 0, 0);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..6 {
        let steps = prop::collection::vec(step(), 600).new_tree(&mut runner).unwrap().current();
        let (world, events) = live(&steps);
        minted += query::supply(&world.state).unwrap().minted;
        slashed += query::slashes(&world.state).unwrap().len();
        proposals += query::proposals(&world.state).unwrap().len();
        seen.extend(events.iter().map(|event| format!("{event:?}").split(' ').next().unwrap().to_owned()));
        seen.extend((query::chain(&world.state).unwrap().next_redelegation > 1).then(|| "Redelegated".into()));
    }
    assert!(minted > 0, "no epoch paid");
    assert!(slashed > 0, "nobody was slashed");
    assert!(proposals > 6);
    for kind in [
        "MinerRegistered",
        "MinerPruned",
        "MinerRetired",
        "RevealMissed",
        "RevealMismatched",
        "ValidatorJailed",
        "ValidatorUnjailed",
        "Redelegated",
        "Slashed",
    ] {
        assert!(seen.contains(kind), "{kind} never happened, only {seen:?}");
    }
}
