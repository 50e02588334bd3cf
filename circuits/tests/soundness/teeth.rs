//! The attacks have teeth, and no demand is idle: without any one of them, an altered trace is accepted.

use std::collections::BTreeMap;

use assay_circuits::{
    graph::sample::{KINDS, Kind, Rng},
    relation::{COVERS, Cover, Definition, Relations, Trace},
};

use crate::cases::{Case, full, other_values};

/// The Goldilocks prime.
const P: i128 = (1 << 64) - (1 << 32) + 1;

/// Element of the field as the number of least magnitude.
fn element(value: i128) -> i64 {
    let value = value.rem_euclid(P);
    (if value > P / 2 { value - P } else { value }) as i64
}

/// `value + step / 2^bits`, in the field.
fn fraction(value: i64, step: i128, bits: u32) -> i64 {
    // The inverse of 2 is (p + 1) / 2.
    element((0..bits).fold(step.rem_euclid(P), |x, _| if x % 2 == 0 { x / 2 } else { (x + P) / 2 }) + i128::from(value))
}

/// What a clever prover would put in a cell: near values, other columns' values, fractions that a shift makes whole.
fn guesses(case: &Case, column: usize, cell: usize, rng: &mut Rng) -> Vec<i64> {
    let (relations, trace) = (&case.relations, &case.trace);
    let value = trace.columns[column][cell];
    let mut guesses = other_values(value, rng);
    guesses.extend([0, 1, value + 2, value - 2, value + 16, value - 16, value + (1 << 16), value - (1 << 16)]);
    guesses.extend((0..8).map(|_| rng.between(-200, 200)));
    for bits in 1..=48 {
        guesses.extend([-1, 1].map(|step| fraction(value, step, bits)));
    }
    let shape = &relations.columns[column].shape;
    let alike = relations.columns.iter().zip(&trace.columns).filter(|(other, _)| other.shape == *shape);
    guesses.extend(alike.map(|(_, values)| values[cell]));
    guesses.sort_unstable();
    guesses.dedup();
    guesses.retain(|&guess| guess != value);
    guesses
}

/// Whether an altered trace meets all demands of `weaker`, which lacks some of the case's.
fn accepted(case: &Case, weaker: &Relations, rng: &mut Rng) -> bool {
    let meets = |trace: &Trace| {
        let outputs = weaker.outputs_of(trace);
        weaker.satisfied(trace, &case.sample.weights, &case.sample.inputs, &outputs).is_ok()
    };
    let witnesses = case.columns(|d| *d == Definition::Witness);
    let one = |&column: &usize| {
        (0..case.trace.columns[column].len().min(4)).any(|cell| {
            guesses(case, column, cell, rng).into_iter().any(|guess| {
                let altered = |cover: &Cover| case.relations.altered(&case.trace, column, cell, guess, *cover);
                COVERS.iter().any(|cover| meets(&altered(cover)))
            })
        })
    };
    if witnesses.iter().any(one) {
        return true;
    }
    // Two that make up for one another.
    let shape = |column: usize| &case.relations.columns[column].shape;
    witnesses.iter().any(|&first| {
        witnesses.iter().filter(|&&second| second > first && shape(second) == shape(first)).any(|&second| {
            (0..case.trace.columns[first].len().min(4)).any(|cell| {
                [(1, 1), (1, -1), (-1, 1), (-1, -1)].into_iter().any(|(one, other)| {
                    let mut altered = case.trace.clone();
                    altered.columns[first][cell] += one;
                    altered.columns[second][cell] += other;
                    meets(&case.relations.followed(&altered))
                })
            })
        })
    })
}

#[test]
fn without_any_one_demand_something_untrue_is_accepted() {
    // A demand, told by its operation and columns: how often it was left out, and how often that let something pass.
    let mut demands: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for kind in KINDS {
        // Few samples of this one are so far apart that they need the wider form.
        let seeds = if full() || kind == Kind::ReduceMax { 40 } else { 8 };
        for case in (0..seeds).map(|seed| Case::one(kind, seed)) {
            let mut rng = Rng::new(1);
            let relations = &*case.relations;
            let role = |column: usize| relations.columns[column].role;
            let operation = |node: usize| case.sample.graph.nodes[node].op.name();
            let mut try_without = |name: String, weaker: Relations| {
                let (tried, needed) = demands.entry(name).or_default();
                *tried += 1;
                *needed += usize::from(accepted(&case, &weaker, &mut rng));
            };
            for (at, zero) in relations.zeros.iter().enumerate() {
                let mut weaker = relations.clone();
                weaker.zeros.remove(at);
                let product =
                    |(_, columns): &(i64, Vec<usize>)| columns.iter().map(|&c| role(c)).collect::<Vec<_>>().join(" * ");
                let products: Vec<_> = zero.terms.iter().map(product).collect();
                try_without(format!("{}: {} = 0", operation(zero.node), products.join(", ")), weaker);
            }
            for (at, lookup) in relations.lookups.iter().enumerate() {
                let mut weaker = relations.clone();
                weaker.lookups.remove(at);
                let pair = lookup.y.map_or(String::new(), |y| format!(" gives {}", role(y)));
                try_without(format!("{}: {} in a table{pair}", operation(lookup.node), role(lookup.x)), weaker);
            }
        }
    }
    println!("| demand | left out | then accepted |\n|---|---:|---:|");
    demands.iter().for_each(|(name, (tried, needed))| println!("| {name} | {tried} | {needed} |"));
    let idle: Vec<_> = demands.iter().filter(|(_, (_, needed))| *needed == 0).collect();
    assert!(idle.is_empty(), "idle: {idle:?}");
}
