//! The demands themselves: no altered trace meets them all, however it is covered up.

use assay_circuits::{
    graph::sample::Rng,
    relation::{COVERS, Cover, Definition},
};

use crate::{
    cases::{Case, every_operation, full, other_values, some_cells},
    tally::{Fate, Tally},
};

fn attack(case: &Case, cells: usize, tally: &mut Tally) {
    let (relations, sample) = (&case.relations, &case.sample);
    let mut rng = Rng::new(case.cells() as u64);
    let honest = relations.satisfied(&case.trace, &sample.weights, &sample.inputs, &case.outputs);
    assert_eq!(honest, Ok(()), "{}", case.name);
    let mut check = |trace: &_, inputs: &[Vec<i64>], outputs: &[Vec<i64>], attack, what: &dyn Fn() -> String| {
        let fate = match relations.satisfied(trace, &sample.weights, inputs, outputs) {
            Ok(()) => Fate::Accepted,
            Err(_) => Fate::Rejected,
        };
        tally.count(&case.operation, attack, fate, || format!("{}: {}", case.name, what()));
    };
    for column in 0..relations.columns.len() {
        let attack = match relations.columns[column].definition {
            Definition::Witness => "witness",
            Definition::Weight(_) => "weight",
            Definition::Input(_) => "input",
            _ => "derived",
        };
        for cell in some_cells(case.trace.columns[column].len(), cells, &mut rng) {
            for value in other_values(case.trace.columns[column][cell], &mut rng) {
                for cover in if attack == "derived" { &[Cover::Left][..] } else { &COVERS[..] } {
                    let altered = relations.altered(&case.trace, column, cell, value, *cover);
                    let outputs = relations.outputs_of(&altered);
                    let what = || format!("{:?} cell {cell} to {value}, {cover:?}", relations.columns[column]);
                    check(&altered, &sample.inputs, &outputs, attack, &what);
                }
            }
        }
    }
    for at in 0..case.outputs.len() {
        for cell in some_cells(case.outputs[at].len(), cells, &mut rng) {
            let mut outputs = case.outputs.clone();
            outputs[at][cell] += 1;
            check(&case.trace, &sample.inputs, &outputs, "output", &|| format!("output {at} cell {cell}"));
        }
    }
}

#[test]
fn no_altered_cell_of_any_operation_meets_the_demands() {
    let mut tally = Tally::new("relations");
    let (seeds, cells) = if full() { (60, 12) } else { (10, 3) };
    for case in every_operation(seeds, |_| true) {
        attack(&case, cells, &mut tally);
    }
    for seed in 0..if full() { 60 } else { 6 } {
        attack(&Case::random(seed, 2 + seed as usize % 10), cells.min(4), &mut tally);
    }
    tally.finish();
}
