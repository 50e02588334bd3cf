//! ONNX bytes to the float network, or what stands in the way, by node and reason.
//!
//! ```text
//! bytes --limits, protobuf--> ModelProto --shapes, constants, lowering--> Network
//! ```
//!
//! Shapes are static: the batch is fixed at reading, shapes that depend on data are refused. Each operation comes down to
//! those of [`crate::network`] by the row of [`SUPPORTED`] it has; what depends on constants alone is worked out here, and
//! a batch normalisation is folded into the layer before it. Nothing is guessed and nothing skipped: an attribute that is
//! not known is refused, too.

mod builder;
mod call;
mod element;
mod import;
mod linear;
mod operations;
mod proto;
mod scan;
mod tensor;
mod types;
mod view;

use std::collections::BTreeMap;

use prost::Message;

use crate::network::Network;
pub use operations::{SUPPORTED, Supported};

/// Versions of ONNX's operators that are read. In the operations here those after 21 changed little but element types.
pub const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Gives `length` bytes from `offset` of a file beside the model. The path is relative, goes through no `..` and has been
/// checked; following no link out of the folder is the caller's part.
pub type External = dyn Fn(&str, u64, u64) -> Result<Vec<u8>, String>;

/// How a file is read.
pub struct Options<'a> {
    /// Size of a first axis that has no number.
    pub batch: usize,
    /// Sizes of other named axes.
    pub dimensions: BTreeMap<String, usize>,
    /// Where tensors in other files come from; without it they are refused.
    pub external: Option<&'a External>,
    /// Largest file that is parsed, in bytes.
    pub max_bytes: usize,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { batch: 1, dimensions: BTreeMap::new(), external: None, max_bytes: 512 << 20 }
    }
}

/// Why an ONNX file was not read.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OnnxError {
    /// The file is larger than the reader accepts.
    #[error("ONNX file of {found} bytes; expected at most {limit}")]
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
    /// An operation that the network does not have.
    #[error("unsupported operation {operation} at node '{node}'; `assay zk ops` lists the supported ones")]
    UnsupportedOperation {
        /// The operation's type, with its domain where that is not ONNX's own.
        operation: String,
        /// The node's name, or its first output where it has none.
        node: String,
    },
    /// A known operation used in a way that is not supported, or wrongly.
    #[error("node '{node}' ({operation}): {reason}")]
    Node {
        /// The operation's type.
        operation: String,
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
    /// A constant, input or output that cannot be used.
    #[error("tensor '{name}': {reason}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// Expected and found.
        reason: String,
    },
}

/// Reads the bytes of an ONNX file.
///
/// # Errors
/// [`OnnxError`]; nothing is guessed and nothing skipped.
pub fn read(bytes: &[u8], options: &Options<'_>) -> Result<Network, OnnxError> {
    if bytes.len() > options.max_bytes {
        return Err(OnnxError::TooLarge { found: bytes.len(), limit: options.max_bytes });
    }
    let malformed = |reason: String| OnnxError::Malformed { reason };
    scan::check(bytes).map_err(malformed)?;
    let model = proto::ModelProto::decode(bytes).map_err(|e| malformed(e.to_string()))?;
    let mut opsets = model.opset_import.iter().filter(|o| is_onnx(&o.domain)).map(|o| o.version);
    let opset = opsets.next();
    if let (Some(first), Some(other)) = (opset, opsets.find(|&other| Some(other) != opset)) {
        let reason = format!("operator sets {first} and {other} of ONNX; expected one");
        return Err(OnnxError::Model { reason });
    }
    let (Some(graph), Some(opset)) = (&model.graph, opset) else {
        return Err(malformed(format!("no graph or no ONNX operator set in it; IR version {}", model.ir_version)));
    };
    if !OPSETS.contains(&opset) {
        let reason = format!("operator set {opset}; expected {} to {}", OPSETS.start(), OPSETS.end());
        return Err(OnnxError::Model { reason });
    }
    import::import(graph, opset, options)
}

fn is_onnx(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// Names come from the file; they are cut so that an error stays readable, and take no line or direction of their own.
fn short(text: &str) -> String {
    let directs = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let odd = |c: char| c.is_control() || directs(c) || matches!(c, '\u{2028}' | '\u{2029}');
    text.chars().take(80).map(|c| if odd(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
