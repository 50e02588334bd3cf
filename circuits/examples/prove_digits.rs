//! The whole way of a model through this crate: compile, run, prove with each system, verify without the weights, verify
//! many at once.
//!
//! `cargo run -p assay-circuits --example prove_digits`

use std::{error::Error, fs, path::Path, sync::Arc, time::Instant};

use assay_circuits::{
    answer::argmax,
    compile::{Compiled, Options, Samples, compile},
    model::{Model, Outline},
    proof::{ProofSystem, Statement, Systems, groth16::Groth16, halo2::Halo2, sumcheck::Sumcheck},
    relation::Relations,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Scan {
    label: usize,
    pixels: Vec<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits");
    let scans = |name: &str| -> Result<Vec<Scan>, Box<dyn Error>> {
        Ok(serde_json::from_slice(&fs::read(folder.join(name))?)?)
    };

    // Compile: floats to integers, on sample inputs. The report says what that cost. The model's id is to tell halo2's key too.
    let samples = Samples::new(scans("calibration.json")?.into_iter().map(|scan| scan.pixels).collect());
    let options = Options { systems: Systems { halo2: true, ..Systems::default() }, ..Options::default() };
    let onnx = fs::read(folder.join("digits.onnx"))?;
    let Compiled { model, report, .. } = compile(&onnx, &samples, &options)?;
    println!("model {}\n{report}", model.id());

    // Run: what this gives is what is served and what is proved.
    let held_out = scans("heldout.json")?;
    let mut right = 0;
    for scan in &held_out {
        let input = model.quantise_flat(&scan.pixels.iter().map(|&p| p as f32).collect::<Vec<_>>())?;
        right += usize::from(argmax(&model.run_flat(&input)?) == scan.label);
    }
    println!("{right} of {} held-out scans right", held_out.len());

    // Prove and verify. A verifier gets the outline, which holds no weights.
    let outline = Outline::from_bytes(&model.outline().to_bytes())?;
    prove_and_verify::<Sumcheck>(&model, &outline, &held_out[0].pixels)?;
    prove_and_verify::<Groth16>(&model, &outline, &held_out[0].pixels)?;
    prove_and_verify::<Halo2>(&model, &outline, &held_out[0].pixels)
}

/// Proofs that are verified together.
const BATCH: u8 = 50;

fn prove_and_verify<S: ProofSystem>(model: &Model, outline: &Outline, pixels: &[f64]) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let relations = Arc::new(Relations::of(model.graph())?);
    let (prover, verifier) = S::set_up(Arc::clone(&relations), model.weights())?;
    let key = S::verifier_key_to_bytes(&verifier);
    let setup = begun.elapsed();

    let inputs = outline.quantise_inputs(&[pixels.to_vec()])?;
    let trace = relations.trace(model.graph(), model.weights(), &inputs)?;
    let outputs = relations.outputs_of(&trace);
    // Chain, request, miner and epoch go into this digest; see `Binding`.
    let binding = [7; 32];
    let statement = Statement { binding: &binding, inputs: &inputs, outputs: &outputs };
    let begun = Instant::now();
    let proof = S::prove(&prover, &trace, statement)?;
    let proved = begun.elapsed();

    // The other side: the outline tells whether the key, which came as bytes, is the model's own.
    let verifier = outline.verifier_key::<S>(&key)?;
    let begun = Instant::now();
    S::verify(&verifier, statement, &proof)?;
    println!(
        "{:<9} keys {setup:>8.1?}, proof {proved:>8.1?}, {:>7} bytes, verified in {:.1?}",
        S::NAME,
        proof.len(),
        begun.elapsed()
    );

    // Many proofs of one model at once, each for a request of its own.
    let bindings: Vec<[u8; 32]> = (0..BATCH).map(|request| [request; 32]).collect();
    let statements: Vec<_> = bindings.iter().map(|binding| Statement { binding, ..statement }).collect();
    let proofs =
        statements.iter().map(|statement| S::prove(&prover, &trace, *statement)).collect::<Result<Vec<_>, _>>()?;
    let batch: Vec<_> = statements.iter().copied().zip(proofs.iter().map(Vec::as_slice)).collect();
    let begun = Instant::now();
    S::verify_batch(&verifier, &batch).map_err(|(at, reason)| format!("proof {at}: {reason}"))?;
    println!("          {BATCH} at once: {:.1?} each", begun.elapsed() / u32::from(BATCH));
    let other = [8; 32];
    let stolen = Statement { binding: &other, ..statement };
    match S::verify(&verifier, stolen, &proof) {
        Err(reason) => println!("          for another request: {reason}"),
        Ok(()) => return Err("a proof held for a request that it was not made for".into()),
    }
    Ok(())
}
