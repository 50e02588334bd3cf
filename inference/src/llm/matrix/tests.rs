use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{rows::Quants, *};
use crate::llm::{lanes::Level, threads::Threads};

fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.gen_range(-1.0f32..1.0)).collect()
}

/// Blocks as a GGUF file has them, with scales of a sensible size.
fn blocks(form: Form, outputs: usize, inputs: usize) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut bytes = Vec::new();
    let scale = |rng: &mut ChaCha8Rng| f16::from_f32(rng.gen_range(0.001f32..0.01)).to_le_bytes();
    for _ in 0..outputs * inputs / form.block() {
        match form {
            Form::Q8 => {
                bytes.extend(scale(&mut rng));
                bytes.extend((0..32).map(|_| rng.r#gen::<u8>()));
            }
            Form::Q4K => {
                bytes.extend(scale(&mut rng));
                bytes.extend(scale(&mut rng));
                bytes.extend((0..140).map(|_| rng.r#gen::<u8>()));
            }
            Form::Q6K => {
                bytes.extend((0..208).map(|_| rng.r#gen::<u8>()));
                bytes.extend(scale(&mut rng));
            }
            _ => unreachable!(),
        }
    }
    bytes
}

fn matrix(form: Form, outputs: usize, inputs: usize) -> Matrix {
    match form {
        Form::F32 | Form::F16 => Matrix::from_floats(form, outputs, inputs, &noise(1, outputs * inputs)).unwrap(),
        _ => Matrix::from_blocks(form, outputs, inputs, &blocks(form, outputs, inputs)).unwrap(),
    }
}

fn product(threads: &Threads, m: &Matrix, x: &[f32], bias: Option<&[f32]>) -> Vec<Vec<f32>> {
    let mut rows = Rows::default();
    rows.reset(x.len() / m.inputs, m.inputs);
    rows.floats_mut().copy_from_slice(x);
    if m.is_quantised() {
        rows.quantise(threads);
    }
    let mut out = Panels::default();
    out.reset(rows.count(), m.outputs());
    products(threads, &rows, &mut [Output { matrix: m, bias, then: Then::Put, out: &mut out }]);
    (0..rows.count()).map(|r| (0..m.outputs()).map(|c| out.lanes(r, c / LANES)[c % LANES]).collect()).collect()
}

fn bits(x: &[Vec<f32>]) -> Vec<Vec<u32>> {
    x.iter().map(|r| r.iter().map(|v| v.to_bits()).collect()).collect()
}

const FORMS: [Form; 5] = [Form::F32, Form::F16, Form::Q8, Form::Q6K, Form::Q4K];

#[test]
fn a_product_is_that_of_the_rows_it_stands_for() {
    let threads = Threads::new(2).unwrap();
    for form in FORMS {
        let m = matrix(form, 70, 512);
        let x = noise(2, 3 * 512);
        let bias = noise(3, 70);
        for (r, row) in product(&threads, &m, &x, Some(&bias)).iter().enumerate() {
            for (c, found) in row.iter().enumerate() {
                let terms = m.row(c).into_iter().zip(&x[r * 512..]).map(|(w, x)| f64::from(w) * f64::from(*x));
                let (expected, size) = terms.fold((f64::from(bias[c]), 0.0), |(s, a), t| (s + t, a + t.abs()));
                // Eight bits of activation: half a step of 1/127 in each term at the most, and far less in the sum.
                let tolerance = if m.is_quantised() { size * 2e-3 } else { size * 1e-6 };
                assert!((f64::from(*found) - expected).abs() < tolerance, "{form:?} {r} {c}: {found} {expected}");
            }
        }
    }
}

#[test]
fn the_same_bits_alone_in_a_batch_on_any_threads_and_lanes() {
    let reference = Threads::with_level(1, Level::Portable).unwrap();
    for form in FORMS {
        // Eleven tiles: pieces of four, and of a pair and one.
        let m = matrix(form, 170, 256);
        let x = noise(5, 23 * 256);
        let whole = bits(&product(&reference, &m, &x, None));
        for level in Level::all() {
            for count in [1, 2] {
                let threads = Threads::with_level(count, *level).unwrap();
                for rows in [1, 2, 3, 5, 8, 23] {
                    let parts: Vec<Vec<u32>> =
                        x.chunks(rows * 256).flat_map(|x| bits(&product(&threads, &m, x, None))).collect();
                    assert!(parts == whole, "{form:?} {level:?} {count} threads, {rows} rows at a time");
                }
            }
        }
    }
}

#[test]
fn what_is_no_matrix_is_refused() {
    let length = Matrix::from_floats(Form::F32, 2, 2, &[0.0; 3]).unwrap_err();
    assert!(matches!(length, MatrixError::Length { expected: 16, found: 12, .. }), "{length}");
    let nan = Matrix::from_floats(Form::F32, 2, 2, &[0.0, 0.0, f32::NAN, 0.0]).unwrap_err();
    assert_eq!(nan, MatrixError::NotFinite { output: 1 });
    assert!(matches!(Matrix::from_blocks(Form::Q8, 1, 31, &[0; 34]), Err(MatrixError::Block { .. })));
    assert!(matches!(Matrix::from_blocks(Form::Q4K, 1, 256, &[0; 143]), Err(MatrixError::Length { .. })));
    let mut infinite = vec![0; 34];
    infinite[..2].copy_from_slice(&f16::INFINITY.to_le_bytes());
    assert_eq!(Matrix::from_blocks(Form::Q8, 1, 32, &infinite).unwrap_err(), MatrixError::NotFinite { output: 0 });
}

#[test]
fn rows_are_written_whole() {
    let mut panels = Panels::default();
    panels.reset(2, 24);
    panels.values_mut().fill(f32::NAN);
    panels.reset(2, 24);
    panels.write(1, &[1.0; 24]);
    let mut expected = [0.0; LANES];
    expected[..8].fill(1.0);
    assert_eq!(panels.lanes(1, 1), &expected);
}

fn any_float() -> impl Strategy<Value = f32> {
    use proptest::num::f32::{INFINITE, NORMAL, QUIET_NAN, SUBNORMAL, ZERO};
    prop_oneof![4 => -3f32..3.0, 1 => NORMAL | SUBNORMAL | ZERO | INFINITE | QUIET_NAN]
}

proptest! {
    #[test]
    fn activations_are_rounded_to_the_nearest(values in proptest::array::uniform32(any_float())) {
        let found = Quants::of(&values);
        let largest = values.iter().fold(0f32, |m, v| m.max(v.abs()));
        let inverse = if largest / 127.0 > 0.0 { 127.0 / largest } else { 0.0 };
        let expected = values.map(|v| (v * inverse).round_ties_even().clamp(-127.0, 127.0) as i8);
        prop_assert_eq!(found.q.as_flattened(), expected);
        let sums = [&expected[..16], &expected[16..]].map(|half| half.iter().map(|q| i32::from(*q)).sum::<i32>());
        prop_assert_eq!((found.sums, found.begin), (sums, -128 * (sums[0] + sums[1])));
    }

    #[test]
    fn eight_bits_keep_a_weight_within_half_a_step(weights in proptest::collection::vec(-3f32..3.0, 64)) {
        let m = Matrix::from_floats(Form::Q8, 2, 32, &weights).unwrap();
        for (row, weights) in weights.chunks(32).enumerate() {
            let largest = weights.iter().fold(0f32, |m, w| m.max(w.abs()));
            for (found, expected) in m.row(row).iter().zip(weights) {
                prop_assert!((found - expected).abs() <= largest / 127.0 * 0.5 + largest * 6e-4);
            }
        }
    }
}
