//! What is known without any input: constants, shapes, ranges.

use super::Results;
use crate::onnx::{
    builder::{Builder, Lowered},
    call::Call,
    element::Element,
    tensor::{count, shape},
};

/// Shape and Size.
pub(super) fn shape_of(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let shape = builder.shape(call.operand(0)?).to_vec();
    if call.proto.op_type == "Size" {
        return Ok(vec![builder.constant(vec![], Element::Int64, vec![shape.iter().product::<usize>() as f64])?]);
    }
    let rank = shape.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (place(call.integer_or("start", 0)?), place(call.integer_or("end", rank)?));
    Ok(vec![builder.list(&shape[start..end.max(start)])?])
}

/// Constant.
pub(super) fn constant(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(0, 0)?;
    if let Some(tensor) = call.tensor("value")? {
        return Ok(vec![builder.tensor(tensor)?]);
    }
    let (element, one, many) = if let Some(v) = call.float("value_float")? {
        (Element::Float, true, vec![v])
    } else if let Some(v) = call.integer("value_int")? {
        (Element::Int64, true, vec![v as f64])
    } else if let Some(list) = call.floats("value_floats")? {
        (Element::Float, false, list.iter().map(|&v| f64::from(v)).collect())
    } else if let Some(list) = call.integers("value_ints")? {
        (Element::Int64, false, list.iter().map(|&v| v as f64).collect())
    } else {
        return Err("no value that is a dense tensor or numbers".into());
    };
    let shape = if one { vec![] } else { vec![many.len()] };
    Ok(vec![builder.constant(shape, element, many)?])
}

/// ConstantOfShape.
pub(super) fn constant_of_shape(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let wanted = shape(&builder.integers(call.operand(0)?, "shape")?)?;
    let (element, number) = match call.tensor("value")? {
        Some(tensor) if tensor.data.len() == 1 => (tensor.element, tensor.data[0]),
        Some(_) => return Err("attribute 'value' holds several numbers; expected one".into()),
        None => (Element::Float, 0.0),
    };
    Ok(vec![builder.filled(number, element, &wanted)?])
}

/// Range of known ends.
pub(super) fn range(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(3, 3)?;
    let number = |at: usize| -> Lowered<f64> {
        builder.uniform(call.operand(at)?).ok_or_else(|| "its ends depend on the input; expected constants".into())
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    // It concerns the rounding of half precision.
    let _ = call.integer("stash_type")?;
    let steps = ((limit - start) / delta).ceil();
    if delta == 0.0 || !steps.is_finite() {
        return Err(format!("a range from {start} to {limit} by {delta}"));
    }
    let steps = count(&[steps.max(0.0) as usize])?;
    let data = (0..steps).map(|i| start + i as f64 * delta).collect();
    Ok(vec![builder.constant(vec![steps], builder.element(call.operand(0)?), data)?])
}

/// EyeLike: of its operand only the shape counts.
pub(super) fn eye(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let &[rows, columns] = builder.shape(x) else {
        return Err(format!("shape {:?}; expected two axes", builder.shape(x)));
    };
    let element = match call.integer("dtype")? {
        Some(number) => Element::from_number(number)?,
        None => builder.element(x),
    };
    let k = call.integer_or("k", 0)?;
    let on = |at: usize| ((at % columns) as i64).checked_sub((at / columns) as i64) == Some(k);
    let data = (0..rows * columns).map(|at| f64::from(on(at))).collect();
    Ok(vec![builder.constant(vec![rows, columns], element, data)?])
}
