//! Each gadget over the whole range of its operand.

use super::*;

/// One lookup of a pair: every `x` within bounds has its value and no other.
fn pair_is_exact(table: &Table, low: i64, high: i64, value: impl Fn(i64) -> Option<i64> + Clone + 'static) -> usize {
    let cells = usize::try_from(high - low + 1).expect("few");
    let mut hand = Hand::default();
    let x = hand.input(&[cells], low, high);
    let (inner, all) = (value.clone(), (-40000, 40000));
    let y = hand.witness(&[cells], all.0, all.1, move |c, i| inner(c[x][i]).unwrap_or(0));
    hand.lookup(table.clone(), x, Some(y));
    hand.output(y);
    let inputs = vec![(low..=high).collect::<Vec<i64>>()];
    let trace = hand.trace(&inputs);
    let outputs = hand.outputs(&trace);
    let circuit = hand.circuit();
    assert_eq!(holds(&circuit, &trace, &inputs, &outputs), (low..=high).all(|x| value(x).is_some()));
    // Each cell's constraints stand alone, so a handful of alterations at a time tells as much as one.
    for cell in (0..cells).filter(|cell| cell % 97 == 0 || cell + 1 == cells || cells < 16) {
        for by in [-1, 1, 256] {
            let mut altered = trace.clone();
            altered.columns[y][cell] += by;
            let outputs = hand.outputs(&altered);
            assert!(!holds(&circuit, &altered, &inputs, &outputs), "{table:?} at {cell} by {by}");
        }
    }
    circuit.system.constraints()
}

#[test]
fn a_clamp_gives_the_clamped_value_and_no_other_at_every_operand() {
    for (low, high) in [(0, 127), (-128, 127), (-127, 127), (0, 255), (-1, 0), (5, 5), (-300, 17), (100, 101)] {
        for (from, to) in [(-700, 900), (0, 127), (-128, 127), (-1024, 1023), (200, 300), (-5, -1), (3, 3), (126, 129)]
        {
            for bits in [11, 16] {
                let table = Table::Clamp { bits, low, high };
                let end = 1 << (bits - 1);
                pair_is_exact(&table, from, to, move |x| {
                    (-end..end).contains(&x).then(|| x.clamp(i64::from(low), i64::from(high)))
                });
            }
        }
    }
}

#[test]
fn a_clamp_keeps_its_operand_in_the_table_to_the_last_value() {
    let table = Table::Clamp { bits: 6, low: -20, high: 20 };
    for (low, high, fits) in [(-32, 31, true), (-33, 31, false), (-32, 32, false), (-40, 40, false)] {
        let mut hand = Hand::default();
        let x = hand.input(&[1], low, high);
        let y = hand.witness(&[1], -20, 20, move |c, i| c[x][i].clamp(-20, 20));
        hand.lookup(table.clone(), x, Some(y));
        hand.output(y);
        let circuit = hand.circuit();
        for edge in [low, high] {
            let inputs = vec![vec![edge]];
            let trace = hand.trace(&inputs);
            let inside = (-32..32).contains(&edge);
            assert_eq!(holds(&circuit, &trace, &inputs, &hand.outputs(&trace)), inside, "{edge} {fits}");
        }
    }
}

