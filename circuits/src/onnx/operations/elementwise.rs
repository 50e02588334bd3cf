//! What acts number by number: functions, arithmetic, comparisons, logic, casts.

use super::Results;
use crate::{
    network::{Function as F, Kind, Op, ValueId},
    onnx::{
        builder::{Builder, Lowered, common_shape},
        call::Call,
        element::Element,
    },
};

/// An operation that is one function, with its parameters from attributes.
pub(super) fn function(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let function = match call.proto.op_type.as_str() {
        "Abs" => F::Abs,
        "Floor" => F::Floor,
        "Ceil" => F::Ceil,
        "Round" => F::Round,
        "Sign" => F::Sign,
        "Relu" => F::LeakyRelu { slope: 0.0 },
        "LeakyRelu" => F::LeakyRelu { slope: call.float_or("alpha", 0.01)? },
        "Elu" => F::Elu { alpha: call.float_or("alpha", 1.0)? },
        "Selu" => F::Selu {
            alpha: call.float_or("alpha", 1.673_263_192_176_818_8)?,
            gamma: call.float_or("gamma", 1.050_701_022_148_132_3)?,
        },
        "Celu" => match call.float_or("alpha", 1.0)? {
            0.0 => return Err("alpha 0, by which it divides".into()),
            alpha => F::Celu { alpha },
        },
        "ThresholdedRelu" => F::ThresholdedRelu { alpha: call.float_or("alpha", 1.0)? },
        "Sigmoid" => F::Sigmoid,
        "HardSigmoid" => F::HardSigmoid { alpha: call.float_or("alpha", 0.2)?, beta: call.float_or("beta", 0.5)? },
        "HardSwish" => F::HardSwish,
        "Tanh" => F::Tanh,
        "Softplus" => F::Softplus,
        "Softsign" => F::Softsign,
        "Mish" => F::Mish,
        "Erf" => F::Erf,
        "Gelu" => match call.text("approximate", "none")? {
            "none" => F::Gelu { tanh: false },
            "tanh" => F::Gelu { tanh: true },
            other => return Err(format!("approximate '{other}'; expected none or tanh")),
        },
        "Exp" => F::Exp,
        "Log" => F::Log,
        "Sqrt" => F::Sqrt,
        "Reciprocal" => F::Reciprocal,
        "Sin" => F::Sin,
        "Cos" => F::Cos,
        "Not" => F::Not,
        other => return Err(format!("{other} is no function of one number")),
    };
    Ok(vec![builder.unary(function, x)?])
}

/// Negation, as a product with -1.
pub(super) fn negate(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    Ok(vec![builder.scale(call.operand(0)?, -1.0)?])
}

/// Add, Sub, Mul and Div, broadcast.
pub(super) fn arithmetic(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let (a, b) = (call.operand(0)?, call.operand(1)?);
    let result = match call.proto.op_type.as_str() {
        "Add" => add(builder, a, b)?,
        "Sub" => builder.binary(Op::Sub, a, b)?,
        "Mul" => multiply(builder, a, b)?,
        _ => divide(builder, a, b)?,
    };
    Ok(vec![result])
}

/// A sum; a constant comes second, and a bias joins the layer before it.
fn add(builder: &mut Builder, a: ValueId, b: ValueId) -> Lowered {
    let (a, b) = if builder.is_known(a) { (b, a) } else { (a, b) };
    let shape = builder.shape(a).to_vec();
    if builder.linear.contains_key(&a) && builder.is_known(b) && common_shape(&shape, builder.shape(b))? == shape {
        let spread = builder.broadcast(b, &shape)?;
        if let Some((axis, numbers)) = builder.per_axis(spread) {
            // A number that is the same everywhere joins along whichever axis counts the layer's outputs.
            let channel = builder.linear.get(&a).map_or(axis, |l| l.channel());
            let numbers = match builder.uniform(spread) {
                Some(number) => vec![number; shape[channel]],
                None => numbers.to_vec(),
            };
            let axis = if builder.uniform(spread).is_some() { channel } else { axis };
            if let Some(folded) = builder.fold_affine(a, axis, None, &numbers)? {
                return Ok(folded);
            }
        }
    }
    builder.binary(Op::Add, a, b)
}

/// A product; a constant comes second.
pub(super) fn multiply(builder: &mut Builder, a: ValueId, b: ValueId) -> Lowered {
    let (a, b) = if builder.is_known(a) { (b, a) } else { (a, b) };
    builder.binary(Op::Mul, a, b)
}

