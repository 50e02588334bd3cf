//! Compiles the networks of `assets/digits` and `assets/digits-cnn` with the calibration scans into their `.assay` files.
//!
//! `cargo run -p assay-circuits --example compile_digits`; the result is the same on every machine.

use std::{error::Error, fs, path::Path};

use assay_circuits::compile::{Compiled, Options, Samples, compile};
use serde::Deserialize;

#[derive(Deserialize)]
struct Scan {
    pixels: Vec<f64>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    let scans: Vec<Scan> = serde_json::from_slice(&fs::read(assets.join("digits/calibration.json"))?)?;
    let samples = Samples::new(scans.into_iter().map(|s| s.pixels).collect());
    for name in ["digits", "digits-cnn"] {
        let folder = assets.join(name);
        let onnx = fs::read(folder.join(format!("{name}.onnx")))?;
        let Compiled { model, .. } = compile(&onnx, &samples, &Options::default())?;
        let bytes = model.to_bytes();
        fs::write(folder.join(format!("{name}.assay")), &bytes)?;
        println!("{name}.assay: {} bytes, model {}", bytes.len(), model.id());
    }
    Ok(())
}
