//! Commit, reveal and settlement.

use assay_primitives::{Amount, Keypair, Score};

use crate::{
    Event, query,
    records::{EpochReport, RevealStatus},
    treasury,
    tx::{Action, ScoreSheet},
    world::{World, key, ratio, sheet, unaudited},
};

fn with_miners(count: u64) -> (World, Vec<Keypair>) {
    let mut world = World::new();
    let mut miners: Vec<_> = (0..count).map(|i| key("miner", i)).collect();
    for miner in &miners {
        world.register_miner(4, miner).unwrap();
    }
    miners.sort_by_key(Keypair::account);
    world.advance_to_epoch(world.epoch() + 1);
    (world, miners)
}

fn add_up(report: &EpochReport) {
    let miners: u64 = report.miners.iter().map(|m| m.reward.0).sum();
    let validators: u64 = report.validators.iter().map(|v| v.reward.0).sum();
    assert_eq!(miners + validators + report.treasury.0 + report.remainder.0, report.emission.0);
}

#[test]
fn agreed_scores_pay_miners_by_score_and_validators_and_their_delegators_by_stake() {
    let (mut world, miners) = with_miners(3);
    let delegator = world.owners[6].clone();
    let validator = world.validators[0].account();
    world.run(&delegator, Action::Stake { validator, amount: Amount::asy(1000) }).unwrap();
    let given = [ratio(9, 10), ratio(3, 10), Score::ZERO];
    let scores: Vec<_> = miners.iter().map(Keypair::account).zip(given).collect();
    let (before, minted) = (world.balance(&delegator.account()), query::supply(&world.state).unwrap().minted);
    let report = world.settle(&vec![scores; 4]);
    add_up(&report);
    assert_eq!(query::supply(&world.state).unwrap().minted - minted, report.emission.0);
    assert!(report.emission.0 <= 100_000_000_000 && report.emission.0 > 99_999_999_000);
    assert_eq!(world.balance(&treasury()), report.remainder.0);
    let [good, poor, bad] = &report.miners[..] else { panic!("three miners") };
    assert_eq!([good.score, poor.score, bad.score], given);
    assert!(good.reward.0 > 2 * poor.reward.0 && poor.reward.0 > 0);
    assert_eq!((bad.reward, bad.withheld.as_deref()), (Amount::ZERO, Some("its settled score is 0")));
    assert_eq!((good.responses, good.reports.len(), good.consensus), (8, 4, true));
    let line = report.validators.iter().find(|v| v.account == validator).unwrap();
    assert_eq!((line.reveal, line.stake), (RevealStatus::Revealed, Amount::asy(2000)));
    let share = line.reward.0 - line.reward.0 / 10; // the owner's take is 1000 basis points
    assert!(world.balance(&delegator.account()).abs_diff(before + share / 2) <= 1);
    assert_eq!(world.miner(&good.account).score, given[0]);
    assert!(query::commitment(&world.state, report.epoch, 0, &validator).unwrap().is_none(), "kept only until settled");
}

#[test]
fn an_outlier_is_named_and_earns_less() {
    let (mut world, miners) = with_miners(2);
    let honest: Vec<_> = miners.iter().map(|m| (m.account(), ratio(8, 10))).collect();
    let mut lying = honest.clone();
    lying[0].1 = Score::ZERO;
    let report = world.settle(&[honest.clone(), honest.clone(), honest, lying]);
    add_up(&report);
    let liar = world.validators[3].account();
    assert_eq!(report.miners[0].score, ratio(8, 10));
    assert_eq!(report.miners[0].outliers.len(), 1);
    assert_eq!(report.miners[0].outliers[0].0, liar);
    assert!(report.miners[0].outliers[0].1.contains("Z-score"), "{}", report.miners[0].outliers[0].1);
    let reward = |id| report.validators.iter().find(|v| v.account == id).unwrap().reward;
    assert!(reward(liar) < reward(world.validators[0].account()));
}

