//! Perceptrons and convolutional networks.

use super::*;
use crate::graph::{Geometry, Multiplier, Op as Step};

const UNIT: Geometry = Geometry { strides: [1, 1], dilations: [1, 1], pads: [0; 4], groups: 1 };

fn perceptron(seed: u64, sizes: &[usize]) -> Network {
    let mut numbers = Numbers(seed);
    let mut net = Net::default();
    let mut x = net.input(&[1, 1, sizes[0]]);
    for (at, pair) in sizes.windows(2).enumerate() {
        let reach = (3.0 / pair[0] as f64).sqrt();
        let weights = numbers.many(pair[0] * pair[1], -reach, reach);
        let bias = numbers.many(pair[1], -0.1, 0.1);
        x = net.dense(x, &weights, &bias);
        if at + 2 < sizes.len() {
            x = net.relu(x);
        }
    }
    net.of(&[x])
}

/// Convolution, bias, ReLU, 2 by 2 maxima, twice, then a dense layer.
fn convolutional(seed: u64) -> Network {
    let mut numbers = Numbers(seed);
    let mut net = Net::default();
    let mut x = net.input(&[1, 1, 12, 12]);
    for (channels, groups) in [(4, 1), (6, 2)] {
        let [_, c, h, w] = net.shape(x)[..] else { unreachable!() };
        let fan = c / groups * 9;
        let reach = (3.0 / fan as f64).sqrt();
        let weights = numbers.many(channels * fan, -reach, reach);
        let kernel = net.constant(&[channels, c / groups, 3, 3], &weights);
        let geometry = Geometry { pads: [1; 4], groups: groups as u32, ..UNIT };
        let shape = [1, channels, h, w];
        x = net.node(Op::Conv(geometry), &[x, kernel], &shape, Kind::Real);
        let bias = net.constant(&[channels, 1, 1], &numbers.many(channels, -0.1, 0.1));
        let bias = net.spread(bias, &shape);
        x = net.op(Op::Add, &[x, bias]);
        x = net.relu(x);
        let (planes, w) = (channels as u32, w as u32);
        let loops = [(planes * h as u32 / 2, 2 * i64::from(w)), (w / 2, 2), (2, i64::from(w)), (2, 1)];
        let pooled = [1, channels, h / 2, w as usize / 2];
        let windows = Wire::strided(1, 0, &loops);
        x = net.node(Op::Wire(windows), &[x], &[&pooled[..], &[4]].concat(), Kind::Real);
        x = net.node(Op::ReduceMax, &[x], &pooled, Kind::Real);
    }
    let size: usize = net.shape(x).iter().product();
    x = net.reshape(x, &[1, 1, size]);
    x = net.dense(x, &numbers.many(size * 10, -0.2, 0.2), &numbers.many(10, -0.1, 0.1));
    net.of(&[x])
}

#[test]
fn perceptrons_stay_near_their_floats_at_every_precision() {
    for seed in 0..6 {
        let network = perceptron(seed, &[20, 16, 5]);
        for (precision, tolerance) in ALL.into_iter().zip([0.03, 0.06, 0.0005]) {
            within(&network, precision, (-1.0, 1.0), tolerance);
        }
    }
}

#[test]
fn convolutional_networks_stay_near_their_floats_at_every_precision() {
    for seed in 0..3 {
        let network = convolutional(seed);
        for (precision, tolerance) in ALL.into_iter().zip([0.02, 0.02, 0.001]) {
            within(&network, precision, (0.0, 1.0), tolerance);
        }
    }
}

#[test]
fn every_method_gives_a_usable_range() {
    let network = perceptron(9, &[20, 16, 5]);
    for method in [Method::Max, Method::Percentile(99.9), Method::MeanSquare] {
        let options = Options { method, precision: Precision::Bits8, ..Options::default() };
        let compiled = quantise(&network, &samples(&network, 32, 1, -1.0, 1.0), &options).unwrap();
        assert!(compiled.report.cosine > 0.999, "{method}: {}", compiled.report);
        for (share, _) in errors(&network, &compiled, &samples(&network, 8, 2, -1.0, 1.0)) {
            assert!(share < 0.03, "{method}: {share}");
        }
    }
}

