//! How far the integers are from the floats, as a whole and layer by layer.

mod svg;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Options, QuantiseError,
    calibrate::{Evaluated, decibels},
    form::Placed,
};
use crate::{
    exec::{self, Program},
    graph::{Graph, Op as Step, WIDE_END},
    network::{Function, Network, Op},
};

/// How the integer graph compares with the float network, over the calibration samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Samples compared.
    pub samples: usize,
    /// Bits asked for: `auto`, `8` or `16`.
    pub precision: String,
    /// How ranges were taken: `max`, `percentile:SHARE` or `mse`.
    pub method: String,
    /// Share of the rows of the first output whose largest value stands at the same place, 0 to 1.
    pub top1_agreement: f64,
    /// Largest difference of an output, in the float network's units.
    pub max_error: f64,
    /// Mean difference of an output, in the float network's units.
    pub mean_error: f64,
    /// Mean over the samples of the cosine between all outputs as one vector, -1 to 1.
    pub cosine: f64,
    /// Each output by itself.
    pub outputs: Vec<OutputReport>,
    /// What was computed, in order.
    pub layers: Vec<LayerReport>,
}

/// How one output compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Its name in the network.
    pub name: String,
    /// Signal to quantisation noise, in decibels; 200 where there is none.
    pub sqnr_db: f64,
}

/// Signal to noise below which an output is off by a tenth and more.
const POOR_DB: f64 = 20.0;

/// One value of the network and its integers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// The ONNX node, or input.
    pub name: String,
    /// The ONNX operation it comes from.
    pub operation: String,
    /// What is done: the network's operation.
    pub step: String,
    /// Real value of one step.
    pub scale: f64,
    /// Binary digits that the integers may take, with the sign.
    pub bits: u32,
    /// Largest magnitude met, as a share of the largest possible, 0 to 1.
    pub range_used: f64,
    /// Signal to quantisation noise, in decibels; 200 where there is none.
    pub sqnr_db: f64,
    /// Values that were clamped, of all that were met.
    pub saturated: u64,
    /// Values that were met.
    pub values: u64,
    /// Binary digits between what the accumulator can reach, on any input in range, and 2^47.
    pub headroom_bits: u32,
}

/// Sums over the samples, of one value.
#[derive(Default)]
struct Sums {
    signal: f64,
    noise: f64,
    most: u64,
    saturated: u64,
    values: u64,
}

/// Integers of the inputs of a graph, in its steps, within its bounds.
fn fed(graph: &Graph, inputs: &[Vec<f64>]) -> Vec<Vec<i64>> {
    let steps = |(&id, data): (&u32, &Vec<f64>)| {
        let tensor = &graph.tensors[id as usize];
        let scale = f64::from(f32::from_bits(tensor.scale));
        data.iter().map(|value| ((value / scale).round() as i64).clamp(tensor.low, tensor.high)).collect()
    };
    graph.inputs.iter().zip(inputs).map(steps).collect()
}

