//! Values that meet in one tensor, or are compared, though they differ in size or one holds whole numbers.

use super::{super::QuantiseError, *};

impl Net {
    /// Two vectors, one after the other.
    fn joined(&mut self, a: ValueId, b: ValueId) -> ValueId {
        let (n, m) = (self.shape(a)[0], self.shape(b)[0]);
        let wire = Wire::gather((0..(n + m) as u32).collect());
        self.node(Op::Wire(wire), &[a, b], &[n + m], Kind::Real)
    }

    /// 1 where `x` is above 0, as reals.
    fn positive(&mut self, x: ValueId) -> ValueId {
        let shape = self.shape(x);
        let zero = self.number(0.0, &shape);
        let truth = self.node(Op::Greater, &[x, zero], &shape, Kind::Truth);
        self.node(Op::Wire(Wire::identity()), &[truth], &shape, Kind::Real)
    }

    fn scaled(&mut self, x: ValueId, factor: f64) -> ValueId {
        let shape = self.shape(x);
        let factor = self.number(factor, &shape);
        self.op(Op::Mul, &[x, factor])
    }
}

#[test]
fn whole_numbers_leave_those_that_they_meet_their_steps() {
    for precision in ALL {
        for op in [None, Some(Op::Max), Some(Op::Min)] {
            let mut net = Net::default();
            let x = net.input(&[40]);
            let whole = net.positive(x);
            let y = match op {
                Some(op) => net.op(op, &[whole, x]),
                None => net.joined(whole, x),
            };
            within(&net.of(&[y]), precision, (-0.5, 0.5), 0.001);
        }
    }
}

#[test]
fn whole_numbers_are_compared_with_others_in_the_others_steps() {
    let mut net = Net::default();
    let (k, x) = (net.input_of(&[40], Kind::Integer), net.input(&[40]));
    let reals = net.node(Op::Wire(Wire::identity()), &[k], &[40], Kind::Real);
    let above = net.node(Op::Greater, &[x, reals], &[40], Kind::Truth);
    let equal = net.node(Op::Equal, &[x, reals], &[40], Kind::Truth);
    let network = net.of(&[above, equal]);
    let apart = |seed: u64| {
        let mut data = samples(&network, 1, seed, -2.0, 2.0).remove(0);
        // A hundredth at least from every whole number.
        data[1].iter_mut().for_each(|x| *x = x.floor() + (x.fract().abs() * 0.98 + 0.01));
        data
    };
    let data: Vec<_> = (0..40).map(apart).collect();
    let compiled = quantise(&network, &data, &Options::default()).unwrap();
    assert!(errors(&network, &compiled, &data).iter().all(|(share, _)| *share == 0.0), "{}", compiled.report);
}

#[test]
fn what_is_small_keeps_its_steps_for_its_other_readers() {
    for factor in [100.0, 10_000.0, 1e6] {
        for op in [None, Some(Op::Max)] {
            let mut net = Net::default();
            let x = net.input(&[30]);
            let large = net.scaled(x, factor);
            let y = match op.clone() {
                Some(op) => net.op(op, &[x, large]),
                None => net.joined(x, large),
            };
            let z = net.unary(Function::Tanh, x);
            within(&net.of(&[y, z]), Precision::Auto, (-5.0, 5.0), 0.001);
        }
    }
}

#[test]
fn bounds_between_whole_numbers_hold() {
    for (function, clip) in
        [(Function::Sign, (-0.5, 0.5)), (Function::Round, (-2.5, 1.25)), (Function::Floor, (0.5, 2.5))]
    {
        let mut net = Net::default();
        let x = net.input(&[40]);
        let whole = net.unary(function, x);
        let y = net.unary(Function::Clip { low: clip.0, high: clip.1 }, whole);
        within(&net.of(&[y]), Precision::Auto, (-4.0, 4.0), 0.001);
    }
}

#[test]
fn numbers_beyond_all_acts_are_compared_as_what_they_are() {
    for bound in [32767.0, 32768.0, 1e6, -32767.0, -32768.0, -1e6] {
        let mut net = Net::default();
        let x = net.input_of(&[5], Kind::Integer);
        let bound = net.number(bound, &[5]);
        let greater = net.node(Op::Greater, &[x, bound], &[5], Kind::Truth);
        let less = net.node(Op::Greater, &[bound, x], &[5], Kind::Truth);
        let equal = net.node(Op::Equal, &[x, bound], &[5], Kind::Truth);
        let network = net.of(&[greater, less, equal]);
        let data = vec![vec![vec![-32767.0, -32766.0, 0.0, 32766.0, 32767.0]]];
        let compiled = quantise(&network, &data, &Options::default()).unwrap();
        assert!(errors(&network, &compiled, &data).iter().all(|(share, _)| *share == 0.0));
    }
}

