//! Comparisons, choices and extremes: acts of one scale.

use super::{
    QuantiseError,
    builder::Scaled,
    form::{Form, Quantiser},
    plan::FINE,
    rescale::power_above,
};
use crate::{
    graph::{Op as Step, Wire},
    network::ValueId,
};

/// What a known number between two steps becomes.
#[derive(Clone, Copy)]
enum Between {
    Above,
    Below,
    Nearest,
    /// None that an act can be.
    Nowhere,
}

impl Between {
    fn of(self, exact: f64) -> f64 {
        match self {
            Self::Above => exact.ceil(),
            Self::Below => exact.floor(),
            Self::Nearest => exact.round(),
            Self::Nowhere => -FINE - 1.0,
        }
    }
}

impl Quantiser<'_> {
    /// Two acts of one scale, of which the first is greater where `a` is greater than `b`. Known numbers that lie between two
    /// steps become what `between` makes of them.
    fn pair(&mut self, a: ValueId, b: ValueId, between: [Between; 2]) -> Result<[Scaled; 2], QuantiseError> {
        match (self.known(a)?, self.known(b)?) {
            (None, Some(data)) => {
                let (x, y, turned) = self.beside(a, b, &data, between[1])?;
                Ok(if turned { [y, x] } else { [x, y] })
            }
            (Some(data), None) => {
                let (x, y, turned) = self.beside(b, a, &data, between[0])?;
                Ok(if turned { [x, y] } else { [y, x] })
            }
            _ => {
                let (x, y) = (self.act(a)?, self.act(b)?);
                // The finer of the two, as far as both have room in it.
                let room = |x: &Scaled| self.builder.reach(x.tensor) as f64 * x.scale / FINE;
                let needed = room(&x).max(room(&y));
                let finer = x.scale.min(y.scale);
                let scale = if finer >= needed { finer } else { power_above(needed).min(x.scale.max(y.scale)) };
                Ok([self.at_scale(x, scale)?, self.at_scale(y, scale)?])
            }
        }
    }

    /// The act of `id`, and known numbers in its steps; both negated, which turns their order round, where the last says so.
    fn beside(
        &mut self,
        id: ValueId,
        known: ValueId,
        data: &[f64],
        between: Between,
    ) -> Result<(Scaled, Scaled, bool), QuantiseError> {
        let mut x = self.act(id)?;
        let step = |value: &f64| {
            let exact = value / x.scale;
            let near = exact.round();
            if (exact - near).abs() < 1e-6 { near } else { between.of(exact) }
        };
        let mut steps: Vec<f64> = data.iter().map(step).collect();
        // An act is nowhere -32768, which stands for all that is below; 32767 stands for what is above where no act is that.
        let above = steps.iter().any(|step| *step > FINE) && self.builder.reach(x.tensor) as f64 >= FINE;
        if above {
            if steps.iter().any(|step| *step < -FINE) {
                let most = FINE * x.scale;
                return Err(self
                    .builder
                    .refuse(format!("numbers beyond {most} to both sides are compared with those within")));
            }
            x = self.builder.linear(&[(-1, x.tensor)], 0, x.scale)?;
            steps.iter_mut().for_each(|step| *step = -*step);
        }
        let steps: Vec<i64> = steps.into_iter().map(|step| step.clamp(-FINE - 1.0, FINE) as i64).collect();
        let y = self.builder.spread(&self.shape(known), &steps, x.scale)?;
        Ok((x, y, above))
    }

    pub(super) fn greater(&mut self, id: ValueId, a: ValueId, b: ValueId) -> Result<Form, QuantiseError> {
        // A whole x is greater than 2.5 where it is greater than 2, and less where it is less than 3.
        let [x, y] = self.pair(a, b, [Between::Above, Between::Below])?;
        let found = self.builder.push(Step::Greater, &[x.tensor, y.tensor], self.shape(id), 1.0)?;
        Ok(self.given(id, found))
    }

    pub(super) fn equal(&mut self, id: ValueId, a: ValueId, b: ValueId) -> Result<Form, QuantiseError> {
        // A whole x is nowhere 2.5.
        let between = |id: ValueId, this: &Self| if this.plan.whole[id] { Between::Nowhere } else { Between::Nearest };
        let [x, y] = self.pair(a, b, [between(b, self), between(a, self)])?;
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
            let sources = self.alike(id, &[yes, no], false)?;
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
        let pair = self.alike(id, &[a, b], true)?;
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
