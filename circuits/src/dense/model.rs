//! The committed model: a validated integer graph, its canonical bytes and its id.
//!
//! ```text
//! CompiledModel <--strict borsh--> bytes        id = BLAKE3(domain, proof parameters, bytes)
//! ```
//!
//! Bytes from outside are checked as an import is: size first, then structure, then the interval analysis, then
//! that the proof system can prove it. So whoever holds a `CompiledModel` can run and verify it without
//! a further check.

use std::sync::Arc;

use assay_primitives::{Hash32, ModelId, domain};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::dense::{
    exec::{self, ExecError},
    graph::{Graph, GraphError, INPUT_HIGH, INPUT_LOW, Interval},
    proof::halo2::{self, SetupError},
};

/// Largest encoding of a model, in bytes.
pub const MAX_MODEL_BYTES: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"ASYM";
const VERSION: u16 = 1;
const ID_DOMAIN: &str = "assay/model/1";

/// Why bytes are not a model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// More bytes than a model may have.
    #[error("model of {found} bytes; expected at most {MAX_MODEL_BYTES}")]
    TooLarge {
        /// Bytes found.
        found: usize,
    },
    /// Not the canonical encoding of a model.
    #[error("malformed model: {reason}; compile it again")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// The graph does not hold what it must.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The proof system cannot prove it.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// Why numbers are not an input of the model.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    /// Wrong number of values.
    #[error("input of {found} values; the model takes {expected}")]
    Length {
        /// Values the model takes.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// NaN or infinite.
    #[error("input value at {at} is {found}; expected a finite number")]
    NotFinite {
        /// Position.
        at: usize,
        /// Value.
        found: f32,
    },
    /// Beyond what the model was calibrated for.
    #[error("input value {found} at {at}; the model takes {low} to {high}")]
    Range {
        /// Position.
        at: usize,
        /// Value.
        found: f32,
        /// Smallest value taken.
        low: f64,
        /// Largest value taken.
        high: f64,
    },
}

/// The bytes of a model, in order. Scales are IEEE-754 bits: what one step of the integers is worth.
#[derive(BorshSerialize, BorshDeserialize)]
struct Encoded {
    magic: [u8; 4],
    version: u16,
    input_scale: u32,
    output_scale: u32,
    graph: Graph,
}

/// A validated, committed model. Cloning is cheap.
#[derive(Debug, Clone, PartialEq)]
pub struct CompiledModel {
    input_scale: f32,
    output_scale: f32,
    graph: Arc<Graph>,
    id: ModelId,
}

impl CompiledModel {
    /// Validates a graph and computes its id. Scales: the real value of one step of inputs and outputs.
    ///
    /// # Errors
    /// [`ModelError`], as for bytes from outside.
    pub fn new(graph: Graph, input_scale: f32, output_scale: f32) -> Result<Self, ModelError> {
        for (name, scale) in [("input", input_scale), ("output", output_scale)] {
            if !scale.is_normal() || scale < 0.0 {
                return Err(ModelError::Malformed {
                    reason: format!("{name} scale {scale}; expected a positive normal number"),
                });
            }
        }
        graph.validate()?;
        halo2::required_k(&graph)?;
        let mut model = Self { input_scale, output_scale, graph: Arc::new(graph), id: ModelId::default() };
        let bytes = model.to_bytes();
        if bytes.len() > MAX_MODEL_BYTES {
            return Err(ModelError::TooLarge { found: bytes.len() });
        }
        // The id is the same on every chain, so the genesis hash in the preimage is zero.
        let commitment = (halo2::parameters(), bytes);
        model.id = ModelId(domain::hash(ID_DOMAIN, &Hash32::ZERO, &commitment).0);
        Ok(model)
    }

    /// The commitment: BLAKE3 over a domain tag, the proof parameters and [`Self::to_bytes`].
    pub fn id(&self) -> ModelId {
        self.id
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let encoded = Encoded {
            magic: MAGIC,
            version: VERSION,
            input_scale: self.input_scale.to_bits(),
            output_scale: self.output_scale.to_bits(),
            graph: Graph::clone(&self.graph),
        };
        assay_primitives::encode(&encoded)
    }

