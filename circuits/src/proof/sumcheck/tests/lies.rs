//! A prover that departs from the protocol in one place and goes on as if nothing were.

use std::sync::Arc;

use p3_field::PrimeCharacteristicRing;

use super::Case;
use crate::graph::sample::{KINDS, one, random};
use crate::proof::ProofSystem;
use crate::proof::sumcheck::commitment::{Base, Ext};
use crate::proof::sumcheck::context::{Context, Failure, Polynomial, Prover};
use crate::proof::sumcheck::{Sumcheck, cells, prove, run};

/// Where to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Message(usize),
    Opening(usize),
}

struct Liar<'a> {
    prover: &'a mut Prover,
    lie: Lie,
    messages: usize,
    openings: usize,
}

impl Context for Liar<'_> {
    type Value = Ext;

    fn message(&mut self, honest: Option<Ext>) -> Result<Ext, Failure> {
        let lie = if self.lie == Lie::Message(self.messages) { Ext::ONE } else { Ext::ZERO };
        self.messages += 1;
        self.prover.message(honest.map(|h| h + lie))
    }

    fn challenge(&mut self) -> Ext {
        self.prover.challenge()
    }

    fn mul(&mut self, a: &Ext, b: &Ext) -> Result<Ext, Failure> {
        self.prover.mul(a, b)
    }

    fn assert_zero(&mut self, value: Ext, what: &'static str) -> Result<(), Failure> {
        self.prover.assert_zero(value, what)
    }

    fn open(&mut self, of: Polynomial, block: usize, point: &[Ext], value: Ext) {
        let lie = if self.lie == Lie::Opening(self.openings) { Ext::ONE } else { Ext::ZERO };
        self.openings += 1;
        self.prover.open(of, block, point, value + lie);
    }
}

#[test]
fn a_lie_in_any_message_or_opening_is_refused() {
    let mut lies = 0;
    for case in KINDS.into_iter().map(|kind| one(kind, 2)).chain([random(11, 6)]).map(|sample| Case::of(&sample)) {
        let (prover, verifier) = Sumcheck::set_up(Arc::clone(&case.relations), &case.weights).expect("it is supported");
        let cells = cells(&prover.plan, &case.trace).expect("its shapes are right");
        let told = |lie: Lie| {
            let (mut messages, mut openings) = (0, 0);
            let proof = prove(&prover, &cells, case.statement(), |prover, public| {
                let mut liar = Liar { prover, lie, messages: 0, openings: 0 };
                let done = run::run(&mut liar, &verifier.plan, public, Some(&cells));
                (messages, openings) = (liar.messages, liar.openings);
                done
            });
            let verdict = Sumcheck::verify(&verifier, case.statement(), &proof.expect("its shapes are right"));
            (verdict, messages, openings)
        };
        let (honest, messages, openings) = told(Lie::Message(usize::MAX));
        assert_eq!(honest, Ok(()));
        let step = (messages / 40).max(1);
        let told_in_messages = (0..messages).step_by(step).map(Lie::Message);
        for lie in told_in_messages.chain((0..openings).map(Lie::Opening)) {
            assert!(told(lie).0.is_err(), "{lie:?} of {messages} and {openings}");
            lies += 1;
        }
    }
    assert!(lies > 400, "{lies}");
}

#[test]
fn an_altered_multiplicity_is_refused() {
    let case = Case::of(&random(2, 8));
    let (prover, verifier) = Sumcheck::set_up(Arc::clone(&case.relations), &case.weights).expect("it is supported");
    let honest = cells(&prover.plan, &case.trace).expect("its shapes are right");
    for table in 0..honest.multiplicities.len() {
        for at in [0, honest.multiplicities[table].len() / 2] {
            let mut cells = cells(&prover.plan, &case.trace).expect("its shapes are right");
            cells.multiplicities[table][at] += Base::ONE;
            let proof = prove(&prover, &cells, case.statement(), |prover, public| {
                run::run(prover, &verifier.plan, public, Some(&cells))
            });
            let proof = proof.expect("its shapes are right");
            assert!(Sumcheck::verify(&verifier, case.statement(), &proof).is_err(), "{table} {at}");
        }
    }
}
