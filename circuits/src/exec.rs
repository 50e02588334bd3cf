//! The exact executor: the same bits on any machine, on any number of threads.

mod plain;

use crate::graph::{Graph, GraphError};

/// Why a graph was not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// The graph or its weights do not hold what they must.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Another number of inputs.
    #[error("{found} inputs; the model takes {expected}")]
    Count {
        /// Inputs the graph takes.
        expected: usize,
        /// Inputs given.
        found: usize,
    },
    /// An input of another length.
    #[error("input {input} of {found} values; the model takes {expected}")]
    Length {
        /// Which input.
        input: usize,
        /// Values it takes.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// An input value outside its tensor's bounds.
    #[error("input {input} has {found} at {at}; the model takes {low} to {high}")]
    Range {
        /// Which input.
        input: usize,
        /// Position.
        at: usize,
        /// Value.
        found: i64,
        /// Smallest value taken.
        low: i64,
        /// Largest value taken.
        high: i64,
    },
}

/// Checks a graph and its weights and runs it: one vector an output.
///
/// # Errors
/// [`ExecError`].
pub fn run(graph: &Graph, weights: &[Vec<i64>], inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, ExecError> {
    let tensors = run_all(graph, weights, inputs)?;
    Ok(graph.outputs.iter().map(|&id| tensors[id as usize].clone()).collect())
}

/// The same, and gives every tensor, by its position: inputs and constants too.
///
/// # Errors
/// [`ExecError`].
pub fn run_all(graph: &Graph, weights: &[Vec<i64>], inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, ExecError> {
    graph.check_weights(weights)?;
    check_inputs(graph, inputs)?;
    Ok(plain::run(graph, weights, inputs))
}

/// Whether these are inputs of the graph: as many, as long and within bounds.
///
/// # Errors
/// [`ExecError`], but for its graph.
pub fn check_inputs(graph: &Graph, inputs: &[Vec<i64>]) -> Result<(), ExecError> {
    if inputs.len() != graph.inputs.len() {
        return Err(ExecError::Count { expected: graph.inputs.len(), found: inputs.len() });
    }
    for (input, (&id, values)) in graph.inputs.iter().zip(inputs).enumerate() {
        let tensor = &graph.tensors[id as usize];
        let (low, high) = (tensor.low, tensor.high);
        if values.len() != tensor.len() {
            return Err(ExecError::Length { input, expected: tensor.len(), found: values.len() });
        }
        if let Some(at) = values.iter().position(|value| !(low..=high).contains(value)) {
            return Err(ExecError::Range { input, at, found: values[at], low, high });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::sample;

    #[test]
    fn every_tensor_keeps_its_declared_bounds() {
        let ones = sample::KINDS.into_iter().flat_map(|kind| (0..60).map(move |seed| sample::one(kind, seed)));
        let many = (0..200).map(|seed| sample::random(seed, 1 + seed as usize % 20));
        for sample in ones.chain(many) {
            for inputs in (0..4).map(|seed| sample.other_inputs(seed)).chain([sample.inputs.clone()]) {
                let tensors = run_all(&sample.graph, &sample.weights, &inputs).expect("samples are valid");
                for (tensor, values) in sample.graph.tensors.iter().zip(&tensors) {
                    assert_eq!(values.len(), tensor.len());
                    assert!(values.iter().all(|value| (tensor.low..=tensor.high).contains(value)));
                }
            }
        }
    }
}
