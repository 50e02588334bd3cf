//! Comparisons, choices and extremes: acts of one scale.

use std::sync::Arc;

use super::{
    QuantiseError,
    builder::Scaled,
    form::{Form, Quantiser},
    plan::FINE,
};
use crate::{
    graph::{Op as Step, Wire},
    network::ValueId,
};

impl Quantiser<'_> {
    /// Two acts of one scale. Known numbers that lie between two steps become what `between` makes of them.
    fn pair(&mut self, a: ValueId, b: ValueId, between: [fn(f64) -> f64; 2]) -> Result<[Scaled; 2], QuantiseError> {
        let beside = |this: &mut Self, data: Arc<[f64]>, id: ValueId, scale: f64, between: fn(f64) -> f64| {
            let steps = data.iter().map(|value| {
                let exact = value / scale;
                let near = exact.round();
                let step = if (exact - near).abs() < 1e-6 { near } else { between(exact) };
                step.clamp(-FINE - 1.0, FINE) as i64
            });
            let steps: Vec<i64> = steps.collect();
            this.builder.spread(&this.shape(id), &steps, scale)
        };
        match (self.known(a)?, self.known(b)?) {
            (None, Some(data)) => {
                let x = self.act(a)?;
                Ok([x, beside(self, data, b, x.scale, between[1])?])
            }
            (Some(data), None) => {
                let x = self.act(b)?;
                Ok([beside(self, data, a, x.scale, between[0])?, x])
            }
            _ => {
                let (x, y) = (self.act(a)?, self.act(b)?);
                let scale = x.scale.max(y.scale);
                Ok([self.at_scale(x, scale)?, self.at_scale(y, scale)?])
            }
        }
    }

    pub(super) fn greater(&mut self, id: ValueId, a: ValueId, b: ValueId) -> Result<Form, QuantiseError> {
        // A whole x is greater than 2.5 where it is greater than 2, and less where it is less than 3.
        let [x, y] = self.pair(a, b, [f64::ceil, f64::floor])?;
        let found = self.builder.push(Step::Greater, &[x.tensor, y.tensor], self.shape(id), 1.0)?;
        Ok(self.given(id, found))
    }

    pub(super) fn equal(&mut self, id: ValueId, a: ValueId, b: ValueId) -> Result<Form, QuantiseError> {
        let [x, y] = self.pair(a, b, [f64::round, f64::round])?;
        let shape = self.shape(id);
        let above = self.builder.push(Step::Greater, &[x.tensor, y.tensor], shape.clone(), 1.0)?;
        let below = self.builder.push(Step::Greater, &[y.tensor, x.tensor], shape, 1.0)?;
        let found = self.builder.linear(&[(-1, above.tensor), (-1, below.tensor)], 1, 1.0)?;
        Ok(self.given(id, found))
    }

    pub(super) fn select(
        &mut self,
        id: ValueId,
        condition: ValueId,
        yes: ValueId,
        no: ValueId,
    ) -> Result<Form, QuantiseError> {
        if let Some(mask) = self.known(condition)? {
            // Which is taken is known: no more than a wire.
            let sources = self.alike(id, &[yes, no])?;
            let count = mask.len() as u32;
            let entries = (0..count).map(|at| if mask[at as usize] == 0.0 { count + at } else { at });
            let wire = Wire::gather(entries.collect());
            let tensors = [sources[0].tensor, sources[1].tensor];
            let found = self.builder.push(Step::Wire(wire), &tensors, self.shape(id), sources[0].scale)?;
            return Ok(self.given(id, found));
        }
        let bit = self.act(condition)?;
        let (a, b) = (self.act(yes)?, self.act(no)?);
        let shape = self.shape(id);
        let ((a_low, a_high), (b_low, b_high)) = (self.builder.bounds(a.tensor), self.builder.bounds(b.tensor));
        let apart = (a_high - b_low).max(b_high - a_low);
        let found = if (b_low, b_high) == (0, 0) {
            self.builder.push(Step::Mul, &[bit.tensor, a.tensor], shape, a.scale)?
        } else if a.scale == b.scale && apart <= FINE as i64 {
            let difference = self.builder.linear(&[(1, a.tensor), (-1, b.tensor)], 0, a.scale)?;
            let part = self.builder.push(Step::Mul, &[bit.tensor, difference.tensor], shape, a.scale)?;
            self.builder.linear(&[(1, b.tensor), (1, part.tensor)], 0, a.scale)?
        } else {
            let other = self.builder.linear(&[(-1, bit.tensor)], 1, 1.0)?;
            let first = self.builder.push(Step::Mul, &[bit.tensor, a.tensor], shape.clone(), a.scale)?;
            let second = self.builder.push(Step::Mul, &[other.tensor, b.tensor], shape, b.scale)?;
            match self.weighted(&[(1.0, first), (1.0, second)])? {
                Some(found) => found,
                None => {
                    let scale = a.scale.max(b.scale);
                    let (first, second) = (self.at_scale(first, scale)?, self.at_scale(second, scale)?);
                    self.builder.linear(&[(1, first.tensor), (1, second.tensor)], 0, scale)?
                }
            }
        };
        Ok(self.given(id, found))
    }

    /// The larger or the smaller of two.
    pub(super) fn extreme(&mut self, id: ValueId, a: ValueId, b: ValueId, larger: bool) -> Result<Form, QuantiseError> {
        for (x, bound) in [(a, b), (b, a)] {
            if let Some(data) = self.known(bound)?
                && data.iter().all(|value| *value == data[0])
            {
                let (low, high) = if larger { (data[0], f64::INFINITY) } else { (f64::NEG_INFINITY, data[0]) };
                return self.clamped(x, low, high);
            }
        }
        let pair = self.alike(id, &[a, b])?;
        let scale = pair[0].scale;
        let mut tensors = [pair[0].tensor, pair[1].tensor];
        if !larger {
            for tensor in &mut tensors {
                *tensor = self.builder.linear(&[(-1, *tensor)], 0, scale)?.tensor;
            }
        }
        let shape = self.shape(id);
        let count: u32 = shape.iter().product();
        let pairs = Wire::strided(1, 0, &[(count, 1), (2, i64::from(count))]);
        let wide: Vec<u32> = shape.iter().copied().chain([2]).collect();
        let both = self.builder.push(Step::Wire(pairs), &tensors, wide, scale)?;
        let mut found = self.builder.push(Step::ReduceMax, &[both.tensor], shape, scale)?;
        if !larger {
            found = self.builder.linear(&[(-1, found.tensor)], 0, scale)?;
        }
        Ok(self.given(id, found))
    }
}
