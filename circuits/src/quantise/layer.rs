//! Linear layers: weights take the scales that make the output's quotient exact.

use super::{
    Precision, QuantiseError,
    builder::Scaled,
    calibrate::decibels,
    form::{Form, Quantiser},
    plan::FINE,
    rescale::{ONE_LOOKUP, Ratio, power_above, power_of_two},
};
use crate::{
    graph::{Geometry, Multiplier, Op as Step},
    network::{Kind, ValueId},
};

/// Signal to noise, in decibels, that weights keep; with less they take more bits.
const ENOUGH: f64 = 34.0;

/// Least multiplier of the largest channel: rounding it up costs its weights at most an eighth of their step.
const LEAST: f64 = 8.0;

/// A bias is kept under this many steps of its accumulator.
const BIAS_END: f64 = (1 << 24) as f64;

/// A matrix product or convolution with known weights, whose weights wait for the scale of its output.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    x: Scaled,
    /// A convolution's; none for a matrix product.
    geometry: Option<Geometry>,
    /// Shape of the weights: `[b, k, n]` or `[m, c / groups, kh, kw]`.
    shape: Vec<u32>,
    weights: Vec<f64>,
    /// One a channel; empty for none.
    bias: Vec<f64>,
    /// Shape of the output.
    output: Vec<u32>,
    emitted: Option<Emitted>,
}

/// The wide tensor of a layer, and what a step of each channel is worth.
#[derive(Debug, Clone)]
struct Emitted {
    wide: u32,
    scales: Vec<f64>,
}

impl Layer {
    fn channels(&self) -> usize {
        self.output[self.axis()] as usize
    }

    /// The channels' axis in the output.
    fn axis(&self) -> usize {
        if self.geometry.is_some() { 1 } else { 2 }
    }

    /// The channel of a weight, by position.
    fn channel(&self, at: usize) -> usize {
        match self.geometry {
            Some(_) => at / (self.weights.len() / self.channels()),
            None => at % self.channels(),
        }
    }

    /// A fold over the weights of each channel.
    fn each(&self, join: impl Fn(f64, f64) -> f64) -> Vec<f64> {
        let mut folded = vec![0.0; self.channels()];
        for (at, &weight) in self.weights.iter().enumerate() {
            let channel = self.channel(at);
            folded[channel] = join(folded[channel], weight);
        }
        folded
    }
}

/// One number a channel of a known operand, if it varies along this axis alone.
fn along(shape: &[u32], axis: usize, data: &[f64]) -> Option<Vec<f64>> {
    let inner: usize = shape[axis + 1..].iter().map(|&size| size as usize).product();
    let size = shape[axis] as usize;
    let found: Vec<f64> = (0..size).map(|at| data[at * inner]).collect();
    data.iter().enumerate().all(|(at, value)| found[at / inner % size] == *value).then_some(found)
}

