//! Shapes: what each operation gives for its operands' shapes, and where a convolution's kernel lies.

use super::{Geometry, Index, MAX_AXES, MAX_ELEMENTS, Multiplier, Op, VOID, Wire};

/// Number of values of a shape: at least 1 an axis, within the limits.
pub(crate) fn size(shape: &[u32]) -> Result<usize, String> {
    if shape.len() > MAX_AXES {
        return Err(format!("{} axes; expected at most {MAX_AXES}", shape.len()));
    }
    let mut size = 1usize;
    for &axis in shape {
        size = match size.checked_mul(axis as usize) {
            Some(0) => return Err(format!("shape {shape:?} is empty")),
            Some(size) if size <= MAX_ELEMENTS => size,
            _ => return Err(format!("shape {shape:?}; expected at most {MAX_ELEMENTS} values")),
        };
    }
    Ok(size)
}

impl Op {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Wire(_) => "Wire",
            Self::MatMul => "MatMul",
            Self::Conv(_) => "Conv",
            Self::Linear { .. } => "Linear",
            Self::Mul => "Mul",
            Self::Rescale { .. } => "Rescale",
            Self::Lookup { .. } => "Lookup",
            Self::ReduceMax => "ReduceMax",
            Self::ArgMax => "ArgMax",
            Self::Greater => "Greater",
            Self::Divide { .. } => "Divide",
            Self::Sqrt => "Sqrt",
        }
    }

    /// The shape that it gives for operands of these shapes; none where that is free (a wire's).
    ///
    /// # Errors
    /// Expected and found.
    pub fn output_shape(&self, operands: &[&[u32]]) -> Result<Option<Vec<u32>>, String> {
        let count = |least: usize, most: usize| {
            if (least..=most).contains(&operands.len()) {
                return Ok(());
            }
            let expected = if least == most { format!("{least}") } else { format!("{least} to {most}") };
            Err(format!("{} operands; expected {expected}", operands.len()))
        };
        let alike = || match operands.iter().find(|shape| **shape != operands[0]) {
            Some(other) => Err(format!("operands of shapes {:?} and {other:?}; expected the same", operands[0])),
            None => Ok(Some(operands[0].to_vec())),
        };
        match self {
            Self::Wire(_) => count(1, usize::MAX).map(|()| None),
            Self::MatMul => {
                count(2, 3)?;
                let (&[b, m, k], &[b2, k2, n]) = (operands[0], operands[1]) else {
                    let found = format!("{:?} by {:?}", operands[0], operands[1]);
                    return Err(format!("operands {found}; expected [b, m, k] by [b, k, n]"));
                };
                if b != b2 || k != k2 {
                    let found = format!("{:?} by {:?}", operands[0], operands[1]);
                    return Err(format!("operands {found}; expected [b, m, k] by [b, k, n]"));
                }
                bias(operands.get(2), n)?;
                Ok(Some(vec![b, m, n]))
            }
            Self::Conv(geometry) => {
                count(2, 3)?;
                let output = geometry.output_shape(axes4(operands[0])?, axes4(operands[1])?)?;
                bias(operands.get(2), output[1])?;
                Ok(Some(output.to_vec()))
            }
            Self::Linear { coefficients, .. } => {
                count(1, usize::MAX)?;
                if coefficients.len() != operands.len() {
                    return Err(format!("{} coefficients for {} operands", coefficients.len(), operands.len()));
                }
                alike()
            }
            Self::Mul | Self::Greater | Self::Divide { .. } => count(2, 2).and_then(|()| alike()),
            Self::Rescale { multiplier: Multiplier::Uniform(_), .. } | Self::Lookup { .. } | Self::Sqrt => {
                count(1, 1).and_then(|()| alike())
            }
            Self::Rescale { multiplier: Multiplier::PerAxis(axis), .. } => {
                count(2, 2)?;
                match operands[0].get(usize::from(*axis)) {
                    None => Err(format!("multipliers along axis {axis} of shape {:?}", operands[0])),
                    Some(size) if operands[1] != [*size] => {
                        Err(format!("multipliers of shape {:?}; expected [{size}]", operands[1]))
                    }
                    Some(_) => Ok(Some(operands[0].to_vec())),
                }
            }
            Self::ReduceMax | Self::ArgMax => {
                count(1, 1)?;
                match operands[0].split_last() {
                    None => Err("a scalar has no last axis".into()),
                    Some((&last, _)) if *self == Self::ArgMax && last > 1 << 15 => {
                        Err(format!("{last} values along the last axis; expected at most 2^15"))
                    }
                    Some((_, rest)) => Ok(Some(rest.to_vec())),
                }
            }
        }
    }

    /// Products of two values that it adds up; 0 for all but matrix products and convolutions. Shapes as checked.
    pub fn macs(&self, operands: &[&[u32]], output: &[u32]) -> u64 {
        match self {
            Self::MatMul => count(output).saturating_mul(operands[0].last().map_or(1, |&k| u64::from(k))),
            Self::Conv(_) => count(output).saturating_mul(count(&operands[1][1..])),
            _ => 0,
        }
    }

    /// Values that it reads, moves and gives. Shapes as checked.
    pub fn moves(&self, operands: &[&[u32]], output: &[u32]) -> u64 {
        let given = match self {
            Self::Wire(wire) => count(output).saturating_mul(u64::from(wire.fan_in)),
            _ => count(output),
        };
        operands.iter().fold(given, |sum, shape| sum.saturating_add(count(shape)))
    }
}

