//! Upstream's assertions on single operations.

use super::super::admission::{is_max_limited, largest, max_upscale};
use super::super::arith::{div, exp, normalize, sigmoid};
use super::super::bonds::moving_average_by;
use super::super::matrix::*;
use super::{assert_near, float, floats, list, vectors};
use fixed::types::I32F32;
use serde_json::Value;
use std::collections::BTreeMap;

/// Upstream's literals in vectors and matrices are `f32`.
fn num(value: &Value) -> I32F32 {
    I32F32::from_num(value.as_f64().unwrap() as f32)
}

/// Its literals for single scalars are `f64`.
fn precise(value: &Value) -> I32F32 {
    I32F32::from_num(value.as_f64().unwrap())
}

fn vector(value: &Value) -> Vec<I32F32> {
    list(value).iter().map(num).collect()
}

fn matrix(value: &Value) -> Matrix {
    let row = |row: &Value| (0u16..).zip(vector(row)).collect();
    list(value).iter().map(row).collect()
}

/// The same without entries written as 0.
fn sparse(value: &Value) -> Matrix {
    let mut matrix = matrix(value);
    for row in &mut matrix {
        row.retain(|(_, x)| *x != I32F32::ZERO);
    }
    matrix
}

fn dense(matrix: &Matrix, columns: usize) -> Vec<f64> {
    let mut out = vec![0.0; matrix.len() * columns];
    for (i, row) in matrix.iter().enumerate() {
        for (j, x) in row {
            out[i * columns + usize::from(*j)] = float(*x);
        }
    }
    out
}

fn flat(value: &Value) -> Vec<f64> {
    match list(value).first() {
        Some(Value::Array(_)) => list(value).iter().flat_map(floats).collect(),
        _ => floats(value),
    }
}

fn all_floats(values: &[I32F32]) -> Vec<f64> {
    values.iter().map(|x| float(*x)).collect()
}

/// Runs a vector both with zeros written out and left out. `None`: a function this crate has no counterpart of.
fn run(name: &str, args: &Value) -> Option<Vec<Vec<f64>>> {
    let two = |f: &dyn Fn(Matrix) -> Matrix| {
        let columns = list(&args["matrix"][0]).len();
        let of = |m| dense(&f(m), columns);
        Some(vec![of(matrix(&args["matrix"])), of(sparse(&args["matrix"]))])
    };
    let two_vectors = |f: &dyn Fn(Matrix) -> Vec<I32F32>| {
        let of = |m| all_floats(&f(m));
        Some(vec![of(matrix(&args["matrix"])), of(sparse(&args["matrix"]))])
    };
    let columns = |m: &Matrix| m.iter().flatten().map(|(j, _)| usize::from(*j) + 1).max().unwrap();
    match name {
        "weighted_median" => {
            let scores = vector(&args["score"]).into_iter();
            let stake = vector(&args["stake"]).into_iter().map(|s| i128::from(s.to_bits()));
            let minority = i128::from(num(&args["minority"]).to_bits());
            Some(vec![vec![float(stake_median(scores.zip(stake).collect(), minority))]])
        }
        "weighted_median_col" => {
            let stake = vector(&args["stake"]);
            let width = list(&args["weights"][0]).len();
            let of = |m| all_floats(&stake_medians(&stake, &m, width, num(&args["majority_kappa"])));
            Some(vec![of(matrix(&args["weights"])), of(sparse(&args["weights"]))])
        }
        "col_clip" => two(&|m| clipped_columns(&m, &vector(&args["col_threshold"]))),
        "matmul" | "matmul_sparse" => two_vectors(&|m| weighted_column_sums(&m, &vector(&args["vector"]), columns(&m))),
        "matmul_transpose" | "matmul_transpose_sparse" => {
            two_vectors(&|m| weighted_row_sums(&m, &vector(&args["vector"])))
        }
        "row_hadamard" => two(&|m| scaled_rows(&m, &vector(&args["vector"]))),
        "row_sum" => two_vectors(&|m| row_sums(&m)),
        "row_normalize" => two(&|mut m| {
            normalize_rows(&mut m);
            m
        }),
        "col_normalize" => two(&|mut m| {
            let n = columns(&m);
            normalize_columns(&mut m, n);
            m
        }),
        "col_max_upscale" => two(&|mut m| {
            let n = columns(&m);
            upscale_columns(&mut m, n);
            m
        }),
        "mask_diag" => two(&|m| filtered(&m, |i, j| i != usize::from(j))),
        "vec_mask_sparse_matrix" => {
            let (first, second) = (vector(&args["first"]), vector(&args["second"]));
            two(&|m| filtered(&m, |i, j| first[i] >= second[usize::from(j)]))
        }
        "interpolate" | "interpolate_sparse" => {
            let width = list(&args["a"][0]).len();
            let ratio = precise(&args["ratio"]);
            let of = |f: fn(&Value) -> Matrix| dense(&interpolated(&f(&args["a"]), &f(&args["b"]), ratio), width);
            Some(vec![of(matrix), of(sparse)])
        }
        "mat_ema_alpha" | "mat_ema_alpha_sparse" => {
            let alpha = matrix(&args["alpha"]);
            let width = alpha[0].len();
            let of = |f: fn(&Value) -> Matrix| {
                let (new, old) = (f(&args["new"]), f(&args["old"]));
                dense(&moving_average_by(&new, &old, |i, j, _, _| alpha[i][usize::from(j)].1), width)
            };
            Some(vec![of(matrix), of(sparse)])
        }
        "vecdiv" => {
            let (x, y) = (vector(&args["x"]), vector(&args["y"]));
            Some(vec![x.iter().zip(y).map(|(x, y)| float(div(*x, y))).collect()])
        }
        "normalize" => {
            let mut x = vector(&args["x"]);
            normalize(&mut x);
            Some(vec![all_floats(&x)])
        }
        "is_topk" => {
            let chosen = largest(&vector(&args["vector"]), args["k"].as_u64().unwrap() as usize);
            Some(vec![chosen.into_iter().map(|c| f64::from(u8::from(c))).collect()])
        }
        "vec_max_upscale_to_u16" => {
            let row = max_upscale(&vector(&args["vector"]));
            Some(vec![row.into_iter().map(f64::from).collect()])
        }
        "check_vec_max_limited" => {
            let row: Vec<u16> = super::ints(&args["vector"]).iter().map(|x| *x as u16).collect();
            let limited = is_max_limited(&row, args["max_limit"].as_u64().unwrap() as u16);
            Some(vec![vec![f64::from(u8::from(limited))]])
        }
        "sigmoid_safe" => {
            let [x, rho, kappa] = ["x", "rho", "kappa"].map(|k| precise(&args[k]));
            Some(vec![vec![float(sigmoid(x, rho, kappa))]])
        }
        "exp_safe" => {
            let e = vector(&args["x"]).into_iter().map(exp).collect::<Vec<_>>();
            let equal = e[0] == e[1] && e[2] == e[3];
            Some(vec![vec![f64::from(u8::from(equal))]])
        }
        _ => None,
    }
}

