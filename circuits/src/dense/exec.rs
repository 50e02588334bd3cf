//! The exact executor: the one meaning of a graph. What it gives is what is served, scored and proved.

use crate::dense::graph::{Dense, Graph, INPUT_HIGH, INPUT_LOW, Node, SHIFT};

/// Why an input was not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecError {
    /// Wrong number of values.
    #[error("input of {found} values; the model takes {expected}")]
    Length {
        /// Values the model takes.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A value outside the int8 range.
    #[error(
        "input value {found} at {at}; expected {INPUT_LOW} to {INPUT_HIGH}: quantise the input with the model's scale"
    )]
    Range {
        /// Position.
        at: usize,
        /// Value.
        found: i16,
    },
}

/// What one neuron computed, with all a proof needs to know about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Requantised {
    /// `bias + sum(weight * x)`.
    pub(crate) accumulator: i64,
    /// The value before its clamp.
    pub(crate) quotient: i64,
    /// What the shift dropped, 0 to 2^SHIFT - 1.
    pub(crate) remainder: i64,
    /// The value given on.
    pub(crate) value: i16,
}

/// Applies the one rounding rule. The graph's validation rules out overflow.
pub(crate) fn requantise(accumulator: i64, multiplier: u32, low: i16, high: i16) -> Requantised {
    let scaled = accumulator * i64::from(multiplier) + (1 << (SHIFT - 1));
    let quotient = scaled >> SHIFT;
    let remainder = scaled - (quotient << SHIFT);
    let clamped = quotient.clamp(i64::from(low), i64::from(high));
    let value = i16::try_from(clamped).expect("clamped between two i16");
    Requantised { accumulator, quotient, remainder, value }
}

impl Dense {
    /// One neuron over the layer's input, which is `inputs` long.
    pub(crate) fn neuron(&self, output: usize, x: &[i16]) -> Requantised {
        let dot: i64 = self.row(output).iter().zip(x).map(|(&w, &v)| i64::from(w) * i64::from(v)).sum();
        let accumulator = dot + i64::from(self.bias[output]);
        requantise(accumulator, self.multiplier[output], self.low, self.high)
    }
}

/// Checks length and range of an input.
pub(crate) fn check_input(graph: &Graph, input: &[i16]) -> Result<(), ExecError> {
    let expected = graph.input_len as usize;
    if input.len() != expected {
        return Err(ExecError::Length { expected, found: input.len() });
    }
    match input.iter().position(|v| !(INPUT_LOW..=INPUT_HIGH).contains(v)) {
        Some(at) => Err(ExecError::Range { at, found: input[at] }),
        None => Ok(()),
    }
}

/// Runs a validated graph.
pub(crate) fn run(graph: &Graph, input: &[i16]) -> Result<Vec<i32>, ExecError> {
    check_input(graph, input)?;
    let mut x = input.to_vec();
    for Node::Dense(dense) in &graph.nodes {
        x = (0..dense.outputs as usize).map(|o| dense.neuron(o, &x).value).collect();
    }
    Ok(x.into_iter().map(i32::from).collect())
}

/// The position of the largest value; of equal ones the first. 0 for an empty slice.
pub fn argmax(output: &[i32]) -> usize {
    let mut best = 0;
    for (at, value) in output.iter().enumerate() {
        if *value > output[best] {
            best = at;
        }
    }
    best
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// The rule as written in the design, over `i128` and with a floored division.
    fn reference(graph: &Graph, input: &[i16]) -> Vec<i128> {
        let mut x: Vec<i128> = input.iter().map(|&v| i128::from(v)).collect();
        for Node::Dense(dense) in &graph.nodes {
            x = (0..dense.outputs as usize)
                .map(|o| {
                    let mut acc = i128::from(dense.bias[o]);
                    for (i, v) in x.iter().enumerate() {
                        acc += i128::from(dense.weights[o * x.len() + i]) * v;
                    }
                    let scaled = acc * i128::from(dense.multiplier[o]) + (1 << (SHIFT - 1));
                    let y = scaled.div_euclid(1 << SHIFT);
                    y.max(i128::from(dense.low)).min(i128::from(dense.high))
                })
                .collect();
        }
        x
    }

    fn dense(inputs: u32, outputs: u32, last: bool) -> impl Strategy<Value = Dense> {
        let n = outputs as usize;
        let bounds = if last {
            prop_oneof![Just((i16::MIN, i16::MAX)), Just((0, i16::MAX))]
        } else {
            prop_oneof![Just((0, 127)), Just((-128, 127))]
        };
        let size = inputs as usize * n;
        (vec(-127i8..=127, size), vec(-1_000_000i32..=1_000_000, n), vec(0u32..1 << 26, n), bounds).prop_map(
            move |(weights, bias, multiplier, (low, high))| Dense {
                inputs,
                outputs,
                weights,
                bias,
                multiplier,
                low,
                high,
            },
        )
    }

    pub(crate) fn graphs() -> impl Strategy<Value = Graph> {
        (1u32..20, 1u32..12, 1u32..6).prop_flat_map(|(a, b, c)| (dense(a, b, false), dense(b, c, true))).prop_map(
            |(first, last)| Graph { input_len: first.inputs, nodes: vec![Node::Dense(first), Node::Dense(last)] },
        )
    }

    proptest! {
        #[test]
        fn the_executor_agrees_with_a_plain_reading_of_the_rule(
            (graph, input) in graphs().prop_flat_map(|g| {
                let n = g.input_len as usize;
                (Just(g), vec(-128i16..=127, n))
            })
        ) {
            graph.validate().unwrap();
            let got: Vec<i128> = run(&graph, &input).unwrap().into_iter().map(i128::from).collect();
            prop_assert_eq!(got, reference(&graph, &input));
        }
    }

    #[test]
    fn halves_round_up_and_negative_values_floor() {
        let half = 1 << (SHIFT - 1);
        let value = |acc, m| requantise(acc, m, i16::MIN, i16::MAX).value;
        assert_eq!([value(1, half), value(3, half), value(-1, half), value(-3, half)], [1, 2, 0, -1]);
        let r = requantise(-3, half, 0, 127);
        assert_eq!((r.value, r.quotient, r.remainder), (0, -1, 0));
    }

    #[test]
    fn inputs_of_another_length_or_out_of_range_are_refused() {
        let last = Dense {
            inputs: 2,
            outputs: 1,
            weights: vec![1, 1],
            bias: vec![0],
            multiplier: vec![1 << SHIFT],
            low: -128,
            high: 127,
        };
        let graph = Graph { input_len: 2, nodes: vec![Node::Dense(last)] };
        assert_eq!(run(&graph, &[1]), Err(ExecError::Length { expected: 2, found: 1 }));
        assert_eq!(run(&graph, &[1, 128]), Err(ExecError::Range { at: 1, found: 128 }));
        assert_eq!(run(&graph, &[-128, 127]), Ok(vec![-1]));
    }

    #[test]
    fn equal_logits_name_the_lowest_class() {
        assert_eq!(argmax(&[1, 5, 5, -2]), 1);
        assert_eq!(argmax(&[-9, -9]), 0);
        assert_eq!(argmax(&[]), 0);
    }
}
