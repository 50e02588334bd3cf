//! The operations that are read: one row each, with what it comes down to.

mod constants;
mod elementwise;
mod interpolate;
mod linear;
mod normalise;
mod pool;
mod quantised;
mod reduce;
mod resize;
mod structure;
mod window;

use super::{
    builder::{Builder, Lowered},
    call::Call,
    types,
};
use crate::network::ValueId;

/// The results of a node, in the order of its outputs.
type Results = Lowered<Vec<ValueId>>;

type Lower = fn(&mut Builder, &Call<'_>) -> Results;

/// An operation of ONNX that is read.
#[derive(Debug, Clone, Copy)]
pub struct Supported {
    /// Its type.
    pub name: &'static str,
    /// The operator set it came with; 7 where it is older.
    pub since: i64,
    /// The operator sets in which it is read.
    pub opsets: &'static str,
    /// What it comes down to in the network.
    pub lowering: &'static str,
    /// What of it is refused; empty where nothing is.
    pub restrictions: &'static str,
    lower: Lower,
}

impl Supported {
    /// Adds a node of this operation to the network.
    pub(super) fn lower(&self, builder: &mut Builder, call: &Call<'_>) -> Results {
        if call.opset < self.since {
            return Err(format!("operator set {} does not have it; expected {} or later", call.opset, self.since));
        }
        types::check(builder, call)?;
        (self.lower)(builder, call)
    }
}

/// The row of an operation.
pub(super) fn find(name: &str) -> Option<&'static Supported> {
    SUPPORTED.binary_search_by(|row| row.name.cmp(name)).ok().map(|at| &SUPPORTED[at])
}

const fn row(
    name: &'static str,
    since: i64,
    lower: Lower,
    lowering: &'static str,
    restrictions: &'static str,
) -> Supported {
    let opsets = match since {
        7 => "7-28",
        9 => "9-28",
        10 => "10-28",
        11 => "11-28",
        12 => "12-28",
        14 => "14-28",
        15 => "15-28",
        18 => "18-28",
        20 => "20-28",
        _ => panic!("an operator set without words for it"),
    };
    Supported { name, since, opsets, lowering, restrictions, lower }
}

use constants as c;
use elementwise as e;
use structure as s;

const FUNCTION: &str = "one function";
const WIRE: &str = "wire";

