//! What each value of the network reaches on the samples.

use std::sync::Arc;

use super::{Method, QuantiseError, plan::ROOM};
use crate::network::{Kind, Network, Node, Op};

/// Most samples used.
pub(crate) const MAX_SAMPLES: usize = 1 << 16;

/// Most numbers of evaluated samples kept, so that the report need not evaluate again.
const MAX_KEPT: usize = 1 << 24;

const BINS: usize = 2048;

/// Most values of a network, constants among them: the bins of all take less than 1 GiB.
const MAX_VALUES: usize = 48 << 10;

/// Most steps that all samples together may take: half an hour or so. A step is a product, or a number given.
const MAX_WORK: u64 = 1 << 40;
/// Steps that any operation takes beside its numbers.
const PASS: u64 = 1 << 10;

/// What an input's largest magnitude may be, beside 0: scales are 32-bit floats.
const MAGNITUDES: std::ops::RangeInclusive<f64> = 1e-30..=1e30;

/// Hears how many of how many passes over the samples are done.
pub type Told<'a> = dyn Fn(usize, usize) + 'a;

/// All values of a network on one sample, by `ValueId`.
pub(super) type Values = Vec<Arc<[f64]>>;

/// A network and samples that fit it, evaluated.
pub(super) struct Evaluated<'a> {
    network: &'a Network,
    samples: &'a [Vec<Vec<f64>>],
    kept: Vec<Values>,
    told: &'a Told<'a>,
}

impl<'a> Evaluated<'a> {
    pub(super) fn new(
        network: &'a Network,
        samples: &'a [Vec<Vec<f64>>],
        told: &'a Told<'a>,
    ) -> Result<Self, QuantiseError> {
        check(network, samples)?;
        let computed = |id: &usize| !network.constants.contains_key(id);
        // Beside its numbers, each takes an allocation of its own.
        let size = |id: usize| network.values[id].shape.iter().product::<usize>() + 6;
        let each: usize =
            (0..network.values.len()).filter(computed).map(size).sum::<usize>() + 2 * network.values.len();
        let keep = samples.len().min(MAX_KEPT / each.max(1));
        let mut this = Self { network, samples, kept: Vec::new(), told };
        for at in 0..keep {
            this.passed(at);
            this.kept.push(this.evaluate(at)?);
        }
        Ok(this)
    }

    /// Tells of a pass, of which each sample has two: one for its ranges, one to compare.
    pub(super) fn passed(&self, passes: usize) {
        (self.told)(passes, 2 * self.samples.len());
    }

    pub(super) fn len(&self) -> usize {
        self.samples.len()
    }

    pub(super) fn inputs(&self, at: usize) -> &[Vec<f64>] {
        &self.samples[at]
    }

    /// All values on a sample.
    pub(super) fn values(&self, at: usize) -> Result<Values, QuantiseError> {
        match self.kept.get(at) {
            Some(values) => Ok(values.clone()),
            None => self.evaluate(at),
        }
    }

    fn evaluate(&self, at: usize) -> Result<Values, QuantiseError> {
        let evaluated = self.network.evaluate_all(&self.samples[at]);
        evaluated.map_err(|error| QuantiseError::Network { reason: error.to_string() })
    }

    /// What each value reaches over all samples.
    pub(super) fn seen(&self) -> Result<Vec<Seen>, QuantiseError> {
        let mut seen: Vec<Seen> = (0..self.network.values.len()).map(|_| Seen::default()).collect();
        for at in 0..self.samples.len() {
            if at >= self.kept.len() {
                self.passed(at);
            }
            let values = self.values(at)?;
            for node in &self.network.nodes {
                if let Some(value) = values[node.output].iter().find(|value| !value.is_finite()) {
                    return Err(QuantiseError::Node {
                        node: node.name.clone(),
                        operation: node.source.clone(),
                        reason: format!("its value on sample {at} is {value}; expected a finite number"),
                    });
                }
                seen[node.output].add(&values[node.output]);
            }
            for &input in &self.network.inputs {
                seen[input].add(&values[input]);
            }
        }
        for (id, data) in &self.network.constants {
            if let Some(value) = data.iter().find(|value| !value.is_finite()) {
                let name = &self.network.values[*id].name;
                return Err(QuantiseError::Network {
                    reason: format!("constant '{name}' holds {value}; expected finite numbers"),
                });
            }
            seen[*id].add(data);
        }
        Ok(seen)
    }
}

