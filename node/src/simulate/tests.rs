//! What the table claims, on few seeds.
#![allow(clippy::unwrap_used)]

use super::*;

fn plan(attack: Attack, share: u64, keys: usize) -> Plan {
    Plan { attack, share, keys, epochs: 16, seed: 1, seeds: 2, without: BTreeSet::new() }
}

fn without(attack: Attack, share: u64, keys: usize, defences: &[Defence]) -> Plan {
    Plan { without: defences.iter().copied().collect(), ..plan(attack, share, keys) }
}

fn relative(plans: &[Plan]) -> Vec<f64> {
    simulate(plans).unwrap().rows.into_iter().map(|row| row.relative_profit).collect()
}

#[test]
fn the_same_plan_gives_the_same_rows_to_the_byte() {
    let plans = [plan(Attack::WeightCopying, 2_000, 2), plan(Attack::WithheldProof, 500, 1)];
    let text = |plans: &[Plan]| serde_json::to_string(&simulate(plans).unwrap().rows).unwrap();
    assert_eq!(text(&plans), text(&plans));
    let other = [Plan { seed: 2, ..plans[0].clone() }];
    assert_ne!(text(&plans[..1]), text(&other));
}

#[test]
fn frauds_of_miners_do_not_pay() {
    let found = relative(&[
        plan(Attack::Relay, 2_000, 2),
        plan(Attack::Precomputed, 2_000, 2),
        plan(Attack::ProofSpam, 2_000, 3),
        plan(Attack::WithheldProof, 2_000, 1),
        plan(Attack::WeightInheritance, 2_000, 1),
    ]);
    assert!(found.iter().all(|relative| *relative < 1.0), "{found:?}");
}

#[test]
fn relayed_and_repeated_answers_pay_where_proofs_bind_nobody_and_tasks_come_again() {
    let both = [Defence::ProofBinding, Defence::SeededTasks];
    let found = relative(&[
        without(Attack::Relay, 2_000, 2, &[Defence::ProofBinding]),
        without(Attack::Precomputed, 2_000, 2, &both),
    ]);
    assert!(found.iter().all(|relative| *relative > 1.0), "{found:?}");
}

#[test]
fn a_copied_hash_earns_nothing_and_many_keys_earn_what_one_does() {
    let found = relative(&[plan(Attack::CopiedCommitment, 3_300, 1), plan(Attack::SplitStake, 3_300, 5)]);
    assert!(found[0] <= 0.0, "{found:?}");
    assert!((0.9..=1.01).contains(&found[1]), "{found:?}");
}

#[test]
fn keys_of_miners_pay_only_where_their_places_are_free() {
    let found = relative(&[
        plan(Attack::SybilMiners, 2_000, 1),
        plan(Attack::SybilMiners, 2_000, 4),
        without(Attack::SybilMiners, 2_000, 4, &[Defence::BurnPrice]),
    ]);
    assert_eq!(found[0], 1.0);
    assert!(found[1] < 1.0 && found[2] > 1.0, "{found:?}");
}

#[test]
fn stake_that_comes_for_a_vote_has_no_weight_unless_it_is_told_before() {
    let found = relative(&[
        plan(Attack::FlashStake, 4_900, 2),
        without(Attack::FlashStake, 4_900, 2, &[Defence::StakeSnapshot]),
    ]);
    assert_eq!(found[0], 0.0);
    assert!(found[1] > 1.0, "{found:?}");
}

#[test]
fn keys_below_the_floor_do_not_drain_a_miner() {
    let found = relative(&[
        plan(Attack::MinerDrain, 500, 1),
        plan(Attack::MinerDrain, 500, 3),
        without(Attack::MinerDrain, 500, 3, &[Defence::Admission]),
    ]);
    assert_eq!(found, [1.0, 0.0, 6.0]);
}

#[test]
fn plans_out_of_range_are_refused_with_what_is_expected() {
    let refused = |plan: Plan| simulate(&[plan]).unwrap_err().to_string();
    assert!(refused(plan(Attack::Relay, 5_000, 1)).contains("below 0.5"));
    assert!(refused(plan(Attack::Relay, 0, 1)).contains("above 0"));
    assert!(refused(plan(Attack::Relay, 500, 0)).contains("keys must be 1 to 50"));
    assert!(refused(Plan { epochs: 0, ..plan(Attack::Relay, 500, 1) }).contains("epochs"));
    assert!(refused(Plan { seeds: 0, ..plan(Attack::Relay, 500, 1) }).contains("seeds"));
    assert!(refused(plan(Attack::SplitStake, 10, 20)).contains("validator key"));
}

#[test]
fn the_table_has_every_attack_at_every_stake_and_the_rows_without_defences() {
    let plans = plans(1, Extent::FULL);
    for attack in Attack::value_variants() {
        for share in [500, 2_000, 3_300, 4_900] {
            let rows = plans.iter().filter(|p| p.attack == *attack && p.share == share && p.without.is_empty()).count();
            assert!([1, 3].contains(&rows), "{attack:?} {share}");
        }
    }
    for defence in Defence::value_variants() {
        assert!(plans.iter().any(|p| p.without.contains(defence)), "{defence:?}");
    }
}
