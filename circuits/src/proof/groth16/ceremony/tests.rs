use ark_bn254::G1Affine;
use ark_ec::{AffineRepr, CurveGroup};

use super::*;
use crate::{
    proof::{
        ProofSystem, Statement,
        groth16::{Groth16, tests::Hand},
    },
    relation::Table,
};

/// Two cells in four bits, one of them times a weight.
fn circuit(weight: i64) -> (Hand, Arc<Relations>) {
    let mut hand = Hand::default();
    let x = hand.input(&[1, 1, 2], 0, 15);
    hand.lookup(Table::Range { bits: 4 }, x, None);
    let w = hand.weight(&[1, 2, 1], vec![weight, 3]);
    let y = hand.matmul(x, w);
    hand.output(y);
    let relations = Arc::new(hand.relations.clone());
    (hand, relations)
}

struct Held {
    hand: Hand,
    relations: Arc<Relations>,
    /// After each step: start, two contributions, specialise, two contributions.
    steps: Vec<Vec<u8>>,
}

fn held() -> Held {
    let (hand, relations) = circuit(5);
    let mut steps = vec![start(&relations, &hand.weights).expect("a start")];
    for name in ["Ada", "Grace"] {
        steps.push(contribute(&steps[steps.len() - 1], name, b"dice").expect("a contribution"));
    }
    steps.push(specialise(&relations, &hand.weights, &steps[2]).expect("the second phase"));
    for name in ["Emmy", "Sofja"] {
        steps.push(contribute(&steps[steps.len() - 1], name, b"").expect("a contribution"));
    }
    Held { hand, relations, steps }
}

impl Held {
    fn last(&self) -> Transcript {
        Transcript::from_bytes(&self.steps[5]).expect("a transcript")
    }

    fn refuses(&self, what: &str, transcript: &Transcript) {
        let bytes = transcript.to_bytes();
        let found = verify(&self.relations, &self.hand.weights, &bytes);
        assert!(
            matches!(found, Err(CeremonyError::Invalid { .. } | CeremonyError::Malformed { .. })),
            "{what}: {found:?}"
        );
        assert!(finish(&self.relations, &self.hand.weights, &bytes).is_err(), "{what}");
    }
}

fn twice(point: &mut G1Affine) {
    *point = (point.into_group() + *point).into_affine();
}

#[test]
fn keys_of_a_ceremony_prove_and_say_where_they_come_from() {
    let held = held();
    let weights = &held.hand.weights;
    for step in &held.steps {
        assert_eq!(Transcript::from_bytes(step).expect("a transcript").to_bytes(), *step);
        verify(&held.relations, weights, step).expect("it holds");
    }
    let summary = verify(&held.relations, weights, &held.steps[5]).expect("it holds");
    assert_eq!(summary.first, ["Ada", "Grace"]);
    assert_eq!(summary.second, Some(vec!["Emmy".into(), "Sofja".into()]));
    let (prover, verifier) = finish(&held.relations, weights, &held.steps[5]).expect("keys");
    let provenance = Provenance::Ceremony { transcript: summary.transcript, contributors: 2 };
    assert_eq!((prover.provenance(), verifier.provenance()), (provenance, provenance));
    let bytes = Groth16::verifier_key_to_bytes(&verifier);
    assert_eq!(summary.verifier_key, Some(*blake3::hash(&bytes).as_bytes()));
    let early = verify(&held.relations, weights, &held.steps[3]).expect("it holds");
    assert_eq!(early.verifier_key, None, "the second phase has no contribution yet");
    let verifier = Groth16::verifier_key_from_bytes(held.relations.clone(), &bytes).expect("a key");
    assert_eq!(verifier.provenance(), provenance);

    let inputs = vec![vec![7, 15]];
    let trace = held.hand.trace(&inputs);
    let outputs = held.hand.outputs(&trace);
    let mut statement = Statement { binding: &[1; 32], inputs: &inputs, outputs: &outputs };
    let proof = Groth16::prove(&prover, &trace, statement).expect("a proof");
    Groth16::verify(&verifier, statement, &proof).expect("it holds");
    let other = vec![vec![81]];
    statement.outputs = &other;
    assert!(Groth16::verify(&verifier, statement, &proof).is_err());
}

#[test]
fn steps_out_of_turn_are_refused() {
    let held = held();
    let weights = &held.hand.weights;
    for step in [0, 3, 4, 5] {
        let found = specialise(&held.relations, weights, &held.steps[step]);
        assert!(matches!(found, Err(CeremonyError::OutOfTurn { .. })), "specialise after {step}");
    }
    for step in 0..5 {
        let found = finish(&held.relations, weights, &held.steps[step]);
        assert!(matches!(found, Err(CeremonyError::OutOfTurn { .. })), "finish after {step}");
    }
    for name in ["", " ", "Ada, Grace", "\u{1b}[2K", &"x".repeat(65)] {
        assert!(contribute(&held.steps[0], name, b"").is_err(), "{name:?}");
    }
}