#[test]
fn a_missing_report_costs_the_validator_its_dividend_and_the_miner_nothing() {
    let (mut world, miners) = with_miners(2);
    let all: Vec<_> = miners.iter().map(|m| (m.account(), Score::ONE)).collect();
    let partial = all[..1].to_vec();
    let report = world.settle(&[all.clone(), all.clone(), all, partial]);
    add_up(&report);
    assert_eq!(report.miners[0].incentive, report.miners[1].incentive, "equal scores earn the same");
    let dividend = |i: usize| {
        let id = world.validators[i].account();
        report.validators.iter().find(|v| v.account == id).unwrap().dividend
    };
    assert!(dividend(3) < dividend(0));
}

#[test]
fn too_few_reports_leave_the_last_score_standing() {
    let (mut world, miners) = with_miners(1);
    let all = vec![(miners[0].account(), ratio(1, 2))];
    world.settle(&vec![all.clone(); 4]);
    let other = vec![(miners[0].account(), ratio(9, 10))];
    let report = world.settle(&[other.clone(), other]);
    add_up(&report);
    assert!(!report.miners[0].consensus);
    assert_eq!((report.miners[0].score, report.miners[0].reports.len()), (ratio(1, 2), 2));
    let absent = report.validators.iter().filter(|v| v.reveal == RevealStatus::NotCommitted);
    assert!(absent.clone().count() == 2 && absent.clone().all(|v| v.reward == Amount::ZERO));
}

#[test]
fn nobody_revealing_mints_nothing() {
    let (mut world, _) = with_miners(1);
    let epoch = world.epoch();
    world.advance_to_epoch(epoch + 2);
    let report = query::epoch_report(&world.state, epoch, 0).unwrap().unwrap();
    assert_eq!((report.emission, report.miners.len()), (Amount::ZERO, 1));
    assert_eq!(query::supply(&world.state).unwrap().minted, 0);
}

#[test]
fn a_commitment_binds_and_comes_once_and_in_its_epoch() {
    let (mut world, miners) = with_miners(1);
    let (epoch, validator) = (world.epoch(), world.validators[0].clone());
    let scores = [(miners[0].account(), ratio(1, 2))];
    let sheet = sheet(&validator, epoch, &scores);
    let commitment = sheet.commitment(&world.genesis);
    let commit = |epoch| Action::CommitScores { subnet: 0, epoch, commitment };
    assert!(world.run(&validator, commit(epoch + 1)).unwrap_err().contains("it is epoch"));
    let owner = world.owners[0].clone();
    assert!(world.run(&owner, commit(epoch)).unwrap_err().contains("a validator's operator"));
    let awaited = |world: &World, key, actions: &[Action]| -> Vec<bool> {
        actions.iter().map(|action| world.awaits(key, action)).collect()
    };
    assert_eq!(awaited(&world, &validator, &[commit(epoch), commit(epoch + 1)]), [true, false]);
    assert_eq!(awaited(&world, &owner, &[commit(epoch)]), [false]);
    world.run(&validator, commit(epoch)).unwrap();
    assert_eq!(awaited(&world, &validator, &[commit(epoch)]), [false]);
    assert!(world.run(&validator, commit(epoch)).unwrap_err().contains("exists already"));
    let reveal = |sheet: &ScoreSheet| unaudited(sheet.clone());
    world.advance_to_epoch(epoch + 1);

    let other_salt = ScoreSheet { salt: [8; 32], ..sheet.clone() };
    let copier = world.validators[1].clone();
    assert!(world.run(&copier, reveal(&sheet)).unwrap_err().contains("must be signed by"));
    let copied = ScoreSheet { validator: copier.account(), ..sheet.clone() };
    assert!(world.run(&copier, reveal(&copied)).unwrap_err().contains("no commitment"));
    assert_eq!(awaited(&world, &validator, &[reveal(&sheet), reveal(&other_salt)]), [true, false]);
    assert_eq!(awaited(&world, &copier, &[reveal(&sheet), reveal(&copied)]), [false, false]);
    world.run(&validator, reveal(&sheet)).unwrap();
    assert_eq!(awaited(&world, &validator, &[reveal(&sheet)]), [false]);
    world.advance_to_epoch(epoch + 2);
    assert!(world.run(&validator, reveal(&sheet)).unwrap_err().contains("epoch after it"));
}

