//! Compiles `assets/digits/digits.onnx` with its calibration scans into `assets/digits/digits.assay`.
//!
//! `cargo run -p assay-circuits --example compile_digits`; the result is the same on every machine.

use std::{error::Error, fs, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
struct Scan {
    pixels: Vec<f32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/digits");
    let scans: Vec<Scan> = serde_json::from_slice(&fs::read(folder.join("calibration.json"))?)?;
    let samples: Vec<Vec<f32>> = scans.into_iter().map(|s| s.pixels).collect();
    let imported = assay_circuits::dense::import_onnx(&fs::read(folder.join("digits.onnx"))?, &samples)?;
    let bytes = imported.model.to_bytes();
    fs::write(folder.join("digits.assay"), &bytes)?;
    println!("digits.assay: {} bytes, model {}", bytes.len(), imported.model.id());
    Ok(())
}