/// Steps that one run takes.
fn work(network: &Network) -> u64 {
    let shape = |id: usize| &*network.values[id].shape;
    let steps = |node: &Node| {
        let size: usize = shape(node.output).iter().product();
        let each: usize = match (&node.op, &*node.inputs) {
            (Op::MatMul, [left, _]) => shape(*left).last().copied().unwrap_or(1),
            (Op::Conv(_), [_, kernel]) => shape(*kernel).iter().skip(1).product(),
            _ => 1,
        };
        (size as u64).saturating_mul(each as u64).saturating_add(PASS)
    };
    network.nodes.iter().map(steps).fold(0, u64::saturating_add)
}

fn check(network: &Network, samples: &[Vec<Vec<f64>>]) -> Result<(), QuantiseError> {
    let wrong = |reason: String| Err(QuantiseError::Calibration { reason });
    if network.values.len() > MAX_VALUES {
        let reason = format!("{} values and constants; expected at most {MAX_VALUES}", network.values.len());
        return Err(QuantiseError::Network { reason });
    }
    if samples.is_empty() || samples.len() > MAX_SAMPLES {
        return wrong(format!("{} samples; expected 1 to {MAX_SAMPLES}", samples.len()));
    }
    let each = work(network);
    if each.saturating_mul(samples.len() as u64) > MAX_WORK {
        return wrong(format!(
            "{} samples of {each} steps each; expected at most {MAX_WORK} steps in all: calibrate on fewer samples",
            samples.len()
        ));
    }
    for (at, sample) in samples.iter().enumerate() {
        if sample.len() != network.inputs.len() {
            return wrong(format!("sample {at} has {} inputs; the model takes {}", sample.len(), network.inputs.len()));
        }
        for (data, &input) in sample.iter().zip(&network.inputs) {
            let value = &network.values[input];
            let (name, size) = (&value.name, value.shape.iter().product::<usize>());
            if data.len() != size {
                let found = data.len();
                return wrong(format!("input '{name}' of sample {at} has {found} values; the model takes {size}"));
            }
            if let Some(found) = data.iter().find(|found| !found.is_finite()) {
                return wrong(format!("input '{name}' of sample {at} holds {found}; expected finite numbers"));
            }
            let told = |found: &f64, expected: &str| {
                wrong(format!("input '{name}' of sample {at} holds {found:e}; expected {expected}"))
            };
            if value.kind != Kind::Real
                && let Some(found) = data.iter().find(|found| found.fract() != 0.0)
            {
                return told(found, "whole numbers");
            }
            let range = if value.kind == Kind::Truth { Some((0, 1)) } else { value.range };
            if let Some((low, high)) = range
                && let Some(found) = data.iter().find(|found| **found < low as f64 || **found > high as f64)
            {
                return told(found, &format!("{low} to {high}, as its type has them"));
            }
        }
    }
    for (at, &input) in network.inputs.iter().enumerate() {
        let largest = samples.iter().flat_map(|sample| &sample[at]).fold(0f64, |most, value| most.max(value.abs()));
        if largest != 0.0 && !MAGNITUDES.contains(&largest) {
            let (least, most) = (MAGNITUDES.start(), MAGNITUDES.end());
            let name = &network.values[input].name;
            return wrong(format!("input '{name}' reaches {largest:e}; expected {least:e} to {most:e}"));
        }
    }
    Ok(())
}

/// What a value reaches.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Smallest.
    pub(super) low: f64,
    /// Largest.
    pub(super) high: f64,
    /// Of magnitudes: bin `i` counts those from `i * width` up to the next.
    bins: Vec<u64>,
    width: f64,
    squares: f64,
    count: u64,
}

