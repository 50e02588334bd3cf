//! The whole way of the shipped digit networks: compiled, accurate, the same bytes again, proved and verified.

#![allow(clippy::unwrap_used, missing_docs)]

mod exactness;

use std::{fs, path::PathBuf};

use assay_circuits::{
    Binding,
    answer::{AnswerError, argmax, prove, verify},
    binding::{hash_inputs, hash_outputs},
    compile::{Compiled, Options, Samples, compile},
    model::Model,
};
use assay_primitives::{AccountId, Hash32};
use serde::Deserialize;

const NAMES: [&str; 2] = ["digits", "digits-cnn"];

#[derive(Deserialize)]
struct Scan {
    label: usize,
    pixels: Vec<f64>,
}

fn file(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../assets").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn scans(name: &str) -> Vec<Scan> {
    serde_json::from_slice(&file(&format!("digits/{name}.json"))).unwrap()
}

fn compiled(name: &str) -> Compiled {
    let samples = Samples::new(scans("calibration").into_iter().map(|s| s.pixels).collect());
    compile(&file(&format!("{name}/{name}.onnx")), &samples, &Options::default()).unwrap()
}

fn floats(pixels: &[f64]) -> Vec<f32> {
    pixels.iter().map(|&p| p as f32).collect()
}

#[test]
fn compiling_twice_gives_the_same_bytes_which_are_the_shipped_ones_and_are_read_back() {
    for name in NAMES {
        let (one, two) = (compiled(name).model, compiled(name).model);
        assert_eq!(one.to_bytes(), two.to_bytes());
        assert_eq!(Model::from_bytes(&one.to_bytes()).unwrap().id(), two.id());
        let shipped = file(&format!("{name}/{name}.assay"));
        assert_eq!(shipped, one.to_bytes(), "run `cargo run -p assay-circuits --example compile_digits`");
    }
}

#[test]
fn the_integers_agree_with_the_floats_on_held_out_scans_and_are_right() {
    let held_out = scans("heldout");
    assert!(held_out.len() >= 300);
    for name in NAMES {
        let Compiled { model, report, network } = compiled(name);
        assert!(report.cosine >= 0.999, "{report:?}");
        let (mut same, mut right) = (0, 0);
        for scan in &held_out {
            let logits = network.evaluate(std::slice::from_ref(&scan.pixels)).unwrap().remove(0);
            let float = (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best });
            let class = argmax(&model.run_flat(&model.quantise_flat(&floats(&scan.pixels)).unwrap()).unwrap());
            same += usize::from(class == float);
            right += usize::from(class == scan.label);
        }
        assert!(same * 100 >= held_out.len() * 99, "{name}: {same} of {} agree", held_out.len());
        assert!(right * 100 >= held_out.len() * 96, "{name}: {right} of {} right", held_out.len());
    }
}

fn binding(model: &Model, input: &[i16], output: &[i32]) -> Binding {
    Binding {
        genesis: Hash32([1; 32]),
        model: model.id(),
        request: Hash32([2; 32]),
        miner: AccountId([3; 32]),
        epoch: 7,
        input: hash_inputs(&[input.iter().map(|&v| v.into()).collect()]).unwrap(),
        output: hash_outputs(&[output.iter().map(|&v| v.into()).collect()]).unwrap(),
    }
}

#[test]
fn a_digit_is_classified_and_proved_for_one_request_only() {
    let model = compiled("digits").model;
    for digit in [3usize, 8] {
        let sample: serde_json::Value =
            serde_json::from_slice(&file(&format!("digits/samples/digit-{digit}.json"))).unwrap();
        let pixels: Vec<f32> = serde_json::from_value(sample["pixels"].clone()).unwrap();
        let input = model.quantise_flat(&pixels).unwrap();
        let output = model.run_flat(&input).unwrap();
        assert_eq!(argmax(&output), digit);
        let bound = binding(&model, &input, &output);
        let proof = prove(&model, &bound, &input, &output).unwrap();
        let outline = model.outline();
        verify(&outline, &bound, &input, &output, &proof).unwrap();

        let others = [
            Binding { request: Hash32([9; 32]), ..bound.clone() },
            Binding { miner: AccountId([9; 32]), ..bound.clone() },
            Binding { genesis: Hash32([9; 32]), ..bound.clone() },
            Binding { epoch: 8, ..bound.clone() },
        ];
        for other in others {
            assert!(verify(&outline, &other, &input, &output, &proof).is_err(), "{other:?}");
        }
        let mut wrong = output.clone();
        wrong[0] += 1;
        let untrue = binding(&model, &input, &wrong);
        assert!(verify(&outline, &untrue, &input, &wrong, &proof).is_err());
        assert!(matches!(prove(&model, &untrue, &input, &wrong), Err(AnswerError::WrongOutput)));
    }
}
