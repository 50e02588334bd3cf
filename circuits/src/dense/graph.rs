//! The integer graph: what is committed, run, proved and audited.
//!
//! Weights are int8 with one scale an output channel, activations int8 in an `i16` (the last layer's
//! outputs, the logits, use all of `i16`), biases `i32`, accumulators exact `i64`. One rounding rule:
//!
//! ```text
//! acc = bias + sum(weight * x)          y = clamp((acc * M_c + 2^(SHIFT-1)) >> SHIFT, low, high)
//! ```
//!
//! `>>` floors. ReLU is the clamp with `low = 0`. [`Graph::validate`] proves, from the weights alone,
//! that on every input in range each partial sum stays under 2^31 and each intermediate under
//! 2^62: the executor cannot overflow and the proof's field arithmetic cannot wrap around.

use borsh::{BorshDeserialize, BorshSerialize};

/// Binary digits after the point of the multipliers `M_c`.
pub const SHIFT: u32 = 24;
/// Smallest value of an input.
pub const INPUT_LOW: i16 = -128;
/// Largest value of an input.
pub const INPUT_HIGH: i16 = 127;
/// Most values a layer takes or gives.
pub const MAX_WIDTH: usize = 4096;
/// Most layers in a graph.
pub const MAX_LAYERS: usize = 16;
/// Most weights in a graph.
pub const MAX_WEIGHTS: usize = 1 << 17;
/// Exclusive bound of a multiplier `M_c`.
pub const MULTIPLIER_END: u32 = 1 << 30;

const ACCUMULATOR_END: i64 = 1 << 31;
const INTERMEDIATE_END: i64 = 1 << 62;
const QUOTIENT_END: i64 = 1 << 31;

/// Why a graph is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Counts that do not fit together or exceed a limit.
    #[error("graph: {reason}")]
    Shape {
        /// Expected and found.
        reason: String,
    },
    /// A node whose own numbers are unusable.
    #[error("node {node} ({name}): {reason}")]
    Node {
        /// Position in the graph.
        node: usize,
        /// What the node is.
        name: &'static str,
        /// Expected and found.
        reason: String,
    },
    /// A node on which some input could overflow the integers.
    #[error(
        "node {node} ({name}), channel {channel}: {what} may reach {found}; expected under {limit}: scale its weights or bias down"
    )]
    Overflow {
        /// Position in the graph.
        node: usize,
        /// What the node is.
        name: &'static str,
        /// Output channel.
        channel: usize,
        /// Which intermediate.
        what: &'static str,
        /// Its largest magnitude.
        found: i64,
        /// Exclusive bound.
        limit: i64,
    },
}

/// A dense layer: dot products, requantisation, clamp.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Dense {
    /// Values taken.
    pub inputs: u32,
    /// Values given.
    pub outputs: u32,
    /// `outputs` rows of `inputs` weights, each -127..=127.
    pub weights: Vec<i8>,
    /// One bias an output, in units of the accumulator.
    pub bias: Vec<i32>,
    /// `M_c`, one an output, under [`MULTIPLIER_END`].
    pub multiplier: Vec<u32>,
    /// Smallest value given.
    pub low: i16,
    /// Largest value given.
    pub high: i16,
}

/// One operation of the graph.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Node {
    /// A dense layer.
    Dense(Dense),
}

impl Node {
    /// The operation's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Node::Dense(_) => "dense",
        }
    }
}

/// A chain of nodes over one integer vector.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Graph {
    /// Length of an input; each value is [`INPUT_LOW`]..=[`INPUT_HIGH`].
    pub input_len: u32,
    /// At least one node.
    pub nodes: Vec<Node>,
}

/// What the interval analysis found at one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interval {
    /// Largest magnitude of any partial sum, over all channels and all inputs in range.
    pub accumulator: i64,
    /// Largest magnitude of the value before its clamp.
    pub quotient: i64,
}

impl Graph {
    /// Length of an output.
    pub fn output_len(&self) -> usize {
        match self.nodes.last() {
            Some(Node::Dense(dense)) => dense.outputs as usize,
            None => 0,
        }
    }

