//! Graphs to attack.

use std::sync::Arc;

use assay_circuits::{
    graph::sample::{self, KINDS, Kind, Rng, Sample},
    relation::{Definition, Relations, Trace},
};

/// A graph with an honest run.
pub(crate) struct Case {
    /// The operation, for the table.
    pub(crate) operation: String,
    /// Operation and seed, for messages.
    pub(crate) name: String,
    pub(crate) sample: Sample,
    pub(crate) relations: Arc<Relations>,
    pub(crate) trace: Trace,
    pub(crate) outputs: Vec<Vec<i64>>,
}

impl Case {
    /// Of one operation.
    pub(crate) fn one(kind: Kind, seed: u64) -> Self {
        Self::of(format!("{kind:?}"), format!("{kind:?} {seed}"), sample::one(kind, seed))
    }

    /// Of about this many operations.
    pub(crate) fn random(seed: u64, nodes: usize) -> Self {
        Self::of("many".to_owned(), format!("random {seed} of {nodes}"), sample::random(seed, nodes))
    }

    fn of(operation: String, name: String, sample: Sample) -> Self {
        let relations = Relations::of(&sample.graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        let trace = relations.trace(&sample.graph, &sample.weights, &sample.inputs).expect("a sample is valid");
        let outputs = relations.outputs_of(&trace);
        Self { operation, name, sample, relations: Arc::new(relations), trace, outputs }
    }

    /// Columns of a sort.
    pub(crate) fn columns(&self, of: impl Fn(&Definition) -> bool) -> Vec<usize> {
        let columns = self.relations.columns.iter().enumerate();
        columns.filter(|(_, column)| of(&column.definition)).map(|(at, _)| at).collect()
    }

    /// Whether the model does give these outputs on these inputs.
    pub(crate) fn is_true(&self, inputs: &[Vec<i64>], outputs: &[Vec<i64>]) -> bool {
        let trace = self.relations.trace(&self.sample.graph, &self.sample.weights, inputs);
        trace.is_ok_and(|trace| self.relations.outputs_of(&trace) == outputs)
    }

    /// What can be altered: committed cells.
    pub(crate) fn cells(&self) -> usize {
        self.relations.total().committed as usize
    }
}

/// Whether all is to be tried, not a sample.
pub(crate) fn full() -> bool {
    std::env::var("ASSAY_SOUNDNESS").is_ok_and(|value| value == "full")
}

/// Cases of every operation: for each the first `count` seeds that fit.
pub(crate) fn every_operation(count: usize, fits: impl Fn(&Case) -> bool) -> Vec<Case> {
    let of = |kind| (0..400).map(move |seed| Case::one(kind, seed)).filter(&fits).take(count).collect::<Vec<_>>();
    KINDS.into_iter().flat_map(of).collect()
}

/// Up to `count` cells of a column, the first and the last among them.
pub(crate) fn some_cells(len: usize, count: usize, rng: &mut Rng) -> Vec<usize> {
    if len <= count {
        return (0..len).collect();
    }
    let mut cells: Vec<usize> = [0, len - 1].into_iter().chain((0..count).map(|_| rng.below(len))).collect();
    cells.truncate(count);
    cells.sort_unstable();
    cells.dedup();
    cells
}

/// Other values for a cell: the next ones, its negative, one far off, one that differs in the top bit of a limb.
pub(crate) fn other_values(value: i64, rng: &mut Rng) -> Vec<i64> {
    let mut values = vec![value + 1, value - 1, value.wrapping_neg(), value ^ (1 << 15), rng.draw() as i64 >> 1];
    values.retain(|&other| other != value);
    values.dedup();
    values
}