/// Runs the samples through both.
pub(super) fn measure(
    network: &Network,
    evaluated: &Evaluated<'_>,
    graph: &Graph,
    weights: &[Vec<i64>],
    placed: &[Placed],
    options: &Options,
) -> Result<Report, QuantiseError> {
    let broken = |error: &dyn fmt::Display| QuantiseError::Network { reason: format!("its integer graph: {error}") };
    let program = Program::new(Arc::new(graph.clone()), weights, exec::Options::default());
    let program = program.map_err(|error| broken(&error))?;
    // The last place of a value is its act.
    let places: BTreeMap<usize, &Placed> = placed.iter().map(|place| (place.value, place)).collect();
    let mut clamps: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
    for node in &graph.nodes {
        if let Step::Rescale { low, high, .. } = node.op {
            clamps.insert(node.output, (i64::from(low), i64::from(high)));
        }
    }
    let mut sums: BTreeMap<usize, Sums> = places.keys().map(|&value| (value, Sums::default())).collect();
    let mut outputs = Outputs::default();
    for at in 0..evaluated.len() {
        evaluated.passed(evaluated.len() + at);
        let floats = evaluated.values(at)?;
        let integers = program.run_all(&fed(graph, evaluated.inputs(at))).map_err(|error| broken(&error))?;
        for (value, sum) in &mut sums {
            let place = places[value];
            let clamp = clamps.get(&place.at.tensor).copied();
            sum.add(&floats[*value], &integers[place.at.tensor as usize], place.at.scale, clamp);
        }
        let pairs = network.outputs.iter().zip(&graph.outputs).map(|(&value, &tensor)| {
            let scale = f64::from(f32::from_bits(graph.tensors[tensor as usize].scale));
            let got = integers[tensor as usize].iter().map(|q| *q as f64 * scale).collect();
            (&*floats[value], got)
        });
        let row = network.outputs.first().and_then(|&id| network.values[id].shape.last().copied());
        outputs.add(&pairs.collect::<Vec<_>>(), row.unwrap_or(1));
    }
    let producers = network.producers();
    let layers = places.iter().filter_map(|(&value, place)| {
        let (name, operation, step) = match producers[value].map(|at| &network.nodes[at]) {
            Some(node) => match &node.op {
                Op::Wire(wire) if wire.fan_in == 1 && node.inputs.len() == 1 => return None,
                op => (node.name.clone(), node.source.clone(), step_name(op, place.layer)),
            },
            None => (network.values[value].name.clone(), "input".into(), "Input".into()),
        };
        Some(layer(graph, place, &sums[&value], (name, operation, step)))
    });
    let mut layers: Vec<(Option<usize>, LayerReport)> = places
        .keys()
        .filter(|&&value| !is_move(network, &producers, value))
        .map(|&value| producers[value])
        .zip(layers)
        .collect();
    layers.sort_by_key(|(at, _)| at.map_or(0, |at| at + 1));
    let cosine = outputs.cosine / evaluated.len() as f64;
    let lost = outputs.power.iter().position(|&[signal, noise]| signal > 0.0 && noise >= signal);
    if let Some(lost) = lost {
        let output = network.values[network.outputs[lost]].name.clone();
        let worst = layers.iter().map(|(_, layer)| layer).min_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        let (node, operation, sqnr_db) =
            worst.map_or_else(Default::default, |l| (l.name.clone(), l.operation.clone(), l.sqnr_db));
        return Err(QuantiseError::Unlike { output, node, operation, sqnr_db });
    }
    Ok(Report {
        samples: evaluated.len(),
        precision: options.precision.to_string(),
        method: options.method.to_string(),
        top1_agreement: share(outputs.same, outputs.rows),
        max_error: outputs.max,
        mean_error: outputs.sum / outputs.values.max(1) as f64,
        cosine,
        outputs: network
            .outputs
            .iter()
            .zip(&outputs.power)
            .map(|(&id, &[signal, noise])| OutputReport {
                name: network.values[id].name.clone(),
                sqnr_db: decibels(signal, noise),
            })
            .collect(),
        layers: layers.into_iter().map(|(_, layer)| layer).collect(),
    })
}

/// Whether a value only moves others.
fn is_move(network: &Network, producers: &[Option<usize>], value: usize) -> bool {
    producers[value]
        .map(|at| &network.nodes[at])
        .is_some_and(|node| matches!(&node.op, Op::Wire(wire) if wire.fan_in == 1 && node.inputs.len() == 1))
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 1.0 } else { part as f64 / all as f64 }
}

/// What is done, with the linear layer whose rounding it is part of.
fn step_name(op: &Op, layer: Option<&str>) -> String {
    let own = match op {
        Op::Wire(wire) if wire.fan_in == 1 => "Join".into(),
        Op::Wire(_) => "Sum".into(),
        Op::Unary(Function::LeakyRelu { slope: 0.0 }) => "Relu".into(),
        Op::Unary(function) => {
            let text = format!("{function:?}");
            text.split(" {").next().unwrap_or_default().to_owned()
        }
        Op::Conv(_) => "Conv".into(),
        op => format!("{op:?}"),
    };
    match layer {
        Some(layer) if layer != own => format!("{layer}, {own}"),
        _ => own,
    }
}

fn layer(graph: &Graph, place: &Placed, sums: &Sums, (name, operation, step): (String, String, String)) -> LayerReport {
    let reach = |tensor: u32| {
        let tensor = &graph.tensors[tensor as usize];
        tensor.low.unsigned_abs().max(tensor.high.unsigned_abs())
    };
    let digits = |most: u64| u64::BITS - most.leading_zeros();
    let most = reach(place.at.tensor);
    let signed = u32::from(graph.tensors[place.at.tensor as usize].low < 0);
    LayerReport {
        name,
        operation,
        step,
        scale: place.at.scale,
        bits: digits(most) + signed,
        range_used: share(sums.most, most),
        sqnr_db: decibels(sums.signal, sums.noise),
        saturated: sums.saturated,
        values: sums.values,
        headroom_bits: digits(WIDE_END as u64 - 1).saturating_sub(digits(reach(place.wide.unwrap_or(place.at.tensor)))),
    }
}

