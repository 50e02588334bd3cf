//! What only moves values or changes their shape.

use super::Results;
use crate::onnx::{
    builder::{Builder, Lowered, common_shape},
    call::{Call, axes, axis},
    element::Element,
    tensor::{count, shape},
};

/// Integers that were an attribute before an operator set, and are an operand since.
pub(super) fn integers(
    builder: &Builder,
    call: &Call<'_>,
    name: &str,
    since: i64,
    at: usize,
) -> Lowered<Option<Vec<i64>>> {
    if call.opset < since {
        return Ok(call.integers(name)?.map(<[i64]>::to_vec));
    }
    call.optional(at).map(|id| builder.integers(id, name)).transpose()
}

/// Identity, and Dropout outside training.
pub(super) fn identity(builder: &mut Builder, call: &Call<'_>) -> Results {
    let x = call.operand(0)?;
    if call.proto.op_type == "Identity" {
        call.arity(1, 1)?;
        return Ok(vec![x]);
    }
    call.arity(1, 3)?;
    let _ = (call.float("ratio")?, call.integer("seed")?);
    if let Some(training) = call.optional(2)
        && builder.uniform(training) != Some(0.0)
        && call.optional(1).is_none_or(|ratio| builder.uniform(ratio) != Some(0.0))
    {
        return Err("it is in training mode; export the model for inference".into());
    }
    let shape = builder.shape(x).to_vec();
    let mask = builder.filled(1.0, Element::Bool, &shape)?;
    Ok(vec![x, mask])
}

/// Flatten.
pub(super) fn flatten(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let from = builder.shape(x).to_vec();
    let at = match call.integer_or("axis", 1)? {
        // The end counts too: everything before it is the first axis.
        end if end == from.len() as i64 => from.len(),
        other => axis(other, from.len())?,
    };
    Ok(vec![builder.reshape(x, &[from[..at].iter().product(), from[at..].iter().product()])?])
}

/// Reshape.
pub(super) fn reshape(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let x = call.operand(0)?;
    let wanted = builder.integers(call.operand(1)?, "shape")?;
    let zero_is_zero = call.flag("allowzero", false)?;
    let from = builder.shape(x).to_vec();
    let mut to = Vec::with_capacity(wanted.len().min(16));
    let mut open = None;
    for (at, &size) in wanted.iter().enumerate().take(17) {
        to.push(match size {
            0 if zero_is_zero => 0,
            0 => {
                *from.get(at).ok_or_else(|| format!("0 at position {at} copies an axis of {from:?}, which has none"))?
            }
            -1 if open.is_some() => return Err("two sizes are -1; expected one at most".into()),
            -1 => {
                open = Some(at);
                1
            }
            size => usize::try_from(size).map_err(|_| format!("size {size}; expected -1, 0 or more"))?,
        });
    }
    if let Some(open) = open {
        let (all, rest) = (count(&from)?, count(&to)?);
        if rest == 0 || !all.is_multiple_of(rest) {
            return Err(format!("{from:?} does not fit {:?}", &wanted[..wanted.len().min(16)]));
        }
        to[open] = all / rest;
    }
    Ok(vec![builder.reshape(x, &to)?])
}

/// Transpose.
pub(super) fn transpose(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let rank = builder.shape(x).len();
    let order = match call.integers("perm")? {
        Some(list) if list.len() == rank && axes(list, rank).is_ok() => {
            list.iter().map(|&a| axis(a, rank)).collect::<Lowered<Vec<_>>>()?
        }
        Some(list) => return Err(format!("perm {:?}; expected each of {rank} axes once", &list[..list.len().min(16)])),
        None => (0..rank).rev().collect(),
    };
    Ok(vec![builder.transpose(x, &order)?])
}

