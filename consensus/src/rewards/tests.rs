//! Upstream's known answers, and properties over random subnets.
#![allow(clippy::unwrap_used)]

mod epoch_vectors;
mod layer;
mod layouts;
mod math_vectors;
mod numbers;
mod properties;

use fixed::types::I32F32;
use serde_json::Value;

/// `tests/vectors/yuma_upstream.json`; its `meta` says where every value comes from.
fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/yuma_upstream.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn ints(value: &Value) -> Vec<u64> {
    list(value).iter().map(|x| x.as_u64().unwrap()).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    list(value).iter().map(|x| x.as_f64().unwrap()).collect()
}

fn float(value: I32F32) -> f64 {
    value.to_num()
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance, "{what}[{k}]: expected {e} within {tolerance}, found {f}");
    }
}