/// All operations that are read, sorted by name.
pub const SUPPORTED: &[Supported] = &[
    row("Abs", 7, e::function, FUNCTION, ""),
    row("Add", 7, e::arithmetic, "sum; a constant bias joins the layer before it", ""),
    row("And", 7, e::logic, "product", ""),
    row("ArgMax", 7, reduce::arg, "wire, argmax", ""),
    row("ArgMin", 7, reduce::arg, "wire, argmax of the negatives", ""),
    row("AveragePool", 7, pool::average_pool, "sum wire, times one over the count", "a window in padding alone"),
    row("BatchNormalization", 7, normalise::batch, "into the layer before, or product and sum", "training mode"),
    row(
        "Cast",
        7,
        e::cast,
        "wire, or truncation to integers, or whether it is 0",
        "integers under 8 bits, 8-bit and 4-bit floats, strings",
    ),
    row("CastLike", 15, e::cast, "as Cast", "as Cast"),
    row("Ceil", 7, e::function, FUNCTION, ""),
    row("Celu", 12, e::function, FUNCTION, ""),
    row("Clip", 7, e::clip, "one function; with bounds that vary, larger and smaller", ""),
    row("Concat", 7, s::concat, WIRE, ""),
    row("Constant", 7, c::constant, "constant", "sparse and text values"),
    row("ConstantOfShape", 9, c::constant_of_shape, "constant", "a shape that depends on the input"),
    row("Conv", 7, linear::conv, "convolution; wire and matrix product over three axes and more", ""),
    row("ConvInteger", 10, quantised::conv_integer, "difference, convolution", ""),
    row("ConvTranspose", 7, linear::conv_transpose, "wire that puts zeros between, convolution", ""),
    row("Cos", 7, e::function, FUNCTION, ""),
    row("DepthToSpace", 7, s::blocks, WIRE, ""),
    row("DequantizeLinear", 10, quantised::dequantise, "difference, product", "8-bit and 4-bit floats"),
    row("Div", 7, e::arithmetic, "quotient; a product where the divisor is constant", "a constant divisor with a 0"),
    row("Dropout", 7, s::identity, "nothing", "training mode"),
    row("Elu", 7, e::function, FUNCTION, ""),
    row("Equal", 7, e::comparison, "equal", ""),
    row("Erf", 7, e::function, FUNCTION, "integers"),
    row("Exp", 7, e::function, FUNCTION, ""),
    row("Expand", 7, s::expand, WIRE, "a shape that depends on the input"),
    row("EyeLike", 9, c::eye, "constant", ""),
    row("Flatten", 7, s::flatten, WIRE, ""),
    row("Floor", 7, e::function, FUNCTION, ""),
    row("Gather", 7, s::gather, WIRE, "indices that depend on the input"),
    row("Gelu", 20, e::function, FUNCTION, ""),
    row("Gemm", 7, linear::gemm, "matrix product, sum", ""),
    row("GlobalAveragePool", 7, pool::global_pool, "sum wire, product", ""),
    row("GlobalMaxPool", 7, pool::global_pool, "wire, largest", ""),
    row("Greater", 7, e::comparison, "greater", ""),
    row("GreaterOrEqual", 12, e::comparison, "greater, not", ""),
    row("HardSigmoid", 7, e::function, FUNCTION, ""),
    row("HardSwish", 14, e::function, FUNCTION, ""),
    row("Identity", 7, s::identity, "nothing", ""),
    row("InstanceNormalization", 7, normalise::instance, "sum wires, products, square root, quotient", ""),
    row("LeakyRelu", 7, e::function, FUNCTION, ""),
    row("Less", 7, e::comparison, "greater", ""),
    row("LessOrEqual", 12, e::comparison, "greater, not", ""),
    row("Log", 7, e::function, FUNCTION, ""),
    row("LogSoftmax", 7, normalise::softmax, "largest, difference, exponential, sum wire, logarithm, difference", ""),
    row("LpNormalization", 7, normalise::lp, "absolute or square, sum wire, square root, quotient", ""),
    row("MatMul", 7, linear::matmul, "matrix product", ""),
    row("MatMulInteger", 10, quantised::matmul_integer, "difference, matrix product", ""),
    row("Max", 7, e::several, "larger", ""),
    row("MaxPool", 7, pool::max_pool, "wire, largest", "the positions as second output; a window in padding alone"),
    row("Min", 7, e::several, "smaller", ""),
    row("Mish", 18, e::function, FUNCTION, ""),
    row("Mul", 7, e::arithmetic, "product", ""),
    row("Neg", 7, e::negate, "product with -1", ""),
    row("Not", 7, e::function, FUNCTION, ""),
    row("Or", 7, e::logic, "larger", ""),
    row("PRelu", 7, e::sloped, "one function; with several slopes, product and sum", ""),
    row("Pad", 7, s::pad, WIRE, "a value or amounts that depend on the input"),
    row(
        "Pow",
        7,
        e::power,
        "one function; a square is a product",
        "an exponent that depends on the input; more than 64 different ones",
    ),
    row("QLinearConv", 10, quantised::qlinear_conv, "difference, convolution, product, rounding, clip", ""),
    row(
        "QLinearMatMul",
        10,
        quantised::qlinear_matmul,
        "difference, matrix product, product, rounding, clip",
        "8-bit floats",
    ),
    row("QuantizeLinear", 10, quantised::quantise, "product, rounding, sum, clip", "8-bit and 4-bit floats"),
    row("Range", 11, c::range, "constant", "ends that depend on the input"),
    row("Reciprocal", 7, e::function, FUNCTION, ""),
    row("ReduceL1", 7, reduce::reduce, "absolute, sum wire", "axes that depend on the input"),
    row("ReduceL2", 7, reduce::reduce, "square, sum wire, square root", "integers; axes that depend on the input"),
    row("ReduceMax", 7, reduce::reduce, "wire, largest", "axes that depend on the input; an empty axis"),
    row("ReduceMean", 7, reduce::reduce, "sum wire, product", "integers; axes that depend on the input; an empty axis"),
    row(
        "ReduceMin",
        7,
        reduce::reduce,
        "wire, largest of the negatives",
        "axes that depend on the input; an empty axis",
    ),
    row("ReduceSum", 7, reduce::reduce, "sum wire", "axes that depend on the input"),
    row("ReduceSumSquare", 7, reduce::reduce, "square, sum wire", "axes that depend on the input"),
    row("Relu", 7, e::function, FUNCTION, ""),
    row("Reshape", 7, s::reshape, WIRE, "a shape that depends on the input"),
    row(
        "Resize",
        10,
        resize::resize,
        "wire; linear and cubic: a matrix product an axis",
        "sizes that depend on the input",
    ),
    row("Round", 7, e::function, FUNCTION, ""),
    row("Selu", 7, e::function, FUNCTION, ""),
    row("Shape", 7, c::shape_of, "constant", ""),
    row("Sigmoid", 7, e::function, FUNCTION, ""),
    row("Sign", 7, e::function, FUNCTION, ""),
    row("Sin", 7, e::function, FUNCTION, ""),
    row("Size", 7, c::shape_of, "constant", ""),
    row("Slice", 7, s::slice, WIRE, "bounds that depend on the input"),
    row("Softmax", 7, normalise::softmax, "largest, difference, exponential, sum wire, quotient", ""),
    row("Softplus", 7, e::function, FUNCTION, ""),
    row("Softsign", 7, e::function, FUNCTION, ""),
    row("SpaceToDepth", 7, s::blocks, WIRE, ""),
    row("Split", 7, s::split, WIRE, "sizes that depend on the input"),
    row("Sqrt", 7, e::function, FUNCTION, ""),
    row("Squeeze", 7, s::squeeze, WIRE, "axes that depend on the input"),
    row("Sub", 7, e::arithmetic, "difference", ""),
    row("Sum", 7, e::several, "sum", ""),
    row("Tanh", 7, e::function, FUNCTION, ""),
    row("ThresholdedRelu", 10, e::function, FUNCTION, ""),
    row("Tile", 7, s::tile, WIRE, "repeats that depend on the input"),
    row("Transpose", 7, s::transpose, WIRE, ""),
    row("Trilu", 14, s::triangle, WIRE, "a diagonal that depends on the input"),
    row("Unsqueeze", 7, s::squeeze, WIRE, "axes that depend on the input"),
    // Resize took its place.
    Supported {
        opsets: "7-9",
        ..row("Upsample", 7, resize::upsample, WIRE, "mode linear; scales that depend on the input")
    },
    row("Where", 9, e::choice, "selection", ""),
    row("Xor", 7, e::logic, "equal, not", ""),
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_row_is_found() {
        assert!(SUPPORTED.windows(2).all(|w| w[0].name < w[1].name));
        assert!(SUPPORTED.iter().all(|row| find(row.name).is_some_and(|found| found.name == row.name)));
        assert!(find("Loop").is_none());
        let end = crate::onnx::OPSETS.end();
        let named = |row: &Supported| row.opsets == format!("{}-{end}", row.since) || row.name == "Upsample";
        assert!(SUPPORTED.iter().all(named));
    }
}
