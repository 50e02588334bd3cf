//! From wide to act: the one rounding of a value.

use super::{
    QuantiseError,
    builder::Scaled,
    form::{Quantiser, power_limit},
    plan::FINE,
    rescale::Ratio,
};
use crate::network::ValueId;

impl Quantiser<'_> {
    /// The act of a value from a tensor of one scale, clamped to real bounds.
    pub(super) fn round(&mut self, id: ValueId, x: Scaled, clamp: (f64, f64)) -> Result<Scaled, QuantiseError> {
        if self.builder.is_act(x.tensor) {
            return self.clamp_act(id, x, clamp);
        }
        self.fits(id)?;
        let bound = self.builder.reach(x.tensor) as f64 * x.scale;
        let group = self.plan.group(id);
        let (scale, ratio) = match group.scale {
            Some(scale) => {
                let tolerance = 0.25 / group.levels.min(FINE / 2.0);
                (scale, Ratio::near(x.scale / scale, tolerance).ok_or_else(|| self.too_far())?)
            }
            None => {
                let wanted = self.wanted(id, bound);
                if x.scale >= wanted {
                    (x.scale, Ratio::ONE)
                } else {
                    let ratio = Ratio::below(x.scale / wanted).ok_or_else(|| self.too_far())?;
                    (x.scale / ratio.value(), ratio)
                }
            }
        };
        let bounds = self.clamps(id, scale, self.builder.reach(x.tensor) as f64 * ratio.value(), clamp);
        let found = self.builder.rescale(x.tensor, ratio, bounds, scale)?;
        self.place(id, found, Some(x.tensor));
        Ok(found)
    }

    /// Whether whole numbers fit 16 bits at scale 1, or there is a scale that makes them.
    pub(super) fn fits(&self, id: ValueId) -> Result<(), QuantiseError> {
        let group = self.plan.group(id);
        if group.whole && group.reach > FINE {
            let reason =
                format!("whole numbers up to {} are rounded or looked up; expected at most 32767", group.reach);
            return Err(self.builder.refuse(reason));
        }
        Ok(())
    }

    /// An act within bounds: a table, where its interval is not within them already.
    fn clamp_act(&mut self, id: ValueId, x: Scaled, (low, high): (f64, f64)) -> Result<Scaled, QuantiseError> {
        let (low, high) = (steps(low, x.scale), steps(high, x.scale));
        let (least, most) = self.builder.bounds(x.tensor);
        if low <= least && most <= high {
            return Ok(x);
        }
        let name = format!("clamp to {low}..={high}");
        let found = self.builder.lookup(&name, x.tensor, x.scale, |q| q.clamp(low, high) as i16)?;
        self.place(id, found, None);
        Ok(found)
    }

    /// The bounds of a rounding whose quotient may reach this far.
    pub(super) fn clamps(&self, id: ValueId, scale: f64, reach: f64, (low, high): (f64, f64)) -> (i16, i16) {
        let group = self.plan.group(id);
        // Of 16 bits, what fits is not clamped. Of fewer it is: the bounds of what follows grow with it.
        let limit = if group.fine && reach < FINE {
            32767
        } else {
            power_limit((group.reach / scale * (1.0 - 1.0 / 4096.0)).ceil() as i64).min(32767)
        };
        let within = |bound: f64| steps(bound, scale).clamp(-limit, limit) as i16;
        (within(low), within(high))
    }
}

/// A bound in steps, within 16 bits.
fn steps(bound: f64, scale: f64) -> i64 {
    (bound / scale).round().clamp(-FINE, FINE) as i64
}
