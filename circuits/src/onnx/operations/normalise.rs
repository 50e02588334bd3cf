//! Normalisations and soft-max.

use super::{Results, pool::largest};
use crate::{
    network::{Function as F, Op, ValueId},
    onnx::{
        builder::{Builder, Lowered},
        call::{Call, axis},
    },
};

/// BatchNormalization for inference: `(x - mean) / sqrt(variance + epsilon) * scale + bias` along axis 1.
pub(super) fn batch(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(5, 5)?;
    let x = call.operand(0)?;
    let epsilon = call.float_or("epsilon", 1e-5)?;
    let _ = call.float("momentum")?;
    if call.opset < 9 && !call.flag("spatial", true)? {
        return Err("statistics for each position; expected one for each channel".into());
    }
    // Before operator set 14 the further outputs said so.
    if call.flag("training_mode", false)? || (1..5).any(|at| call.wants(at)) {
        return Err("it is in training mode; export the model for inference".into());
    }
    let shape = builder.shape(x).to_vec();
    if shape.len() < 2 {
        return Err(format!("an input of shape {shape:?}; expected two axes or more"));
    }
    let mut lists = [0; 4];
    for (at, list) in lists.iter_mut().enumerate() {
        *list = call.operand(at + 1)?;
        if builder.shape(*list) != [shape[1]] {
            return Err(format!("its input {} has shape {:?}; expected [{}]", at + 1, builder.shape(*list), shape[1]));
        }
    }
    let [scale, bias, mean, variance] = lists;
    let variance = builder.offset(variance, epsilon)?;
    let deviation = builder.unary(F::Sqrt, variance)?;
    let scale = builder.binary(Op::Div, scale, deviation)?;
    let moved = builder.binary(Op::Mul, mean, scale)?;
    let shift = builder.binary(Op::Sub, bias, moved)?;
    if let (Some(scale), Some(shift)) = (builder.known(scale), builder.known(shift)) {
        if scale.iter().chain(shift.iter()).any(|v| !v.is_finite()) {
            return Err("a variance that is not positive".into());
        }
        if let Some(folded) = builder.fold_affine(x, 1, Some(&scale), &shift)? {
            return Ok(vec![folded]);
        }
    }
    let scale = builder.along(scale, 1, &shape)?;
    let shift = builder.along(shift, 1, &shape)?;
    let scaled = builder.binary(Op::Mul, x, scale)?;
    Ok(vec![builder.binary(Op::Add, scaled, shift)?])
}

/// InstanceNormalization: each channel of each sample less its mean, over its deviation.
pub(super) fn instance(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(3, 3)?;
    let x = call.operand(0)?;
    let epsilon = call.float_or("epsilon", 1e-5)?;
    let shape = builder.shape(x).to_vec();
    if shape.len() < 3 {
        return Err(format!("an input of shape {shape:?}; expected three axes or more"));
    }
    let axes: Vec<usize> = (2..shape.len()).collect();
    let inverse = 1.0 / shape[2..].iter().product::<usize>() as f64;
    let sum = builder.sum(x, &axes)?;
    let mean = builder.scale(sum, inverse)?;
    let centred = builder.binary(Op::Sub, x, mean)?;
    let squares = builder.binary(Op::Mul, centred, centred)?;
    let sum = builder.sum(squares, &axes)?;
    let variance = builder.scale(sum, inverse)?;
    let variance = builder.offset(variance, epsilon)?;
    let deviation = builder.unary(F::Sqrt, variance)?;
    let normal = builder.binary(Op::Div, centred, deviation)?;
    let (scale, bias) = (builder.along(call.operand(1)?, 1, &shape)?, builder.along(call.operand(2)?, 1, &shape)?);
    let scaled = builder.binary(Op::Mul, normal, scale)?;
    Ok(vec![builder.binary(Op::Add, scaled, bias)?])
}

/// LpNormalization with p of 1 or 2.
pub(super) fn lp(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let along = axis(call.integer_or("axis", -1)?, builder.shape(x).len())?;
    let norm = match call.integer_or("p", 2)? {
        1 => {
            let sizes = builder.unary(F::Abs, x)?;
            builder.sum(sizes, &[along])?
        }
        2 => {
            let squares = builder.binary(Op::Mul, x, x)?;
            let sum = builder.sum(squares, &[along])?;
            builder.unary(F::Sqrt, sum)?
        }
        other => return Err(format!("p {other}; expected 1 or 2")),
    };
    // Zeros alone stay zeros.
    let norm = builder.unary(F::Clip { low: 1e-12, high: f64::INFINITY }, norm)?;
    Ok(vec![builder.binary(Op::Div, x, norm)?])
}

/// Softmax and LogSoftmax: over one axis, or before operator set 13 over all from one on.
pub(super) fn softmax(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let rank = builder.shape(x).len();
    let axes: Vec<usize> = if call.opset >= 13 {
        vec![axis(call.integer_or("axis", -1)?, rank)?]
    } else {
        let first = match call.integer_or("axis", 1)? {
            end if end == rank as i64 => return Err(format!("axis {end}, after which there is nothing")),
            other => axis(other, rank)?,
        };
        (first..rank).collect()
    };
    let top = keep_largest(builder, x, &axes)?;
    let less = builder.binary(Op::Sub, x, top)?;
    let powers = builder.unary(F::Exp, less)?;
    let sum = builder.sum(powers, &axes)?;
    if call.proto.op_type == "LogSoftmax" {
        let log = builder.unary(F::Log, sum)?;
        return Ok(vec![builder.binary(Op::Sub, less, log)?]);
    }
    Ok(vec![builder.binary(Op::Div, powers, sum)?])
}

/// The largest along axes, which keep size 1.
fn keep_largest(builder: &mut Builder, x: ValueId, axes: &[usize]) -> Lowered {
    let mut narrow = builder.shape(x).to_vec();
    axes.iter().for_each(|&a| narrow[a] = 1);
    let last = builder.gather_last(x, axes)?;
    let top = largest(builder, last)?;
    builder.reshape(top, &narrow)
}
