//! Resize and Upsample.

use super::{
    Results,
    interpolate::{Filter, along},
};
use crate::{
    network::ValueId,
    onnx::{
        builder::{Builder, Lowered},
        call::{Call, axis},
        tensor::count,
    },
};

/// Upsample, the first form of Resize.
pub(super) fn upsample(builder: &mut Builder, call: &Call<'_>) -> Results {
    if call.opset >= 10 {
        return Err("operator set 10 and later have Resize instead".into());
    }
    nearest_only(call.text("mode", "nearest")?)?;
    let x = call.operand(0)?;
    let scales = if call.opset < 9 {
        call.arity(1, 1)?;
        call.floats("scales")?.ok_or("no scales")?.iter().map(|&s| f64::from(s)).collect()
    } else {
        call.arity(2, 2)?;
        reals(builder, call.operand(1)?, "scales")?
    };
    simple(builder, x, &scales)
}

fn nearest_only(mode: &str) -> Lowered<()> {
    if mode == "nearest" { Ok(()) } else { Err(format!("mode '{mode}'; expected nearest")) }
}

fn reals(builder: &Builder, id: ValueId, what: &str) -> Lowered<Vec<f64>> {
    let data = builder.known(id).ok_or_else(|| format!("its {what} depend on the input; expected constants"))?;
    Ok(data.to_vec())
}

/// The size after scaling.
fn scaled(size: usize, scale: f64) -> Lowered<usize> {
    let result = (size as f64 * scale).floor();
    if scale.is_finite() && scale > 0.0 && (1.0..16_777_216.0).contains(&result) {
        return Ok(result as usize);
    }
    Err(format!("scale {scale} of an axis of {size}; expected a positive number that leaves at least one position"))
}

/// Position `i` reads `floor(i / scale)`.
fn simple(builder: &mut Builder, x: ValueId, scales: &[f64]) -> Results {
    let from = builder.shape(x).to_vec();
    if scales.len() != from.len() {
        return Err(format!("{} scales for {} axes", scales.len(), from.len()));
    }
    let to: Vec<usize> = from.iter().zip(scales).map(|(&size, &scale)| scaled(size, scale)).collect::<Lowered<_>>()?;
    count(&to)?;
    let lists = from
        .iter()
        .zip(scales)
        .zip(&to)
        .map(|((&size, &scale), &to)| (0..to).map(|i| Some(((i as f64 / scale) as usize).min(size - 1))).collect());
    let lists: Vec<Vec<Option<usize>>> = lists.collect();
    Ok(vec![builder.select(x, &lists)?])
}

/// Linear or cubic, with their parameters; `None` for the nearest.
fn filter(call: &Call<'_>) -> Lowered<Option<Filter>> {
    let cubic = call.float_or("cubic_coeff_a", -0.75)?;
    let exclude_outside = call.flag("exclude_outside", false)?;
    let antialias = call.flag("antialias", false)?;
    Ok(match call.text("mode", "nearest")? {
        "nearest" => None,
        "linear" => Some(Filter { cubic: None, exclude_outside, antialias }),
        "cubic" => Some(Filter { cubic: Some(cubic), exclude_outside, antialias }),
        other => return Err(format!("mode '{other}'; expected nearest, linear or cubic")),
    })
}

/// Resize. Operator set 10 has scales alone; since 11 there are sizes, ways to count coordinates and ways to round.
pub(super) fn resize(builder: &mut Builder, call: &Call<'_>) -> Results {
    let x = call.operand(0)?;
    if call.opset == 10 {
        nearest_only(call.text("mode", "nearest")?)?;
        call.arity(2, 2)?;
        let scales = reals(builder, call.operand(1)?, "scales")?;
        return simple(builder, x, &scales);
    }
    call.arity(1, 4)?;
    let from = builder.shape(x).to_vec();
    let ways = Ways {
        coordinates: call.text("coordinate_transformation_mode", "half_pixel")?,
        rounding: call.text("nearest_mode", "round_prefer_floor")?,
        filler: call.float_or("extrapolation_value", 0.0)?,
    };
    let filter = filter(call)?;
    let policy = call.text("keep_aspect_ratio_policy", "stretch")?;
    let chosen: Vec<usize> = match call.integers("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, from.len())).collect::<Lowered<_>>()?,
        None => (0..from.len()).collect(),
    };
    let regions = match call.optional(1) {
        Some(id) if ways.coordinates == "tf_crop_and_resize" => reals(builder, id, "region")?,
        _ => Vec::new(),
    };
    if ways.coordinates == "tf_crop_and_resize" && regions.len() != 2 * chosen.len() {
        return Err(format!("a region of {} numbers for {} axes; expected two for each", regions.len(), chosen.len()));
    }
    // An empty tensor stands for one that is not given.
    let given = |at: usize| call.optional(at).filter(|&id| !builder.shape(id).contains(&0));
    let axes = match (given(2), given(3)) {
        (Some(scales), None) => by_scales(&from, &chosen, &reals(builder, scales, "scales")?)?,
        (None, Some(sizes)) => by_sizes(&from, &chosen, &builder.integers(sizes, "sizes")?, policy)?,
        (Some(_), Some(_)) => return Err("both scales and sizes; expected one of them".into()),
        (None, None) => return Err("neither scales nor sizes".into()),
    };
    let mut to = from.clone();
    chosen.iter().zip(&axes).for_each(|(&axis, &(_, size))| to[axis] = size);
    count(&to)?;
    let mut lists: Vec<Vec<Option<usize>>> = from.iter().map(|&n| (0..n).map(Some).collect()).collect();
    let mut result = x;
    for (i, &axis) in chosen.iter().enumerate() {
        let region = match regions.is_empty() {
            true => (0.0, 1.0),
            false => (regions[i], regions[i + chosen.len()]),
        };
        count(&[axes[i].1])?;
        let places = ways.places(from[axis], axes[i], region)?;
        let outside = |place: f64| ways.outside(place, from[axis]);
        lists[axis] = match &filter {
            None => places
                .iter()
                .map(|&p| if outside(p) { Ok(None) } else { ways.nearest(p, from[axis]).map(Some) })
                .collect::<Lowered<_>>()?,
            Some(filter) => {
                if axes[i].0 != 1.0 || axes[i].1 != from[axis] || ways.coordinates == "tf_crop_and_resize" {
                    count(&[from[axis], axes[i].1])?;
                    let matrix = filter.matrix(&places, from[axis], axes[i].0);
                    result = along(builder, result, axis, axes[i].1, matrix)?;
                }
                places.iter().enumerate().map(|(i, &p)| (!outside(p)).then_some(i)).collect()
            }
        };
    }
    let scalar = builder.constant(vec![], builder.element(x), vec![ways.filler])?;
    Ok(vec![builder.select_or(result, &lists, scalar)?])
}

