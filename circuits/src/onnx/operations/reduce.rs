//! Reductions along axes.

use super::{Results, pool::largest, structure::integers};
use crate::{
    network::{Function as F, Op, ValueId},
    onnx::{
        builder::Builder,
        call::{Call, axes, axis},
        element::Element,
    },
};

/// ReduceSum, -Mean, -Max, -Min, -L1, -L2 and -SumSquare.
pub(super) fn reduce(builder: &mut Builder, call: &Call<'_>) -> Results {
    let name = call.proto.op_type.as_str();
    // The axes became an operand earlier for sums than for the others.
    let since = if name == "ReduceSum" { 13 } else { 18 };
    call.arity(1, if call.opset < since { 1 } else { 2 })?;
    let x = call.operand(0)?;
    let from = builder.shape(x).to_vec();
    let list = integers(builder, call, "axes", since, 1)?.unwrap_or_default();
    let keep = call.flag("keepdims", true)?;
    let none_is_none = call.flag("noop_with_empty_axes", false)?;
    if list.is_empty() && none_is_none {
        // Nothing is added up; what is done to each number still is.
        return Ok(vec![prepared(builder, name, x, 1).and_then(|x| finished(builder, name, x, 1))?]);
    }
    let along = if list.is_empty() { (0..from.len()).collect() } else { axes(&list, from.len())? };
    let count: usize = along.iter().map(|&a| from[a]).product();
    let each = prepared(builder, name, x, count)?;
    let reduced = if name == "ReduceMax" || name == "ReduceMin" {
        let last = builder.gather_last(each, &along)?;
        largest(builder, last)?
    } else {
        builder.sum(each, &along)?
    };
    let result = finished(builder, name, reduced, count)?;
    let mut to = from;
    along.iter().for_each(|&a| to[a] = 1);
    if !keep {
        let mut at = 0..;
        to.retain(|_| !along.contains(&at.next().unwrap_or(0)));
    }
    Ok(vec![builder.reshape(result, &to)?])
}

/// What is done to each number before.
fn prepared(builder: &mut Builder, name: &str, x: ValueId, count: usize) -> Result<ValueId, String> {
    match name {
        "ReduceMin" => builder.scale(x, -1.0),
        "ReduceL1" => builder.unary(F::Abs, x),
        "ReduceL2" | "ReduceSumSquare" => builder.binary(Op::Mul, x, x),
        "ReduceMean" if count == 0 => Err("the mean of no values".into()),
        _ => Ok(x),
    }
}

/// What is done to the result.
fn finished(builder: &mut Builder, name: &str, x: ValueId, count: usize) -> Result<ValueId, String> {
    match name {
        "ReduceMin" => builder.scale(x, -1.0),
        "ReduceL2" => builder.unary(F::Sqrt, x),
        "ReduceMean" => builder.scale(x, 1.0 / count as f64),
        _ => Ok(x),
    }
}

/// ArgMax and ArgMin; the last of equals is the first of the reversed.
pub(super) fn arg(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let mut x = call.operand(0)?;
    let from = builder.shape(x).to_vec();
    let along = axis(call.integer_or("axis", 0)?, from.len())?;
    let keep = call.flag("keepdims", true)?;
    let last = call.flag("select_last_index", false)?;
    if call.proto.op_type == "ArgMin" {
        x = builder.scale(x, -1.0)?;
    }
    if last {
        x = builder.select_axis(x, along, (0..from[along]).rev().map(Some).collect())?;
    }
    let rows = builder.gather_last(x, &[along])?;
    let mut to = from.clone();
    to.remove(along);
    if from[along] == 0 {
        return Err("the largest of no values".into());
    }
    let mut result = builder.emit(Op::ArgMax, &[rows], to.clone(), Element::Int64)?;
    if last {
        let end = builder.filled((from[along] - 1) as f64, Element::Int64, &to)?;
        result = builder.binary(Op::Sub, end, result)?;
    }
    if keep {
        to.insert(along, 1);
    }
    Ok(vec![builder.reshape(result, &to)?])
}
