//! Reads ONNX models and evaluates them: what `make onnx-conformance` compares with ONNX's own tests.
//!
//! Each line of the standard input is `{"model": PATH, "inputs": [[..], ..]}`, one flat row-major list an input. Each line of
//! the standard output answers one: `{"outputs": [[..], ..], "shapes": [[..], ..]}` or `{"refused": REASON}`.
//! With `--operations` it lists the operations that are read.

use std::{
    error::Error,
    io::{BufRead, Write},
};

use assay_circuits::{network::Network, onnx};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    if std::env::args().any(|a| a == "--operations") {
        let row = |s: &onnx::Supported| json!({ "name": s.name, "opsets": s.opsets, "lowering": s.lowering, "restrictions": s.restrictions });
        writeln!(out, "{}", Value::Array(onnx::SUPPORTED.iter().map(row).collect()))?;
        return Ok(());
    }
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let answer = answer(&case).unwrap_or_else(|reason| json!({ "refused": reason.to_string() }));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(case: &Value) -> Result<Value, Box<dyn Error>> {
    let bytes = std::fs::read(case["model"].as_str().ok_or("no model")?)?;
    let inputs: Vec<Vec<Value>> = serde_json::from_value(case["inputs"].clone())?;
    let inputs = inputs.iter().map(|list| list.iter().map(parse).collect()).collect::<Result<Vec<Vec<f64>>, _>>()?;
    let network = onnx::read(&bytes, &onnx::Options::default())?;
    let outputs = network.evaluate(&inputs)?;
    let numbers: Vec<Vec<Value>> = outputs.iter().map(|o| o.iter().map(|&v| number(v)).collect()).collect();
    Ok(json!({ "outputs": numbers, "shapes": shapes(&network) }))
}

fn shapes(network: &Network) -> Vec<&[usize]> {
    network.outputs.iter().map(|&id| network.values[id].shape.as_slice()).collect()
}

fn parse(value: &Value) -> Result<f64, Box<dyn Error>> {
    match value {
        Value::String(text) => Ok(text.parse()?),
        other => other.as_f64().ok_or_else(|| "not a number".into()),
    }
}

/// JSON has no infinities: they are text.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}