/// Squeeze and Unsqueeze.
pub(super) fn squeeze(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 2)?;
    let x = call.operand(0)?;
    let list = integers(builder, call, "axes", 13, 1)?;
    let from = builder.shape(x).to_vec();
    let to = if call.proto.op_type == "Squeeze" {
        let gone = match list {
            Some(list) => axes(&list, from.len())?,
            None => (0..from.len()).filter(|&i| from[i] == 1).collect(),
        };
        if let Some(&odd) = gone.iter().find(|&&i| from[i] != 1) {
            return Err(format!("axis {odd} has size {}; expected 1", from[odd]));
        }
        (0..from.len()).filter(|i| !gone.contains(i)).map(|i| from[i]).collect::<Vec<_>>()
    } else {
        let list = list.ok_or("no axes")?;
        let rank = from.len() + list.len();
        let new = axes(&list, rank)?;
        let mut old = from.iter().copied();
        (0..rank).map(|i| if new.contains(&i) { 1 } else { old.next().unwrap_or(1) }).collect()
    };
    Ok(vec![builder.reshape(x, &to)?])
}

/// Slice: bounds as attributes before operator set 10, as operands since.
pub(super) fn slice(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(if call.opset < 10 { 1 } else { 3 }, if call.opset < 10 { 1 } else { 5 })?;
    let x = call.operand(0)?;
    let starts = integers(builder, call, "starts", 10, 1)?.ok_or("no starts")?;
    let ends = integers(builder, call, "ends", 10, 2)?.ok_or("no ends")?;
    let from = builder.shape(x).to_vec();
    let along = match integers(builder, call, "axes", 10, 3)? {
        Some(list) => list.iter().map(|&a| axis(a, from.len())).collect::<Lowered<Vec<_>>>()?,
        None => (0..starts.len()).collect(),
    };
    let steps = if call.opset < 10 { None } else { integers(builder, call, "steps", 10, 4)? };
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), along.len(), steps.len()].iter().any(|&n| n != starts.len()) || starts.len() > from.len() {
        return Err(format!(
            "{} starts, {} ends, {} axes, {} steps",
            starts.len(),
            ends.len(),
            along.len(),
            steps.len()
        ));
    }
    let mut result = x;
    for (i, &axis) in along.iter().enumerate() {
        let size = from[axis] as i64;
        let step = steps[i];
        if step == 0 {
            return Err("a step of 0".into());
        }
        let place = |at: i64, low: i64, high: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(low, high);
        let list: Vec<Option<usize>> = if step > 0 {
            let (start, end) = (place(starts[i], 0, size), place(ends[i], 0, size));
            (start..end).step_by(usize::try_from(step).unwrap_or(usize::MAX)).map(|p| Some(p as usize)).collect()
        } else {
            let (start, end) = (place(starts[i], -1, size - 1), place(ends[i], -1, size - 1));
            let back = usize::try_from(step.unsigned_abs()).unwrap_or(usize::MAX);
            (end + 1..start + 1).rev().step_by(back).map(|p| Some(p as usize)).collect()
        };
        result = builder.select_axis(result, axis, list)?;
    }
    Ok(vec![result])
}

/// Concat.
pub(super) fn concat(builder: &mut Builder, call: &Call<'_>) -> Results {
    let parts = call.operands()?;
    let along = axis(call.integer("axis")?.ok_or("no attribute 'axis'")?, builder.shape(parts[0]).len())?;
    Ok(vec![builder.concatenate(&parts, along)?])
}

/// Split: sizes as attribute before operator set 13, as operand since; equal ones otherwise.
pub(super) fn split(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 2)?;
    let x = call.operand(0)?;
    let from = builder.shape(x).to_vec();
    let along = axis(call.integer_or("axis", 0)?, from.len())?;
    let parts = match call.integer("num_outputs")? {
        Some(n) if n != call.outputs() as i64 => {
            return Err(format!("num_outputs {n}, and {} outputs", call.outputs()));
        }
        _ => call.outputs().max(1),
    };
    let sizes = match integers(builder, call, "split", 13, 1)? {
        Some(list) => shape(&list)?,
        None => {
            let chunk = from[along].div_ceil(parts);
            if !from[along].is_multiple_of(parts) && call.opset < 18 {
                return Err(format!("{} positions do not split into {parts} equal parts", from[along]));
            }
            (0..parts).map(|i| chunk.min(from[along].saturating_sub(i * chunk))).collect()
        }
    };
    if sizes.len() != parts || sizes.iter().fold(0, |sum: usize, &n| sum.saturating_add(n)) != from[along] {
        return Err(format!("parts of {sizes:?} for {parts} outputs of {} positions in all", from[along]));
    }
    let mut start = 0;
    sizes
        .iter()
        .map(|&size| {
            let list = (start..start + size).map(Some).collect();
            start += size;
            builder.select_axis(x, along, list)
        })
        .collect()
}