#[test]
fn a_layer_is_three_operands_and_one_rounding_with_an_exact_ratio() {
    let compiled = within(&perceptron(3, &[20, 16, 5]), Precision::Auto, (-1.0, 1.0), 0.02);
    let steps: Vec<&Step> = compiled.graph.nodes.iter().map(|node| &node.op).collect();
    let [Step::MatMul, Step::Rescale { low: 0, shift, .. }, Step::MatMul, Step::Rescale { .. }] = steps[..] else {
        panic!("{steps:?}");
    };
    assert!(*shift <= 16);
    assert_eq!(compiled.graph.nodes[0].inputs.len(), 3);
    for node in &compiled.graph.nodes {
        let Step::Rescale { multiplier, shift, .. } = node.op else { continue };
        let multiplier = match multiplier {
            Multiplier::Uniform(m) => i64::from(m),
            Multiplier::PerAxis(_) => {
                let at = compiled.graph.constants.iter().position(|id| *id == node.inputs[1]).unwrap();
                compiled.weights[at][0]
            }
        };
        let scale = |id: u32| f64::from(f32::from_bits(compiled.graph.tensors[id as usize].scale));
        // The accumulator's scale is that of its first channel.
        let exact = scale(node.inputs[0]) / scale(node.output) * f64::from(1u32 << shift);
        assert!((exact - multiplier as f64).abs() < 1e-5 * exact, "{exact} {multiplier}");
    }
}

#[test]
fn channels_of_very_different_sizes_keep_their_own_steps() {
    let mut net = Net::default();
    let x = net.input(&[1, 1, 4]);
    // The second channel is a thousandth of the first.
    let weights = [1.0, 0.001, -0.5, 0.0007, 0.25, -0.0009, 0.75, 0.0003];
    let y = net.dense(x, &weights, &[0.0, 0.0]);
    let factors = net.constant(&[2], &[1.0, 1000.0]);
    let factors = net.spread(factors, &[1, 1, 2]);
    let z = net.op(Op::Mul, &[y, factors]);
    let network = net.of(&[z]);
    for precision in ALL {
        within(&network, precision, (-1.0, 1.0), 0.01);
    }
}

#[test]
fn channels_and_layers_that_are_always_zero_still_quantise() {
    let mut net = Net::default();
    let x = net.input(&[1, 1, 2]);
    let y = net.dense(x, &[0.0, -1.0, 0.0, -1.0], &[0.0, -5.0]);
    let y = net.relu(y);
    let z = net.dense(y, &[1.0, 0.0, 1.0, 0.0], &[0.5, 0.0]);
    within(&net.of(&[z]), Precision::Auto, (0.0, 1.0), 0.01);
}

#[test]
fn the_same_network_and_samples_give_the_same_integers() {
    let network = convolutional(4);
    let data = samples(&network, 8, 1, 0.0, 1.0);
    let first = quantise(&network, &data, &Options::default()).unwrap();
    assert_eq!(first, quantise(&network, &data, &Options::default()).unwrap());
}

#[test]
fn the_report_can_be_read_by_people_and_programs() {
    let compiled = within(&convolutional(1), Precision::Auto, (0.0, 1.0), 0.02);
    let report = &compiled.report;
    let text = report.to_string();
    assert!(text.contains("top-1 agreement") && text.contains("Conv") && text.contains("dB"), "{text}");
    let read: super::super::Report = serde_json::from_str(&serde_json::to_string(report).unwrap()).unwrap();
    assert_eq!(read.to_string(), text);
    let svg = report.to_svg();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
    assert_eq!(svg.matches("<rect").count(), report.layers.len() + 1);
    assert!(report.layers.iter().all(|layer| layer.range_used <= 1.0 && layer.headroom_bits < 48));
    assert!(report.layers.iter().all(|layer| layer.sqnr_db > 25.0), "{text}");
}