    /// Reads and validates what [`Self::to_bytes`] wrote, from anyone.
    ///
    /// # Errors
    /// [`ModelError`]; never panics, and allocates no more than a small multiple of the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() > MAX_MODEL_BYTES {
            return Err(ModelError::TooLarge { found: bytes.len() });
        }
        let malformed = |reason: String| ModelError::Malformed { reason };
        if bytes.len() < 6 || bytes[..4] != MAGIC {
            return Err(malformed("it does not start with ASYM".into()));
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(malformed(format!("version {version}; expected {VERSION}")));
        }
        let encoded: Encoded = assay_primitives::decode("model", bytes).map_err(|e| malformed(e.reason))?;
        Self::new(encoded.graph, f32::from_bits(encoded.input_scale), f32::from_bits(encoded.output_scale))
    }

    /// The integer graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(crate) fn shared_graph(&self) -> Arc<Graph> {
        Arc::clone(&self.graph)
    }

    /// What the interval analysis finds at each node.
    pub fn intervals(&self) -> Vec<Interval> {
        self.graph.validate().expect("validated when the model was made")
    }

    /// Values in an input.
    pub fn input_len(&self) -> usize {
        self.graph.input_len as usize
    }

    /// Values in an output.
    pub fn output_len(&self) -> usize {
        self.graph.output_len()
    }

    /// The real value of one step of an input.
    pub fn input_scale(&self) -> f32 {
        self.input_scale
    }

    /// The real value of one step of an output: `logit = output * scale`.
    pub fn output_scale(&self) -> f32 {
        self.output_scale
    }

    /// Rounds real inputs (for the digits: pixels 0..=16) to the model's integers, halves away from zero.
    /// IEEE-754 division and rounding, so every machine agrees.
    ///
    /// # Errors
    /// [`InputError`] on a wrong length, NaN, infinity, or a value outside the calibrated range.
    pub fn quantise_input(&self, input: &[f32]) -> Result<Vec<i16>, InputError> {
        if input.len() != self.input_len() {
            return Err(InputError::Length { expected: self.input_len(), found: input.len() });
        }
        let scale = f64::from(self.input_scale);
        let (low, high) = (f64::from(INPUT_LOW), f64::from(INPUT_HIGH));
        let one = |(at, &found): (usize, &f32)| {
            if !found.is_finite() {
                return Err(InputError::NotFinite { at, found });
            }
            let step = (f64::from(found) / scale).round();
            if step < low || step > high {
                return Err(InputError::Range { at, found, low: low * scale, high: high * scale });
            }
            // In -128..=127 and integral, so the conversion is exact.
            Ok(step as i16)
        };
        input.iter().enumerate().map(one).collect()
    }

    /// The output for one quantised input, exactly; what is served and what a proof states.
    ///
    /// # Errors
    /// [`ExecError`] on a wrong length or a value outside -128..=127.
    pub fn run(&self, input: &[i16]) -> Result<Vec<i32>, ExecError> {
        exec::run(&self.graph, input)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dense::{
        exec::tests::graphs,
        graph::{Dense, MULTIPLIER_END, Node},
    };

    fn one(change: impl FnOnce(&mut Dense)) -> Result<CompiledModel, ModelError> {
        let mut dense = Dense {
            inputs: 3,
            outputs: 2,
            weights: vec![1, -2, 3, 4, 5, -6],
            bias: vec![7, -8],
            multiplier: vec![1 << 24, 1 << 23],
            low: 0,
            high: 127,
        };
        change(&mut dense);
        CompiledModel::new(Graph { input_len: 3, nodes: vec![Node::Dense(dense)] }, 0.5, 0.25)
    }

    proptest! {
        #[test]
        fn bytes_round_trip_to_the_same_model_and_id(graph in graphs()) {
            let model = CompiledModel::new(graph, 0.1, 0.2).unwrap();
            let bytes = model.to_bytes();
            let back = CompiledModel::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&back, &model);
            prop_assert_eq!(back.to_bytes(), bytes);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), headed in any::<bool>()) {
            let mut all = if headed { b"ASYM\x01\x00".to_vec() } else { Vec::new() };
            all.extend(bytes);
            let _ = CompiledModel::from_bytes(&all);
        }

        #[test]
        fn a_flipped_bit_gives_another_id_or_an_error(at in 0usize..68, bit in 0u8..8) {
            let model = one(|_| ()).unwrap();
            let mut bytes = model.to_bytes();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(other) = CompiledModel::from_bytes(&bytes) {
                prop_assert_ne!(other.id(), model.id());
            }
        }
    }

    #[test]
    fn every_truncation_and_any_trailing_byte_is_refused() {
        let bytes = one(|_| ()).unwrap().to_bytes();
        for cut in 0..bytes.len() {
            assert!(CompiledModel::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(CompiledModel::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
        let refused = CompiledModel::from_bytes(&vec![0; MAX_MODEL_BYTES + 1]);
        assert!(matches!(refused, Err(ModelError::TooLarge { .. })));
    }

    #[test]
    fn impossible_numbers_are_refused_and_the_node_is_named() {
        let message = |change: fn(&mut Dense)| one(change).unwrap_err().to_string();
        assert!(message(|d| d.weights[0] = -128).contains("node 0 (dense)"));
        assert!(message(|d| d.multiplier[1] = MULTIPLIER_END).contains("multiplier"));
        assert!(message(|d| d.bias[1] = i32::MIN).contains("channel 1: the accumulator"));
        assert!(message(|d| d.inputs = 4).contains("takes 4 values"));
        assert!(message(|d| d.outputs = 0).contains("gives 0 values"));
        assert!(message(|d| d.low = 1).contains("clamp"));
        assert!(message(|d| d.high = 0).contains("clamp"));
        assert!(
            message(|d| {
                d.weights.pop();
            })
            .contains("5 weights")
        );
        assert!(
            message(|d| {
                d.bias[0] = 2_000_000_000;
                d.multiplier[0] = MULTIPLIER_END - 1;
            })
            .contains("before its clamp")
        );
        let graph = Graph { input_len: 3, nodes: vec![] };
        assert!(CompiledModel::new(graph, 1.0, 1.0).is_err());
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-40] {
            let graph = one(|_| ()).unwrap().graph().clone();
            assert!(CompiledModel::new(graph, scale, 1.0).is_err(), "scale {scale}");
        }
    }

    #[test]
    fn an_inner_layer_may_not_give_more_than_int8() {
        let mut graph = one(|d| d.high = 128).unwrap().graph().clone();
        let second =
            Dense { inputs: 2, outputs: 1, weights: vec![1, 1], bias: vec![0], multiplier: vec![1], low: 0, high: 1 };
        graph.nodes.push(Node::Dense(second));
        let error = CompiledModel::new(graph, 1.0, 1.0).unwrap_err().to_string();
        assert!(error.contains("clamp 0..=128"), "{error}");
    }

    #[test]
    fn a_model_too_large_to_prove_is_refused() {
        let wide = Dense {
            inputs: 8,
            outputs: 4096,
            weights: vec![1; 8 * 4096],
            bias: vec![0; 4096],
            multiplier: vec![1; 4096],
            low: 0,
            high: 127,
        };
        let graph = Graph { input_len: 8, nodes: vec![Node::Dense(wide)] };
        assert!(matches!(CompiledModel::new(graph, 1.0, 1.0), Err(ModelError::Setup(_))));
    }

    #[test]
    fn inputs_that_are_not_finite_or_out_of_range_or_of_another_length_are_refused() {
        let model = one(|_| ()).unwrap();
        assert_eq!(model.quantise_input(&[0.0, 63.5, -64.0]).unwrap(), [0, 127, -128]);
        assert_eq!(model.quantise_input(&[0.24, 0.25, -0.25]).unwrap(), [0, 1, -1]);
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 64.0, -65.0, 3e38] {
            assert!(model.quantise_input(&[0.0, wrong, 0.0]).is_err(), "{wrong}");
        }
        assert_eq!(model.quantise_input(&[]), Err(InputError::Length { expected: 3, found: 0 }));
    }
}
