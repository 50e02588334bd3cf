//! Relations of random graphs: honest traces satisfy them and give what the executor gives.

use super::*;
use crate::{
    exec,
    graph::sample::{self, KINDS, Sample},
};

fn honest(sample: &Sample, what: &str) -> (Relations, Trace) {
    let relations = Relations::of(&sample.graph).unwrap_or_else(|e| panic!("{what}: {e}"));
    let trace =
        relations.trace(&sample.graph, &sample.weights, &sample.inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
    let outputs = exec::run(&sample.graph, &sample.weights, &sample.inputs).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(relations.outputs_of(&trace), outputs, "{what}");
    if let Err(e) = relations.satisfied(&trace, &sample.weights, &sample.inputs, &outputs) {
        panic!("{what}: {e}");
    }
    for (at, (column, values)) in relations.columns.iter().zip(&trace.columns).enumerate() {
        let outside = values.iter().find(|&&value| !(column.low..=column.high).contains(&value));
        assert_eq!(outside, None, "{what}: column {at}, {column:?}");
    }
    (relations, trace)
}

#[test]
fn the_trace_of_every_operation_satisfies_its_relations_and_gives_what_the_executor_gives() {
    for kind in KINDS {
        for seed in 0..60 {
            honest(&sample::one(kind, seed), &format!("{kind:?} {seed}"));
        }
    }
}

#[test]
fn the_trace_of_a_random_graph_satisfies_its_relations_and_gives_what_the_executor_gives() {
    for seed in 0..150 {
        honest(&sample::random(seed, 1 + seed as usize % 20), &format!("random {seed}"));
    }
}
