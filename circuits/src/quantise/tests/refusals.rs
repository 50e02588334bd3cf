//! Networks and samples that must be refused, with the reason and the node.

use super::{super::QuantiseError, *};

fn refused(network: &Network, samples: &[Vec<Vec<f64>>]) -> String {
    quantise(network, samples, &Options::default()).unwrap_err().to_string()
}

fn identity() -> Network {
    let mut net = Net::default();
    let x = net.input(&[1, 1, 2]);
    let y = net.dense(x, &[1.0, 0.5, 0.25, 1.0], &[0.0, 0.0]);
    net.of(&[y])
}

#[test]
fn unusable_samples_are_refused() {
    let network = identity();
    for (samples, reason) in [
        (vec![], "0 samples"),
        (vec![vec![]], "0 inputs; the model takes 1"),
        (vec![vec![vec![1.0]]], "has 1 values; the model takes 2"),
        (vec![vec![vec![1.0, f64::NAN]]], "holds NaN"),
        (vec![vec![vec![0.0, 0.0]]], "is 0 on every sample"),
    ] {
        let text = refused(&network, &samples);
        assert!(text.starts_with("calibration: ") && text.contains(reason), "{text}");
    }
}

#[test]
fn values_beyond_all_floats_are_refused_by_the_nodes_name() {
    let mut net = Net::default();
    let x = net.input(&[1, 1, 1]);
    let y = net.unary(Function::Exp, x);
    let text = refused(&net.of(&[y]), &[vec![vec![1e4]]]);
    assert!(text.contains("node 'n0'") && text.contains("inf"), "{text}");
}

#[test]
fn scales_that_lie_too_far_apart_are_refused_by_the_nodes_name() {
    let mut net = Net::default();
    let x = net.input(&[1, 1, 2]);
    let y = net.dense(x, &[1.0, 1.0, 1.0, 1.0], &[1.0, 1.0]);
    let far = net.number(1e30, &[1, 1, 2]);
    let y = net.relu(y);
    let z = net.op(Op::Add, &[y, far]);
    let network = net.of(&[z]);
    let text = refused(&network, &[vec![vec![1.0, 0.5]]]);
    assert!(text.contains("node 'n") && text.contains("too far apart"), "{text}");
}

#[test]
fn too_little_agreement_is_refused() {
    let network = identity();
    let data = samples(&network, 10, 3, -1.0, 1.0);
    let options = Options { minimum_agreement: 1.5, ..Options::default() };
    let error = quantise(&network, &data, &options).unwrap_err();
    assert!(matches!(error, QuantiseError::Agreement { .. }), "{error}");
}

#[test]
fn division_by_a_known_zero_is_refused() {
    let mut net = Net::default();
    let x = net.input(&[1, 1, 2]);
    let zeros = net.constant(&[1, 1, 2], &[0.0, 1.0]);
    let y = net.op(Op::Div, &[x, zeros]);
    let text = refused(&net.of(&[y]), &[vec![vec![0.0, 1.0]]]);
    assert!(text.contains("node 'n0'"), "{text}");
}

#[test]
fn whole_numbers_beyond_sixteen_bits_are_refused_where_they_are_rounded() {
    let mut net = Net::default();
    let x = net.input(&[2]);
    let large = net.number(60000.0, &[2]);
    let y = net.op(Op::Mul, &[x, large]);
    let y = net.node(Op::Unary(Function::Round), &[y], &[2], Kind::Integer);
    let text = refused(&net.of(&[y]), &[vec![vec![0.25, 1.0]]]);
    assert!(text.contains("node 'n") && text.contains("at most 32767"), "{text}");
}
