//! From wide to act: the one rounding of a value.

use super::{
    QuantiseError,
    builder::Scaled,
    form::{Quantiser, power_limit},
    plan::FINE,
    rescale::{Ratio, power_above},
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
        let (least, most) = self.builder.bounds(x.tensor);
        if low <= least as f64 * x.scale && most as f64 * x.scale <= high {
            return Ok(x);
        }
        let reach = (least as f64 * x.scale).clamp(low, high).abs().max((most as f64 * x.scale).clamp(low, high).abs());
        // A bound between two steps needs finer ones, unless there are so many that it does not show.
        let exact = |bound: f64| {
            let steps = bound / x.scale;
            steps.abs() >= 64.0 || (steps - steps.round()).abs() < 1e-3
        };
        let group = self.plan.group(id);
        let scale = match (exact(low) && exact(high) && reach <= FINE * x.scale, group.scale) {
            (true, _) => x.scale,
            (false, Some(scale)) if scale * FINE >= reach => scale,
            (false, _) if reach > FINE * x.scale => power_above(reach / FINE),
            (false, _) => x.scale.min(power_above(reach.max(group.reach) / FINE)),
        };
        let found = if scale == x.scale {
            let (low, high) = (steps(low, scale), steps(high, scale));
            self.builder.lookup(&format!("clamp to {low}..={high}"), x.tensor, scale, |q| q.clamp(low, high) as i16)?
        } else {
            let clamped = |q: i64| (q as f64 * x.scale).clamp(low, high) / scale;
            let name = format!("clamp to {low}..={high}, steps of {:e} to steps of {scale:e}", x.scale);
            self.builder.lookup(&name, x.tensor, scale, |q| clamped(q).round().clamp(-FINE, FINE) as i16)?
        };
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
