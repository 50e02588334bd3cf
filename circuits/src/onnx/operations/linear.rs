//! Matrix products and convolutions.

use super::{
    Results,
    window::{Window, per_axis, windows},
};
use crate::{
    graph::{Geometry, VOID},
    network::{Op, ValueId},
    onnx::{
        builder::{Builder, Lowered, common_shape},
        call::Call,
        tensor::count,
        view::{Loops, strides},
    },
};

/// MatMul, batched and broadcast.
pub(super) fn matmul(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 2)?;
    Ok(vec![multiply(builder, call.operand(0)?, call.operand(1)?)?])
}

/// The product of matrices in the last two axes; a vector counts as a row on the left, as a column on the right.
pub(super) fn multiply(builder: &mut Builder, a: ValueId, b: ValueId) -> Lowered {
    let (left, right) = (builder.shape(a).to_vec(), builder.shape(b).to_vec());
    let (Some(&k), false) = (left.last(), right.is_empty()) else {
        return Err("a scalar operand; expected vectors or matrices".into());
    };
    let (batch_a, m) = left.split_at(left.len().saturating_sub(2));
    let m = if left.len() == 1 { 1 } else { m[0] };
    let (batch_b, n) = match right[..] {
        [_] => (&[][..], 1),
        _ => (&right[..right.len() - 2], right[right.len() - 1]),
    };
    let inner = if right.len() == 1 { right[0] } else { right[right.len() - 2] };
    if inner != k {
        return Err(format!("shapes {left:?} and {right:?} cannot be multiplied"));
    }
    let batch = common_shape(batch_a, batch_b)?;
    let mut shape = batch.clone();
    shape.extend((left.len() > 1).then_some(m));
    shape.extend((right.len() > 1).then_some(n));
    let size = count(&batch)?;
    count(&shape)?;
    if size == 0 || m == 0 || n == 0 {
        return builder.constant(shape, builder.element(a), Vec::new());
    }
    // One matrix on the right serves the whole batch as more rows.
    if batch_b.iter().all(|&n| n == 1) && batch_a == batch {
        let a = builder.reshape(a, &[1, size * m, k])?;
        let b = builder.reshape(b, &[1, k, n])?;
        return builder.product(a, b, None, &shape);
    }
    let spread = |builder: &mut Builder, x: ValueId, rows: usize, columns: usize, own: &[usize]| {
        let x = builder.reshape(x, &[own, &[rows, columns]].concat())?;
        let x = builder.broadcast(x, &[&batch[..], &[rows, columns]].concat())?;
        builder.reshape(x, &[size, rows, columns])
    };
    let a = spread(builder, a, m, k, batch_a)?;
    let b = spread(builder, b, k, n, batch_b)?;
    builder.product(a, b, None, &shape)
}

/// Gemm: `alpha * A' * B' + beta * C`.
pub(super) fn gemm(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 3)?;
    let (mut a, mut b) = (call.operand(0)?, call.operand(1)?);
    let (alpha, beta) = (call.float_or("alpha", 1.0)?, call.float_or("beta", 1.0)?);
    for (x, name) in [(&mut a, "transA"), (&mut b, "transB")] {
        // Any number but 0 says yes.
        let transposed = call.integer_or(name, 0)? != 0;
        if builder.shape(*x).len() != 2 {
            return Err(format!("an operand of shape {:?}; expected two axes", builder.shape(*x)));
        }
        if transposed {
            *x = builder.transpose(*x, &[1, 0])?;
        }
    }
    let (m, n) = (builder.shape(a)[0], builder.shape(b)[1]);
    let weights = builder.is_known(b);
    if weights {
        b = builder.scale(b, alpha)?;
    }
    let mut bias = match call.optional(2) {
        Some(c) => Some(builder.scale(c, beta)?),
        None => None,
    };
    let (rows, columns) = (builder.shape(a).to_vec(), builder.shape(b).to_vec());
    let a = builder.reshape(a, &[1, rows[0], rows[1]])?;
    let b = builder.reshape(b, &[1, columns[0], columns[1]])?;
    let list = match bias {
        Some(c) if weights || alpha == 1.0 => row(builder, c, n)?,
        _ => None,
    };
    if list.is_some() {
        bias = None;
    }
    let mut result = builder.product(a, b, list, &[m, n])?;
    if !weights {
        result = builder.scale(result, alpha)?;
    }
    if let Some(c) = bias {
        let c = builder.broadcast(c, &[m, n])?;
        result = builder.binary(Op::Add, result, c)?;
    }
    Ok(vec![result])
}

