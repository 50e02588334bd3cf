//! Convolution on numbers: for each tap of the kernel, a row of the input is added to a row of the output.

use super::Operand;
use crate::graph::Geometry;

/// `[n, c, h, w]` by `[m, c / groups, kh, kw]` to `[n, m, oh, ow]`.
pub(super) fn convolve(
    geometry: &Geometry,
    input: &Operand<'_>,
    kernel: &Operand<'_>,
    shape: &[usize],
) -> Result<Vec<f64>, String> {
    let (&[n, c, h, w], &[m, per_group, kh, kw], &[n2, m2, oh, ow]) = (input.shape, kernel.shape, shape) else {
        return Err(format!("shapes {:?}, {:?} and {shape:?}; expected four axes each", input.shape, kernel.shape));
    };
    let groups = geometry.groups as usize;
    if groups == 0
        || (n, m) != (n2, m2)
        || Some(c) != per_group.checked_mul(groups)
        || !m.is_multiple_of(groups)
        || output_size(geometry, [h, w], [kh, kw]) != Some([oh, ow])
    {
        return Err(format!("{:?} by {:?} with {geometry:?} is not {shape:?}", input.shape, kernel.shape));
    }
    let mut output = vec![0.0; n * m * oh * ow];
    if output.is_empty() {
        return Ok(output);
    }
    let per_output = m / groups;
    let [down, across] = geometry.strides.map(|v| v as usize);
    for (plane_at, plane) in output.chunks_exact_mut(oh * ow).enumerate() {
        let (sample, channel) = (plane_at / m, plane_at % m);
        let first = channel / per_output * per_group;
        for j in 0..per_group {
            let image = &input.data[(sample * c + first + j) * h * w..][..h * w];
            let taps = &kernel.data[(channel * per_group + j) * kh * kw..][..kh * kw];
            for (tap, &weight) in taps.iter().enumerate() {
                if weight == 0.0 {
                    continue;
                }
                let (rows, top) = reach(tap / kw, 0, geometry, h, oh);
                let (columns, left) = reach(tap % kw, 1, geometry, w, ow);
                if columns.is_empty() {
                    continue;
                }
                for (i, row) in rows.enumerate() {
                    let target = &mut plane[row * ow..][columns.clone()];
                    let source = &image[(top + i * down) * w + left..];
                    if across == 1 {
                        target.iter_mut().zip(source).for_each(|(t, s)| *t += weight * s);
                    } else {
                        target.iter_mut().zip(source.iter().step_by(across)).for_each(|(t, s)| *t += weight * s);
                    }
                }
            }
        }
    }
    Ok(output)
}

/// The outputs along an axis whose tap lies inside the input, and where the first of them reads.
fn reach(tap: usize, axis: usize, geometry: &Geometry, size: usize, outputs: usize) -> (std::ops::Range<usize>, usize) {
    let (stride, pad) = (geometry.strides[axis] as usize, geometry.pads[axis] as usize);
    let ahead = tap * geometry.dilations[axis] as usize;
    // Output o reads o * stride + ahead - pad, which must be in 0..size.
    let first = pad.saturating_sub(ahead).div_ceil(stride);
    let end = (size + pad).saturating_sub(ahead).div_ceil(stride).min(outputs);
    if first >= end {
        return (0..0, 0);
    }
    (first..end, first * stride + ahead - pad)
}

/// Height and width of the output; `None` where the kernel does not fit or a step is zero.
pub(crate) fn output_size(geometry: &Geometry, input: [usize; 2], kernel: [usize; 2]) -> Option<[usize; 2]> {
    let mut sizes = [0; 2];
    for axis in 0..2 {
        let padded =
            input[axis].checked_add(geometry.pads[axis] as usize)?.checked_add(geometry.pads[axis + 2] as usize)?;
        let covered = kernel[axis].checked_sub(1)?.checked_mul(geometry.dilations[axis] as usize)?.checked_add(1)?;
        let steps = padded.checked_sub(covered)?.checked_div(geometry.strides[axis] as usize)?;
        sizes[axis] = steps + 1;
    }
    Some(sizes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The definition, index by index.
    fn plainly(g: &Geometry, x: &Operand<'_>, k: &Operand<'_>, shape: &[usize]) -> Vec<f64> {
        let [c, h, w] = [x.shape[1], x.shape[2], x.shape[3]];
        let [m, per, kh, kw] = [k.shape[0], k.shape[1], k.shape[2], k.shape[3]];
        let mut out = Vec::new();
        for at in 0..shape.iter().product() {
            let (col, row) = (at % shape[3], at / shape[3] % shape[2]);
            let (channel, sample) = (at / (shape[3] * shape[2]) % m, at / (shape[3] * shape[2] * m));
            let mut sum = 0.0;
            for j in 0..per {
                for (a, b) in (0..kh).flat_map(|a| (0..kw).map(move |b| (a, b))) {
                    let y = (row * g.strides[0] as usize + a * g.dilations[0] as usize) as i64 - i64::from(g.pads[0]);
                    let z = (col * g.strides[1] as usize + b * g.dilations[1] as usize) as i64 - i64::from(g.pads[1]);
                    if (0..h as i64).contains(&y) && (0..w as i64).contains(&z) {
                        let from = channel / (m / g.groups as usize) * per + j;
                        sum += x.data[((sample * c + from) * h + y as usize) * w + z as usize]
                            * k.data[((channel * per + j) * kh + a) * kw + b];
                    }
                }
            }
            out.push(sum);
        }
        out
    }

    proptest::proptest! {
        #[test]
        fn convolution_is_its_definition(
            (n, groups, per, outs) in (1usize..3, 1usize..3, 1usize..3, 1usize..3),
            (h, w, kh, kw) in (1usize..7, 1usize..7, 1usize..4, 1usize..4),
            strides in [1u32..4, 1..4], dilations in [1u32..4, 1..4], pads in [0u32..5, 0..5, 0..5, 0..5],
        ) {
            let g = Geometry { strides, dilations, pads, groups: groups as u32 };
            if let Some([oh, ow]) = output_size(&g, [h, w], [kh, kw]) {
                let (xs, ks) = ([n, groups * per, h, w], [groups * outs, per, kh, kw]);
                let data: Vec<f64> = (0..xs.iter().product()).map(|i: usize| (i * 7 % 11) as f64 - 5.0).collect();
                let taps: Vec<f64> = (0..ks.iter().product()).map(|i: usize| (i * 5 % 7) as f64 - 3.0).collect();
                let (x, k) = (Operand { shape: &xs, data: &data }, Operand { shape: &ks, data: &taps });
                let shape = [n, groups * outs, oh, ow];
                proptest::prop_assert_eq!(convolve(&g, &x, &k, &shape).unwrap(), plainly(&g, &x, &k, &shape));
            }
        }
    }
}