#[test]
fn factors_that_differ_in_size_are_exact_for_whole_numbers_and_near_for_others() {
    let factors = [1e6, 1.0, -3.0, 0.0, 40_000.0];
    for kind in [Kind::Integer, Kind::Real] {
        let mut net = Net::default();
        let x = net.input_of(&[5], kind);
        let by = net.constant(&[5], &factors);
        let y = net.node(Op::Mul, &[x, by], &[5], kind);
        let network = net.of(&[y]);
        let data = samples(&network, 20, 1, -30.0, 30.0);
        let compiled = quantise(&network, &data, &Options::default()).unwrap();
        let (share, _) = errors(&network, &compiled, &data)[0];
        assert!(share == 0.0 || kind == Kind::Real && share < 1e-3, "{kind:?}: {share}\n{}", compiled.report);
    }
}

#[test]
fn constants_that_fit_no_act_are_refused_by_the_nodes_name() {
    let mut net = Net::default();
    let x = net.input_of(&[2], Kind::Integer);
    let far = net.constant(&[2], &[7.0, 1e9]);
    let wire = Wire::gather(vec![0, 1, 2, 3]);
    let y = net.node(Op::Wire(wire), &[x, far], &[4], Kind::Integer);
    let error = quantise(&net.of(&[y]), &[vec![vec![1.0, 2.0]]], &Options::default()).unwrap_err();
    assert!(matches!(&error, QuantiseError::Node { node, .. } if node == "n0"), "{error}");
    assert!(error.to_string().contains("at most 32767"), "{error}");
}

/// Two threes as one tensor, and three of its numbers again, from a place on.
fn joined_and_parted(net: &mut Net, first: ValueId, second: ValueId, from: usize) -> ValueId {
    let both = net.joined(first, second);
    let rows = net.reshape(both, &[1, 1, 6]);
    let mut weights = [0.0; 18];
    (0..3).for_each(|at| weights[(at + from) * 3 + at] = 1.0);
    net.dense(rows, &weights, &[0.0; 3])
}

#[test]
fn outputs_of_more_noise_than_signal_are_refused_with_the_node_that_loses_it() {
    let mut net = Net::default();
    let x = net.input(&[3]);
    let large = net.scaled(x, 100_000.0);
    let y = joined_and_parted(&mut net, x, large, 0);
    let network = net.of(&[y]);
    let error = quantise(&network, &samples(&network, 20, 1, -1.0, 1.0), &Options::default()).unwrap_err();
    assert!(matches!(&error, QuantiseError::Unlike { .. }), "{error}");
}

#[test]
fn whole_numbers_wrap_round_as_their_type_does() {
    for (low, high) in [(0.0, 255.0), (-128.0, 127.0), (-32768.0, 32767.0)] {
        let mut net = Net::default();
        let (a, b) = (net.input_of(&[30], Kind::Integer), net.input_of(&[30], Kind::Integer));
        let sum = net.node(Op::Add, &[a, b], &[30], Kind::Integer);
        let product = net.node(Op::Mul, &[a, b], &[30], Kind::Integer);
        let wrap = Op::Unary(Function::Wrap { low, high });
        let sum = net.node(wrap.clone(), &[sum], &[30], Kind::Integer);
        let product = net.node(wrap, &[product], &[30], Kind::Integer);
        let outputs = [sum, product];
        let network = net.of(&outputs[..if high < 1000.0 { 2 } else { 1 }]);
        let (least, most) = (low.max(-200.0), high.min(255.0));
        let compiled = quantise(&network, &samples(&network, 40, 1, least, most), &Options::default()).unwrap();
        let others = samples(&network, 40, 2, least, most);
        assert!(errors(&network, &compiled, &others).iter().all(|(share, _)| *share == 0.0), "{low}..={high}");
    }
}

#[test]
fn whole_numbers_of_wide_types_without_a_sign_are_exact_or_refused() {
    for high in [65_535.0, 4_294_967_295.0, 18_446_744_073_709_551_615.0] {
        let mut net = Net::default();
        let (a, b) = (net.input_of(&[30], Kind::Integer), net.input_of(&[30], Kind::Integer));
        let difference = net.node(Op::Sub, &[a, b], &[30], Kind::Integer);
        let y = net.node(Op::Unary(Function::Wrap { low: 0.0, high }), &[difference], &[30], Kind::Integer);
        let network = net.of(&[y]);
        let both = |a: f64, b: f64| vec![vec![a; 30], vec![b; 30]];
        let compiled = quantise(&network, &[both(9.0, 2.0), both(100.0, 5.0)], &Options::default()).unwrap();
        assert!(errors(&network, &compiled, &[both(50.0, 3.0)]).iter().all(|(share, _)| *share == 0.0));
        let error = quantise(&network, &[both(9.0, 2.0), both(3.0, 5.0)], &Options::default()).unwrap_err();
        assert!(error.to_string().contains("from -2 to 7 on the samples"), "{error}");
    }
}

