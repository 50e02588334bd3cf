//! From floats to integers: scales from calibration data, and a report of what it cost.
//!
//! ```text
//! Network + samples --largest magnitude a layer--> scales --round--> Graph --both run--> Report
//! ```
//!
//! Weights take one scale an output channel, activations one a layer; all are symmetric. The last layer
//! keeps 16 bits, with room for logits twice as large as any seen.

use crate::dense::{
    CompiledModel, ImportError, argmax,
    graph::{Dense, Graph, INPUT_HIGH, INPUT_LOW, MULTIPLIER_END, Node, SHIFT},
    onnx::Network,
};

/// Most calibration samples that are used.
pub const MAX_CALIBRATION: usize = 1 << 16;

const LOGIT_HEADROOM: f64 = 2.0;

/// How the integer model compares with the float network, over the calibration samples.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Report {
    /// Samples compared.
    pub samples: usize,
    /// Share of samples on which both name the same class, 0..=1.
    pub top1_agreement: f64,
    /// Largest difference of a logit, in the float network's units.
    pub max_error: f64,
    /// Mean difference of a logit, in the float network's units.
    pub mean_error: f64,
    /// Mean cosine between the two logit vectors, -1..=1.
    pub cosine: f64,
    /// One entry a layer.
    pub layers: Vec<LayerReport>,
}

/// A layer's scales and room.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LayerReport {
    /// The ONNX node.
    pub name: String,
    /// Real value of one step of its output.
    pub scale: f64,
    /// Largest magnitude the accumulator can reach on any input in range; the limit is 2^31.
    pub accumulator_bound: i64,
    /// Binary digits between that bound and 2^31.
    pub headroom_bits: u32,
}

fn overflow(layer: &str, what: &str) -> ImportError {
    ImportError::Quantise {
        node: layer.into(),
        reason: format!("{what}; normalise the network or calibrate it on data that it was trained for"),
    }
}

/// Checks the samples a user gave.
fn check_samples(network: &Network, samples: &[Vec<f32>]) -> Result<(), ImportError> {
    let wrong = |reason: String| ImportError::Calibration { reason };
    if samples.is_empty() || samples.len() > MAX_CALIBRATION {
        return Err(wrong(format!("{} samples; expected 1 to {MAX_CALIBRATION}", samples.len())));
    }
    for (at, sample) in samples.iter().enumerate() {
        if sample.len() != network.input_len {
            return Err(wrong(format!(
                "sample {at} has {} values; the model takes {}",
                sample.len(),
                network.input_len
            )));
        }
        if sample.iter().any(|v| !v.is_finite()) {
            return Err(wrong(format!("sample {at} holds a value that is not finite")));
        }
    }
    Ok(())
}

fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |a, v| a.max(v.abs()))
}

