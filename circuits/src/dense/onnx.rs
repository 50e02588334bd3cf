//! Reads an ONNX file into a chain of float layers, or says what stands in the way.
//!
//! ```text
//! bytes --size limit, protobuf--> ModelProto --types, shapes, operations--> Network
//! ```
//!
//! Supported is what a multi-layer perceptron needs: `Gemm`, `MatMul`, `Add` of a bias, `Relu`,
//! `Flatten`, `Identity` and `Constant`, one after the other, 32-bit floats, one input and one output
//! whose first dimension is the batch. Everything else is refused by the name of the operation and
//! of the node.

mod chain;
mod proto;
mod tensor;

use chain::Reader;
use prost::Message;
use proto::ModelProto;

/// Largest ONNX file that is parsed, in bytes.
pub const MAX_ONNX_BYTES: usize = 4 << 20;

/// The operations that are read, as named in errors.
pub const SUPPORTED: &str = "Gemm, MatMul, Add, Relu, Flatten, Identity, Constant";

/// Operator-set versions in which the supported operations mean the same.
const OPSETS: std::ops::RangeInclusive<i64> = 9..=23;

/// Why an ONNX file was not read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OnnxError {
    /// The file is larger than the reader accepts.
    #[error("ONNX file of {found} bytes: expected at most {limit}")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// Bytes accepted.
        limit: usize,
    },
    /// Not a protobuf, or one cut short.
    #[error("not a readable ONNX file ({reason}); it is truncated, damaged or of another format: export it again")]
    Malformed {
        /// What the decoder says.
        reason: String,
    },
    /// An operation the integer graph does not have.
    #[error("unsupported operation {op} at node '{node}'; supported: {SUPPORTED}")]
    UnsupportedOperation {
        /// The operation's type, with its domain where that is not ONNX's own.
        op: String,
        /// The node's name, or its first output where it has none.
        node: String,
    },
    /// A known operation used in a way that is not supported.
    #[error("node '{node}' ({op}): {reason}")]
    Node {
        /// The operation's type.
        op: String,
        /// The node's name, or its first output where it has none.
        node: String,
        /// Expected and found.
        reason: String,
    },
    /// Something about the model as a whole.
    #[error("ONNX model: {reason}")]
    Model {
        /// Expected and found.
        reason: String,
    },
    /// A constant tensor that cannot be used.
    #[error("tensor '{name}': {reason}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// Expected and found.
        reason: String,
    },
}

/// One dense layer in floats: `y = W x + b`, then ReLU where `relu` holds.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatDense {
    /// The ONNX node that holds the weights, for messages.
    pub name: String,
    /// Length of `x`.
    pub inputs: usize,
    /// Length of `y`.
    pub outputs: usize,
    /// `outputs` rows of `inputs` weights.
    pub weights: Vec<f32>,
    /// `outputs` biases.
    pub bias: Vec<f32>,
    /// Whether `max(0, y)` follows.
    pub relu: bool,
}

/// A float network as read: layers that feed one another.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Length of one input.
    pub input_len: usize,
    /// At least one layer; each takes as many values as the one before it gives.
    pub layers: Vec<FloatDense>,
}

impl Network {
    /// Every layer's output for one input, in `f64`, the last being the network's.
    ///
    /// # Panics
    /// When `input` is not `input_len` long; callers check it.
    pub fn activations(&self, input: &[f32]) -> Vec<Vec<f64>> {
        assert_eq!(input.len(), self.input_len);
        let mut x: Vec<f64> = input.iter().map(|&v| f64::from(v)).collect();
        let mut all = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let y: Vec<f64> = layer
                .weights
                .chunks_exact(layer.inputs)
                .zip(&layer.bias)
                .map(|(row, &b)| {
                    let sum: f64 = row.iter().zip(&x).map(|(&w, &v)| f64::from(w) * v).sum::<f64>() + f64::from(b);
                    if layer.relu { sum.max(0.0) } else { sum }
                })
                .collect();
            all.push(y.clone());
            x = y;
        }
        all
    }
}

/// Reads the bytes of an ONNX file.
///
/// # Errors
/// [`OnnxError`]; nothing is guessed and nothing skipped.
pub fn read(bytes: &[u8]) -> Result<Network, OnnxError> {
    if bytes.len() > MAX_ONNX_BYTES {
        return Err(OnnxError::TooLarge { found: bytes.len(), limit: MAX_ONNX_BYTES });
    }
    let model = ModelProto::decode(bytes).map_err(|e| OnnxError::Malformed { reason: e.to_string() })?;
    let wrong = |reason: String| OnnxError::Model { reason };
    let opset = model.opset_import.iter().find(|o| is_onnx(&o.domain)).map(|o| o.version);
    let graph = match (&model.graph, opset) {
        (Some(graph), Some(version)) if OPSETS.contains(&version) => graph,
        (Some(_), Some(version)) => {
            return Err(wrong(format!("operator set {version}; expected {} to {}", OPSETS.start(), OPSETS.end())));
        }
        _ => {
            return Err(OnnxError::Malformed {
                reason: format!("no graph or no ONNX operator set in it (IR version {})", model.ir_version),
            });
        }
    };
    Reader::new(graph)?.chain(graph)
}

fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Names come from the file; they are cut so that an error stays readable.
fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