#[test]
fn a_reveal_that_opens_something_else_stays_visible_and_a_right_one_still_counts() {
    let (mut world, miners) = with_miners(1);
    let epoch = world.epoch();
    let (txs, sheets) = world.commits(&vec![vec![(miners[0].account(), ratio(1, 2))]; 4]);
    world.block(&txs);
    world.advance_to_epoch(epoch + 1);
    let reveal = |sheet: &ScoreSheet| unaudited(sheet.clone());
    let wrong = |sheet: &ScoreSheet| ScoreSheet { salt: [8; 32], ..sheet.clone() };
    let validators = world.validators.clone();
    let accounts: Vec<_> = validators.iter().map(Keypair::account).collect();
    for i in [2, 3] {
        let tx = world.sign(&validators[i], reveal(&wrong(&sheets[i])));
        let outcome = world.block(&[tx]);
        assert!(outcome.results[0].ok);
        let (committed, found) = (sheets[i].commitment(&world.genesis), wrong(&sheets[i]).commitment(&world.genesis));
        let event = Event::RevealMismatched { epoch, subnet: 0, validator: accounts[i], committed, found };
        assert!(outcome.events.contains(&event), "{:?}", outcome.events);
        assert!(query::reveal(&world.state, epoch, 0, &accounts[i]).unwrap().is_none());
        assert_eq!(query::commitment(&world.state, epoch, 0, &accounts[i]).unwrap().unwrap().mismatches, 1);
        assert_eq!(world.validator(&accounts[i]).attendance.mismatched, 1);
    }
    // All but the last open what they committed to, the one before it a block too late to be neat.
    let txs: Vec<_> = (0..3).map(|i| world.sign(&validators[i], reveal(&sheets[i]))).collect();
    assert!(world.block(&txs).results.iter().all(|r| r.ok));
    let again = world.run(&validators[2], reveal(&wrong(&sheets[2]))).unwrap_err();
    assert!(again.contains("exists already"), "{again}");
    let report = query::epoch_report(&world.state, epoch, 0).unwrap().unwrap();
    let line = |i: usize| report.validators.iter().find(|v| v.account == accounts[i]).unwrap();
    assert_eq!((line(0).reveal, line(0).mismatches), (RevealStatus::Revealed, 0));
    assert_eq!((line(2).reveal, line(2).mismatches), (RevealStatus::Revealed, 1));
    assert!(line(2).reward > Amount::ZERO);
    assert_eq!((line(3).reveal, line(3).mismatches, line(3).reward), (RevealStatus::Mismatched, 1, Amount::ZERO));
    let attendance = [2, 3].map(|i| world.validator(&accounts[i]).attendance);
    assert_eq!(attendance.map(|a| (a.unopened, a.missed_in_row)), [(0, 0), (1, 1)]);
}