/// Gather with known indices.
pub(super) fn gather(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let (x, indices) = (call.operand(0)?, call.operand(1)?);
    let from = builder.shape(x).to_vec();
    let along = axis(call.integer_or("axis", 0)?, from.len())?;
    let list = builder.integers(indices, "indices")?;
    let list = list.iter().map(|&i| axis(i, from[along]).map(Some)).collect::<Lowered<Vec<_>>>();
    let list = list.map_err(|_| format!("an index outside the {} positions of axis {along}", from[along]))?;
    let mut to = from[..along].to_vec();
    to.extend(builder.shape(indices));
    to.extend(&from[along + 1..]);
    let taken = builder.select_axis(x, along, list)?;
    Ok(vec![builder.reshape(taken, &to)?])
}

/// Expand.
pub(super) fn expand(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let x = call.operand(0)?;
    let wanted = shape(&builder.integers(call.operand(1)?, "shape")?)?;
    let to = common_shape(builder.shape(x), &wanted)?;
    Ok(vec![builder.broadcast(x, &to)?])
}

/// Tile.
pub(super) fn tile(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    let x = call.operand(0)?;
    let repeats = builder.integers(call.operand(1)?, "repeats")?;
    let from = builder.shape(x).to_vec();
    let repeats: Option<Vec<usize>> = repeats.iter().map(|&r| usize::try_from(r).ok()).collect();
    let repeats =
        repeats.filter(|r| r.len() == from.len()).ok_or("expected one repeat for each axis, none negative")?;
    let to: Option<Vec<usize>> = from.iter().zip(&repeats).map(|(&n, &r)| n.checked_mul(r)).collect();
    count(&to.ok_or("too many repeats")?)?;
    let lists = from.iter().zip(&repeats).map(|(&n, &r)| (0..n * r).map(|i| Some(i % n)).collect());
    let lists: Vec<Vec<Option<usize>>> = lists.collect();
    Ok(vec![builder.select(x, &lists)?])
}

/// DepthToSpace and SpaceToDepth.
pub(super) fn blocks(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 1)?;
    let x = call.operand(0)?;
    let &[n, c, h, w] = builder.shape(x) else {
        return Err(format!("an image of shape {:?}; expected four axes", builder.shape(x)));
    };
    let block = call.integer("blocksize")?.and_then(|b| usize::try_from(b).ok()).filter(|&b| b > 0 && b <= 1 << 12);
    let b = block.ok_or("expected a blocksize from 1 to 4096")?;
    if call.proto.op_type == "SpaceToDepth" {
        if !h.is_multiple_of(b) || !w.is_multiple_of(b) {
            return Err(format!("an image of {h} by {w} does not split into blocks of {b}"));
        }
        let x = builder.reshape(x, &[n, c, h / b, b, w / b, b])?;
        let x = match call.text("mode", "DCR")? {
            "DCR" => builder.transpose(x, &[0, 3, 5, 1, 2, 4])?,
            "CRD" => builder.transpose(x, &[0, 1, 3, 5, 2, 4])?,
            other => return Err(format!("mode '{other}'; expected DCR or CRD")),
        };
        return Ok(vec![builder.reshape(x, &[n, c * b * b, h / b, w / b])?]);
    }
    if !c.is_multiple_of(b * b) {
        return Err(format!("{c} channels do not split into blocks of {b} by {b}"));
    }
    let d = c / (b * b);
    let (split, order) = match call.text("mode", "DCR")? {
        "DCR" => ([n, b, b, d, h, w], [0, 3, 4, 1, 5, 2]),
        "CRD" => ([n, d, b, b, h, w], [0, 1, 4, 2, 5, 3]),
        other => return Err(format!("mode '{other}'; expected DCR or CRD")),
    };
    let x = builder.reshape(x, &split)?;
    let x = builder.transpose(x, &order)?;
    Ok(vec![builder.reshape(x, &[n, d, h * b, w * b])?])
}