impl Sums {
    fn add(&mut self, floats: &[f64], integers: &[i64], scale: f64, clamp: Option<(i64, i64)>) {
        for (float, &integer) in floats.iter().zip(integers) {
            let error = float - integer as f64 * scale;
            self.signal += float * float;
            self.noise += error * error;
            self.most = self.most.max(integer.unsigned_abs());
            // At a bound, and beyond it by more than a rounding.
            let clamped = clamp.is_some_and(|(low, high)| {
                (integer == high && error > scale) || (integer == low && low != 0 && error < -scale)
            });
            self.saturated += u64::from(clamped);
        }
        self.values += integers.len() as u64;
    }
}

/// Sums over the outputs of all samples.
#[derive(Default)]
struct Outputs {
    same: u64,
    rows: u64,
    max: f64,
    sum: f64,
    values: u64,
    cosine: f64,
    /// Of each output: squares of what the floats are, and of what the integers differ by.
    power: Vec<[f64; 2]>,
}

impl Outputs {
    fn add(&mut self, pairs: &[(&[f64], Vec<f64>)], row: usize) {
        fn first_largest(row: &[f64]) -> usize {
            (0..row.len()).fold(0, |best, at| if row[at] > row[best] { at } else { best })
        }
        if let Some((want, got)) = pairs.first() {
            let size = if row > 1 { row } else { want.len() };
            for (want, got) in want.chunks(size).zip(got.chunks(size)) {
                self.same += u64::from(first_largest(want) == first_largest(got));
                self.rows += 1;
            }
        }
        self.power.resize(pairs.len(), [0.0; 2]);
        let (mut dot, mut norms) = (0.0, [0.0; 2]);
        let numbers =
            pairs.iter().enumerate().flat_map(|(at, (want, got))| want.iter().zip(got).map(move |(w, g)| (at, w, g)));
        for (at, want, got) in numbers {
            self.max = self.max.max((want - got).abs());
            self.sum += (want - got).abs();
            self.values += 1;
            self.power[at][0] += want * want;
            self.power[at][1] += (want - got) * (want - got);
            dot += want * got;
            norms[0] += want * want;
            norms[1] += got * got;
        }
        let norm = (norms[0] * norms[1]).sqrt();
        self.cosine += match (norm > 0.0, norms == [0.0; 2]) {
            (true, _) => dot / norm,
            (false, both_zero) => f64::from(both_zero),
        };
    }
}

impl Report {
    /// What is to be said of outputs that the integers follow badly; `None` if all are well.
    pub fn warning(&self) -> Option<String> {
        let poor = self.outputs.iter().filter(|output| output.sqnr_db < POOR_DB);
        let poor: Vec<String> = poor.map(|o| format!("'{}' keeps {:.1} dB", o.name, o.sqnr_db)).collect();
        (!poor.is_empty()).then(|| {
            format!(
                "on the samples, of the outputs {} of signal over noise, where {POOR_DB} dB are a tenth off: the table tells where it is \
                 lost; --precision 16 may keep more",
                poor.join(", ")
            )
        })
    }

    /// The signal to noise of each layer as a bar chart.
    pub fn to_svg(&self) -> String {
        svg::draw(self)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "samples         {} ({} bits, ranges by {})", self.samples, self.precision, self.method)?;
        writeln!(f, "top-1 agreement {:.2} %", 100.0 * self.top1_agreement)?;
        writeln!(f, "error           {:.3e} at most, {:.3e} on average", self.max_error, self.mean_error)?;
        writeln!(f, "cosine          {:.6}", self.cosine)?;
        if self.outputs.len() > 1 {
            let each: Vec<String> = self.outputs.iter().map(|o| format!("{} {:.1} dB", o.name, o.sqnr_db)).collect();
            writeln!(f, "outputs         {}", each.join(", "))?;
        }
        let short = |text: &str| match text.char_indices().nth(27) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        let wide = self.layers.iter().map(|l| short(&l.name).chars().count()).max().unwrap_or(0).max(5);
        let step = self.layers.iter().map(|l| short(&l.step).chars().count()).max().unwrap_or(0).max(4);
        writeln!(
            f,
            "\n{:<wide$}  {:<step$}  bits  {:>10}  range  {:>7}  {:>9}  headroom",
            "layer", "step", "scale", "SQNR", "saturated"
        )?;
        for layer in &self.layers {
            writeln!(
                f,
                "{:<wide$}  {:<step$}  {:>4}  {:>10.3e}  {:>3.0} %  {:>4.1} dB  {:>9}  {:>3} bits",
                short(&layer.name),
                short(&layer.step),
                layer.bits,
                layer.scale,
                100.0 * layer.range_used,
                layer.sqnr_db,
                layer.saturated,
                layer.headroom_bits
            )?;
        }
        Ok(())
    }
}
