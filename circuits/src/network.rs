//! The float network: static shapes, a few operations.
//!
//! Every ONNX operation comes down to the operations here: what only moves values is a [`Wire`], what acts on one
//! value is a [`Function`], broadcasting is a wire, a pooling window is a wire and a reduction, soft-max is an
//! exponential, a sum and a division. So calibration, quantisation and proofs know a dozen operations, not a hundred.

use std::{collections::BTreeMap, sync::Arc};

use crate::graph::{Geometry, Wire};

mod convolution;
mod evaluate;
mod function;
mod known;
mod wire;

pub use evaluate::EvaluateError;
pub(crate) use {
    convolution::output_size,
    evaluate::{Operand, apply},
    known::{known, per_axis, uniform},
};

/// A value of the network, by position in [`Network::values`].
pub type ValueId = usize;

/// What the numbers of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Real numbers.
    Real,
    /// Integers (indices, classes, quantised values): they keep scale 1.
    Integer,
    /// 0 or 1.
    Truth,
}

/// Name, shape and kind of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The ONNX name, or one made from the node's.
    pub name: String,
    /// Sizes of the axes, row-major; empty for a scalar.
    pub shape: Vec<usize>,
    /// What its numbers are.
    pub kind: Kind,
    /// The smallest and the largest number that its type holds; `None` where it is no integer's.
    pub range: Option<(i64, u64)>,
}

/// A function of one real number.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // The field's own names; parameters as in the ONNX specification.
pub enum Function {
    Abs,
    Floor,
    Ceil,
    /// Half to even, as ONNX says.
    Round,
    Sign,
    Clip {
        low: f64,
        high: f64,
    },
    /// `x` where positive, else `slope * x`; ReLU has slope 0.
    LeakyRelu {
        slope: f64,
    },
    Elu {
        alpha: f64,
    },
    Selu {
        alpha: f64,
        gamma: f64,
    },
    Celu {
        alpha: f64,
    },
    ThresholdedRelu {
        alpha: f64,
    },
    Sigmoid,
    HardSigmoid {
        alpha: f64,
        beta: f64,
    },
    HardSwish,
    Tanh,
    Softplus,
    Softsign,
    Mish,
    Erf,
    /// Exact, or the tanh approximation.
    Gelu {
        tanh: bool,
    },
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    /// `x` to a constant power.
    Power {
        exponent: f64,
    },
    Sin,
    Cos,
    /// 1 where `x` is 0, else 0.
    Not,
    /// Towards zero, as a cast to an integer does.
    Truncate,
    /// Whole numbers modulo a power of two, from `low` to `high`, as an integer type keeps them.
    Wrap {
        low: f64,
        high: f64,
    },
}

/// An operation. Operands have the same shape unless it is said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Moves (and adds up) values of its operands, taken one after another as one flat list.
    Wire(Wire),
    /// `[b, m, k]` by `[b, k, n]` to `[b, m, n]`.
    MatMul,
    /// `[n, c, h, w]` by `[m, c / groups, kh, kw]` to `[n, m, oh, ow]`; 1-D has `h = kh = 1`. No bias: an [`Op::Add`] follows.
    Conv(Geometry),
    /// Sum.
    Add,
    /// First less second.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// The larger.
    Max,
    /// The smaller.
    Min,
    /// A function of each value.
    Unary(Function),
    /// Largest along the last axis, `[.., k]` to `[..]`.
    ReduceMax,
    /// Position of the first largest along the last axis, `[.., k]` to `[..]`.
    ArgMax,
    /// 1 where the first is greater than the second.
    Greater,
    /// 1 where both are equal.
    Equal,
    /// Condition, then, else.
    Select,
}

/// One step of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The ONNX node it comes from, for messages.
    pub name: String,
    /// The ONNX operation it comes from, for messages.
    pub source: String,
    /// What it does.
    pub op: Op,
    /// Its operands.
    pub inputs: Vec<ValueId>,
    /// Its one result.
    pub output: ValueId,
}

/// A float network, operations in the order of their data.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// All values.
    pub values: Vec<Value>,
    /// What is fed.
    pub inputs: Vec<ValueId>,
    /// What is known in advance, row-major.
    pub constants: BTreeMap<ValueId, Arc<[f64]>>,
    /// Each reads only inputs, constants and results of earlier ones.
    pub nodes: Vec<Node>,
    /// What is given.
    pub outputs: Vec<ValueId>,
}