/// Scale and new size of each axis.
fn by_scales(from: &[usize], along: &[usize], scales: &[f64]) -> Lowered<Vec<(f64, usize)>> {
    if scales.len() != along.len() {
        return Err(format!("{} scales for {} axes", scales.len(), along.len()));
    }
    along.iter().zip(scales).map(|(&axis, &scale)| Ok((scale, scaled(from[axis], scale)?))).collect()
}

fn by_sizes(from: &[usize], along: &[usize], sizes: &[i64], policy: &str) -> Lowered<Vec<(f64, usize)>> {
    if sizes.len() != along.len() || sizes.iter().any(|&s| !(1..1 << 24).contains(&s)) {
        return Err(format!("{} sizes for {} axes; expected as many, each positive", sizes.len(), along.len()));
    }
    let scales = || along.iter().zip(sizes).map(|(&axis, &size)| size as f64 / from[axis] as f64);
    let shared = match policy {
        "stretch" => return Ok(scales().zip(sizes).map(|(scale, &size)| (scale, size as usize)).collect()),
        "not_larger" => scales().fold(f64::INFINITY, f64::min),
        "not_smaller" => scales().fold(0.0, f64::max),
        other => return Err(format!("keep_aspect_ratio_policy '{other}'")),
    };
    // Halves up.
    Ok(along.iter().map(|&axis| (shared, ((from[axis] as f64 * shared + 0.5).floor() as usize).max(1))).collect())
}

struct Ways<'a> {
    coordinates: &'a str,
    rounding: &'a str,
    filler: f64,
}

impl Ways<'_> {
    /// Where in the old axis each new position lies.
    fn places(&self, size: usize, (scale, to): (f64, usize), region: (f64, f64)) -> Lowered<Vec<f64>> {
        let (old, new) = (size as f64, to as f64);
        let place = |i: usize| {
            let x = i as f64;
            Ok(match self.coordinates {
                "half_pixel" => (x + 0.5) / scale - 0.5,
                "half_pixel_symmetric" => {
                    let adjustment = new / (scale * old);
                    let offset = old / 2.0 * (1.0 - adjustment);
                    offset + (x + 0.5) / scale - 0.5
                }
                "pytorch_half_pixel" if to > 1 => (x + 0.5) / scale - 0.5,
                // Of the length before it was rounded down, as ONNX's tests have it.
                "align_corners" if to > 1 => x * (old - 1.0) / (scale * old - 1.0),
                "pytorch_half_pixel" | "align_corners" => 0.0,
                "asymmetric" => x / scale,
                "tf_half_pixel_for_nn" => (x + 0.5) / scale,
                "tf_crop_and_resize" if to > 1 => {
                    region.0 * (old - 1.0) + x * (region.1 - region.0) * (old - 1.0) / (new - 1.0)
                }
                "tf_crop_and_resize" => 0.5 * (region.0 + region.1) * (old - 1.0),
                other => return Err(format!("coordinate_transformation_mode '{other}'")),
            })
        };
        let places = (0..to).map(place).collect::<Lowered<Vec<f64>>>()?;
        // Far enough for any region, and near enough to count with.
        match places.iter().find(|p| p.is_nan() || p.abs() >= 1e9) {
            Some(odd) => Err(format!("a position at {odd} of an axis of {size}")),
            None => Ok(places),
        }
    }

    /// Whether the filler stands there.
    fn outside(&self, place: f64, size: usize) -> bool {
        self.coordinates == "tf_crop_and_resize" && !(0.0..=size as f64 - 1.0).contains(&place)
    }

    /// The old position that a place reads.
    fn nearest(&self, place: f64, size: usize) -> Lowered<usize> {
        let position = match self.rounding {
            "round_prefer_floor" => (place - 0.5).ceil(),
            "round_prefer_ceil" => (place + 0.5).floor(),
            "floor" => place.floor(),
            "ceil" => place.ceil(),
            other => return Err(format!("nearest_mode '{other}'")),
        };
        Ok(position.clamp(0.0, size as f64 - 1.0) as usize)
    }
}
