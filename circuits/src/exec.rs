//! The exact executor: the same bits on any machine, on any number of threads.
//!
//! ```text
//! Graph + weights --Program::new--> Program --run--> outputs      constants folded and packed once, acts as i16
//!                                           --run_all--> every tensor
//! ```
//!
//! Integers and proved bounds leave nothing to the order of additions, the width of vectors or the number of threads.
//! [`Options::scalar`] runs the plainest code instead; tests hold both to the same bits.

mod buffer;
mod dots;
mod elementwise;
mod plain;
mod products;
mod program;
mod threads;
mod wires;

use std::{num::NonZeroUsize, sync::Arc};

use crate::graph::{Graph, GraphError};

pub use program::Program;

/// How a program runs; never what it gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Threads that it uses; rayon's own where none is said.
    pub threads: Option<NonZeroUsize>,
    /// Plain code on one thread, without vectors.
    pub scalar: bool,
}

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
    /// A flat list of another length.
    #[error("{found} values; the model {does} {expected} in all")]
    Total {
        /// Values of all inputs, or outputs.
        expected: usize,
        /// Values given.
        found: usize,
        /// "takes" of inputs, "gives" of outputs.
        does: &'static str,
    },
    /// An output value outside its tensor's bounds.
    #[error("output {output} has {found} at {at}; the model gives {low} to {high}")]
    OutputRange {
        /// Which output.
        output: usize,
        /// Position.
        at: usize,
        /// Value.
        found: i64,
        /// Smallest value given.
        low: i64,
        /// Largest value given.
        high: i64,
    },
}

/// Checks a graph and its weights and runs it: one vector an output.
///
/// # Errors
/// [`ExecError`].
pub fn run(graph: &Graph, weights: &[Vec<i64>], inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, ExecError> {
    Program::new(Arc::new(graph.clone()), weights, Options::default())?.run(inputs)
}

/// The same, and gives every tensor, by its position: inputs and constants too.
///
/// # Errors
/// [`ExecError`].
pub fn run_all(graph: &Graph, weights: &[Vec<i64>], inputs: &[Vec<i64>]) -> Result<Vec<Vec<i64>>, ExecError> {
    Program::new(Arc::new(graph.clone()), weights, Options::default())?.run_all(inputs)
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
#[allow(clippy::unwrap_used)]
mod tests;
