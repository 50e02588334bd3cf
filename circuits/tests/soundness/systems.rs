//! Each proof system, on each operation that it supports.

use assay_circuits::{
    graph::sample::KINDS,
    proof::{ProofSystem, groth16::Groth16, halo2::Halo2, sumcheck::Sumcheck},
};

use crate::{
    attacks::{Depth, attack, cross},
    cases::{Case, every_operation, full},
    plain::Plain,
    tally::Tally,
    uncounted::Uncounted,
};

/// Attacks a system on the first samples of each operation that have at most so many committed cells.
fn attack_every_operation<S: ProofSystem>(seeds: usize, cells: usize, depth: Depth) {
    let mut tally = Tally::new(S::NAME);
    let fits = |case: &Case| case.cells() <= cells && S::supports(&case.relations).is_ok();
    let mut cases = every_operation(seeds, fits);
    cases.extend((0..200).map(|seed| Case::random(seed, 6)).filter(fits).take(seeds));
    for kind in KINDS {
        let name = format!("{kind:?}");
        if cases.iter().any(|case| case.operation == name) {
            continue;
        }
        let case = Case::one(kind, 0);
        assert!(
            S::supports(&case.relations).is_err(),
            "{name} is supported, and no case of it has {cells} cells or fewer"
        );
        tally.note(format!("{name}: not supported"));
    }
    let proofs: Vec<_> = cases.iter().map(|case| (case, attack::<S>(case, depth, &mut tally))).collect();
    cross::<S>(&proofs, &mut tally);
    tally.finish();
}

#[test]
fn nothing_untrue_is_accepted_where_all_cells_are_sent() {
    let depth = Depth {
        cells: 2,
        proofs: if full() { 4000 } else { 60 },
        bytes: if full() { 100 } else { 5 },
        models: 1,
        keys: true,
    };
    attack_every_operation::<Plain>(if full() { 8 } else { 2 }, 200, depth);
}

#[test]
fn sumcheck_accepts_nothing_untrue() {
    let depth = Depth {
        cells: 2,
        proofs: if full() { 400 } else { 12 },
        bytes: if full() { 60 } else { 3 },
        models: 1,
        keys: true,
    };
    attack_every_operation::<Sumcheck>(if full() { 6 } else { 1 }, 120, depth);
}

#[test]
fn sumcheck_with_hidden_weights_accepts_nothing_untrue() {
    let depth = Depth {
        cells: 2,
        proofs: if full() { 200 } else { 6 },
        bytes: if full() { 40 } else { 2 },
        models: 1,
        keys: true,
    };
    attack_every_operation::<Uncounted>(if full() { 4 } else { 1 }, 120, depth);
}

/// Fewer attempts: keys and proofs of these cost more.
fn costly() -> Depth {
    Depth { cells: 1, proofs: if full() { 60 } else { 4 }, bytes: if full() { 20 } else { 2 }, models: 1, keys: true }
}

#[test]
fn groth16_accepts_nothing_untrue() {
    // Its key is what a set-up gave: bytes that say which, not what must be. Whose key is a model's own is for who knows the
    // ceremony to say, and a point that a statement multiplies by 0 does not matter to that statement.
    attack_every_operation::<Groth16>(if full() { 3 } else { 1 }, 60, Depth { keys: false, ..costly() });
}

#[test]
fn halo2_accepts_nothing_untrue() {
    attack_every_operation::<Halo2>(if full() { 3 } else { 1 }, 12, costly());
}