fn expected(value: &Value) -> Vec<f64> {
    let truth = |x: &Value| x.as_bool().map(|b| f64::from(u8::from(b)));
    match value {
        Value::Array(items) if items.iter().any(Value::is_boolean) => items.iter().map(|x| truth(x).unwrap()).collect(),
        Value::Array(_) => flat(value),
        Value::Number(x) => vec![x.as_f64().unwrap()],
        // `exp_safe` states an equality in words.
        Value::String(_) => vec![1.0],
        other => vec![truth(other).unwrap()],
    }
}

#[test]
fn every_operation_upstream_asserts_gives_its_result_whether_zeros_are_written_or_not() {
    let vectors = vectors();
    let mut absent = BTreeMap::new();
    let mut compared = 0;
    for vector in list(&vectors["math_vectors"]) {
        let name = vector["fn"].as_str().unwrap();
        let source = vector["source"].as_str().unwrap();
        if source.ends_with("(last case)") {
            continue; // where upstream's two paths differ: the next test
        }
        let Some(results) = run(name, &vector["args"]) else {
            *absent.entry(name.to_owned()).or_insert(0) += 1;
            continue;
        };
        let tolerance = vector["tolerance"].as_f64().unwrap();
        let mut expected = expected(&vector["expected"]);
        if tolerance == 0.0 {
            // Stated as decimals, but upstream compares with the fixed-point number nearest to the f32.
            let stored = |x: &mut f64| *x = float(I32F32::from_num(*x as f32));
            expected.iter_mut().for_each(stored);
        }
        for found in results {
            assert_near(&found, &expected, tolerance, &format!("{name} {source}"));
        }
        compared += 1;
    }
    // An element-wise product; here it is part of `weighted_row_sums`.
    assert_eq!(absent, BTreeMap::from([("mat_vec_mul".to_owned(), 1)]));
    assert_eq!(compared, 63);
}

#[test]
fn a_bond_without_a_new_weight_decays_as_in_upstreams_dense_path() {
    let vectors = vectors();
    let case =
        list(&vectors["math_vectors"]).iter().find(|v| v["source"].as_str().unwrap().ends_with("(last case)")).unwrap();
    for found in run("mat_ema_alpha_sparse", &case["args"]).unwrap() {
        let mut expected = flat(&case["expected"]);
        expected[0] = 0.9;
        assert_near(&found, &expected, 1e-6, "decay");
    }
}