/// Pad: amounts as attributes before operator set 11, as operands since.
pub(super) fn pad(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(if call.opset < 11 { 1 } else { 2 }, if call.opset < 11 { 1 } else { 4 })?;
    let x = call.operand(0)?;
    let from = builder.shape(x).to_vec();
    let amounts = integers(builder, call, "pads", 11, 1)?.ok_or("no pads")?;
    let along = match integers(builder, call, "axes", 18, 3) {
        Ok(Some(list)) if call.opset >= 18 => list.iter().map(|&a| axis(a, from.len())).collect::<Lowered<Vec<_>>>()?,
        Err(e) => return Err(e),
        _ => (0..from.len()).collect(),
    };
    if amounts.len() != 2 * along.len() {
        return Err(format!("{} pads for {} axes; expected two for each", amounts.len(), along.len()));
    }
    let mode = call.text("mode", "constant")?;
    let filler = if call.opset < 11 {
        call.float_or("value", 0.0)?
    } else {
        match call.optional(2) {
            Some(value) => builder.uniform(value).ok_or("its value depends on the input; expected a constant")?,
            None => 0.0,
        }
    };
    if !["constant", "edge", "wrap", "reflect"].contains(&mode) {
        return Err(format!("mode '{mode}'; expected constant, edge, reflect or wrap"));
    }
    let mut padded = from.clone();
    for (i, &axis) in along.iter().enumerate() {
        let (begin, end) = (amounts[i], amounts[i + along.len()]);
        let size = from[axis] as i64;
        if begin.unsigned_abs().max(end.unsigned_abs()) > 1 << 24 || size + begin + end < 0 {
            return Err(format!("pads {begin} and {end} around {size} positions"));
        }
        padded[axis] = (size + begin + end) as usize;
    }
    count(&padded)?;
    let mut lists: Vec<Vec<Option<usize>>> = from.iter().map(|&n| (0..n).map(Some).collect()).collect();
    for (i, &axis) in along.iter().enumerate() {
        let (begin, end, size) = (amounts[i], amounts[i + along.len()], from[axis] as i64);
        let place = |at: i64| -> Option<usize> {
            let inside = match mode {
                "constant" => at,
                "edge" => at.clamp(0, size - 1),
                "wrap" => at.rem_euclid(size),
                // Back and forth between the ends, neither of which repeats.
                _ => {
                    let turn = (2 * (size - 1)).max(1);
                    let at = at.rem_euclid(turn);
                    at.min(turn - at).min(size - 1)
                }
            };
            usize::try_from(inside).ok().filter(|&p| p < from[axis])
        };
        lists[axis] = (-begin..size + end).map(place).collect();
    }
    if mode != "constant" || filler == 0.0 {
        return Ok(vec![builder.select(x, &lists)?]);
    }
    let filler = builder.constant(vec![], builder.element(x), vec![filler])?;
    Ok(vec![builder.select_or(x, &lists, filler)?])
}

/// Trilu with a known diagonal.
pub(super) fn triangle(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(1, 2)?;
    let x = call.operand(0)?;
    let shape = builder.shape(x).to_vec();
    let &[.., rows, columns] = &shape[..] else {
        return Err(format!("shape {shape:?}; expected two or more axes"));
    };
    let upper = call.flag("upper", true)?;
    let k = match call.optional(1) {
        Some(k) => *builder.integers(k, "k")?.first().ok_or("k is empty")?,
        None => 0,
    };
    let size = count(&shape)?;
    builder.allow_entries(size)?;
    let index = (0..size).map(|at| {
        let ahead = ((at % columns) as i64 - (at / columns % rows) as i64).saturating_sub(k);
        let kept = if upper { ahead >= 0 } else { ahead <= 0 };
        if kept { at as u32 } else { crate::graph::VOID }
    });
    let index = index.collect();
    if size == 0 {
        return Ok(vec![x]);
    }
    Ok(vec![builder.listed(&[x], index, 1, shape)?])
}