/// A quotient: by a constant it is a product, of integers it is cut towards zero.
pub(super) fn divide(builder: &mut Builder, a: ValueId, b: ValueId) -> Lowered {
    let integers = builder.element(a).kind() == Kind::Integer;
    if let Some(divisors) = builder.known(b) {
        if divisors.contains(&0.0) {
            return Err("divides by 0".into());
        }
        if !integers && !builder.is_known(a) {
            let inverse = builder.unary(F::Reciprocal, b)?;
            return builder.binary(Op::Mul, a, inverse);
        }
    }
    let quotient = builder.binary(Op::Div, a, b)?;
    if integers { builder.unary(F::Truncate, quotient) } else { Ok(quotient) }
}

/// Sum, Max and Min of any number of operands.
pub(super) fn several(builder: &mut Builder, call: &Call<'_>) -> Results {
    let operands = call.operands()?;
    let mut result = operands[0];
    for &next in &operands[1..] {
        result = match call.proto.op_type.as_str() {
            "Sum" => add(builder, result, next)?,
            "Max" => builder.binary(Op::Max, result, next)?,
            _ => builder.binary(Op::Min, result, next)?,
        };
    }
    Ok(vec![result])
}

/// Equal, Greater, Less and their -OrEqual.
pub(super) fn comparison(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let (a, b) = (call.operand(0)?, call.operand(1)?);
    let result = match call.proto.op_type.as_str() {
        "Equal" => builder.compare(Op::Equal, a, b, Element::Bool)?,
        "Greater" => builder.compare(Op::Greater, a, b, Element::Bool)?,
        "Less" => builder.compare(Op::Greater, b, a, Element::Bool)?,
        "GreaterOrEqual" => {
            let less = builder.compare(Op::Greater, b, a, Element::Bool)?;
            builder.unary(F::Not, less)?
        }
        _ => {
            let greater = builder.compare(Op::Greater, a, b, Element::Bool)?;
            builder.unary(F::Not, greater)?
        }
    };
    Ok(vec![result])
}

/// And is the product of truths, Or the larger, Xor whether they differ.
pub(super) fn logic(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let (a, b) = (call.operand(0)?, call.operand(1)?);
    let result = match call.proto.op_type.as_str() {
        "And" => builder.binary(Op::Mul, a, b)?,
        "Or" => builder.binary(Op::Max, a, b)?,
        _ => {
            let equal = builder.binary(Op::Equal, a, b)?;
            builder.unary(F::Not, equal)?
        }
    };
    Ok(vec![result])
}

/// Where.
pub(super) fn choice(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(3, 3)?;
    let [condition, then, otherwise] = [call.operand(0)?, call.operand(1)?, call.operand(2)?];
    if builder.uniform(condition).is_none() || !builder.is_known(condition) {
        let shape = common_shape(builder.shape(then), builder.shape(otherwise))?;
        let shape = common_shape(builder.shape(condition), &shape)?;
        let parts = [condition, then, otherwise].map(|x| builder.broadcast(x, &shape));
        let [condition, then, otherwise] = [parts[0].clone()?, parts[1].clone()?, parts[2].clone()?];
        let element = builder.element(then);
        return Ok(vec![builder.emit(Op::Select, &[condition, then, otherwise], shape, element)?]);
    }
    let taken = if builder.uniform(condition) == Some(0.0) { otherwise } else { then };
    let shape = common_shape(builder.shape(then), builder.shape(otherwise))?;
    let shape = common_shape(builder.shape(condition), &shape)?;
    Ok(vec![builder.broadcast(taken, &shape)?])
}

/// Clip: bounds from attributes before operator set 11, from operands since.
pub(super) fn clip(builder: &mut Builder, call: &Call<'_>) -> Results {
    let x = call.operand(0)?;
    if call.opset < 11 {
        call.arity(1, 1)?;
        let low = call.float("min")?.unwrap_or(f64::from(f32::MIN));
        let high = call.float("max")?.unwrap_or(f64::from(f32::MAX));
        return Ok(vec![builder.unary(F::Clip { low, high }, x)?]);
    }
    call.arity(1, 3)?;
    let bound = |builder: &Builder, at: usize, none: f64| match call.optional(at) {
        Some(id) => builder.uniform(id),
        None => Some(none),
    };
    let (low, high) = (bound(builder, 1, f64::NEG_INFINITY), bound(builder, 2, f64::INFINITY));
    if let (Some(low), Some(high)) = (low, high) {
        return Ok(vec![builder.unary(F::Clip { low, high }, x)?]);
    }
    let mut result = x;
    if let Some(low) = call.optional(1) {
        result = builder.binary(Op::Max, result, low)?;
    }
    if let Some(high) = call.optional(2) {
        result = builder.binary(Op::Min, result, high)?;
    }
    Ok(vec![result])
}

