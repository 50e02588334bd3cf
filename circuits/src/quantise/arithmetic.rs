//! Sums and products. A sum of different scales takes integer coefficients; a product by a number changes only the scale.

use super::{
    QuantiseError,
    builder::Scaled,
    form::{Form, Quantiser},
    plan::FINE,
    rescale::{Ratio, power_above},
};
use crate::{graph::Op as Step, network::ValueId};

/// What a sum may reach, in steps: room is left for what follows.
const SUM_END: f64 = (1u64 << 44) as f64;

/// Relative error of a coefficient.
const EXACT: f64 = 1.0 / (1 << 16) as f64;

/// The finest that a sum's step is divided.
const MOST: f64 = (1 << 18) as f64;

impl Quantiser<'_> {
    /// `a + sign * b`.
    pub(super) fn sum(&mut self, id: ValueId, a: ValueId, b: ValueId, sign: f64) -> Result<Form, QuantiseError> {
        match (self.known(a)?, self.known(b)?) {
            (None, Some(data)) => self.shifted(id, a, 1.0, &data.iter().map(|v| sign * v).collect::<Vec<_>>()),
            (Some(data), None) => self.shifted(id, b, sign, &data),
            _ => self.added(&[(1.0, a), (sign, b)]).map(|found| self.given(id, found)),
        }
    }

    pub(super) fn given(&mut self, id: ValueId, found: Scaled) -> Form {
        self.place(id, found, None);
        Form::Tensor(found)
    }

    /// `sign * x + data`.
    fn shifted(&mut self, id: ValueId, x: ValueId, sign: f64, data: &[f64]) -> Result<Form, QuantiseError> {
        if sign > 0.0
            && let Some(form) = self.biased(x, data)
        {
            return Ok(form);
        }
        if sign > 0.0 && data.iter().all(|value| *value == 0.0) {
            let found = self.uniform(x)?;
            return Ok(self.given(id, found));
        }
        let found = self.uniform(x)?;
        // Fine enough that rounding the numbers does not show in the result.
        let needed = self.plan.group(id).reach / (8.0 * FINE);
        let exact = |parts: f64| data.iter().all(|v| (v / found.scale * parts).fract() == 0.0);
        let mut parts = 1.0;
        while found.scale / parts > needed && parts < 4096.0 && !exact(parts) {
            parts *= 2.0;
        }
        let scale = found.scale / parts;
        let steps: Vec<i64> = data.iter().map(|value| (value / scale).round() as i64).collect();
        let most = steps.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0) as f64;
        if most + self.builder.reach(found.tensor) as f64 * parts >= SUM_END {
            return Err(self.too_far());
        }
        let coefficient = (sign * parts) as i64;
        let found = if steps.iter().all(|value| *value == steps[0]) {
            self.builder.linear(&[(coefficient, found.tensor)], steps[0], scale)?
        } else {
            let constant = self.builder.spread(&self.shape(id), &steps, scale)?;
            self.builder.linear(&[(coefficient, found.tensor), (1, constant.tensor)], 0, scale)?
        };
        Ok(self.given(id, found))
    }

    /// A sum of values that are not known, each with a sign.
    fn added(&mut self, terms: &[(f64, ValueId)]) -> Result<Scaled, QuantiseError> {
        let mut parts = Vec::with_capacity(terms.len());
        for &(sign, value) in terms {
            let x = self.uniform(value)?;
            parts.push((sign, value, x));
        }
        if let Some(found) = self.weighted(&parts.iter().map(|&(sign, _, x)| (sign, x)).collect::<Vec<_>>())? {
            return Ok(found);
        }
        // Too wide together: their acts are not.
        let mut acts = Vec::with_capacity(terms.len());
        for (sign, value, x) in parts {
            acts.push((sign, if self.builder.is_act(x.tensor) { x } else { self.rounded_off(value, x)? }));
        }
        match self.weighted(&acts)? {
            Some(found) => Ok(found),
            // So far apart that the lesser does not show beside the greater.
            None => {
                let value = |x: &Scaled, this: &Self| this.builder.reach(x.tensor) as f64 * x.scale;
                let (sign, x) = acts
                    .iter()
                    .copied()
                    .max_by(|a, b| value(&a.1, self).total_cmp(&value(&b.1, self)))
                    .ok_or_else(|| self.too_far())?;
                self.builder.linear(&[(sign as i64, x.tensor)], 0, x.scale)
            }
        }
    }

    /// The act of a value whose form is a wide tensor, remembered.
    fn rounded_off(&mut self, id: ValueId, x: Scaled) -> Result<Scaled, QuantiseError> {
        if let Some(found) = self.acts[id] {
            return Ok(found);
        }
        let found = self.round(id, x, (f64::NEG_INFINITY, f64::INFINITY))?;
        self.acts[id] = Some(found);
        self.plan.settle(id, found.scale);
        Ok(found)
    }

    /// A sum with integer coefficients; `None` where it would not fit.
    pub(super) fn weighted(&mut self, terms: &[(f64, Scaled)]) -> Result<Option<Scaled>, QuantiseError> {
        let finest = terms.iter().map(|(_, x)| x.scale).fold(f64::INFINITY, f64::min);
        let exact = |parts: f64| {
            terms.iter().all(|(_, x)| {
                let coefficient = x.scale / finest * parts;
                (coefficient - coefficient.round()).abs() <= EXACT * coefficient
            })
        };
        let mut parts = 1.0;
        while !exact(parts) && parts < MOST {
            parts *= 2.0;
        }
        let coefficient = |x: &Scaled| (x.scale / finest * parts).round();
        let reach: f64 = terms.iter().map(|(_, x)| coefficient(x) * self.builder.reach(x.tensor) as f64).sum();
        if reach >= SUM_END {
            return Ok(None);
        }
        let terms: Vec<(i64, u32)> = terms.iter().map(|(sign, x)| ((sign * coefficient(x)) as i64, x.tensor)).collect();
        self.builder.linear(&terms, 0, finest / parts).map(Some)
    }

    pub(super) fn product(&mut self, id: ValueId, a: ValueId, b: ValueId) -> Result<Form, QuantiseError> {
        match (self.known(a)?, self.known(b)?) {
            (None, Some(data)) => self.multiplied(id, a, &data),
            (Some(data), None) => self.multiplied(id, b, &data),
            _ => {
                let (x, y) = (self.act(a)?, self.act(b)?);
                let found = self.builder.push(Step::Mul, &[x.tensor, y.tensor], self.shape(id), x.scale * y.scale)?;
                Ok(self.given(id, found))
            }
        }
    }

    /// `x * data`.
    pub(super) fn multiplied(&mut self, id: ValueId, x: ValueId, data: &[f64]) -> Result<Form, QuantiseError> {
        if let Some(form) = self.scaled_layer(x, data) {
            return Ok(form);
        }
        let factor = data[0];
        if data.iter().any(|value| *value != factor) {
            return self.multiplied_each(id, x, data);
        }
        let y = self.uniform(x)?;
        let found = if factor == 0.0 {
            return Ok(Form::Known(data.into()));
        } else if self.plan.whole[id] && factor.abs() < MOST && factor.fract() == 0.0 && y.scale == 1.0 {
            self.builder.linear(&[(factor as i64, y.tensor)], 0, 1.0)?
        } else if factor < 0.0 {
            self.builder.linear(&[(-1, y.tensor)], 0, y.scale * -factor)?
        } else {
            Scaled { scale: y.scale * factor, ..y }
        };
        Ok(self.given(id, found))
    }

    /// `x * data` of several numbers; those beyond 16 bits, or too small for them beside the others, in two parts.
    fn multiplied_each(&mut self, id: ValueId, x: ValueId, data: &[f64]) -> Result<Form, QuantiseError> {
        const PART: f64 = 32768.0;
        let y = self.act(x)?;
        let reach = data.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let least = data.iter().filter(|value| **value != 0.0).fold(reach, |least: f64, value| least.min(value.abs()));
        let whole = data.iter().all(|value| value.fract() == 0.0);
        let scale = if whole && reach <= FINE { 1.0 } else { power_above(reach / FINE) };
        let shape = self.shape(id);
        if scale == 1.0 && whole || least >= 64.0 * scale {
            let constant = self.known_at(id, data, scale)?;
            let found = self.builder.push(Step::Mul, &[y.tensor, constant.tensor], shape, y.scale * scale)?;
            return Ok(self.given(id, found));
        }
        // With room for what the upper part is rounded up by.
        let fine = if whole && reach <= FINE * PART { 1.0 } else { power_above(reach / (FINE - 16.0)) / PART };
        let steps: Vec<f64> = data.iter().map(|value| (value / fine).round()).collect();
        let upper: Vec<f64> = steps.iter().map(|step| (step / PART).round()).collect();
        let lower: Vec<f64> = steps.iter().zip(&upper).map(|(step, upper)| step - upper * PART).collect();
        let mut parts = Vec::with_capacity(2);
        for part in [upper, lower] {
            let constant = self.known_at(id, &part, 1.0)?;
            parts.push(
                self.builder.push(Step::Mul, &[y.tensor, constant.tensor], shape.clone(), y.scale * fine)?.tensor,
            );
        }
        let found = self.builder.linear(&[(PART as i64, parts[0]), (1, parts[1])], 0, y.scale * fine)?;
        Ok(self.given(id, found))
    }

    /// Acts of one scale: of values that meet in one tensor.
    ///
    /// Known numbers beyond them all are refused, or kept at their end where only `nearer` ones show: the lesser of two, say.
    pub(super) fn alike(&mut self, id: ValueId, ids: &[ValueId], nearer: bool) -> Result<Vec<Scaled>, QuantiseError> {
        self.fits(id)?;
        let mut acts = Vec::with_capacity(ids.len());
        for &value in ids {
            let rounded_here = self.known(value)?.is_some() || self.wide_apart(id, value)?.is_some();
            acts.push(if rounded_here { None } else { Some(self.act(value)?) });
        }
        let scale = self.meeting_scale(id, ids, &acts)?;
        let mut found = Vec::with_capacity(ids.len());
        for (&value, act) in ids.iter().zip(acts) {
            found.push(match (act, self.known(value)?, self.wide_apart(id, value)?) {
                (Some(x), ..) => self.at_scale(x, scale)?,
                (None, Some(data), _) if nearer => {
                    let end = FINE * scale;
                    self.known_at(value, &data.iter().map(|v| v.clamp(-end, end)).collect::<Vec<_>>(), scale)?
                }
                (None, Some(data), _) => self.known_at(value, &data, scale)?,
                (None, None, Some(wide)) => {
                    let ratio = Ratio::near(wide.scale / scale, EXACT).ok_or_else(|| self.too_far())?;
                    self.builder.rescale(wide.tensor, ratio, (-32767, 32767), scale)?
                }
                (None, None, None) => return Err(self.too_far()),
            });
        }
        Ok(found)
    }

    /// The wide tensor of a value that has no act yet, and whose own scale is not that of `id`, which it meets others in: it is
    /// rounded once, to that.
    fn wide_apart(&self, id: ValueId, value: ValueId) -> Result<Option<Scaled>, QuantiseError> {
        Ok(match *self.form(value)? {
            Form::Tensor(x)
                if self.acts[value].is_none() && !self.builder.is_act(x.tensor) && !self.plan.together(id, value) =>
            {
                Some(x)
            }
            _ => None,
        })
    }

    /// The scale in which all of these are: their own if they have one in which numbers that are known are exact, else that
    /// of what they become.
    fn meeting_scale(&self, id: ValueId, ids: &[ValueId], acts: &[Option<Scaled>]) -> Result<f64, QuantiseError> {
        let own = acts.iter().flatten().map(|x| x.scale);
        let (finest, coarsest) = (own.clone().fold(f64::INFINITY, f64::min), own.fold(0.0, f64::max));
        let group = self.plan.group(id);
        let wanted = group.scale.unwrap_or_else(|| power_above(group.reach / group.levels));
        if finest == coarsest {
            let mut kept = true;
            for &value in ids {
                kept &= self.wide_apart(id, value)?.is_none();
            }
            for &value in ids {
                if let Some(data) = self.known(value)? {
                    let exact = |v: &f64| (v / finest).fract() == 0.0 || finest <= wanted;
                    kept &= data.iter().all(|v| exact(v) && v.abs() <= FINE * finest);
                }
            }
            if kept {
                return Ok(finest);
            }
        }
        if group.scale.is_some() || !finest.is_finite() {
            return Ok(wanted);
        }
        // No finer than the finest of them, where that is all there is: nothing is gained by it.
        Ok(if acts.iter().all(Option::is_some) { wanted.max(finest) } else { wanted })
    }

    /// An act at another scale.
    pub(super) fn at_scale(&mut self, x: Scaled, scale: f64) -> Result<Scaled, QuantiseError> {
        if x.scale == scale {
            return Ok(x);
        }
        let times = x.scale / scale;
        if times.fract() == 0.0 && times * self.builder.reach(x.tensor) as f64 <= FINE {
            return self.builder.linear(&[(times as i64, x.tensor)], 0, scale);
        }
        let ratio = Ratio::near(times, EXACT).ok_or_else(|| self.too_far())?;
        self.builder.rescale(x.tensor, ratio, (-32767, 32767), scale)
    }
}