#[test]
fn a_table_gives_its_value_and_no_other_at_every_operand() {
    type Named = (&'static str, fn(i64) -> i64);
    let functions: [Named; 6] = [
        ("square", |x| (x * x) % 251),
        ("relu", |x| x.clamp(0, 90)),
        ("shifted clamp", |x| (x + 9).clamp(-50, 60)),
        ("constant", |_| -7),
        ("leaky", |x| if x < 0 { (x * 13) >> 7 } else { x }),
        ("sigmoid", |x| (127.0 / (1.0 + (-x as f64 / 20.0).exp())).round() as i64),
    ];
    for (name, function) in functions {
        for (low, len) in [(-128, 256), (-100, 151), (0, 1), (-3, 5), (-64, 100)] {
            let values = (0..len).map(|i| i16::try_from(function(low + i)).expect("small")).collect();
            let table = Table::Map { low: i32::try_from(low).expect("small"), values };
            for (from, to) in
                [(low, low + len - 1), (low - 1, low + len - 1), (low, low + len), (low + len / 3, low + len / 2)]
            {
                let cells =
                    pair_is_exact(&table, from, to, move |x| (low..low + len).contains(&x).then(|| function(x)));
                assert!(cells > 0, "{name}");
            }
        }
    }
}

#[test]
fn a_table_of_sixteen_bits_costs_hundreds_of_constraints_not_thousands() {
    let values: Arc<[i16]> = (-32768..32768_i64).map(|x| ((x * 31) % 30011) as i16).collect();
    let table = Table::Map { low: -32768, values: values.clone() };
    let mut hand = Hand::default();
    let x = hand.input(&[8], -32768, 32767);
    let y = hand.witness(&[8], -32768, 32767, move |c, i| {
        i64::from(values[usize::try_from(c[x][i] + 32768).expect("in range")])
    });
    hand.lookup(table, x, Some(y));
    hand.output(y);
    let circuit = hand.circuit();
    assert!(circuit.system.constraints() < 8 * 800, "{}", circuit.system.constraints());
    let inputs = vec![vec![-32768, 32767, 0, -1, 1, 12345, -20000, 255]];
    let trace = hand.trace(&inputs);
    assert!(holds(&circuit, &trace, &inputs, &hand.outputs(&trace)));
}

#[test]
fn a_range_holds_what_lies_in_it_and_nothing_else() {
    for bits in [1, 2, 7, 16] {
        let end = 1_i64 << bits;
        let mut hand = Hand::default();
        let x = hand.input(&[1], -70000, 70000);
        hand.lookup(Table::Range { bits }, x, None);
        hand.output(x);
        let circuit = hand.circuit();
        for value in [-70000, -end, -1, 0, 1, end - 1, end, end + 1, 70000] {
            let inputs = vec![vec![value]];
            let trace = hand.trace(&inputs);
            assert_eq!(holds(&circuit, &trace, &inputs, &inputs), (0..end).contains(&value), "{value} in {bits} bits");
        }
    }
}

#[test]
fn two_ranges_whose_product_is_zero_are_checked_as_one_and_still_hold_both() {
    let mut hand = Hand::default();
    let a = hand.input(&[1], -100, 100);
    let b = hand.input(&[1], -100, 100);
    let m = hand.witness(&[1], -300, 300, move |c, i| c[a][i].max(c[b][i]));
    let u = hand.linear(&[(1, m), (-1, a)], 0);
    let v = hand.linear(&[(1, m), (-1, b)], 0);
    hand.lookup(Table::Range { bits: 16 }, u, None);
    hand.lookup(Table::Range { bits: 16 }, v, None);
    hand.zero(&[(1, &[u, v])], 0);
    hand.output(m);
    let circuit = hand.circuit();
    assert!(circuit.system.constraints() < 16, "{}", circuit.system.constraints());
    for (x, y) in [(-100, 100), (100, -100), (5, 5), (-3, -4), (0, 1)] {
        let inputs = vec![vec![x], vec![y]];
        let honest = hand.trace(&inputs);
        for lie in -300..=300 {
            let mut trace = honest.clone();
            trace.columns[m][0] = lie;
            trace.columns[u][0] = lie - x;
            trace.columns[v][0] = lie - y;
            assert_eq!(holds(&circuit, &trace, &inputs, &[vec![lie]]), lie == x.max(y), "max({x}, {y}) = {lie}");
        }
    }
}

#[test]
fn zeros_of_second_and_third_degree_hold_exactly_at_their_roots() {
    let mut hand = Hand::default();
    let x = hand.input(&[1], -9, 9);
    let y = hand.input(&[1], -9, 9);
    let z = hand.input(&[1], -9, 9);
    let w = hand.witness(&[1], -9, 9, |_, _| 0);
    // 2xyz - 3xx + yz - xw + 4w - 5 = 0
    hand.zero(&[(2, &[x, y, z]), (-3, &[x, x]), (1, &[y, z]), (-1, &[x, w]), (4, &[w])], -5);
    hand.output(w);
    let circuit = hand.circuit();
    let mut roots = 0;
    for (a, b, c) in (0..343).map(|i| (i % 7 - 3, i / 7 % 7 - 3, i / 49 - 3)) {
        for d in -3..=3 {
            let inputs = vec![vec![a], vec![b], vec![c]];
            let mut trace = hand.trace(&inputs);
            trace.columns[w][0] = d;
            let root = 2 * a * b * c - 3 * a * a + b * c - a * d + 4 * d - 5 == 0;
            roots += usize::from(root);
            assert_eq!(holds(&circuit, &trace, &inputs, &[vec![d]]), root, "{a} {b} {c} {d}");
        }
    }
    assert!(roots > 10);
}

#[test]
fn a_linear_zero_defines_a_witness_instead_of_costing_a_constraint() {
    let mut hand = Hand::default();
    let x = hand.input(&[3], -1000, 1000);
    let m = hand.weight(&[3], vec![3, 5, -7]);
    let q = hand.witness(&[3], -9999, 9999, move |c, i| (c[x][i] * c[m][i]) >> 4);
    let r = hand.witness(&[3], 0, 15, move |c, i| (c[x][i] * c[m][i]) & 15);
    hand.zero(&[(1, &[x, m]), (-16, &[q]), (-1, &[r])], 0);
    hand.lookup(Table::Range { bits: 4 }, r, None);
    hand.output(q);
    let circuit = hand.circuit();
    assert_eq!(circuit.system.constraints(), 2 + 3 * 4 + 3);
    let inputs = vec![vec![-1000, 999, 77]];
    let trace = hand.trace(&inputs);
    assert!(holds(&circuit, &trace, &inputs, &hand.outputs(&trace)));
    let mut altered = trace.clone();
    altered.columns[q][1] += 1;
    altered.columns[r][1] -= 16;
    assert!(!holds(&circuit, &altered, &inputs, &hand.outputs(&altered)));
}