#[test]
fn an_output_that_keeps_little_is_told_of_by_name() {
    let mut net = Net::default();
    let x = net.input(&[3]);
    // Steps of the joined tensor are about a tenth of what the small half holds.
    let small = net.scaled(x, 1.0 / 4000.0);
    let y = joined_and_parted(&mut net, x, small, 3);
    let network = net.of(&[x, y]);
    let report = quantise(&network, &samples(&network, 20, 1, -1.0, 1.0), &Options::default()).unwrap().report;
    let [first, second] = &report.outputs[..] else { panic!("{:?}", report.outputs) };
    assert!(first.sqnr_db > 40.0 && second.sqnr_db < 20.0, "{:?}", report.outputs);
    assert!(report.warning().unwrap().contains(&format!("'{}' keeps", second.name)));
}

#[test]
fn outputs_are_judged_each_by_its_own_size() {
    let mut net = Net::default();
    let x = net.input(&[3]);
    let large = net.scaled(x, 100_000.0);
    let y = joined_and_parted(&mut net, x, large, 0);
    // The large output is as good as the integers get; that says nothing of the small one.
    let network = net.of(&[large, y]);
    let error = quantise(&network, &samples(&network, 20, 1, -1.0, 1.0), &Options::default()).unwrap_err();
    assert!(matches!(&error, QuantiseError::Unlike { .. }), "{error}");
}

#[test]
fn the_lesser_of_a_large_and_a_small_one_has_the_small_ones_steps() {
    let bounds = Numbers(3).many(30, -2.0, 2.0);
    for (op, sign) in [(Op::Min, 1.0), (Op::Max, -1.0)] {
        for square in [false, true] {
            let mut net = Net::default();
            let x = net.input(&[30]);
            let large = if square { net.op(Op::Mul, &[x, x]) } else { net.unary(Function::Abs, x) };
            let large = net.scaled(large, 1000.0 * sign);
            let bounds = net.constant(&[30], &bounds);
            let y = net.op(op.clone(), &[large, bounds]);
            // Near 0 the large one is as fine as its own steps.
            within(&net.of(&[y]), Precision::Auto, (-3.0, 3.0), 0.05);
        }
    }
}

#[test]
fn clamps_that_have_nothing_in_common_give_the_later_ones_bound() {
    for (first, second, given) in [((-2.8, -2.2), (-1.3, 1.4), -1.3), ((1.5, 3.0), (-1.0, 0.5), 0.5)] {
        let mut net = Net::default();
        let x = net.input(&[8]);
        let y = net.unary(Function::Clip { low: first.0, high: first.1 }, x);
        let z = net.unary(Function::Clip { low: second.0, high: second.1 }, y);
        let network = net.of(&[z]);
        assert!(network.evaluate(&[vec![0.7; 8]]).unwrap()[0].iter().all(|v| *v == given));
        within(&network, Precision::Auto, (-4.0, 4.0), 0.001);
    }
}

#[test]
fn a_clamp_that_does_nothing_leaves_what_it_meets_its_steps() {
    let mut net = Net::default();
    let x = net.input(&[40]);
    let whole = net.positive(x);
    let same = net.unary(Function::Clip { low: -1.9, high: 1.1 }, whole);
    let bounds = net.constant(&[40], &Numbers(4).many(40, -1.0, 2.0));
    let y = net.op(Op::Max, &[same, bounds]);
    let z = net.unary(Function::LeakyRelu { slope: 0.1 }, whole);
    let z = net.unary(Function::Floor, z);
    within(&net.of(&[y, z]), Precision::Auto, (-3.0, 3.0), 0.001);
}

#[test]
fn the_greater_of_a_clamped_one_and_itself_is_not_cut_off() {
    let mut net = Net::default();
    let x = net.input(&[40]);
    let large = net.scaled(x, 100.0);
    let small = net.unary(Function::Clip { low: -0.58, high: 2.03 }, large);
    let y = net.op(Op::Max, &[small, large]);
    within(&net.of(&[y]), Precision::Auto, (-3.0, 3.0), 0.02);
}