/// A bias that is one row, as a list.
fn row(builder: &mut Builder, c: ValueId, n: usize) -> Lowered<Option<ValueId>> {
    let shape = builder.shape(c);
    if shape.len() > 2 || shape.iter().rev().skip(1).any(|&d| d != 1) {
        return Ok(None);
    }
    let flat = shape.iter().product();
    let flat = builder.reshape(c, &[flat])?;
    builder.broadcast(flat, &[n]).map(Some)
}

/// Conv.
pub(super) fn conv(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 3)?;
    Ok(vec![convolve(builder, call, call.operand(0)?, call.operand(1)?, call.optional(2))?])
}

/// A convolution with a node's attributes: one or two axes as [`Op::Conv`], more as windows and a matrix product.
pub(super) fn convolve(
    builder: &mut Builder,
    call: &Call<'_>,
    x: ValueId,
    weights: ValueId,
    bias: Option<ValueId>,
) -> Lowered {
    let (image, kernel) = (builder.shape(x).to_vec(), builder.shape(weights).to_vec());
    if image.len() < 3 || image.len() != kernel.len() {
        return Err(format!("an image of shape {image:?} and weights of {kernel:?}; expected three or more axes each"));
    }
    let groups = groups(call)?;
    kernel_shape(call, &kernel[2..])?;
    let windows = windows(call, &image[2..], &kernel[2..], false)?;
    let mut shape = vec![image[0], kernel[0]];
    shape.extend(windows.iter().map(|w| w.outputs));
    count(&shape)?;
    if image.len() > 4 {
        return volume(builder, [x, weights], bias, groups as usize, &windows, &shape);
    }
    // An axis of size 1 in front of the one there is.
    let two = |f: &dyn Fn(usize) -> usize, none: u32| match windows.len() {
        1 => [none, f(0) as u32],
        _ => [f(0) as u32, f(1) as u32],
    };
    let ([top, left], [bottom, right]) = (two(&|i| windows[i].begin, 0), two(&|i| windows[i].end, 0));
    let geometry = Geometry {
        strides: two(&|i| windows[i].stride, 1),
        dilations: two(&|i| windows[i].dilation, 1),
        pads: [top, left, bottom, right],
        groups,
    };
    let planar = |s: &[usize]| if s.len() == 3 { vec![s[0], s[1], 1, s[2]] } else { s.to_vec() };
    let x = builder.reshape(x, &planar(&image))?;
    let weights = builder.reshape(weights, &planar(&kernel))?;
    builder.convolution(x, weights, bias, geometry, &shape)
}

pub(super) fn groups(call: &Call<'_>) -> Lowered<u32> {
    let groups = call.integer_or("group", 1)?;
    u32::try_from(groups).ok().filter(|&g| g > 0).ok_or_else(|| format!("group {groups}; expected a positive number"))
}

/// An attribute that must repeat the shape of the weights.
pub(super) fn kernel_shape(call: &Call<'_>, kernel: &[usize]) -> Lowered<()> {
    if !call.has("kernel_shape") || per_axis(call, "kernel_shape", kernel.len(), 1)? == kernel {
        return Ok(());
    }
    Err(format!("kernel_shape differs from the weights', {kernel:?}"))
}