#[test]
fn a_phase_of_one_party_gives_no_keys_and_nobody_takes_anothers_name() {
    let held = held();
    let weights = &held.hand.weights;
    let again = contribute(&held.steps[4], "Emmy", b"").expect("a contribution");
    assert!(matches!(finish(&held.relations, weights, &again), Err(CeremonyError::OutOfTurn { .. })));
    let early = specialise(&held.relations, weights, &held.steps[1]).expect("the second phase");
    let early = contribute(&contribute(&early, "Emmy", b"").expect("one"), "Sofja", b"").expect("another");
    assert_eq!(verify(&held.relations, weights, &early).expect("it holds").verifier_key, None);
    assert!(matches!(finish(&held.relations, weights, &early), Err(CeremonyError::OutOfTurn { .. })));
    let mut renamed = held.last();
    renamed.first[1].name = "Mary".into();
    held.refuses("a name in the first phase", &renamed);
    let mut renamed = held.last();
    renamed.second.as_mut().expect("it has begun").contributions[1].name = "Mary".into();
    held.refuses("the last name", &renamed);
}

#[test]
fn a_transcript_of_another_circuit_is_refused() {
    let held = held();
    let (hand, relations) = circuit(6);
    for found in [
        verify(&relations, &hand.weights, &held.steps[5]).map(|_| ()),
        specialise(&relations, &hand.weights, &held.steps[2]).map(|_| ()),
        finish(&relations, &hand.weights, &held.steps[5]).map(|_| ()),
    ] {
        assert_eq!(found, Err(CeremonyError::OtherCircuit));
    }
}

#[test]
fn bytes_cut_extended_or_altered_are_refused() {
    let held = held();
    let good = &held.steps[5];
    for length in (0..good.len()).step_by(97) {
        assert!(Transcript::from_bytes(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(Transcript::from_bytes(&[&good[..], &[0]].concat()).is_err());
    for at in (0..good.len()).step_by(211) {
        let mut other = good.clone();
        other[at] ^= 4;
        assert!(verify(&held.relations, &held.hand.weights, &other).is_err(), "byte {at}");
    }
}

#[test]
fn an_altered_contribution_is_refused() {
    let held = held();
    for phase in 0..2 {
        for at in 0..2 {
            let altered = |what: &str, change: &dyn Fn(&mut Vec<Contribution>)| {
                let mut transcript = held.last();
                match (phase, &mut transcript.second) {
                    (1, Some(second)) => change(&mut second.contributions),
                    _ => change(&mut transcript.first),
                }
                held.refuses(what, &transcript);
            };
            altered("number", &|list| twice(&mut list[at].shares[0].after));
            altered("proof", &|list| twice(&mut list[at].shares[0].proof));
            altered("factor", &|list| {
                let factor = &mut list[at].shares[0].factor;
                *factor = (factor.into_group() + *factor).into_affine();
            });
            altered("left out", &|list| {
                list.remove(at);
            });
            altered("played again", &|list| list.push(list[at].clone()));
            altered("moved", &|list| list.swap(0, 1));
            altered("none", &|list| list.clear());
        }
    }
    let mut renamed = held.last();
    renamed.first[0].name = "Eve".into();
    held.refuses("a name that others built upon", &renamed);
}

#[test]
fn altered_points_are_refused() {
    let held = held();
    for at in [0, 1, 2, 7] {
        let mut transcript = held.last();
        twice(&mut transcript.powers.tau_1[at]);
        held.refuses("tau in the first group", &transcript);
        let mut transcript = held.last();
        transcript.powers.tau_2[at] = (transcript.powers.tau_2[at] + transcript.powers.tau_2[at]).into_affine();
        held.refuses("tau in the second group", &transcript);
        let mut transcript = held.last();
        twice(&mut transcript.powers.alpha_1[at]);
        held.refuses("alpha", &transcript);
        let mut transcript = held.last();
        twice(&mut transcript.powers.beta_1[at]);
        held.refuses("beta", &transcript);
    }
    let mut transcript = held.last();
    transcript.powers.beta_2 = transcript.powers.tau_2[1];
    held.refuses("beta in the second group", &transcript);
    for at in 0..3 {
        let mut transcript = held.last();
        let powers = transcript.powers.clone();
        let Some(second) = &mut transcript.second else { panic!("a second phase") };
        match at {
            0 => second.h.iter_mut().take(1).for_each(twice),
            1 => second.l.iter_mut().rev().take(1).for_each(twice),
            _ => second.delta_2 = powers.beta_2,
        }
        held.refuses("the second phase's points", &transcript);
    }
}

#[test]
fn a_number_that_is_zero_is_refused() {
    let held = held();
    let mut transcript = held.last();
    transcript.multiply_delta(ark_bn254::Fr::from(0_u64));
    held.refuses("delta is 0", &transcript);
    let mut transcript = held.last();
    transcript.powers.multiply([0_u64, 1, 1].map(ark_bn254::Fr::from));
    held.refuses("tau is 0", &transcript);
    let mut transcript = held.last();
    transcript.first[0].shares[1].after = G1Affine::zero();
    held.refuses("alpha is 0", &transcript);
}

impl Transcript {
    fn multiply_delta(&mut self, delta: ark_bn254::Fr) {
        self.second.as_mut().expect("a second phase").multiply(delta);
    }
}