fn count(shape: &[u32]) -> u64 {
    shape.iter().map(|&axis| u64::from(axis)).fold(1, u64::saturating_mul)
}

fn bias(shape: Option<&&[u32]>, expected: u32) -> Result<(), String> {
    match shape {
        Some(&shape) if shape != [expected] => Err(format!("added operand of shape {shape:?}; expected [{expected}]")),
        _ => Ok(()),
    }
}

pub(crate) fn axes4(shape: &[u32]) -> Result<[u32; 4], String> {
    shape.try_into().map_err(|_| format!("shape {shape:?}; expected 4 axes"))
}

impl Geometry {
    /// Rows and columns that come out. `input` and `kernel` are rows and columns.
    ///
    /// # Errors
    /// A kernel that does not fit, or a stride or distance of 0.
    pub fn output_size(&self, input: [u32; 2], kernel: [u32; 2]) -> Result<[u32; 2], String> {
        let mut output = [0; 2];
        for axis in 0..2 {
            let (stride, dilation) = (u64::from(self.strides[axis]), u64::from(self.dilations[axis]));
            if stride == 0 || dilation == 0 || kernel[axis] == 0 {
                return Err(format!("stride {stride}, dilation {dilation}, kernel {kernel:?}; expected at least 1"));
            }
            let padded = u64::from(input[axis]) + u64::from(self.pads[axis]) + u64::from(self.pads[axis + 2]);
            // A u32 times a u32 and one more fit a u64.
            let reach = dilation * u64::from(kernel[axis] - 1) + 1;
            let Some(room) = padded.checked_sub(reach) else {
                return Err(format!("a kernel that reaches over {reach} of {padded} positions"));
            };
            output[axis] = u32::try_from(room / stride + 1).map_err(|_| "an output axis of over 2^32".to_string())?;
        }
        Ok(output)
    }

    /// `[n, c, h, w]` by `[m, c / groups, kh, kw]` to `[n, m, oh, ow]`.
    ///
    /// # Errors
    /// Channels or groups that do not agree; as [`Self::output_size`].
    pub fn output_shape(&self, input: [u32; 4], kernel: [u32; 4]) -> Result<[u32; 4], String> {
        let [n, c, h, w] = input;
        let [m, own, kh, kw] = kernel;
        let groups = self.groups;
        if groups == 0 || c % groups != 0 || m % groups != 0 || c / groups != own {
            return Err(format!("{c} channels in {groups} groups by a kernel {kernel:?}; they do not agree"));
        }
        let [oh, ow] = self.output_size([h, w], [kh, kw])?;
        Ok([n, m, oh, ow])
    }

    /// The input's windows, `[groups, n * oh * ow, c / groups * kh * kw]`; padding takes nothing. A convolution is the
    /// product of these by [`Self::kernels`], put in order by [`Self::gathered`].
    ///
    /// # Errors
    /// As [`Self::output_shape`], and windows beyond the limits of a wire.
    pub fn windows(&self, input: [u32; 4], kernel: [u32; 4]) -> Result<Wire, String> {
        let [n, c, h, w] = input;
        let [_, own, kh, kw] = kernel;
        let [_, _, oh, ow] = self.output_shape(input, kernel)?;
        let (height, width) = (i64::from(h), i64::from(w));
        let [sy, sx] = self.strides.map(i64::from);
        let [dy, dx] = self.dilations.map(i64::from);
        let [top, left, ..] = self.pads.map(i64::from);
        let plane = height * width;
        if self.pads == [0; 4] {
            let loops = [
                (self.groups, i64::from(own) * plane),
                (n, i64::from(c) * plane),
                (oh, sy * width),
                (ow, sx),
                (own, plane),
                (kh, dy * width),
                (kw, dx),
            ];
            return Ok(Wire::strided(1, 0, &loops));
        }
        let sizes = [self.groups, n, oh, ow, own, kh, kw];
        let entries = sizes.iter().try_fold(1usize, |all, &axis| all.checked_mul(axis as usize));
        let entries = entries.filter(|&entries| entries <= super::MAX_ENTRIES);
        let entries = entries.ok_or_else(|| format!("windows of {sizes:?} values are too many"))?;
        let mut list = Vec::with_capacity(entries);
        for (group, image) in product(self.groups, n) {
            let first = i64::from(image) * i64::from(c) + i64::from(group) * i64::from(own);
            for (row, column) in product(oh, ow) {
                for channel in 0..own {
                    let base = (first + i64::from(channel)) * plane;
                    for (ky, kx) in product(kh, kw) {
                        let y = i64::from(row) * sy + i64::from(ky) * dy - top;
                        let x = i64::from(column) * sx + i64::from(kx) * dx - left;
                        let inside = (0..height).contains(&y) && (0..width).contains(&x);
                        // A position of a tensor, so under 2^24.
                        list.push(if inside { (base + y * width + x) as u32 } else { VOID });
                    }
                }
            }
        }
        Ok(Wire { fan_in: 1, index: Index::Explicit(list) })
    }

