//! Which types ONNX allows together: what an operation does to numbers of another type is not what the file says.

use super::{
    builder::{Builder, Lowered},
    call::Call,
    element::Element,
};
use crate::network::{Kind, ValueId};

/// The type or types of an operand.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    /// Booleans.
    Truths,
    /// Floats, of any width: all are worked out alike.
    Reals,
    /// Floats, or integers of one type.
    Numbers,
    /// Anything of one type.
    Any,
}

/// What the operands from `first` on must be, up to `end` of them, and that they be of one type. `None` where an operation
/// takes all types, or looks at them itself.
fn expected(operation: &str) -> Option<(Of, usize, usize)> {
    const ALL: usize = usize::MAX;
    Some(match operation {
        "And" | "Not" | "Or" | "Xor" => (Of::Truths, 0, ALL),
        "AveragePool"
        | "BatchNormalization"
        | "Ceil"
        | "Celu"
        | "Conv"
        | "ConvTranspose"
        | "Cos"
        | "Elu"
        | "Erf"
        | "Exp"
        | "Floor"
        | "Gelu"
        | "GlobalAveragePool"
        | "GlobalMaxPool"
        | "HardSigmoid"
        | "HardSwish"
        | "InstanceNormalization"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "LpNormalization"
        | "Mish"
        | "Reciprocal"
        | "Round"
        | "Selu"
        | "Sigmoid"
        | "Sin"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Sqrt"
        | "Tanh"
        | "ThresholdedRelu" => (Of::Reals, 0, ALL),
        "Abs" | "Add" | "ArgMax" | "ArgMin" | "Clip" | "Div" | "Gemm" | "Greater" | "GreaterOrEqual" | "Less"
        | "LessOrEqual" | "MatMul" | "Max" | "Min" | "Mul" | "Neg" | "PRelu" | "Range" | "Relu" | "Sign" | "Sub"
        | "Sum" => (Of::Numbers, 0, ALL),
        // What follows, axes or an exponent, is of a type of its own.
        "MaxPool" | "Pow" | "ReduceL1" | "ReduceSum" | "ReduceSumSquare" => (Of::Numbers, 0, 1),
        // Of integers, ONNX leaves open how the result is rounded.
        "ReduceL2" | "ReduceMean" => (Of::Reals, 0, 1),
        "Concat" | "Equal" => (Of::Any, 0, ALL),
        "Where" => (Of::Any, 1, ALL),
        _ => return None,
    })
}

/// Refuses operands of types that the operation does not take, or not together.
pub(super) fn check(builder: &Builder, call: &Call<'_>) -> Lowered<()> {
    let operation = call.proto.op_type.as_str();
    if operation == "Where" {
        one(builder, call, Of::Truths, 0, None)?;
    }
    let Some((of, first, end)) = expected(operation) else { return Ok(()) };
    let mut before = None;
    for at in first..end.min(call.inputs()) {
        one(builder, call, of, at, before)?;
        before = before.or(call.optional(at));
    }
    Ok(())
}

/// Looks at one operand, which must be of the type of the one `before` it.
fn one(builder: &Builder, call: &Call<'_>, of: Of, at: usize, before: Option<ValueId>) -> Lowered<()> {
    let Some(id) = call.optional(at) else { return Ok(()) };
    let found = builder.element(id);
    let expected = match of {
        Of::Truths if found.kind() != Kind::Truth => "booleans",
        Of::Reals if found.kind() != Kind::Real => "floats",
        Of::Numbers if found.kind() == Kind::Truth => "numbers",
        _ => return before.map_or(Ok(()), |before| alike(builder.element(before), found, at)),
    };
    Err(format!("its input {at} is of type {found}; expected {expected}"))
}

fn alike(first: Element, found: Element, at: usize) -> Lowered<()> {
    if first == found || (first.kind() == Kind::Real && found.kind() == Kind::Real) {
        return Ok(());
    }
    Err(format!("its input {at} is of type {found}, one before it of {first}; expected one type"))
}