/// A convolution over three or more axes: `[g, positions, taps]` by `[g, taps, m / g]`.
fn volume(
    builder: &mut Builder,
    [x, weights]: [ValueId; 2],
    bias: Option<ValueId>,
    groups: usize,
    windows: &[Window],
    shape: &[usize],
) -> Lowered {
    let (image, kernel) = (builder.shape(x).to_vec(), builder.shape(weights).to_vec());
    let (n, c, m, per_group) = (image[0], image[1], kernel[0], kernel[1]);
    if Some(c) != per_group.checked_mul(groups) || !m.is_multiple_of(groups) {
        return Err(format!("{c} channels in {groups} groups by kernels of {per_group}, {m} of them, do not fit"));
    }
    let positions: usize = windows.iter().map(|w| w.outputs).product();
    let taps: usize = windows.iter().map(|w| w.kernel).product();
    let plane: usize = image[2..].iter().product();
    let entries = count(&[groups, n, positions, per_group, taps])?;
    builder.allow_entries(entries)?;
    let offsets = super::pool::taken(windows);
    let mut index = Vec::with_capacity(entries);
    for (group, sample) in (0..groups).flat_map(|g| (0..n).map(move |s| (g, s))) {
        for window in offsets.chunks_exact(taps) {
            for channel in 0..per_group {
                let base = (sample * c + group * per_group + channel) * plane;
                index.extend(window.iter().map(|&at| if at == VOID { VOID } else { base as u32 + at }));
            }
        }
    }
    let patches = builder.listed(&[x], index, 1, vec![groups, n * positions, per_group * taps])?;
    let (out, depth) = (m / groups, per_group * taps);
    let loops = vec![(groups, (out * depth) as i64), (depth, 1), (out, depth as i64)];
    let weights = builder.loops(weights, Loops { offset: 0, loops }, 1, vec![groups, depth, out])?;
    let product = builder.product(patches, weights, None, &[groups, n, positions, out])?;
    let planes = builder.transpose(product, &[1, 0, 3, 2])?;
    let mut result = builder.reshape(planes, shape)?;
    if let Some(bias) = bias {
        let bias = builder.along(bias, 1, shape)?;
        result = builder.binary(Op::Add, result, bias)?;
    }
    Ok(result)
}

/// ConvTranspose: zeros between the values of the image, then a convolution with the kernel turned round.
pub(super) fn conv_transpose(builder: &mut Builder, call: &Call<'_>) -> Results {
    call.arity(2, 3)?;
    let (x, weights, bias) = (call.operand(0)?, call.operand(1)?, call.optional(2));
    let (image, kernel) = (builder.shape(x).to_vec(), builder.shape(weights).to_vec());
    if image.len() < 3 || image.len() != kernel.len() {
        return Err(format!("an image of shape {image:?} and weights of {kernel:?}; expected three or more axes each"));
    }
    let c = image[1];
    let groups = groups(call)?;
    let g = groups as usize;
    if kernel[0] != c || !c.is_multiple_of(g) {
        return Err(format!("{c} channels by weights of shape {kernel:?} in {g} groups do not fit"));
    }
    kernel_shape(call, &kernel[2..])?;
    let spans = spans(call, &image[2..], &kernel[2..])?;

    // Where the k-th position of the stretched image comes from; all padding is in the wire.
    let mut wide = image[..2].to_vec();
    wide.extend(spans.iter().zip(&kernel[2..]).map(|(span, size)| span.outputs + (size - 1) * span.dilation));
    count(&wide)?;
    let mut lists: Vec<Vec<Option<usize>>> = image[..2].iter().map(|&n| (0..n).map(Some).collect()).collect();
    for (axis, span) in spans.iter().enumerate() {
        let source = |k: usize| {
            let at = k as i64 + span.begin - ((kernel[axis + 2] - 1) * span.dilation) as i64;
            let (at, stride) = (usize::try_from(at).ok()?, span.stride);
            (at % stride == 0 && at / stride < image[axis + 2]).then_some(at / stride)
        };
        lists.push((0..wide[axis + 2]).map(source).collect());
    }
    let stretched = builder.select(x, &lists)?;

    let (per_group, m) = (c / g, kernel[1]);
    let plane: usize = kernel[2..].iter().product();
    let mut loops = vec![(g, (per_group * m * plane) as i64), (m, plane as i64), (per_group, (m * plane) as i64)];
    loops.extend(kernel[2..].iter().zip(strides(&kernel[2..])).map(|(&size, stride)| (size, -stride)));
    let turned = Loops { offset: plane as i64 - 1, loops };
    let mut shape = vec![image[0], g * m];
    shape.extend(spans.iter().map(|s| s.outputs));
    count(&shape)?;
    let mut kernels = vec![g * m, per_group];
    kernels.extend(&kernel[2..]);
    if spans.len() > 2 {
        let turned = builder.loops(weights, turned, 1, kernels)?;
        let windows: Vec<Window> = spans.iter().zip(&kernel[2..]).map(|(s, &kernel)| s.window(kernel)).collect();
        return Ok(vec![volume(builder, [stretched, turned], bias, g, &windows, &shape)?]);
    }
    let mut planar = builder.shape(stretched).to_vec();
    let mut dilations = [1, spans[spans.len() - 1].dilation as u32];
    if spans.len() == 1 {
        planar.insert(2, 1);
        kernels.insert(2, 1);
    } else {
        dilations[0] = spans[0].dilation as u32;
    }
    let turned = builder.loops(weights, turned, 1, kernels)?;
    let stretched = builder.reshape(stretched, &planar)?;
    let geometry = Geometry { strides: [1, 1], dilations, pads: [0; 4], groups };
    Ok(vec![builder.convolution(stretched, turned, bias, geometry, &shape)?])
}