/// Quantises a network on samples of real inputs.
///
/// # Errors
/// [`ImportError`] on unusable samples, a layer whose numbers do not fit, or a graph that fails its checks.
pub(crate) fn quantise(network: &Network, samples: &[Vec<f32>]) -> Result<(CompiledModel, Report), ImportError> {
    check_samples(network, samples)?;
    let floats: Vec<Vec<Vec<f64>>> = samples.iter().map(|s| network.activations(s)).collect();
    let seen = largest(samples.iter().flatten().map(|&v| f64::from(v)));
    if seen == 0.0 {
        return Err(ImportError::Calibration { reason: "all values are zero".into() });
    }
    let input_scale = (seen / f64::from(INPUT_HIGH)) as f32;
    let mut scale = f64::from(input_scale);
    let mut nodes = Vec::with_capacity(network.layers.len());
    let mut scales = Vec::with_capacity(network.layers.len());
    for (at, layer) in network.layers.iter().enumerate() {
        let last = at + 1 == network.layers.len();
        let seen = largest(floats.iter().flat_map(|f| f[at].iter().copied()));
        if !seen.is_finite() {
            return Err(overflow(&layer.name, "an activation is not finite"));
        }
        // A layer that is zero on every sample still needs a scale; any will do.
        let seen = if seen > 0.0 { seen } else { 1.0 };
        let (floor, high, full) =
            if last { (i16::MIN, i16::MAX, seen * LOGIT_HEADROOM) } else { (INPUT_LOW, INPUT_HIGH, seen) };
        // Rounded to f32 because the last one is stored so in the model.
        let out_scale = f64::from((full / f64::from(high)) as f32);
        let mut dense = Dense {
            inputs: layer.inputs as u32,
            outputs: layer.outputs as u32,
            weights: Vec::with_capacity(layer.weights.len()),
            bias: Vec::with_capacity(layer.outputs),
            multiplier: Vec::with_capacity(layer.outputs),
            low: if layer.relu { 0 } else { floor },
            high,
        };
        for (row, &bias) in layer.weights.chunks_exact(layer.inputs).zip(&layer.bias) {
            let seen = largest(row.iter().map(|&w| f64::from(w)));
            let weight_scale = if seen > 0.0 { seen / 127.0 } else { out_scale / scale };
            dense.weights.extend(row.iter().map(|&w| (f64::from(w) / weight_scale).round() as i8));
            let bias = (f64::from(bias) / (scale * weight_scale)).round();
            if bias.is_nan() || bias.abs() >= 2f64.powi(31) {
                return Err(overflow(&layer.name, "a bias is far larger than what its weights can give"));
            }
            dense.bias.push(bias as i32);
            let multiplier = (scale * weight_scale / out_scale * 2f64.powi(SHIFT as i32)).round();
            if multiplier.is_nan() || multiplier >= f64::from(MULTIPLIER_END) {
                return Err(overflow(&layer.name, "its scales lie too far apart"));
            }
            dense.multiplier.push(multiplier as u32);
        }
        nodes.push(Node::Dense(dense));
        scales.push(out_scale);
        scale = out_scale;
    }
    let graph = Graph { input_len: network.input_len as u32, nodes };
    graph.validate().map_err(|source| named(network, source))?;
    let model = CompiledModel::new(graph, input_scale, scale as f32)?;
    let report = compare(network, &model, samples, &floats, &scales)?;
    Ok((model, report))
}

/// Puts the ONNX node's name beside the graph's error.
fn named(network: &Network, source: crate::dense::GraphError) -> ImportError {
    use crate::dense::GraphError::{Node, Overflow, Shape};
    let node = match &source {
        Node { node, .. } | Overflow { node, .. } => network.layers.get(*node).map(|l| l.name.clone()),
        Shape { .. } => None,
    };
    match node {
        Some(node) => ImportError::Quantise { node, reason: source.to_string() },
        None => ImportError::Model(source.into()),
    }
}

