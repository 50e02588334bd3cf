//! Networks that come quantised: exact arithmetic on integers, the scales as products.

use super::{
    Results,
    elementwise::{divide, multiply as product},
    linear::{convolve, multiply},
};
use crate::{
    network::{Function as F, Op, ValueId},
    onnx::{
        builder::{Builder, Lowered},
        call::{Call, axis},
        element::Element,
    },
};

/// A scale or zero point, spread along an axis of `x`, or in blocks along it.
fn spread(builder: &mut Builder, list: ValueId, x: ValueId, along: i64, block: i64) -> Lowered {
    let (shape, own) = (builder.shape(x).to_vec(), builder.shape(list).to_vec());
    if own.iter().product::<usize>() == 1 {
        let one = builder.reshape(list, &[])?;
        return builder.broadcast(one, &shape);
    }
    let along = axis(along, shape.len())?;
    if own.len() == 1 {
        return builder.along(list, along, &shape);
    }
    let block = usize::try_from(block).ok().filter(|&b| b > 0).ok_or("scales of several axes without a block size")?;
    let fits = own.len() == shape.len()
        && (0..own.len()).all(|i| if i == along { shape[i].div_ceil(block) == own[i] } else { shape[i] == own[i] });
    if !fits {
        return Err(format!("scales of shape {own:?} in blocks of {block} for {shape:?}"));
    }
    builder.select_axis(list, along, (0..shape[along]).map(|i| Some(i / block)).collect())
}

/// `x - zero`, as numbers of another type.
fn centred(builder: &mut Builder, x: ValueId, zero: Option<ValueId>, along: i64, block: i64) -> Lowered {
    let x = builder.retyped(x, Element::Int32)?;
    match zero {
        Some(zero) if builder.uniform(zero) != Some(0.0) => {
            let zero = builder.retyped(zero, Element::Int32)?;
            let zero = spread(builder, zero, x, along, block)?;
            builder.binary(Op::Sub, x, zero)
        }
        _ => Ok(x),
    }
}

/// `clip(round(x) + zero)` as an integer type.
fn rounded(builder: &mut Builder, x: ValueId, zero: Option<ValueId>, to: Element, along: i64, block: i64) -> Lowered {
    let (low, high) = to.range().ok_or("a zero point that is no integer")?;
    let shape = builder.shape(x).to_vec();
    let mut result = builder.emit(Op::Unary(F::Round), &[x], shape, to)?;
    if let Some(zero) = zero
        && builder.uniform(zero) != Some(0.0)
    {
        let zero = spread(builder, zero, result, along, block)?;
        result = builder.binary(Op::Add, result, zero)?;
    }
    builder.unary(F::Clip { low, high }, result)
}

/// QuantizeLinear.
pub(super) fn quantise(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 3)?;
    let (x, scale, zero) = (call.operand(0)?, call.operand(1)?, call.optional(2));
    let (along, block) = (call.integer_or("axis", 1)?, call.integer_or("block_size", 0)?);
    // These concern other ways to divide, and 8-bit floats.
    let _ = (call.integer("saturate")?, call.integer("precision")?);
    let to = match (zero, call.integer("output_dtype")?) {
        (Some(zero), _) => builder.element(zero),
        (None, Some(number)) if number != 0 => Element::from_number(number)?,
        (None, _) => Element::Uint8,
    };
    let scale = spread(builder, scale, x, along, block)?;
    let scaled = divide(builder, x, scale)?;
    Ok(vec![rounded(builder, scaled, zero, to, along, block)?])
}

/// DequantizeLinear.
pub(super) fn dequantise(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 3)?;
    let (x, scale, zero) = (call.operand(0)?, call.operand(1)?, call.optional(2));
    let (along, block) = (call.integer_or("axis", 1)?, call.integer_or("block_size", 0)?);
    let element = match call.integer("output_dtype")? {
        Some(number) if number != 0 => Element::from_number(number)?,
        _ => builder.element(scale),
    };
    let x = centred(builder, x, zero, along, block)?;
    let scale = spread(builder, scale, x, along, block)?;
    let x = builder.retyped(x, element)?;
    Ok(vec![product(builder, x, scale)?])
}

/// MatMulInteger.
pub(super) fn matmul_integer(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 4)?;
    let a = centred(builder, call.operand(0)?, call.optional(2), -2, 0)?;
    let b = centred(builder, call.operand(1)?, call.optional(3), -1, 0)?;
    Ok(vec![multiply(builder, a, b)?])
}

/// ConvInteger: zeros of the padding are zeros of the centred image.
pub(super) fn conv_integer(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 4)?;
    let x = centred(builder, call.operand(0)?, call.optional(2), 1, 0)?;
    let weights = centred(builder, call.operand(1)?, call.optional(3), 0, 0)?;
    Ok(vec![convolve(builder, call, x, weights, None)?])
}

/// `scale_a * scale_b / scale_y`, as many numbers as the second has.
fn ratio(builder: &mut Builder, [a, b, y]: [ValueId; 3]) -> Lowered {
    let ab = product(builder, b, a)?;
    divide(builder, ab, y)
}

/// QLinearMatMul.
pub(super) fn qlinear_matmul(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(8, 8)?;
    let a = centred(builder, call.operand(0)?, call.optional(2), -2, 0)?;
    let b = centred(builder, call.operand(3)?, call.optional(5), -1, 0)?;
    let zero = call.operand(7)?;
    let (scale_a, scale_b, scale_y) = (call.operand(1)?, call.operand(4)?, call.operand(6)?);
    let result = multiply(builder, a, b)?;
    let real = builder.element(scale_a);
    let mut result = builder.retyped(result, real)?;
    // Scales for each row or column are products of their own.
    let many = |builder: &Builder, scale: ValueId| builder.shape(scale).iter().product::<usize>() > 1;
    if many(builder, scale_a) || many(builder, scale_b) || many(builder, scale_y) {
        for (scale, along) in [(scale_a, -2), (scale_b, -1)] {
            let scale = spread(builder, scale, result, along, 0)?;
            result = product(builder, result, scale)?;
        }
        let scale = spread(builder, scale_y, result, -2, 0)?;
        result = divide(builder, result, scale)?;
    } else {
        let ratio = ratio(builder, [scale_a, scale_b, scale_y])?;
        let ratio = spread(builder, ratio, result, -1, 0)?;
        result = product(builder, result, ratio)?;
    }
    let to = builder.element(zero);
    Ok(vec![rounded(builder, result, Some(zero), to, -2, 0)?])
}

/// QLinearConv.
pub(super) fn qlinear_conv(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(8, 9)?;
    let x = centred(builder, call.operand(0)?, call.optional(2), 1, 0)?;
    let weights = centred(builder, call.operand(3)?, call.optional(5), 0, 0)?;
    let zero = call.operand(7)?;
    let (scale_x, scale_w, scale_y) = (call.operand(1)?, call.operand(4)?, call.operand(6)?);
    let result = convolve(builder, call, x, weights, call.optional(8))?;
    let real = builder.element(scale_x);
    let result = builder.retyped(result, real)?;
    let ratio = ratio(builder, [scale_x, scale_w, scale_y])?;
    let ratio = spread(builder, ratio, result, 1, 0)?;
    let result = product(builder, result, ratio)?;
    let to = builder.element(zero);
    Ok(vec![rounded(builder, result, Some(zero), to, 1, 0)?])
}
