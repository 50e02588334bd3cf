//! Convolution: windows by a wire, then one product of matrices for each group. Derived columns, no witness.
//!
//! The product is `[groups, m / g, k]` (the weights, as they lie) by `[groups, k, n * oh * ow]` (the windows), where
//! `k = c / g * kh * kw`; a last wire puts it in the order `[n, m, oh, ow]`.

use super::mat_mul::less;
use crate::{
    graph::{Geometry, Index, VOID, Wire},
    relation::{
        ColumnId,
        builder::{Bounds, Builder},
    },
};

/// Adds the columns.
pub(in crate::relation) fn build(
    b: &mut Builder,
    (x, weight, bias): (ColumnId, ColumnId, Option<ColumnId>),
    geometry: &Geometry,
    shape: Vec<usize>,
    bounds: Bounds,
) -> Result<ColumnId, String> {
    let padded = padded(b, x, geometry);
    let [&[n, c, h, w], &[m, per_group, kh, kw], &[_, _, oh, ow]] = [b.shape(padded), b.shape(weight), &shape] else {
        return Err("a convolution has four axes".into());
    };
    let groups = geometry.groups as usize;
    let loops = [
        (groups, per_group * h * w),
        (per_group, h * w),
        (kh, geometry.dilations[0] as usize * w),
        (kw, geometry.dilations[1] as usize),
        (n, c * h * w),
        (oh, geometry.strides[0] as usize * w),
        (ow, geometry.strides[1] as usize),
    ];
    let taps = per_group * kh * kw;
    let positions = n * oh * ow;
    let windows = b.moved(padded, strided(&loops), vec![groups, taps, positions], "windows");
    let kernels = b.reshaped(weight, vec![groups, m / groups, taps], "kernels");
    let added = bias.map_or((0, 0), |bias| b.bounds(bias));
    let inner = less(bounds, added);
    let product = b.mat_mul(kernels, windows, inner, "product");
    let index = match n {
        1 => Index::Identity,
        _ => strided(&[(n, oh * ow), (m, positions), (oh * ow, 1)]),
    };
    let ordered = b.moved(product, index, shape.clone(), "maps");
    let Some(bias) = bias else { return Ok(ordered) };
    let bias = b.moved(bias, strided(&[(n, 0), (m, 1), (oh * ow, 0)]), shape, "bias");
    Ok(b.linear_within(vec![(1, ordered), (1, bias)], 0, bounds, "sum"))
}

fn strided(loops: &[(usize, usize)]) -> Index {
    Index::Strided { offset: 0, loops: loops.iter().map(|&(size, stride)| (size as u32, stride as i64)).collect() }
}

/// The input with zeros around it. A wire of its own, so that the far larger one to windows is made of strides only.
fn padded(b: &mut Builder, x: ColumnId, geometry: &Geometry) -> ColumnId {
    let [top, left, bottom, right] = geometry.pads.map(|p| p as usize);
    if top + left + bottom + right == 0 {
        return x;
    }
    let (low, high) = b.bounds(x);
    let shape = b.shape(x);
    let (planes, h, w) = (shape[0] * shape[1], shape[2], shape[3]);
    let padded = vec![shape[0], shape[1], h + top + bottom, w + left + right];
    let mut index = Vec::with_capacity(padded.iter().product());
    for plane in 0..planes {
        for row in 0..padded[2] {
            for column in 0..padded[3] {
                let inside = (top..top + h).contains(&row) && (left..left + w).contains(&column);
                index.push(if inside { ((plane * h + row - top) * w + column - left) as u32 } else { VOID });
            }
        }
    }
    let wire = Wire { fan_in: 1, index: Index::Explicit(index) };
    b.wire_within(vec![x], wire, padded, (low.min(0), high.max(0)), "padded")
}