/// One axis of a transposed convolution.
struct Span {
    stride: usize,
    dilation: usize,
    /// Outputs cut off at the start.
    begin: i64,
    outputs: usize,
}

impl Span {
    /// The window that slides over the stretched image.
    fn window(&self, kernel: usize) -> Window {
        let size = self.outputs + (kernel - 1) * self.dilation;
        let (stride, dilation, outputs) = (1, self.dilation, self.outputs);
        Window { size, kernel, stride, dilation, begin: 0, end: 0, outputs }
    }
}

fn spans(call: &Call<'_>, sizes: &[usize], kernel: &[usize]) -> Lowered<Vec<Span>> {
    let count = sizes.len();
    let strides = per_axis(call, "strides", count, 1)?;
    let dilations = per_axis(call, "dilations", count, 1)?;
    let pads = per_axis(call, "pads", 2 * count, 0)?;
    let extra = per_axis(call, "output_padding", count, 0)?;
    let wanted = call.has("output_shape").then(|| per_axis(call, "output_shape", count, 0)).transpose()?;
    let automatic = call.text("auto_pad", "NOTSET")?;
    let mut spans = Vec::with_capacity(count);
    for axis in 0..count {
        let (stride, dilation) = (strides[axis], dilations[axis]);
        let most = 1 << 24;
        let all = [stride, dilation, kernel[axis], sizes[axis]];
        if all.contains(&0) || all.iter().chain(&pads).chain(&extra).any(|&v| v > most) {
            return Err(format!("stride {stride}, dilation {dilation}, kernel {}; expected 1 to {most}", kernel[axis]));
        }
        let full = stride * (sizes[axis] - 1) + extra[axis] + (kernel[axis] - 1) * dilation + 1;
        let target = match (&wanted, automatic) {
            (Some(wanted), _) => Some(wanted[axis]),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some(sizes[axis] * stride),
            (None, "NOTSET" | "VALID") => None,
            (None, other) => {
                return Err(format!("auto_pad '{other}'; expected NOTSET, VALID, SAME_UPPER or SAME_LOWER"));
            }
        };
        let (begin, outputs) = match target {
            Some(target) => {
                let total = full as i64 - target as i64;
                let less = total.div_euclid(2);
                (if automatic == "SAME_UPPER" { less } else { total - less }, target)
            }
            None => {
                let [begin, end] = if automatic == "VALID" { [0, 0] } else { [pads[axis], pads[axis + count]] };
                let left = full.checked_sub(begin + end).ok_or("its pads cut off more than there is")?;
                (begin as i64, left)
            }
        };
        if outputs == 0 || outputs > most {
            return Err(format!("{outputs} outputs along an axis; expected 1 to {most}"));
        }
        spans.push(Span { stride, dilation, begin, outputs });
    }
    Ok(spans)
}