/// PRelu: one slope is a leaky ReLU; several multiply what is below zero.
pub(super) fn sloped(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let (x, slope) = (call.operand(0)?, call.operand(1)?);
    if let Some(slope) = builder.uniform(slope) {
        return Ok(vec![builder.unary(F::LeakyRelu { slope }, x)?]);
    }
    let shape = builder.shape(x).to_vec();
    let slope = builder.broadcast(slope, &shape)?;
    let above = builder.unary(F::LeakyRelu { slope: 0.0 }, x)?;
    let below = builder.binary(Op::Sub, x, above)?;
    let below = builder.binary(Op::Mul, below, slope)?;
    Ok(vec![builder.binary(Op::Add, above, below)?])
}

/// Pow with exponents that are known: a square is a product, the rest one function for each exponent.
pub(super) fn power(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let (x, by) = (call.operand(0)?, call.operand(1)?);
    let shape = common_shape(builder.shape(x), builder.shape(by))?;
    let (x, by) = (builder.broadcast(x, &shape)?, builder.broadcast(by, &shape)?);
    let exponents = builder.known(by).ok_or("its exponent depends on the input; expected a constant")?;
    if exponents.is_empty() {
        return Ok(vec![x]);
    }
    let mut groups: Vec<(f64, Vec<u32>)> = Vec::new();
    for (at, &exponent) in exponents.iter().enumerate() {
        match groups.iter().position(|g| g.0 == exponent) {
            Some(group) => groups[group].1.push(at as u32),
            None if groups.len() < 64 => groups.push((exponent, vec![at as u32])),
            None => return Err("more than 64 exponents; expected one, or few".into()),
        }
    }
    if let [(exponent, _)] = groups[..] {
        return Ok(vec![raised(builder, x, exponent)?]);
    }
    // The values of each exponent apart, and all of them back in their places.
    builder.allow_entries(2 * exponents.len())?;
    let mut places = vec![0; exponents.len()];
    let mut parts = Vec::with_capacity(groups.len());
    let mut next = 0;
    for (exponent, members) in groups {
        members.iter().for_each(|&at| {
            places[at as usize] = next;
            next += 1;
        });
        let count = members.len();
        let part = builder.listed(&[x], members, 1, vec![count])?;
        parts.push(raised(builder, part, exponent)?);
    }
    Ok(vec![builder.listed(&parts, places, 1, shape)?])
}

/// `x` to a constant power.
fn raised(builder: &mut Builder, x: ValueId, exponent: f64) -> Lowered {
    match exponent {
        1.0 => Ok(x),
        2.0 => builder.binary(Op::Mul, x, x),
        exponent if builder.element(x).kind() == Kind::Integer && (exponent < 0.0 || exponent.fract() != 0.0) => {
            Err(format!("integers to the power {exponent}; expected a whole exponent of at least 0"))
        }
        0.5 => builder.unary(F::Sqrt, x),
        -1.0 => builder.unary(F::Reciprocal, x),
        exponent if exponent.is_finite() => builder.unary(F::Power { exponent }, x),
        exponent => Err(format!("exponent {exponent}; expected a finite one")),
    }
}

/// Cast and CastLike.
pub(super) fn cast(builder: &mut Builder, call: &Call<'_>) -> Results {
    let x = call.operand(0)?;
    // These concern 8-bit floats alone, which are refused.
    let _ = (call.integer("saturate")?, call.text("round_mode", "up")?);
    let to = if call.proto.op_type == "CastLike" {
        call.arity(2, 2)?;
        builder.element(call.operand(1)?)
    } else {
        call.arity(1, 1)?;
        Element::from_number(call.integer("to")?.ok_or("no attribute 'to'")?)?
    };
    Ok(vec![cast_to(builder, x, to)?])
}

/// The same numbers as another type: towards zero for integers, whether they are not 0 for truths.
pub(super) fn cast_to(builder: &mut Builder, x: ValueId, to: Element) -> Lowered {
    if to.bits() < 8 && builder.element(x) != to {
        return Err(format!("a cast to {} bits wraps numbers round; expected 8 bits or more", to.bits()));
    }
    match (builder.element(x).kind(), to.kind()) {
        (Kind::Real, Kind::Integer) => {
            let shape = builder.shape(x).to_vec();
            builder.emit(Op::Unary(F::Truncate), &[x], shape, to)
        }
        (Kind::Real | Kind::Integer, Kind::Truth) => {
            let shape = builder.shape(x).to_vec();
            let zero = builder.emit(Op::Unary(F::Not), &[x], shape, to)?;
            builder.unary(F::Not, zero)
        }
        (Kind::Real, Kind::Real) => Ok(x),
        _ => builder.retyped(x, to),
    }
}