    /// Checks shapes, ranges and, by interval analysis, that nothing can overflow. Gives what was found
    /// at each node.
    ///
    /// # Errors
    /// [`GraphError`] naming the first node that does not hold.
    pub fn validate(&self) -> Result<Vec<Interval>, GraphError> {
        let shape = |reason: String| GraphError::Shape { reason };
        let mut width = self.input_len as usize;
        if width == 0 || width > MAX_WIDTH {
            return Err(shape(format!("{width} inputs; expected 1 to {MAX_WIDTH}")));
        }
        if self.nodes.is_empty() || self.nodes.len() > MAX_LAYERS {
            return Err(shape(format!("{} nodes; expected 1 to {MAX_LAYERS}", self.nodes.len())));
        }
        let mut weights = 0usize;
        let mut range = (INPUT_LOW, INPUT_HIGH);
        let mut found = Vec::with_capacity(self.nodes.len());
        for (at, Node::Dense(dense)) in self.nodes.iter().enumerate() {
            let last = at + 1 == self.nodes.len();
            found.push(dense.validate(at, width, range, last)?);
            width = dense.outputs as usize;
            range = (dense.low, dense.high);
            weights = weights.saturating_add(dense.weights.len());
        }
        if weights > MAX_WEIGHTS {
            return Err(shape(format!("{weights} weights; expected at most {MAX_WEIGHTS}")));
        }
        Ok(found)
    }
}

impl Dense {
    /// The weights of one output.
    pub fn row(&self, output: usize) -> &[i8] {
        let inputs = self.inputs as usize;
        &self.weights[output * inputs..(output + 1) * inputs]
    }

    fn validate(&self, at: usize, width: usize, (low, high): (i16, i16), last: bool) -> Result<Interval, GraphError> {
        let node = |reason: String| GraphError::Node { node: at, name: "dense", reason };
        let (inputs, outputs) = (self.inputs as usize, self.outputs as usize);
        if inputs != width {
            return Err(node(format!("takes {inputs} values; what comes before gives {width}")));
        }
        if outputs == 0 || outputs > MAX_WIDTH {
            return Err(node(format!("gives {outputs} values; expected 1 to {MAX_WIDTH}")));
        }
        if self.weights.len() != inputs * outputs || self.bias.len() != outputs || self.multiplier.len() != outputs {
            return Err(node(format!(
                "{} weights, {} biases, {} multipliers; expected {}, {outputs}, {outputs}",
                self.weights.len(),
                self.bias.len(),
                self.multiplier.len(),
                inputs * outputs
            )));
        }
        if self.weights.contains(&i8::MIN) {
            return Err(node("a weight of -128; expected -127 to 127".into()));
        }
        // Inner layers give int8; only the logits may use all of int16.
        let widest = if last { (i16::MIN, i16::MAX) } else { (INPUT_LOW, INPUT_HIGH) };
        if self.low > 0 || self.high <= 0 || self.low < widest.0 || self.high > widest.1 {
            return Err(node(format!(
                "clamp {}..={}; expected to hold 0 and lie in {}..={}",
                self.low, self.high, widest.0, widest.1
            )));
        }
        if let Some(m) = self.multiplier.iter().find(|&&m| m >= MULTIPLIER_END) {
            return Err(node(format!("multiplier {m}; expected under {MULTIPLIER_END}")));
        }
        let widest = i64::from(low).abs().max(i64::from(high).abs());
        let mut interval = Interval { accumulator: 0, quotient: 0 };
        for channel in 0..outputs {
            let bounded = |what, found, limit| {
                if found < limit {
                    Ok(found)
                } else {
                    Err(GraphError::Overflow { node: at, name: "dense", channel, what, found, limit })
                }
            };
            // At most MAX_WIDTH * 127 * 2^15 + 2^31, far inside i64.
            let sum: i64 = self.row(channel).iter().map(|&w| i64::from(w).abs()).sum();
            let accumulator = sum * widest + i64::from(self.bias[channel]).abs();
            let accumulator = bounded("the accumulator", accumulator, ACCUMULATOR_END)?;
            // Under 2^31 * 2^30 + 2^23.
            let product = accumulator * i64::from(self.multiplier[channel]) + (1 << (SHIFT - 1));
            let product = bounded("the scaled accumulator", product, INTERMEDIATE_END)?;
            let quotient = bounded("the value before its clamp", (product >> SHIFT) + 1, QUOTIENT_END)?;
            interval.accumulator = interval.accumulator.max(accumulator);
            interval.quotient = interval.quotient.max(quotient);
        }
        Ok(interval)
    }
}
