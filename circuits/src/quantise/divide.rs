//! Quotients and square roots of wide tensors, where a table of 16 bits would lose small values.

use super::{
    QuantiseError,
    builder::Scaled,
    form::{Form, Quantiser},
    plan::FINE,
    rescale::{Ratio, exponent, power_of_two},
};
use crate::{
    graph::Op as Step,
    network::{Kind, ValueId},
};

/// Binary digits that a bounded wide tensor keeps; a square root takes that many.
const DIGITS: i32 = 30;

/// `|2 * n * 2^shift| + d` stays under 2^62.
const DIVIDEND_END: f64 = (1u64 << 60) as f64;

impl Quantiser<'_> {
    pub(super) fn quotient(&mut self, id: ValueId, n: ValueId, d: ValueId) -> Result<Form, QuantiseError> {
        if self.network.values[id].kind == Kind::Integer {
            return self.whole_quotient(id, n, d);
        }
        if let Some(data) = self.known(d)? {
            if data.contains(&0.0) {
                return Err(self.builder.refuse("division by 0"));
            }
            let inverse: Vec<f64> = data.iter().map(|value| 1.0 / value).collect();
            return self.multiplied(id, n, &inverse);
        }
        let numerator = match self.known(n)? {
            Some(_) => self.act(n)?,
            None => self.uniform(n)?,
        };
        self.divide(id, numerator, d)
    }

    /// The quotient of whole numbers towards 0, exactly.
    fn whole_quotient(&mut self, id: ValueId, n: ValueId, d: ValueId) -> Result<Form, QuantiseError> {
        let (n, d) = (self.act(n)?, self.act(d)?);
        let mut signs = Vec::new();
        let mut sizes = Vec::new();
        for (x, least) in [(n, 0), (d, 1)] {
            if self.builder.bounds(x.tensor).0 >= least {
                sizes.push(x);
                continue;
            }
            let size = |q: i64| q.abs().clamp(least, 32767) as i16;
            sizes.push(self.builder.lookup(&format!("magnitude, at least {least}"), x.tensor, 1.0, size)?);
            signs.push(self.builder.lookup("sign, 1 at 0", x.tensor, 1.0, |q| if q < 0 { -1 } else { 1 })?);
        }
        // The step rounds halves up: of (2n - d) by 2d that is the floor of n by d.
        let twice = self.builder.linear(&[(2, sizes[0].tensor), (-1, sizes[1].tensor)], 0, 1.0)?;
        let divisor = self.builder.linear(&[(2, sizes[1].tensor)], 0, 1.0)?;
        let shape = self.shape(id);
        let step = Step::Divide { shift: 0 };
        let mut found = self.builder.push(step, &[twice.tensor, divisor.tensor], shape.clone(), 1.0)?;
        for sign in signs {
            found = self.builder.push(Step::Mul, &[found.tensor, sign.tensor], shape.clone(), 1.0)?;
        }
        Ok(self.given(id, found))
    }

    /// `1 / x`.
    pub(super) fn reciprocal(&mut self, id: ValueId, x: ValueId) -> Result<Form, QuantiseError> {
        let one =
            self.builder.spread(&self.shape(id), &vec![1; self.network.values[id].shape.iter().product()], 1.0)?;
        self.divide(id, one, x)
    }

    fn divide(&mut self, id: ValueId, n: Scaled, d: ValueId) -> Result<Form, QuantiseError> {
        let (n, d) = self.positive(id, n, d)?;
        let bounds = |this: &Self, x: Scaled| this.builder.bounds(x.tensor);
        let (least, most) = bounds(self, d);
        let reach = self.builder.reach(n.tensor).max(1) as f64;
        // By its interval the quotient may reach far more than it does.
        let bound = reach * n.scale / (least as f64 * d.scale);
        let wanted = self.wanted(id, bound);
        let room = (DIVIDEND_END / reach).log2().floor().min(40.0) as i32;
        let mut shift = exponent(n.scale / d.scale / wanted);
        let mut d = d;
        if shift < 0 {
            // A coarser divisor, as its steps are far finer than the quotient's.
            let up = power_of_two(-shift);
            if most as f64 * up >= (1u64 << 45) as f64 {
                return Err(self.too_far());
            }
            d = self.builder.linear(&[(up as i64, d.tensor)], 0, d.scale / up)?;
            shift = 0;
        }
        // The relation's limbs: bits of the quotient's width and of the divisor's stay under 62 together.
        let divisor = exponent(self.builder.bounds(d.tensor).1 as f64) + 3;
        let quotient_bits = |shift: i32| exponent(reach / least as f64 * power_of_two(shift) + 1.0) + 6;
        while shift > 0 && (shift > room || quotient_bits(shift).max(16) + divisor > 62 || quotient_bits(shift) > 46) {
            shift -= 1;
        }
        let scale = n.scale / d.scale * power_of_two(-shift);
        let step = Step::Divide { shift: shift as u8 };
        let found = self.builder.push(step, &[n.tensor, d.tensor], self.shape(id), scale)?;
        Ok(self.given(id, found))
    }

    /// The dividend and a divisor that no input brings under 1.
    fn positive(&mut self, id: ValueId, n: Scaled, d: ValueId) -> Result<(Scaled, Scaled), QuantiseError> {
        let seen = &self.seen[d];
        let (low, high, reach) = (seen.low, seen.high, seen.reach());
        if low > 0.0 || high < 0.0 {
            let mut x = self.uniform(d)?;
            let mut n = n;
            if high < 0.0 {
                x = self.builder.linear(&[(-1, x.tensor)], 0, x.scale)?;
                n = self.builder.linear(&[(-1, n.tensor)], 0, n.scale)?;
            }
            // What is far smaller than all that was seen is taken for half the smallest.
            let floor = low.abs().min(high.abs()) / 2.0;
            return Ok((n, self.at_least(x, floor, reach)?));
        }
        let x = self.act(d)?;
        let n = if self.builder.is_act(n.tensor) {
            n
        } else {
            let ratio = Ratio::below(FINE / self.builder.reach(n.tensor) as f64).ok_or_else(|| self.too_far())?;
            self.builder.rescale(n.tensor, ratio, (-32767, 32767), n.scale / ratio.value())?
        };
        let sign = self.builder.lookup("sign, 1 at 0", x.tensor, 1.0, |q| if q < 0 { -1 } else { 1 })?;
        let size = self.builder.lookup("magnitude, 1 at 0", x.tensor, x.scale, |q| q.abs().clamp(1, 32767) as i16)?;
        let n = self.builder.push(Step::Mul, &[n.tensor, sign.tensor], self.shape(id), n.scale)?;
        Ok((n, size))
    }

    /// A tensor that is nowhere under a real bound, which it does not go under on the samples, nor under 1 step.
    fn at_least(&mut self, x: Scaled, floor: f64, reach: f64) -> Result<Scaled, QuantiseError> {
        let (low, high) = self.builder.bounds(x.tensor);
        let steps = ((floor / x.scale).floor() as i64).max(1);
        if low >= steps || (low >= 1 && low as f64 * 4.0 >= steps as f64) {
            return Ok(x);
        }
        if self.builder.is_act(x.tensor) {
            let name = format!("at least {steps}");
            return self.builder.lookup(&name, x.tensor, x.scale, |q| q.clamp(steps, 32767) as i16);
        }
        // Room above all that was seen; the interval may reach farther.
        let most = (reach * 2.0 / x.scale).min(high as f64);
        let rest = self.builder.linear(&[(1, x.tensor)], -steps, x.scale)?;
        let rest = self.bounded(rest, most)?;
        let steps = ((steps as f64 * x.scale / rest.scale).floor() as i64).max(1);
        self.builder.linear(&[(1, rest.tensor)], steps, rest.scale)
    }

    /// A tensor within `0..2^30` that is the wide `x`, or its leading digits, wherever `x` is from 0 to `most`: two acts, of its upper and
    /// lower half, each clamped.
    fn bounded(&mut self, x: Scaled, most: f64) -> Result<Scaled, QuantiseError> {
        let digits = exponent(most.max(1.0)) + 1;
        if digits <= 15 {
            return self.builder.rescale(x.tensor, Ratio::ONE, (0, 32767), x.scale);
        }
        let dropped = (digits - DIGITS).max(0);
        let lower = digits.min(DIGITS) - 15;
        let upper = dropped + lower;
        // Rounding what is half a step less is the floor.
        let moved = self.builder.linear(&[(1, x.tensor)], -(1 << (upper - 1)), x.scale)?;
        let shift = |digits: i32| Ratio { multiplier: 1, shift: digits as u8 };
        let top = self.builder.rescale(moved.tensor, shift(upper), (0, 32767), x.scale * power_of_two(upper))?;
        let rest = self.builder.linear(&[(1, x.tensor), (-(1 << upper), top.tensor)], 0, x.scale)?;
        let scale = x.scale * power_of_two(dropped);
        let ratio = if dropped == 0 { Ratio::ONE } else { shift(dropped) };
        let end = ((1i64 << lower) - 1) as i16;
        let rest = self.builder.rescale(rest.tensor, ratio, (0, end), scale)?;
        self.builder.linear(&[(1 << lower, top.tensor), (1, rest.tensor)], 0, scale)
    }

    /// The square root of a wide tensor, with 15 digits.
    pub(super) fn square_root(&mut self, id: ValueId, x: Scaled, of: ValueId) -> Result<Form, QuantiseError> {
        let (low, high) = self.builder.bounds(x.tensor);
        let reach = self.seen[of].reach() * 1.5;
        // Up by a power of two, so that small values keep their digits.
        let up = (DIGITS - 1 - exponent((reach / x.scale).max(1.0))).max(0);
        let mut x = x;
        if up > 0 && (high.max(-low) as f64) * power_of_two(up) < (1u64 << 45) as f64 {
            x = self.builder.linear(&[(1 << up, x.tensor)], 0, x.scale * power_of_two(-up))?;
        }
        let (low, high) = self.builder.bounds(x.tensor);
        if low < 0 || high >= 1 << DIGITS {
            x = self.bounded(x, (reach / x.scale).max(1.0))?;
        }
        let found = self.builder.push(Step::Sqrt, &[x.tensor], self.shape(id), x.scale.sqrt())?;
        Ok(self.given(id, found))
    }
}
