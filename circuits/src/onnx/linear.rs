//! Convolutions and matrix products with their biases, and what is folded into them.

use super::builder::{Builder, Lowered};
use crate::{
    graph::Geometry,
    network::{Op, ValueId, output_size},
};

/// What a convolution or matrix product with constant weights is made of.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    input: ValueId,
    weights: ValueId,
    bias: Option<ValueId>,
    /// `None` for a matrix product `[1, m, k]` by `[1, k, n]`.
    geometry: Option<Geometry>,
    /// The shape that follows.
    shape: Vec<usize>,
}

impl Linear {
    /// The axis of its result that counts outputs of the layer.
    pub(super) fn channel(&self) -> usize {
        if self.geometry.is_some() { 1 } else { self.shape.len() - 1 }
    }
}

impl Builder {
    /// `[b, m, k]` by `[b, k, n]`, plus a bias `[n]`, given another shape.
    pub(super) fn product(
        &mut self,
        input: ValueId,
        weights: ValueId,
        bias: Option<ValueId>,
        shape: &[usize],
    ) -> Lowered {
        let (&[b, m, k], &[b2, k2, n]) = (self.shape(input), self.shape(weights)) else {
            return Err(format!("{:?} by {:?}; expected three axes", self.shape(input), self.shape(weights)));
        };
        if (b, k) != (b2, k2) {
            return Err(format!("{:?} by {:?} cannot be multiplied", self.shape(input), self.shape(weights)));
        }
        if k == 0 {
            return Err("a product over no elements".into());
        }
        let product = self.emit(Op::MatMul, &[input, weights], vec![b, m, n], self.element(input))?;
        let record = (b == 1).then(|| Linear { input, weights, bias, geometry: None, shape: shape.to_vec() });
        self.finish(product, bias, 2, record, shape)
    }

    /// `[n, c, h, w]` by `[m, c / groups, kh, kw]`, plus a bias `[m]`, given another shape whose axis 1 still has `m`.
    pub(super) fn convolution(
        &mut self,
        input: ValueId,
        weights: ValueId,
        bias: Option<ValueId>,
        geometry: Geometry,
        shape: &[usize],
    ) -> Lowered {
        let (&[n, c, h, w], &[m, per_group, kh, kw]) = (self.shape(input), self.shape(weights)) else {
            return Err(format!("{:?} by {:?}; expected four axes", self.shape(input), self.shape(weights)));
        };
        let groups = geometry.groups as usize;
        if groups == 0 || Some(c) != per_group.checked_mul(groups) || !m.is_multiple_of(groups) {
            return Err(format!("{c} channels in {groups} groups by kernels of {per_group}, {m} of them, do not fit"));
        }
        let [oh, ow] = output_size(&geometry, [h, w], [kh, kw])
            .ok_or_else(|| format!("a kernel of {kh} by {kw} does not fit its input of {h} by {w} with its padding"))?;
        let out = self.emit(Op::Conv(geometry), &[input, weights], vec![n, m, oh, ow], self.element(input))?;
        let record = Linear { input, weights, bias, geometry: Some(geometry), shape: shape.to_vec() };
        self.finish(out, bias, 1, Some(record), shape)
    }

    fn finish(
        &mut self,
        mut out: ValueId,
        bias: Option<ValueId>,
        axis: usize,
        record: Option<Linear>,
        shape: &[usize],
    ) -> Lowered {
        if let Some(bias) = bias {
            let whole = self.shape(out).to_vec();
            let spread = self.along(bias, axis, &whole)?;
            out = self.emit(Op::Add, &[out, spread], whole, self.element(out))?;
        }
        let out = self.reshape(out, shape)?;
        if let Some(record) = record
            && self.constants.contains_key(&record.weights)
            && bias.is_none_or(|b| self.constants.contains_key(&b))
        {
            self.linear.insert(out, record);
        }
        Ok(out)
    }

    /// A list spread over a shape along one axis.
    pub(super) fn along(&mut self, list: ValueId, axis: usize, shape: &[usize]) -> Lowered {
        if self.shape(list) != [shape[axis]] {
            return Err(format!("{:?} values along an axis of {}", self.shape(list), shape[axis]));
        }
        let mut narrow = vec![1; shape.len()];
        narrow[axis] = shape[axis];
        let narrow = self.reshape(list, &narrow)?;
        self.broadcast(narrow, shape)
    }

    /// `x * scale + shift` along an axis, folded into the layer before it. `None` where that is not possible: `x` is not
    /// such a layer's, or it is read elsewhere too.
    pub(super) fn fold_affine(
        &mut self,
        x: ValueId,
        axis: usize,
        scale: Option<&[f64]>,
        shift: &[f64],
    ) -> Lowered<Option<ValueId>> {
        let Some(layer) = self.linear.get(&x).cloned() else { return Ok(None) };
        if self.uses.get(&x).copied().unwrap_or(0) > 1 || layer.channel() != axis {
            return Ok(None);
        }
        let Some(old) = layer.bias.map_or(Some(None), |b| self.known(b).map(Some)) else { return Ok(None) };
        let mut bias = shift.to_vec();
        for (i, b) in bias.iter_mut().enumerate() {
            *b += old.as_ref().map_or(0.0, |o| o[i]) * scale.map_or(1.0, |s| s[i]);
        }
        let element = self.element(x);
        let bias = Some(self.constant(vec![shift.len()], element, bias)?);
        let weights = match scale {
            None => layer.weights,
            Some(scale) => {
                let shape = self.shape(layer.weights).to_vec();
                let factors = self.constant(vec![scale.len()], element, scale.to_vec())?;
                let factors = self.along(factors, if layer.geometry.is_some() { 0 } else { 2 }, &shape)?;
                self.binary(Op::Mul, layer.weights, factors)?
            }
        };
        let folded = match layer.geometry {
            Some(geometry) => self.convolution(layer.input, weights, bias, geometry, &layer.shape)?,
            None => self.product(layer.input, weights, bias, &layer.shape)?,
        };
        Ok(Some(folded))
    }
}