impl Default for Seen {
    fn default() -> Self {
        Self { low: f64::INFINITY, high: f64::NEG_INFINITY, bins: Vec::new(), width: 0.0, squares: 0.0, count: 0 }
    }
}

impl Seen {
    fn add(&mut self, values: &[f64]) {
        for &value in values {
            self.low = self.low.min(value);
            self.high = self.high.max(value);
            self.squares += value * value;
            self.count += 1;
            self.tally(value.abs());
        }
    }

    fn tally(&mut self, magnitude: f64) {
        if self.bins.is_empty() {
            self.bins = vec![0; BINS];
        }
        if magnitude > 0.0 && self.width == 0.0 {
            // A power of two, so that bins join exactly; what came before was 0.
            self.width = super::rescale::power_above(magnitude).max(f64::MIN_POSITIVE) * 2.0 / BINS as f64;
        }
        while magnitude >= self.width * BINS as f64 && magnitude > 0.0 {
            for at in 0..BINS / 2 {
                self.bins[at] = self.bins[2 * at] + self.bins[2 * at + 1];
            }
            self.bins[BINS / 2..].fill(0);
            self.width *= 2.0;
        }
        let at = if magnitude == 0.0 { 0 } else { (magnitude / self.width) as usize };
        self.bins[at.min(BINS - 1)] += 1;
    }

    /// Largest magnitude; 0 where nothing or only 0 was seen.
    pub(super) fn reach(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.low.abs().max(self.high.abs()) }
    }

    /// Whether so many numbers were seen, none of them negative, that an input of them may be held to that.
    pub(super) fn nonnegative(&self) -> bool {
        self.low >= 0.0 && self.count >= 64
    }

    /// What an input may be: from the smallest that was seen to the largest, and [`ROOM`] to each side.
    pub(super) fn covered(&self) -> (f64, f64) {
        if self.count == 0 {
            return (0.0, 0.0);
        }
        let room = (ROOM - 1.0) * self.reach();
        let low = self.low - room;
        (if self.nonnegative() { low.max(0.0) } else { low }, self.high + room)
    }

    /// The range of an activation with this many levels to each side.
    pub(super) fn range(&self, method: Method, levels: f64) -> f64 {
        let reach = self.reach();
        match method {
            Method::Max => reach,
            Method::Percentile(share) => {
                let within = (share / 100.0 * self.count as f64).ceil() as u64;
                let mut sum = 0;
                let at = self.bins.iter().position(|count| {
                    sum += count;
                    sum >= within
                });
                at.map_or(reach, |at| reach.min((at + 1) as f64 * self.width))
            }
            Method::MeanSquare => {
                let candidates = (8..=64).map(|step| reach * f64::from(step) / 64.0);
                let error = |range: f64| (self.noise(range, levels), range);
                candidates
                    .map(error)
                    .fold((f64::INFINITY, reach), |best, next| if next.0 < best.0 { next } else { best })
                    .1
            }
        }
    }

    /// Mean square error of rounding to `levels` steps up to `range` and clamping there.
    fn noise(&self, range: f64, levels: f64) -> f64 {
        let step = range / levels;
        let middle = |at: usize| (at as f64 + 0.5) * self.width;
        let over = self.bins.iter().enumerate().map(|(at, &count)| {
            let excess = (middle(at) - range).max(0.0);
            count as f64 * excess * excess
        });
        over.sum::<f64>() / self.count.max(1) as f64 + step * step / 12.0
    }

    /// Signal to noise in decibels with this many levels up to `range`.
    pub(super) fn sqnr(&self, range: f64, levels: f64) -> f64 {
        decibels(self.squares / self.count.max(1) as f64, self.noise(range, levels))
    }
}

/// Ratio of two powers; without noise, 200.
pub(super) fn decibels(signal: f64, noise: f64) -> f64 {
    if noise <= 0.0 || signal / noise >= 1e20 {
        return 200.0;
    }
    (10.0 * libm::log10(signal / noise)).max(-200.0)
}