impl Quantiser<'_> {
    pub(super) fn matmul(&mut self, id: ValueId, a: ValueId, b: ValueId) -> Result<Form, QuantiseError> {
        self.linear_layer(id, a, b, None)
    }

    pub(super) fn conv(&mut self, id: ValueId, a: ValueId, b: ValueId, at: Geometry) -> Result<Form, QuantiseError> {
        self.linear_layer(id, a, b, Some(at))
    }

    fn linear_layer(
        &mut self,
        id: ValueId,
        a: ValueId,
        b: ValueId,
        geometry: Option<Geometry>,
    ) -> Result<Form, QuantiseError> {
        let x = self.act(a)?;
        let output = self.shape(id);
        let real = self.network.values[id].kind == Kind::Real;
        if let (Some(weights), true) = (self.known(b)?, real) {
            let shape = self.shape(b);
            let weights = weights.to_vec();
            self.layers.push(Layer { x, geometry, shape, weights, bias: Vec::new(), output, emitted: None });
            return Ok(Form::Layer(self.layers.len() - 1));
        }
        let w = self.act(b)?;
        if !real && w.scale != 1.0 {
            let reason = format!("whole weights up to {}; expected at most 32767", self.seen[b].reach());
            return Err(self.builder.refuse(reason));
        }
        let step = geometry.map_or(Step::MatMul, Step::Conv);
        let found = self.builder.push(step, &[x.tensor, w.tensor], output, x.scale * w.scale)?;
        self.place(id, found, None);
        Ok(Form::Tensor(found))
    }

    /// Adds a known operand to a layer that nothing else reads, if it has one number a channel.
    pub(super) fn biased(&mut self, of: ValueId, data: &[f64]) -> Option<Form> {
        let (layer, at) = self.open_layer(of)?;
        let bias = along(&layer.output, layer.axis(), data)?;
        layer.bias.resize(bias.len(), 0.0);
        layer.bias.iter_mut().zip(bias).for_each(|(sum, value)| *sum += value);
        Some(Form::Layer(at))
    }

    /// The same for a factor.
    pub(super) fn scaled_layer(&mut self, of: ValueId, data: &[f64]) -> Option<Form> {
        let (layer, at) = self.open_layer(of)?;
        let factors = along(&layer.output, layer.axis(), data)?;
        for place in 0..layer.weights.len() {
            let channel = layer.channel(place);
            layer.weights[place] *= factors[channel];
        }
        layer.bias.iter_mut().zip(factors).for_each(|(value, factor)| *value *= factor);
        Some(Form::Layer(at))
    }

    fn open_layer(&mut self, of: ValueId) -> Option<(&mut Layer, usize)> {
        match self.forms[of] {
            Some(Form::Layer(at)) if self.plan.uses[of] == 1 && self.layers[at].emitted.is_none() => {
                Some((&mut self.layers[at], at))
            }
            _ => None,
        }
    }

    /// The act of a layer, clamped; the layer itself the first time.
    pub(super) fn emit(&mut self, id: ValueId, at: usize, clamp: (f64, f64)) -> Result<Scaled, QuantiseError> {
        let layer = self.layers[at].clone();
        match &layer.emitted {
            Some(emitted) => self.emit_again(id, &layer, emitted, clamp),
            None => self.emit_first(id, at, &layer, clamp),
        }
    }

    fn emit_first(
        &mut self,
        id: ValueId,
        at: usize,
        layer: &Layer,
        clamp: (f64, f64),
    ) -> Result<Scaled, QuantiseError> {
        let x = layer.x;
        let reach = self.builder.reach(x.tensor) as f64 * x.scale;
        let bias = |channel: usize| layer.bias.get(channel).copied().unwrap_or(0.0);
        let sums = layer.each(|sum, weight| sum + weight.abs());
        let bound = (0..sums.len()).map(|c| sums[c] * reach + bias(c).abs()).fold(0.0, f64::max);
        let group = self.plan.group(id);
        let scale = match group.scale {
            Some(scale) => scale,
            None => {
                let wanted = self.wanted(id, bound);
                if self.plan.group(id).dyadic { power_above(wanted) } else { wanted }
            }
        };
        let (shift, multipliers) = self.multipliers(layer, scale)?;
        let scales: Vec<f64> =
            multipliers.iter().map(|&m| f64::from(m) * power_of_two(-i32::from(shift)) * scale / x.scale).collect();
        let steps = |value: f64, step: f64| (value / step).round() as i64;
        let weights = layer.weights.iter().enumerate().map(|(p, &w)| steps(w, scales[layer.channel(p)])).collect();
        let weights = self.builder.constant(layer.shape.clone(), weights, scales[0])?;
        let mut inputs = vec![x.tensor, weights.tensor];
        let accumulator = x.scale * scales[0];
        if !layer.bias.is_empty() {
            let bias: Vec<i64> = (0..scales.len()).map(|c| steps(layer.bias[c], x.scale * scales[c])).collect();
            inputs.push(self.builder.constant(vec![bias.len() as u32], bias, accumulator)?.tensor);
        }
        let step = layer.geometry.map_or(Step::MatMul, Step::Conv);
        let wide = self.builder.push(step, &inputs, layer.output.clone(), accumulator)?.tensor;
        self.layers[at].emitted = Some(Emitted { wide, scales });
        self.rounded(id, layer, wide, (shift, &multipliers), scale, clamp)
    }

    /// From the same wide tensor, at another scale.
    fn emit_again(
        &mut self,
        id: ValueId,
        layer: &Layer,
        emitted: &Emitted,
        clamp: (f64, f64),
    ) -> Result<Scaled, QuantiseError> {
        let most = emitted.scales.iter().copied().fold(0.0, f64::max) * layer.x.scale;
        let bound = self.builder.reach(emitted.wide) as f64 * most;
        let scale = self.plan.group(id).scale.unwrap_or_else(|| self.wanted(id, bound));
        let ratio = Ratio::near(most / scale, 1.0 / 16384.0).ok_or_else(|| self.too_far())?;
        let step = layer.x.scale / scale * power_of_two(i32::from(ratio.shift));
        let multipliers: Vec<u32> = emitted.scales.iter().map(|s| (s * step).round() as u32).collect();
        self.rounded(id, layer, emitted.wide, (ratio.shift, &multipliers), scale, clamp)
    }

    /// The scale that an unsettled group would have, for a tensor that its interval bounds so.
    pub(super) fn wanted(&self, id: ValueId, bound: f64) -> f64 {
        let group = self.plan.group(id);
        let wanted = group.reach / group.levels;
        // A quotient that its interval keeps within 16 bits needs no clamp: worth some of the precision.
        let free = bound / FINE;
        let precise = group.reach >= 2048.0 * free && self.options.precision != Precision::Bits16;
        if group.fine && precise { wanted.max(free) } else { wanted }
    }

    pub(super) fn too_far(&self) -> QuantiseError {
        self.builder.refuse(
            "the scales of its input, weights and output lie too far apart; normalise the network or calibrate it on data \
             that it was trained for",
        )
    }

    /// The shift, and a multiplier a channel, each at least what its weights need.
    fn multipliers(&self, layer: &Layer, scale: f64) -> Result<(u8, Vec<u32>), QuantiseError> {
        let x = layer.x.scale;
        let reach = layer.each(|most, weight| most.max(weight.abs()));
        let levels = self.weight_levels(layer, &reach);
        let need = |channel: usize| {
            let bias = layer.bias.get(channel).map_or(0.0, |bias| bias.abs());
            let ratio = (reach[channel] / levels * x).max(bias / BIAS_END) / scale;
            (ratio > 0.0).then_some(ratio)
        };
        let needs: Vec<Option<f64>> = (0..reach.len()).map(need).collect();
        let most = needs.iter().flatten().copied().fold(0.0, f64::max);
        // Weights that are all 0 take any multiplier.
        let most = if most > 0.0 { most } else { 1.0 / 256.0 };
        let least = needs.iter().flatten().copied().fold(most, f64::min);
        let at = |shift: u8| most * power_of_two(i32::from(shift));
        let mut shift = (1..=40).find(|&shift| at(shift) >= LEAST).ok_or_else(|| self.too_far())?;
        if shift > ONE_LOOKUP && levels > 127.0 {
            // A coarser step than the finest is fine where there are levels to spare, down to eleven bits.
            let enough = (1024.0 / levels).min(LEAST);
            shift = (ONE_LOOKUP..=40).find(|&shift| at(shift) >= enough).unwrap_or(shift);
        }
        // One multiplier for all where that costs no more than a fifth of a step, or levels that are to spare.
        let alike = if levels > 127.0 { 1.0 / 16.0 } else { 0.8 };
        let uniform = least >= alike * most;
        let multipliers = needs.iter().map(|need| {
            let need = if uniform { most } else { need.unwrap_or(most) };
            let exact = need * power_of_two(i32::from(shift));
            let multiplier = (exact * (1.0 - 1e-9)).ceil().max(1.0);
            if multiplier < power_of_two(31) { Ok(multiplier as u32) } else { Err(self.too_far()) }
        });
        Ok((shift, multipliers.collect::<Result<_, _>>()?))
    }

    /// Levels of the weights to each side: 8 bits, more where they lose too much by it or the caller asks.
    fn weight_levels(&self, layer: &Layer, reach: &[f64]) -> f64 {
        if self.options.precision == Precision::Bits16 {
            return FINE;
        }
        if self.options.precision == Precision::Bits8 {
            return 127.0;
        }
        let signal = layer.weights.iter().map(|w| w * w).sum::<f64>();
        let kept = |levels: &f64| {
            let noise = layer.weights.iter().enumerate().map(|(at, w)| {
                let step = reach[layer.channel(at)] / levels;
                let error = if step > 0.0 { w - (w / step).round() * step } else { 0.0 };
                error * error
            });
            decibels(signal, noise.sum()) >= ENOUGH
        };
        [127.0, 511.0, 2047.0].into_iter().find(kept).unwrap_or(FINE)
    }

    fn rounded(
        &mut self,
        id: ValueId,
        layer: &Layer,
        wide: u32,
        (shift, multipliers): (u8, &[u32]),
        scale: f64,
        clamp: (f64, f64),
    ) -> Result<Scaled, QuantiseError> {
        let most = multipliers.iter().copied().max().unwrap_or(1);
        let reach = self.builder.reach(wide) as f64 * f64::from(most) * power_of_two(-i32::from(shift));
        let (low, high) = self.clamps(id, scale, reach, clamp);
        let found = if multipliers.iter().all(|&m| m == most) {
            self.builder.rescale(wide, Ratio { multiplier: most, shift }, (low, high), scale)?
        } else {
            let data: Vec<i64> = multipliers.iter().map(|&m| i64::from(m)).collect();
            let step = power_of_two(-i32::from(shift));
            let constant = self.builder.constant(vec![data.len() as u32], data, step)?;
            let multiplier = Multiplier::PerAxis(layer.axis() as u8);
            let op = Step::Rescale { multiplier, shift, low, high };
            self.builder.push(op, &[wide, constant.tensor], layer.output.clone(), scale)?
        };
        self.place_layer(id, found, wide, if layer.geometry.is_some() { "Conv" } else { "MatMul" });
        Ok(found)
    }
}