#[test]
fn a_copied_commitment_can_be_opened_by_nobody_but_its_author() {
    let (mut world, miners) = with_miners(1);
    let (epoch, author, copier) = (world.epoch(), world.validators[0].clone(), world.validators[1].clone());
    let sheet = sheet(&author, epoch, &[(miners[0].account(), ratio(1, 2))]);
    let commitment = sheet.commitment(&world.genesis);
    for validator in [&author, &copier] {
        world.run(validator, Action::CommitScores { subnet: 0, epoch, commitment }).unwrap();
    }
    world.advance_to_epoch(epoch + 1);
    let tx = world.sign(&author, unaudited(sheet.clone()));
    world.block(&[tx]);
    // What the author revealed is public now, and opens the copy neither as it is nor under the copier's name.
    let as_it_is = unaudited(sheet.clone());
    assert!(world.run(&copier, as_it_is).unwrap_err().contains("must be signed by"));
    let renamed = ScoreSheet { validator: copier.account(), ..sheet };
    world.run(&copier, unaudited(renamed)).unwrap();
    assert!(query::reveal(&world.state, epoch, 0, &copier.account()).unwrap().is_none(), "a mismatch, no reveal");
    world.advance_to_epoch(epoch + 2);
    let report = query::epoch_report(&world.state, epoch, 0).unwrap().unwrap();
    let of = |key: &Keypair| report.validators.iter().find(|v| v.account == key.account()).unwrap().reveal;
    assert_eq!([of(&author), of(&copier)], [RevealStatus::Revealed, RevealStatus::Mismatched]);
}

#[test]
fn the_beacon_changes_with_settled_reveals_only_and_by_every_share() {
    let beacon = |world: &World| query::chain(&world.state).unwrap().randomness;
    let run = |salt: u8, present: usize| {
        let (mut world, miners) = with_miners(1);
        let (epoch, before) = (world.epoch(), beacon(&world));
        assert_eq!(before, world.genesis, "the genesis hash, until somebody reveals");
        let scores = [(miners[0].account(), ratio(1, 2))];
        let validators: Vec<_> = world.validators[..present].to_vec();
        let mut sheets: Vec<_> = validators.iter().map(|v| sheet(v, epoch, &scores)).collect();
        sheets[0].salt = [salt; 32];
        let commit =
            |s: &ScoreSheet| Action::CommitScores { subnet: 0, epoch, commitment: s.commitment(&world.genesis) };
        let txs: Vec<_> = validators.iter().zip(&sheets).map(|(v, s)| world.sign(v, commit(s))).collect();
        world.block(&txs);
        world.advance_to_epoch(epoch + 1);
        let reveal = |s: &ScoreSheet| unaudited(s.clone());
        let txs: Vec<_> = validators.iter().zip(&sheets).map(|(v, s)| world.sign(v, reveal(s))).collect();
        world.block(&txs);
        while world.height() + 1 < query::chain(&world.state).unwrap().epoch_end {
            world.block(&[]);
            assert_eq!(beacon(&world), before, "no proposer and no block moves it");
        }
        world.advance_to_epoch(epoch + 2);
        let after = beacon(&world);
        assert_ne!(after, before);
        world.advance_to_epoch(epoch + 4);
        assert_eq!(beacon(&world), after, "without new shares it stands");
        after
    };
    assert_eq!(run(1, 4), run(1, 4));
    assert_ne!(run(1, 4), run(2, 4), "one share decides");
    assert_ne!(run(1, 4), run(1, 3), "and so does its absence");
}

#[test]
fn a_missed_reveal_is_visible_and_earns_nothing() {
    let (mut world, miners) = with_miners(1);
    let epoch = world.epoch();
    let scores = vec![vec![(miners[0].account(), ratio(1, 2))]; 4];
    let (txs, sheets) = world.commits(&scores);
    world.block(&txs);
    world.advance_to_epoch(epoch + 1);
    for (i, sheet) in sheets.into_iter().take(3).enumerate() {
        let validator = world.validators[i].clone();
        let action = unaudited(sheet);
        world.run(&validator, action.clone()).unwrap();
        assert!(i > 0 || world.run(&validator, action).unwrap_err().contains("exists already"));
    }
    world.advance_to_epoch(epoch + 2);
    let report = query::epoch_report(&world.state, epoch, 0).unwrap().unwrap();
    let line = report.validators.iter().find(|v| v.account == world.validators[3].account()).unwrap();
    assert_eq!((line.reveal, line.reward), (RevealStatus::Missed, Amount::ZERO));
    assert!(report.miners[0].consensus, "three are enough");
}