fn compare(
    network: &Network,
    model: &CompiledModel,
    samples: &[Vec<f32>],
    floats: &[Vec<Vec<f64>>],
    scales: &[f64],
) -> Result<Report, ImportError> {
    let wrong = |reason: String| ImportError::Calibration { reason };
    let (mut same, mut max, mut sum, mut cosine) = (0usize, 0f64, 0f64, 0f64);
    for (sample, layers) in samples.iter().zip(floats) {
        let want = layers.last().map(Vec::as_slice).unwrap_or_default();
        let input = model.quantise_input(sample).map_err(|e| wrong(e.to_string()))?;
        let output = model.run(&input).map_err(|e| wrong(e.to_string()))?;
        let got: Vec<f64> = output.iter().map(|&v| f64::from(v) * f64::from(model.output_scale())).collect();
        let mut best = 0;
        for (at, value) in want.iter().enumerate() {
            if *value > want[best] {
                best = at;
            }
        }
        same += usize::from(best == argmax(&output));
        for (a, b) in want.iter().zip(&got) {
            max = max.max((a - b).abs());
            sum += (a - b).abs();
        }
        let dot: f64 = want.iter().zip(&got).map(|(a, b)| a * b).sum();
        let norm = |v: &[f64]| v.iter().map(|a| a * a).sum::<f64>().sqrt();
        let norms = norm(want) * norm(&got);
        cosine += if norms > 0.0 { dot / norms } else { 1.0 };
    }
    let count = samples.len() as f64;
    let layers = network
        .layers
        .iter()
        .zip(model.intervals())
        .zip(scales)
        .map(|((layer, interval), &scale)| LayerReport {
            name: layer.name.clone(),
            scale,
            accumulator_bound: interval.accumulator,
            headroom_bits: 31u32.saturating_sub(64 - interval.accumulator.leading_zeros()),
        })
        .collect();
    Ok(Report {
        samples: samples.len(),
        top1_agreement: same as f64 / count,
        max_error: max,
        mean_error: sum / (count * model.output_len() as f64),
        cosine: cosine / count,
        layers,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::dense::onnx::FloatDense;

    fn layer(name: &str, inputs: usize, weights: Vec<f32>, bias: Vec<f32>, relu: bool) -> FloatDense {
        FloatDense { name: name.into(), inputs, outputs: bias.len(), weights, bias, relu }
    }

    fn network(layers: Vec<FloatDense>) -> Network {
        Network { input_len: layers[0].inputs, layers }
    }

    #[test]
    fn a_layer_that_could_overflow_is_refused_by_its_onnx_name() {
        let samples = [vec![1.0, -1.0]];
        let refused = |second: FloatDense| {
            let first = layer("fc_1", 2, vec![1.0, 0.5, -1.0, 0.25], vec![0.0, 0.0], true);
            quantise(&network(vec![first, second]), &samples).unwrap_err().to_string()
        };
        // Over i32 in steps of the accumulator, and just inside i32 but not together with the weights.
        let text = refused(layer("fc_2", 2, vec![1e-9, 1e-9], vec![1e6], false));
        assert!(text.contains("node 'fc_2'") && text.contains("a bias"), "{text}");
        let step = 0.5 / 127.0 / 127.0;
        let text = refused(layer("fc_2", 2, vec![1.0, 1.0], vec![step * 2_147_480_000.0], false));
        assert!(text.contains("node 'fc_2'") && text.contains("the accumulator may reach"), "{text}");
    }

    #[test]
    fn activations_beyond_all_floats_are_refused_by_name() {
        let huge = layer("big", 1, vec![f32::MAX], vec![0.0], false);
        let layers = vec![huge.clone(), FloatDense { name: "big_2".into(), ..huge }];
        let error = quantise(&network(layers), &[vec![1e30]]).unwrap_err().to_string();
        assert!(error.contains("node 'big"), "{error}");
    }

    #[test]
    fn channels_and_layers_that_are_always_zero_still_quantise() {
        let layers = vec![
            layer("a", 2, vec![0.0, 0.0, -1.0, -1.0], vec![0.0, -5.0], true),
            layer("b", 2, vec![1.0, 1.0, 0.0, 0.0], vec![0.5, 0.0], false),
        ];
        let (model, report) = quantise(&network(layers), &[vec![1.0, 0.5]]).unwrap();
        assert_eq!(report.top1_agreement, 1.0);
        let output = model.run(&[127, 0]).unwrap();
        assert!((f64::from(output[0]) * f64::from(model.output_scale()) - 0.5).abs() < 0.01);
        assert_eq!(output[1], 0);
    }

    proptest! {
        #[test]
        fn logits_stay_near_the_float_networks(
            first in vec(-1.0f32..1.0, 48), second in vec(-1.0f32..1.0, 18),
            bias in vec(-0.5f32..0.5, 9), samples in vec(vec(-1.0f32..1.0, 8), 1..12),
        ) {
            let layers = vec![
                layer("a", 8, first, bias[..6].to_vec(), true),
                layer("b", 6, second, bias[6..].to_vec(), false),
            ];
            let (_, report) = quantise(&network(layers), &samples).unwrap();
            // Eight-bit steps through 8 and 6 terms of at most 1: a loose bound on the sum of the roundings.
            prop_assert!(report.max_error < 0.5, "{:?}", report);
        }
    }
}
