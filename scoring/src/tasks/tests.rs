use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{
    criteria::{Case as _, Criterion},
    text::{
        Arrived, Known, TextCase,
        known::{Format, Match},
        surface::Length,
    },
};

fn seed(epoch: u64) -> EpochSeed {
    EpochSeed { genesis: Hash32([1; 32]), randomness: Hash32([2; 32]), secret: Hash32([3; 32]), epoch }
}

/// The known answer, as a model would say it.
fn right(known: &Known) -> String {
    match known {
        Known::Words { accepted, .. } => accepted[0].clone(),
        Known::Number(number) => number.to_string(),
        Known::Record(value) => value.to_string(),
        Known::Meaning(text) => text.clone(),
        Known::Nothing => panic!("every drawn task has a known answer"),
    }
}

#[test]
fn the_same_seed_draws_the_same_and_any_other_draws_another() {
    let source = TaskSource::shipped();
    let miner = AccountId([1; 32]);
    let task = source.attempt(&seed(5), Some(&miner), 0, 0);
    assert_eq!(task, source.attempt(&seed(5), Some(&miner), 0, 0));
    let prompt = |seed: &EpochSeed, miner, index| source.attempt(seed, miner, index, 0).task.prompt;
    let other = AccountId([2; 32]);
    for different in [
        prompt(&seed(6), Some(&miner), 0),
        prompt(&seed(5), Some(&other), 0),
        prompt(&seed(5), None, 0),
        prompt(&seed(5), Some(&miner), 1),
        prompt(&EpochSeed { secret: Hash32([9; 32]), ..seed(5) }, Some(&miner), 0),
        prompt(&EpochSeed { randomness: Hash32([9; 32]), ..seed(5) }, Some(&miner), 0),
    ] {
        assert_ne!(task.task.prompt, different);
    }
}

#[test]
fn no_task_is_drawn_twice_and_all_families_and_levels_are_met() {
    let source = TaskSource::shipped();
    let (mut asked, mut prompts, mut met) = (Asked::default(), BTreeSet::new(), BTreeSet::new());
    for epoch in 0..40 {
        for miner in 0..10u8 {
            for index in 0..8 {
                let drawn = source.draw(&seed(epoch), Some(&AccountId([miner; 32])), index, &mut asked).unwrap();
                assert!(prompts.insert(drawn.task.prompt), "epoch {epoch}");
                met.insert((drawn.family, drawn.level));
            }
        }
    }
    assert_eq!(met.len(), Family::ALL.len() * Level::ALL.len());
}

#[test]
fn all_miners_meet_the_same_difficulty() {
    let source = TaskSource::shipped();
    for index in 0..50 {
        let kind = |n| {
            let drawn = source.attempt(&seed(1), Some(&AccountId([n; 32])), index, 0);
            (drawn.family, drawn.level)
        };
        assert_eq!(kind(1), kind(2));
    }
}

#[test]
fn what_was_asked_is_passed_over_until_nothing_is_left() {
    let source = TaskSource::new(Glossary::shipped(), &[Family::Arithmetic]);
    let mut asked = Asked::default();
    let first = source.draw(&seed(1), None, 3, &mut asked).unwrap();
    let second = source.draw(&seed(1), None, 3, &mut asked).unwrap();
    assert!(first.attempt == 0 && second.attempt > 0 && first.task.prompt != second.task.prompt);
    let tries = (0..200).find_map(|_| source.draw(&seed(1), None, 3, &mut asked).err());
    assert_eq!(tries, Some(Exhausted { index: 3, tries: TaskSource::TRIES }));
}

proptest! {
    #[test]
    fn the_known_answer_is_right_fits_its_range_and_another_tasks_is_wrong(epoch: u64, index: u32) {
        let source = TaskSource::shipped();
        let drawn = source.attempt(&seed(epoch), None, index, 0);
        let (task, known) = (drawn.task.clone(), drawn.task.known.clone());
        let case = |text: String| TextCase::read(task.clone(), Some(Arrived { text, ..Arrived::default() }));
        let good = case(right(&known));
        let answer = good.answer().unwrap();
        prop_assert!(!Length.refutes(&good, answer));
        prop_assert!(!Format.refutes(&good, answer));
        if known.is_exact() {
            prop_assert_eq!(Match.mark(&good, answer), Some(assay_primitives::Score::ONE), "{}", task.prompt);
            let bad = case("I do not know.".to_owned());
            prop_assert!(Match.refutes(&bad, bad.answer().unwrap()), "{:?}", task);
        }
        if let (Some(schema), Known::Record(value)) = (&task.schema, &known) {
            prop_assert!(jsonschema::is_valid(schema, value));
            prop_assert!(!jsonschema::is_valid(schema, &Value::Null));
        }
    }

    #[test]
    fn naming_every_choice_is_no_answer(epoch: u64, index: u32) {
        let families = [Family::Span, Family::Classification];
        let drawn = TaskSource::new(Glossary::shipped(), &families).attempt(&seed(epoch), None, index, 0);
        let Known::Words { accepted, rivals } = &drawn.task.known else { panic!("these are answered in words") };
        if !rivals.is_empty() {
            let text = format!("{}, {}", rivals.join(", "), accepted[0]);
            let case = TextCase::read(drawn.task.clone(), Some(Arrived { text, ..Arrived::default() }));
            prop_assert!(Match.refutes(&case, case.answer().unwrap()));
        }
    }
}
