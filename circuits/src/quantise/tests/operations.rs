//! Each operation and function on its own and in the company it keeps.

use super::*;

/// One function of an input, and of a wide tensor.
fn near(function: Function, low: f64, high: f64, tolerance: f64) {
    let mut net = Net::default();
    let x = net.input(&[1, 1, 80]);
    let y = net.unary(function, x);
    within(&net.of(&[y]), Precision::Auto, (low, high), tolerance);
    let mut net = Net::default();
    let x = net.input(&[1, 1, 80]);
    let factors = net.constant(&[1, 1, 80], &Numbers(5).many(80, 0.5, 1.0));
    let wide = net.op(Op::Mul, &[x, factors]);
    let y = net.unary(function, wide);
    within(&net.of(&[y]), Precision::Auto, (low, high), tolerance);
}

#[test]
fn smooth_functions_are_near_their_floats() {
    use Function::*;
    for function in [
        Abs,
        Clip { low: -1.5, high: 2.0 },
        LeakyRelu { slope: 0.1 },
        LeakyRelu { slope: 0.0 },
        Elu { alpha: 1.2 },
        Selu { alpha: 1.67, gamma: 1.05 },
        Celu { alpha: 0.8 },
        Sigmoid,
        HardSigmoid { alpha: 0.2, beta: 0.5 },
        HardSwish,
        Tanh,
        Softplus,
        Softsign,
        Mish,
        Erf,
        Gelu { tanh: false },
        Gelu { tanh: true },
        Exp,
        Sin,
        Cos,
        Power { exponent: 2.0 },
        Power { exponent: 3.0 },
        Power { exponent: 1.0 },
    ] {
        near(function, -3.0, 3.0, 0.001);
    }
}

#[test]
fn functions_of_positive_numbers_are_near_their_floats() {
    use Function::*;
    for function in [Log, Sqrt, Reciprocal, Power { exponent: 0.5 }, Power { exponent: -1.0 }, Power { exponent: 1.7 }]
    {
        near(function, 0.2, 9.0, 0.002);
    }
}

#[test]
fn steps_fall_where_the_floats_have_them() {
    use Function::*;
    for function in [Floor, Ceil, Round, Truncate, Sign, ThresholdedRelu { alpha: 1.0 }] {
        let mut net = Net::default();
        let x = net.input(&[8]);
        let y = net.unary(function, x);
        let network = net.of(&[y]);
        let data = vec![vec![vec![-2.5, -1.5, -0.5, 0.0, 0.5, 1.0, 1.5, 2.25]]];
        let compiled = quantise(&network, &data, &Options::default()).unwrap();
        let (share, _) = errors(&network, &compiled, &data)[0];
        assert!(share < 1e-3, "{function:?}: {share}\n{}", compiled.report);
    }
}

#[test]
fn sums_and_products_of_scales_of_their_own_are_near_their_floats() {
    for precision in ALL {
        for op in [Op::Add, Op::Sub, Op::Mul] {
            let mut net = Net::default();
            let (a, b) = (net.input(&[80]), net.input(&[80]));
            let small = net.number(0.013, &[80]);
            let b = net.op(Op::Mul, &[b, small]);
            let c = net.op(op, &[a, b]);
            let d = net.op(Op::Add, &[c, b]);
            within(&net.of(&[d]), precision, (-7.0, 7.0), 0.001);
        }
    }
}

#[test]
fn quotients_are_near_their_floats_whatever_the_sign() {
    for (offset, wide) in [(4.0, false), (-4.0, false), (4.0, true), (-4.0, true)] {
        let mut net = Net::default();
        let (a, b) = (net.input(&[80]), net.input(&[80]));
        let b = if wide { net.op(Op::Mul, &[b, b]) } else { b };
        let shift = net.number(offset * 4.0, &[80]);
        let d = if offset < 0.0 { net.op(Op::Sub, &[shift, b]) } else { net.op(Op::Add, &[b, shift]) };
        let c = net.op(Op::Div, &[a, d]);
        within(&net.of(&[c]), Precision::Auto, (-3.0, 3.0), 0.002);
    }
    let mut net = Net::default();
    let (a, b) = (net.input(&[80]), net.input(&[80]));
    let sign = net.unary(Function::Sign, b);
    let d = net.op(Op::Add, &[b, sign]);
    let c = net.op(Op::Div, &[a, d]);
    within(&net.of(&[c]), Precision::Auto, (-3.0, 3.0), 0.002);
}

