//! Sizes and times of the networks that the project promises figures for. Run by name, with `--ignored --nocapture`.

use std::time::Instant;

use super::*;
use crate::graph::VOID;

fn weights(count: usize) -> Vec<i64> {
    (0..count).map(|i| ((i * i * 31 + i * 17 + 5) % 255) as i64 - 127).collect()
}

/// `[1, k, n]` from `[c, h, w]`: the windows of a convolution.
fn windows(c: usize, h: usize, w: usize, k: usize) -> Vec<u32> {
    let (oh, ow) = (h - k + 1, w - k + 1);
    let mut out = Vec::new();
    for tap in 0..c * k * k {
        let (channel, y, x) = (tap / (k * k), tap / k % k, tap % k);
        out.extend((0..oh * ow).map(|at| ((channel * h + at / ow + y) * w + at % ow + x) as u32));
    }
    out
}

/// The larger of pairs: one lookup a pair.
fn larger(hand: &mut Hand, x: ColumnId, pairs: Vec<[u32; 2]>) -> ColumnId {
    let shape = [pairs.len()];
    let a = hand.wire(&shape, &[x], 1, Index::Explicit(pairs.iter().map(|p| p[0]).collect()));
    let b = hand.wire(&shape, &[x], 1, Index::Explicit(pairs.iter().map(|p| p[1]).collect()));
    let d = hand.linear(&[(1, b), (-1, a)], 0);
    let u = hand.witness(&shape, 0, 127, move |c, i| c[d][i].max(0));
    hand.lookup(Table::Clamp { bits: 8, low: 0, high: 127 }, d, Some(u));
    hand.linear(&[(1, a), (1, u)], 0)
}

fn pooled(hand: &mut Hand, x: ColumnId, c: usize, h: usize, w: usize) -> ColumnId {
    let mut first = Vec::new();
    for at in 0..c * h / 2 * w / 2 {
        let (channel, y, x) = (at / (h / 2 * w / 2), at / (w / 2) % (h / 2) * 2, at % (w / 2) * 2);
        let corner = ((channel * h + y) * w + x) as u32;
        first.extend([[corner, corner + 1], [corner + w as u32, corner + w as u32 + 1]]);
    }
    let once = larger(hand, x, first);
    larger(hand, once, (0..(c * h / 2 * w / 2) as u32).map(|i| [2 * i, 2 * i + 1]).collect())
}

fn convolved(hand: &mut Hand, x: ColumnId, (c, h, w): (usize, usize, usize), out: usize, k: usize) -> ColumnId {
    let index = windows(c, h, w, k);
    assert!(index.iter().all(|e| *e != VOID));
    let n = (h - k + 1) * (w - k + 1);
    let windows = hand.wire(&[1, c * k * k, n], &[x], 1, Index::Explicit(index));
    let kernel = hand.weight(&[1, out, c * k * k], weights(out * c * k * k));
    let sums = hand.matmul(kernel, windows);
    hand.rescale(sums, 1201, 16, 0, 127)
}

fn dense(hand: &mut Hand, x: ColumnId, from: usize, to: usize, low: i16) -> ColumnId {
    let row = hand.wire(&[1, 1, from], &[x], 1, Index::Identity);
    let w = hand.weight(&[1, from, to], weights(from * to));
    let sums = hand.matmul(row, w);
    hand.rescale(sums, 1201, 16, low, 127)
}

fn measure(name: &str, hand: &Hand, cells: usize) {
    let relations = Arc::new(hand.relations.clone());
    let start = Instant::now();
    let counts = Groth16::counts(&relations).expect("in reach");
    let estimate = Groth16::estimate(&relations);
    println!("{name}: counted {counts:?} in {:?}: {estimate:?}", start.elapsed());
    let start = Instant::now();
    let circuit = hand.circuit();
    println!(
        "{name}: circuit {:?}, domain {}, in {:?}",
        circuit.counts(),
        circuit.system.domain_size(),
        start.elapsed()
    );
    drop(circuit);
    let start = Instant::now();
    let (prover, verifier) = Groth16::set_up(relations, &hand.weights).expect("keys");
    println!("{name}: set-up {:?}", start.elapsed());
    let inputs = vec![(0..cells).map(|i| (i * i % 128) as i64).collect::<Vec<i64>>()];
    let trace = hand.trace(&inputs);
    let outputs = hand.outputs(&trace);
    let statement = Statement { binding: &[7; 32], inputs: &inputs, outputs: &outputs };
    let start = Instant::now();
    let proof = Groth16::prove(&prover, &trace, statement).expect("a proof");
    println!("{name}: prove {:?}", start.elapsed());
    let start = Instant::now();
    (0..50).for_each(|_| Groth16::verify(&verifier, statement, &proof).expect("it holds"));
    println!("{name}: verify {:?}", start.elapsed() / 50);
    let batch = vec![(statement, &proof[..]); 50];
    let start = Instant::now();
    Groth16::verify_batch(&verifier, &batch).expect("all hold");
    println!("{name}: verify one of a batch of 50 {:?}", start.elapsed() / 50);
}

#[test]
#[ignore = "takes a minute and measures"]
fn digits_perceptron() {
    let mut hand = Hand::default();
    let x = hand.input(&[64], 0, 127);
    let hidden = dense(&mut hand, x, 64, 32, 0);
    let y = dense(&mut hand, hidden, 32, 10, -128);
    hand.output(y);
    measure("mlp 64-32-10", &hand, 64);
}

#[test]
#[ignore = "takes a minute and measures"]
fn lenet() {
    let mut hand = Hand::default();
    let x = hand.input(&[784], 0, 127);
    let x = convolved(&mut hand, x, (1, 28, 28), 6, 5);
    let x = pooled(&mut hand, x, 6, 24, 24);
    let x = convolved(&mut hand, x, (6, 12, 12), 16, 5);
    let x = pooled(&mut hand, x, 16, 8, 8);
    let x = dense(&mut hand, x, 256, 120, 0);
    let x = dense(&mut hand, x, 120, 84, 0);
    let y = dense(&mut hand, x, 84, 10, -128);
    hand.output(y);
    measure("lenet-5", &hand, 784);
}
