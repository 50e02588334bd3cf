//! Reads ONNX models, evaluates and proves them: what `make onnx-conformance` compares with ONNX's own tests.
//!
//! Each line of the standard input is `{"model": PATH, "inputs": [[..], ..]}`, one flat row-major list an input. Each line of
//! the standard output answers one: `{"outputs": [[..], ..], "shapes": [[..], ..], "integer": ..}` or `{"refused": REASON}`.
//! `integer` is the same for the integer graph, calibrated on these inputs, with `steps`: what one step of each output is
//! worth; with 16 bits where what the calibrator chose is off by more than 2 % of the outputs' range. With `--prove` it has `proof` too: `{"bytes": LENGTH}` of a proof by `sumcheck` that verifies, and does not for
//! another output, or `{"refused": REASON}`.
//! With `--operations` it lists the operations that are read.

use std::{
    error::Error,
    io::{BufRead, Write},
    sync::Arc,
};

use assay_circuits::{
    exec,
    model::Outline,
    network::Network,
    onnx,
    proof::{Commitments, ProofSystem, Statement, sumcheck::Sumcheck},
    quantise::{self, Precision},
    relation::Relations,
};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    if std::env::args().any(|a| a == "--operations") {
        let row = |s: &onnx::Supported| json!({ "name": s.name, "opsets": s.opsets, "lowering": s.lowering, "restrictions": s.restrictions });
        writeln!(out, "{}", Value::Array(onnx::SUPPORTED.iter().map(row).collect()))?;
        return Ok(());
    }
    let prove = std::env::args().any(|a| a == "--prove");
    for line in std::io::stdin().lock().lines() {
        let case: Value = serde_json::from_str(&line?)?;
        let answer = answer(&case, prove).unwrap_or_else(refused);
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn answer(case: &Value, prove: bool) -> Result<Value, Box<dyn Error>> {
    let bytes = std::fs::read(case["model"].as_str().ok_or("no model")?)?;
    let inputs: Vec<Vec<Value>> = serde_json::from_value(case["inputs"].clone())?;
    let inputs = inputs.iter().map(|list| list.iter().map(parse).collect()).collect::<Result<Vec<Vec<f64>>, _>>()?;
    let network = onnx::read(&bytes, &onnx::Options::default())?;
    let outputs = network.evaluate(&inputs)?;
    let integer = integers(&network, inputs, &outputs, prove).unwrap_or_else(refused);
    Ok(json!({ "outputs": numbers(&outputs), "shapes": shapes(&network), "integer": integer }))
}

fn refused(reason: Box<dyn Error>) -> Value {
    json!({ "refused": reason.to_string() })
}

/// Quantised on the inputs themselves, and run; the run proved.
fn integers(
    network: &Network,
    inputs: Vec<Vec<f64>>,
    floats: &[Vec<f64>],
    prove: bool,
) -> Result<Value, Box<dyn Error>> {
    let with = |precision| {
        let options = quantise::Options { precision, ..quantise::Options::default() };
        quantise::quantise(network, std::slice::from_ref(&inputs), &options)
    };
    let end = |of: fn(f64, f64) -> f64, from: f64| floats.iter().flatten().copied().fold(from, of);
    let range = end(f64::max, f64::NEG_INFINITY) - end(f64::min, f64::INFINITY);
    let mut quantised = with(Precision::Auto)?;
    if quantised.report.max_error > 0.02 * range
        && let Ok(finer) = with(Precision::Bits16)
    {
        quantised = finer;
    }
    let outline = Outline::new(Arc::new(quantised.graph), Commitments::plain([0; 32]), [0; 32])?;
    let inputs = outline.quantise_inputs(&inputs)?;
    let outputs = exec::run(outline.graph(), &quantised.weights, &inputs)?;
    let steps: Vec<f64> = outline.outputs().iter().map(|port| port.scale).collect();
    let mut found =
        json!({ "outputs": numbers(&outline.dequantise_outputs(&outputs)), "shapes": shapes(network), "steps": steps });
    if prove {
        found["proof"] = proved(&outline, &quantised.weights, &inputs, &outputs).unwrap_or_else(refused);
    }
    Ok(found)
}

/// A proof of the run, verified; of another output it is none.
fn proved(
    outline: &Outline,
    weights: &[Vec<i64>],
    inputs: &[Vec<i64>],
    outputs: &[Vec<i64>],
) -> Result<Value, Box<dyn Error>> {
    let relations = Arc::new(Relations::of(outline.graph())?);
    let (prover, verifier) = Sumcheck::set_up(Arc::clone(&relations), weights)?;
    let trace = relations.trace(outline.graph(), weights, inputs)?;
    let statement = Statement { binding: &[7; 32], inputs, outputs };
    let proof = Sumcheck::prove(&prover, &trace, statement)?;
    Sumcheck::verify(&verifier, statement, &proof)?;
    let mut others = outputs.to_vec();
    others[0][0] += 1;
    if Sumcheck::verify(&verifier, Statement { outputs: &others, ..statement }, &proof).is_ok() {
        return Err("the proof holds for another output, too".into());
    }
    Ok(json!({ "bytes": proof.len() }))
}

fn numbers(lists: &[Vec<f64>]) -> Vec<Vec<Value>> {
    lists.iter().map(|list| list.iter().map(|&v| number(v)).collect()).collect()
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
