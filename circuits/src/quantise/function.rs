//! Functions of one number: tables over acts, and operations of their own where a table would lose too much.

use super::{
    QuantiseError,
    builder::Scaled,
    form::{Form, Quantiser},
    plan::FINE,
    rescale::{Ratio, power_above},
};
use crate::network::{Function, ValueId};

impl Quantiser<'_> {
    /// A function that is not a clamp.
    pub(super) fn function(&mut self, id: ValueId, function: Function, x: ValueId) -> Result<Form, QuantiseError> {
        use Function::{Abs, Ceil, Celu, Elu, Floor, LeakyRelu, Not, Power, Reciprocal, Round, Sqrt, Truncate, Wrap};
        let whole = self.plan.whole[x];
        match function {
            Floor | Ceil | Round | Truncate if whole => {
                let found = self.uniform(x)?;
                return Ok(self.given(id, found));
            }
            Not if whole && self.seen_within(x, 0.0, 1.0) => {
                let found = self.uniform(x)?;
                let found = self.builder.linear(&[(-1, found.tensor)], 1, 1.0)?;
                return Ok(self.given(id, found));
            }
            Wrap { low, high } if high > FINE => return self.kept(id, x, (low, high)),
            Wrap { low, high } => return self.wrapped(id, x, (low as i64, high as i64)),
            Power { exponent: 1.0 } => {
                let found = self.uniform(x)?;
                return Ok(self.given(id, found));
            }
            Power { exponent: 2.0 } => return self.product(id, x, x),
            Power { exponent: 0.5 } => return self.function(id, Sqrt, x),
            Power { exponent: -1.0 } => return self.function(id, Reciprocal, x),
            _ => {}
        }
        if let Form::Tensor(wide) = *self.form(x)?
            && !self.builder.is_act(wide.tensor)
        {
            match function {
                Floor | Ceil | Round => return self.whole_steps(id, function, wide),
                Sqrt => return self.square_root(id, wide, x),
                Reciprocal => return self.reciprocal(id, x),
                _ => {}
            }
        }
        let x = self.act(x)?;
        // What these do to negative numbers does not show where there are none.
        if matches!(function, Abs | LeakyRelu { .. } | Elu { .. } | Celu { .. }) && self.builder.bounds(x.tensor).0 >= 0
        {
            return Ok(self.given(id, x));
        }
        let found = self.table(id, function, x)?;
        Ok(self.given(id, found))
    }

    /// Whole numbers of a type that wraps round to more than an act holds: they must stay within it on the samples.
    fn kept(&mut self, id: ValueId, x: ValueId, (low, high): (f64, f64)) -> Result<Form, QuantiseError> {
        if !self.seen_within(x, low, high) {
            return Err(self.builder.refuse(format!(
                "its numbers go from {} to {} on the samples, and its type wraps them round to {low}..={high}, which reaches further \
                 than the 32767 that is held here; expected numbers that stay within the type",
                self.seen[x].low, self.seen[x].high
            )));
        }
        let found = self.uniform(x)?;
        Ok(self.given(id, found))
    }

    /// Whole numbers modulo `high - low + 1`, a power of two.
    fn wrapped(&mut self, id: ValueId, x: ValueId, (low, high): (i64, i64)) -> Result<Form, QuantiseError> {
        let mut found = self.uniform(x)?;
        let (least, most) = self.builder.bounds(found.tensor);
        if low <= least && most <= high {
            return Ok(self.given(id, found));
        }
        let modulus = high - low + 1;
        if !self.builder.is_act(found.tensor) {
            let quotient = self.builder.reach(found.tensor) / modulus;
            let signed_16 = (low, high) == (-32768, 32767);
            if quotient >= 32767 {
                return Err(self.builder.refuse(format!(
                    "its numbers reach {} before they are wrapped round to {low}..={high}; expected at most 32767",
                    self.builder.reach(found.tensor)
                )));
            }
            // What is left of it above or below the nearest multiple.
            let ratio = Ratio { multiplier: 1, shift: modulus.trailing_zeros() as u8 };
            let nearest = self.builder.rescale(found.tensor, ratio, (-32767, 32767), modulus as f64)?;
            let left = self.builder.linear(&[(1, found.tensor), (-modulus, nearest.tensor)], 0, 1.0)?;
            if signed_16 {
                return Ok(self.given(id, left));
            }
            let half = (modulus / 2) as i16;
            found = self.builder.rescale(left.tensor, Ratio::ONE, (-half, half), 1.0)?;
        }
        let name = format!("wrapped round to {low}..={high}");
        let found = self.builder.lookup(&name, found.tensor, 1.0, |q| ((q - low).rem_euclid(modulus) + low) as i16)?;
        Ok(self.given(id, found))
    }

    fn seen_within(&self, id: ValueId, low: f64, high: f64) -> bool {
        self.seen[id].low >= low && self.seen[id].high <= high
    }

    /// The whole number below, above or nearest.
    fn whole_steps(&mut self, id: ValueId, function: Function, x: Scaled) -> Result<Form, QuantiseError> {
        self.fits(id)?;
        let sign = if function == Function::Ceil { -1 } else { 1 };
        // The floor is the nearest whole number, halves up, of what is half a unit less; the ceiling is a floor seen from above.
        let half = if function == Function::Round { 0 } else { (0.5 / x.scale).round() as i64 };
        let moved = self.builder.linear(&[(sign, x.tensor)], -half, x.scale)?;
        let ratio = Ratio::near(x.scale, 1e-6).ok_or_else(|| self.too_far())?;
        let reach = self.builder.reach(moved.tensor) as f64 * x.scale;
        let bounds = self.clamps(id, 1.0, reach, (f64::NEG_INFINITY, f64::INFINITY));
        let mut found = self.builder.rescale(moved.tensor, ratio, bounds, 1.0)?;
        if sign < 0 {
            found = self.builder.linear(&[(-1, found.tensor)], 0, 1.0)?;
        }
        Ok(self.given(id, found))
    }

    /// A table over the interval of an act.
    fn table(&mut self, id: ValueId, function: Function, x: Scaled) -> Result<Scaled, QuantiseError> {
        self.fits(id)?;
        let (low, high) = self.builder.bounds(x.tensor);
        let group = self.plan.group(id).clone();
        let scale = group.scale.unwrap_or_else(|| {
            // All the function gives on the interval, unless that is far more than was seen.
            let values = (low..=high).map(|q| function.apply(q as f64 * x.scale).abs());
            let most = values.fold(0.0, f64::max);
            let reach = if most > 0.0 && most <= 2.0 * group.reach { most } else { group.reach };
            let exact = reach / group.levels;
            if group.dyadic { power_above(exact) } else { exact }
        });
        let name = format!("{function:?} of steps of {:e} in steps of {scale:e}", x.scale);
        self.builder.lookup(&name, x.tensor, scale, |q| {
            let value = function.apply(q as f64 * x.scale) / scale;
            // Outside its domain a function has the value of the nearest end: of these, the logarithm's is the lowest.
            let outside = if function == Function::Log { -FINE } else { 0.0 };
            let value = if value.is_nan() { outside } else { value };
            value.round().clamp(-FINE, FINE) as i16
        })
    }
}