    /// A kernel `[m, c / groups, kh, kw]` as the matrices `[groups, c / groups * kh * kw, m / groups]`.
    pub fn kernels(&self, kernel: [u32; 4]) -> Wire {
        let [m, own, kh, kw] = kernel;
        let taps = own.saturating_mul(kh).saturating_mul(kw);
        let each = m / self.groups.max(1);
        let stride = i64::from(taps);
        Wire::strided(1, 0, &[(self.groups, i64::from(each) * stride), (taps, 1), (each, stride)])
    }

    /// The products `[groups, n * oh * ow, m / groups]` in the output's order, `[n, m, oh, ow]`.
    pub fn gathered(&self, output: [u32; 4]) -> Wire {
        let [n, m, oh, ow] = output;
        let each = m / self.groups.max(1);
        let (plane, width) = (oh.saturating_mul(ow), i64::from(each));
        let image = i64::from(plane) * width;
        Wire::strided(1, 0, &[(n, image), (self.groups, image * i64::from(n)), (each, 1), (plane, width)])
    }
}

fn product(first: u32, second: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..first).flat_map(move |a| (0..second).map(move |b| (a, b)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 }
    }

    #[test]
    fn a_window_counts_its_positions_as_onnx_does() {
        let plain = geometry();
        assert_eq!(plain.output_size([5, 7], [3, 3]).unwrap(), [3, 5]);
        let strided = Geometry { strides: [2, 3], pads: [1, 0, 1, 0], ..plain };
        assert_eq!(strided.output_size([5, 7], [3, 3]).unwrap(), [3, 2]);
        let dilated = Geometry { dilations: [2, 3], ..plain };
        assert_eq!(dilated.output_size([5, 7], [3, 3]).unwrap(), [1, 1]);
        assert!(plain.output_size([2, 7], [3, 3]).unwrap_err().contains("reaches over 3 of 2"));
        assert!(Geometry { strides: [0, 1], ..plain }.output_size([5, 5], [1, 1]).is_err());
        assert!(Geometry { dilations: [u32::MAX; 2], ..plain }.output_size([5, 5], [u32::MAX; 2]).is_err());
        assert!(Geometry { pads: [u32::MAX; 4], ..plain }.output_size([5, 5], [1, 1]).is_err());
    }

    #[test]
    fn shapes_that_do_not_agree_are_refused_with_both_named() {
        let refused = |op: Op, shapes: &[&[u32]]| op.output_shape(shapes).unwrap_err();
        assert!(refused(Op::MatMul, &[&[1, 2, 3], &[1, 4, 5]]).contains("[1, 2, 3] by [1, 4, 5]"));
        assert!(refused(Op::MatMul, &[&[1, 2, 3]]).contains("1 operands; expected 2 to 3"));
        assert!(refused(Op::MatMul, &[&[1, 2, 3], &[1, 3, 5], &[4]]).contains("expected [5]"));
        assert!(refused(Op::Mul, &[&[1, 2], &[2, 1]]).contains("expected the same"));
        assert!(refused(Op::ReduceMax, &[&[]]).contains("last axis"));
        assert!(refused(Op::ArgMax, &[&[40000]]).contains("2^15"));
        assert!(refused(Op::Linear { coefficients: vec![], constant: 0 }, &[&[1]]).contains("0 coefficients"));
        assert!(refused(Op::Conv(geometry()), &[&[1, 2, 3], &[1, 2, 3, 3]]).contains("4 axes"));
        assert!(refused(Op::Conv(geometry()), &[&[1, 2, 3, 3], &[1, 3, 3, 3]]).contains("do not agree"));
        assert!(size(&[1, 0]).is_err());
        assert!(size(&[1 << 12, 1 << 13]).is_err());
        assert!(size(&[u32::MAX; 8]).is_err());
        assert!(size(&[1; 99]).is_err());
        assert_eq!(size(&[]), Ok(1));
    }
}
