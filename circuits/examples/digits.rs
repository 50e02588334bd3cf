//! The whole way of the digit network: import, report, held-out accuracy, keys, proof, verification, with times.
//!
//! `cargo run -p assay-circuits --example digits`

use std::{error::Error, fs, path::Path, time::Instant};

use assay_circuits::dense::{
    Binding, ProofSystem, argmax, hash_input, hash_output, import_onnx,
    proof::{Halo2, halo2, prover_for, verifier_for},
    prove, verify,
};
use assay_primitives::{AccountId, Hash32};
use serde::Deserialize;

#[derive(Deserialize)]
struct Scan {
    label: usize,
    pixels: Vec<f32>,
}

fn scans(path: &Path) -> Result<Vec<Scan>, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Prints how long something took, in milliseconds, and gives its result.
fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what:<44} {:>9.1} ms", start.elapsed().as_secs_f64() * 1e3);
    result
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits");
    let samples: Vec<Vec<f32>> = scans(&folder.join("calibration.json"))?.into_iter().map(|s| s.pixels).collect();
    let onnx = fs::read(folder.join("digits.onnx"))?;
    let imported = timed("import and calibrate", || import_onnx(&onnx, &samples))?;
    let model = imported.model;
    println!("model {} ({} bytes)\n{:#?}", model.id(), model.to_bytes().len(), imported.report);

    let network = assay_circuits::dense::onnx::read(&onnx)?;
    let held_out = scans(&folder.join("heldout.json"))?;
    let (mut right, mut float_right, mut same) = (0, 0, 0);
    for scan in &held_out {
        let class = argmax(&model.run(&model.quantise_input(&scan.pixels)?)?);
        let layers = network.activations(&scan.pixels);
        let logits = layers.last().ok_or("a network without layers")?;
        let float = (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best });
        right += usize::from(class == scan.label);
        float_right += usize::from(float == scan.label);
        same += usize::from(class == float);
    }
    let all = held_out.len();
    println!("held out: {right} of {all} right, float {float_right}, same class {same}");

    let input = model.quantise_input(&held_out[0].pixels)?;
    let output = model.run(&input)?;
    let binding = Binding {
        genesis: Hash32([1; 32]),
        model: model.id(),
        request: Hash32([2; 32]),
        miner: AccountId([3; 32]),
        epoch: 1,
        input: hash_input(&input),
        output: hash_output(&output),
    };
    println!("circuit: k = {}", halo2::required_k(model.graph())?);
    timed("verifier, cold (parameters and key)", || verifier_for(&model))?;
    timed("verifier key, parameters known", || Halo2.verifier(&model))?;
    timed("prover, parameters known", || prover_for(&model))?;
    let proof = timed("prove", || prove(&model, &binding, &input, &output))?;
    println!("proof: {} bytes", proof.len());
    for _ in 0..3 {
        timed("prove again", || prove(&model, &binding, &input, &output))?;
    }
    for _ in 0..3 {
        timed("verify, key known", || verify(&model, &binding, &input, &output, &proof))?;
    }
    Ok(())
}