#[test]
fn unsorted_repeated_and_unknown_miners_are_no_scores() {
    let (mut world, miners) = with_miners(2);
    let (epoch, validator) = (world.epoch(), world.validators.clone());
    let good = sheet(&validator[0], epoch, &[(miners[0].account(), Score::ONE), (miners[1].account(), Score::ONE)]);
    let mut reversed = ScoreSheet { validator: validator[1].account(), ..good.clone() };
    reversed.scores.reverse();
    let mut twice = ScoreSheet { validator: validator[2].account(), ..good.clone() };
    twice.scores[1].miner = twice.scores[0].miner;
    let unknown = sheet(&validator[3], epoch, &[(key("nobody", 0).account(), Score::ONE)]);
    let sheets = [good, reversed, twice, unknown];
    let commit =
        |sheet: &ScoreSheet| Action::CommitScores { subnet: 0, epoch, commitment: sheet.commitment(&world.genesis) };
    let txs: Vec<_> = validator.iter().zip(&sheets).map(|(v, sheet)| world.sign(v, commit(sheet))).collect();
    world.block(&txs);
    world.advance_to_epoch(epoch + 1);
    for (i, reason) in [(1, "must ascend"), (2, "must ascend"), (3, "no miner")] {
        let error = world.run(&validator[i], unaudited(sheets[i].clone())).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn a_score_committed_before_a_miner_registered_does_not_count_for_it() {
    let mut world = World::new();
    world.advance_to_epoch(1);
    let (epoch, miner) = (world.epoch(), key("miner", 0));
    let scores = vec![vec![(miner.account(), Score::ONE)]; 4];
    let (txs, sheets) = world.commits(&scores);
    world.block(&txs);
    world.register_miner(4, &miner).unwrap();
    world.advance_to_epoch(epoch + 1);
    for (validator, sheet) in world.validators.clone().iter().zip(sheets) {
        let tx = world.sign(validator, unaudited(sheet));
        world.block(&[tx]);
    }
    let report = query::epoch_report(&world.state, epoch, 0).unwrap().unwrap();
    assert_eq!((report.miners[0].score, report.miners[0].reports.len()), (Score::ZERO, 0));
    assert_eq!(report.miners[0].reward, Amount::ZERO);
}

#[test]
fn a_miner_that_left_or_was_slashed_earns_nothing_and_nobody_gains() {
    let (mut world, miners) = with_miners(2);
    let scores: Vec<_> = miners.iter().map(|m| (m.account(), ratio(8, 10))).collect();
    let full = world.settle(&vec![scores.clone(); 4]);
    let (txs, sheets) = world.commits(&vec![scores; 4]);
    let epoch = world.epoch();
    world.block(&txs);
    let owner = world.owners[4].clone();
    world.run(&owner, Action::RetireMiner { operator: miners[0].account() }).unwrap();
    world.advance_to_epoch(epoch + 1);
    let reveal = |(v, sheet): (&Keypair, &ScoreSheet)| world.sign(v, unaudited(sheet.clone()));
    let txs: Vec<_> = world.validators.iter().zip(&sheets).map(reveal).collect();
    world.block(&txs);
    world.advance_to_epoch(epoch + 2);
    let report = query::epoch_report(&world.state, epoch, 0).unwrap().unwrap();
    add_up(&report);
    assert_eq!(report.miners[0].reward, Amount::ZERO);
    assert!(report.miners[0].withheld.as_ref().is_some_and(|why| why.contains("left the market")));
    assert_eq!(report.miners[1].reward, full.miners[1].reward);
    assert!(report.emission < full.emission);
    world.advance_to_epoch(epoch + 3);
    let after = query::epoch_report(&world.state, epoch + 1, 0).unwrap().unwrap();
    assert_eq!(after.miners.len(), 1);
}
