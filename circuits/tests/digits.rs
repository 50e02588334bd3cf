//! The shipped digit network: it imports, keeps its accuracy, is reproducible and can be proved.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{fs, path::PathBuf};

use assay_circuits::dense::{
    Binding, CompiledModel, ImportError, Imported, argmax, hash_input, hash_output, import_onnx, onnx, prove, verify,
};
use assay_primitives::{AccountId, Hash32};
use serde::Deserialize;

#[derive(Deserialize)]
struct Scan {
    label: usize,
    pixels: Vec<f32>,
}

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets/digits").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn scans(name: &str) -> Vec<Scan> {
    serde_json::from_slice(&file(name)).unwrap()
}

fn calibration() -> Vec<Vec<f32>> {
    scans("calibration.json").into_iter().map(|s| s.pixels).collect()
}

fn imported() -> Imported {
    import_onnx(&file("digits.onnx"), &calibration()).unwrap()
}

#[test]
fn the_shipped_model_is_what_the_importer_makes_of_the_shipped_onnx_file() {
    let shipped = file("digits.assay");
    assert_eq!(shipped, imported().model.to_bytes(), "run `cargo run -p assay-circuits --example compile_digits`");
    assert_eq!(CompiledModel::from_bytes(&shipped).unwrap().id(), imported().model.id());
}

#[test]
fn the_integers_agree_with_the_floats_on_held_out_scans_and_are_right() {
    let Imported { model, report } = imported();
    assert!(report.top1_agreement >= 0.99, "{report:?}");
    assert!(report.cosine >= 0.999, "{report:?}");
    let network = onnx::read(&file("digits.onnx")).unwrap();
    let held_out = scans("heldout.json");
    assert!(held_out.len() >= 300);
    let (mut same, mut right) = (0, 0);
    for scan in &held_out {
        let logits = network.activations(&scan.pixels).pop().unwrap();
        let float = (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best });
        let class = argmax(&model.run(&model.quantise_input(&scan.pixels).unwrap()).unwrap());
        same += usize::from(class == float);
        right += usize::from(class == scan.label);
    }
    assert!(same * 100 >= held_out.len() * 99, "{same} of {} agree", held_out.len());
    assert!(right * 100 >= held_out.len() * 97, "{right} of {} right", held_out.len());
}

#[test]
fn a_digit_is_classified_and_proved_with_the_shipped_model() {
    let model = CompiledModel::from_bytes(&file("digits.assay")).unwrap();
    for digit in [3usize, 8] {
        let sample: serde_json::Value = serde_json::from_slice(&file(&format!("samples/digit-{digit}.json"))).unwrap();
        let pixels: Vec<f32> = serde_json::from_value(sample["pixels"].clone()).unwrap();
        let input = model.quantise_input(&pixels).unwrap();
        let output = model.run(&input).unwrap();
        assert_eq!(argmax(&output), digit);
        let binding = Binding {
            genesis: Hash32([1; 32]),
            model: model.id(),
            request: Hash32([2; 32]),
            miner: AccountId([3; 32]),
            epoch: 7,
            input: hash_input(&input),
            output: hash_output(&output),
        };
        let proof = prove(&model, &binding, &input, &output).unwrap();
        verify(&model, &binding, &input, &output, &proof).unwrap();
        let mut other = binding.clone();
        other.miner.0[0] ^= 1;
        assert!(verify(&model, &other, &input, &output, &proof).is_err());
        assert_ne!(proof, prove(&model, &binding, &input, &output).unwrap(), "each proof is blinded afresh");
    }
}

#[test]
fn unusable_calibration_is_refused() {
    let onnx = file("digits.onnx");
    let refused = |samples: &[Vec<f32>]| {
        let error = import_onnx(&onnx, samples).unwrap_err();
        assert!(matches!(error, ImportError::Calibration { .. }), "{error}");
    };
    refused(&[]);
    refused(&[vec![0.0; 64]]);
    refused(&[vec![1.0; 63]]);
    refused(&[vec![f32::NAN; 64]]);
}