#[test]
fn softmax_and_its_logarithm_are_near_their_floats() {
    for reach in [1.0, 8.0] {
        let mut net = Net::default();
        let x = net.input(&[4, 10]);
        let y = net.softmax(x);
        within(&net.of(&[y]), Precision::Auto, (-reach, reach), 0.002);
    }
    let mut net = Net::default();
    let x = net.input(&[4, 10]);
    let most = net.node(Op::ReduceMax, &[x], &[4], Kind::Real);
    let most = net.along_rows(most, &[4, 10]);
    let less = net.op(Op::Sub, &[x, most]);
    let powers = net.unary(Function::Exp, less);
    let sum = net.sum_rows(powers);
    let log = net.unary(Function::Log, sum);
    let log = net.along_rows(log, &[4, 10]);
    let y = net.op(Op::Sub, &[less, log]);
    within(&net.of(&[y]), Precision::Auto, (-4.0, 4.0), 0.002);
}

#[test]
fn normalisation_of_rows_is_near_its_floats_from_small_to_large() {
    for reach in [0.01, 1.0, 300.0] {
        let mut net = Net::default();
        let x = net.input(&[6, 16]);
        let mean = net.sum_rows(x);
        let part = net.number(1.0 / 16.0, &[6]);
        let mean = net.op(Op::Mul, &[mean, part]);
        let mean = net.along_rows(mean, &[6, 16]);
        let centred = net.op(Op::Sub, &[x, mean]);
        let squares = net.op(Op::Mul, &[centred, centred]);
        let sum = net.sum_rows(squares);
        let variance = net.op(Op::Mul, &[sum, part]);
        let least = net.number(1e-5, &[6]);
        let variance = net.op(Op::Add, &[variance, least]);
        let deviation = net.unary(Function::Sqrt, variance);
        let deviation = net.along_rows(deviation, &[6, 16]);
        let y = net.op(Op::Div, &[centred, deviation]);
        let gains = net.constant(&[16], &Numbers(3).many(16, 0.8, 1.2));
        let gains = net.spread(gains, &[6, 16]);
        let y = net.op(Op::Mul, &[y, gains]);
        within(&net.of(&[y]), Precision::Auto, (-reach, reach), 0.002);
    }
}

#[test]
fn extremes_choices_and_comparisons_are_those_of_the_floats() {
    let mut net = Net::default();
    let (a, b) = (net.input(&[80]), net.input(&[80]));
    let half = net.number(0.5, &[80]);
    let b = net.op(Op::Mul, &[b, half]);
    let most = net.op(Op::Max, &[a, b]);
    let least = net.op(Op::Min, &[a, b]);
    let above = net.node(Op::Greater, &[a, b], &[80], Kind::Truth);
    let chosen = net.op(Op::Select, &[above, a, b]);
    let zero = net.number(0.0, &[80]);
    let masked = net.op(Op::Select, &[above, a, zero]);
    within(&net.of(&[most, least, above, chosen, masked]), Precision::Auto, (-2.0, 2.0), 0.001);
}

#[test]
fn comparisons_with_numbers_between_steps_are_exact() {
    let mut net = Net::default();
    let x = net.input_of(&[5], Kind::Integer);
    let limit = net.number(2.5, &[5]);
    let above = net.node(Op::Greater, &[x, limit], &[5], Kind::Truth);
    let below = net.node(Op::Greater, &[limit, x], &[5], Kind::Truth);
    let two = net.number(2.0, &[5]);
    let same = net.node(Op::Equal, &[x, two], &[5], Kind::Truth);
    let not = net.node(Op::Unary(Function::Not), &[same], &[5], Kind::Truth);
    let network = net.of(&[above, below, same, not]);
    let data = vec![vec![vec![0.0, 1.0, 2.0, 3.0, 4.0]]];
    let compiled = quantise(&network, &data, &Options::default()).unwrap();
    assert!(errors(&network, &compiled, &data).iter().all(|(share, _)| *share == 0.0));
}

#[test]
fn whole_numbers_stay_exact() {
    let mut net = Net::default();
    let x = net.input_of(&[1, 2, 6], Kind::Integer);
    let weights =
        net.constant(&[1, 6, 3], &Numbers(8).many(18, -20.0, 20.0).iter().map(|v| v.round()).collect::<Vec<_>>());
    let y = net.node(Op::MatMul, &[x, weights], &[1, 2, 3], Kind::Integer);
    let three = net.number(3.0, &[1, 2, 3]);
    let y = net.node(Op::Mul, &[y, three], &[1, 2, 3], Kind::Integer);
    let first = net.node(Op::ArgMax, &[x], &[1, 2], Kind::Integer);
    let network = net.of(&[y, first]);
    let data = samples(&network, 6, 4, -100.0, 100.0);
    let compiled = quantise(&network, &data, &Options::default()).unwrap();
    assert!(errors(&network, &compiled, &data).iter().all(|(share, _)| *share == 0.0), "{}", compiled.report);
}

#[test]
fn quotients_of_whole_numbers_go_towards_zero_exactly() {
    for (low, high) in [(-300.0, 300.0), (1.0, 30000.0)] {
        let mut net = Net::default();
        let (a, b) = (net.input_of(&[64], Kind::Integer), net.input_of(&[64], Kind::Integer));
        let one = net.number(1.0, &[64]);
        let b = net.node(Op::Mul, &[b, one], &[64], Kind::Integer);
        let q = net.node(Op::Div, &[a, b], &[64], Kind::Integer);
        let q = net.node(Op::Unary(Function::Truncate), &[q], &[64], Kind::Integer);
        let network = net.of(&[q]);
        let mut data = samples(&network, 4, 4, low, high);
        data.iter_mut().flat_map(|sample| &mut sample[1]).filter(|v| **v == 0.0).for_each(|v| *v = 7.0);
        let compiled = quantise(&network, &data, &Options::default()).unwrap();
        assert!(errors(&network, &compiled, &data).iter().all(|(share, _)| *share == 0.0), "{}", compiled.report);
    }
}

#[test]
fn concatenations_share_a_scale_and_products_of_activations_are_near() {
    for precision in ALL {
        let mut net = Net::default();
        let (a, b) = (net.input(&[1, 8, 8]), net.input(&[1, 8, 8]));
        let product = net.node(Op::MatMul, &[a, b], &[1, 8, 8], Kind::Real);
        let both = net.node(Op::Wire(Wire::identity()), &[product, a], &[1, 16, 8], Kind::Real);
        let sums = net.sum_rows(both);
        let result = if precision == Precision::Bits8 { 0.03 } else { 0.01 };
        within(&net.of(&[both, sums]), precision, (-1.0, 1.0), result);
    }
}

#[test]
fn an_input_that_is_zero_on_every_sample_is_taken_beside_one_that_is_not() {
    let mut net = Net::default();
    let (a, b) = (net.input(&[4]), net.input(&[4]));
    let sum = net.op(Op::Add, &[a, b]);
    let network = net.of(&[sum]);
    let compiled = quantise(&network, &[vec![vec![1.0, -0.5, 0.25, 0.0], vec![0.0; 4]]], &Options::default()).unwrap();
    let sample = vec![vec![0.5, 0.5, -0.75, 0.0], vec![0.0; 4]];
    assert!(errors(&network, &compiled, &[sample])[0].0 < 1e-3);
}

#[test]
fn an_input_reaches_as_far_as_the_samples_and_a_quarter_further() {
    let mut net = Net::default();
    let ids = net.input_of(&[4], Kind::Integer);
    let (a, b, zero) = (net.input(&[4]), net.input(&[64]), net.input(&[4]));
    let [small, wide] = [a, zero].map(|id| net.op(Op::Add, &[ids, id]));
    let network = net.of(&[small, wide, b]);
    let sample = vec![vec![0.0, 3.0, 7.0, 8.0], vec![-0.5, 0.25, 1.0, 4.0], vec![2.0; 64], vec![0.0; 4]];
    let graph = quantise(&network, &[sample], &Options::default()).unwrap().graph;
    let range = |input: usize| {
        let tensor = &graph.tensors[graph.inputs[input] as usize];
        let scale = f64::from(f32::from_bits(tensor.scale));
        (tensor.low as f64 * scale, tensor.high as f64 * scale)
    };
    let close = |found: (f64, f64), low: f64, high: f64| (found.0 - low).abs() < 0.02 && (found.1 - high).abs() < 0.02;
    assert_eq!(range(0), (-2.0, 10.0));
    assert!(close(range(1), -1.5, 5.0), "{:?}", range(1));
    // So many numbers, none of them negative, and none may be.
    assert!(close(range(2), 1.5, 2.5), "{:?}", range(2));
    assert_eq!(range(3), (0.0, 0.0));
}

#[test]
fn an_output_may_be_an_input_a_constant_or_the_same_value_twice() {
    let mut net = Net::default();
    let x = net.input(&[8]);
    let c = net.constant(&[3], &[0.25, -1.75, 3.0]);
    let half = net.number(0.5, &[8]);
    let y = net.op(Op::Mul, &[x, half]);
    let compiled = within(&net.of(&[x, c, y, y]), Precision::Auto, (-1.0, 1.0), 0.001);
    assert_eq!(compiled.graph.outputs.len(), 4);
}
