mod keys;

use proptest::prelude::*;

use super::*;
use crate::graph::{
    Op, Tensor,
    sample::{self, Rng},
};

fn model(seed: u64) -> Option<Model> {
    let sample = sample::random(seed, 6);
    Model::new(sample.graph, sample.weights, [seed as u8; 32]).ok()
}

/// A perceptron of one layer.
fn small() -> Model {
    let seed = (0..).find(|&seed| sample::one(sample::Kind::MatMul, seed).weights.len() == 2).unwrap();
    let sample = sample::one(sample::Kind::MatMul, seed);
    Model::new(sample.graph, sample.weights, [7; 32]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn bytes_round_trip_to_the_same_model_and_the_outline_alone_tells_its_id(seed in any::<u64>()) {
        let Some(model) = model(seed) else { return Ok(()) };
        let bytes = model.to_bytes();
        prop_assert_eq!(bytes.len(), model.encoded_len());
        let back = Model::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &model);
        prop_assert_eq!(back.to_bytes(), bytes);
        let outline = Outline::from_bytes(&model.outline().to_bytes()).unwrap();
        prop_assert_eq!(&outline, &model.outline());
        prop_assert_eq!(outline.id(), model.id());
    }

    #[test]
    fn altered_bytes_are_refused_or_make_another_model(seed in any::<u64>(), flips in 1usize..4) {
        let Some(model) = model(seed % 50) else { return Ok(()) };
        let mut rng = Rng::new(seed);
        let mut bytes = model.to_bytes();
        for _ in 0..flips {
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        if let Ok(other) = Model::from_bytes(&bytes) {
            prop_assert_eq!(other.to_bytes(), bytes.clone());
            prop_assert_eq!(other.id() == model.id(), bytes == model.to_bytes());
        }
        let mut bytes = model.outline().to_bytes();
        let at = rng.below(bytes.len());
        bytes[at] ^= 1 << rng.below(8);
        if let Ok(other) = Outline::from_bytes(&bytes) {
            prop_assert_ne!(other.id(), model.id());
        }
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), head in 0usize..5) {
        let head: &[u8] = [&b""[..], b"ASYM\x02\x00", b"ASYO\x02\x00", b"ASYM\x03\x00", b"ASYO\x03\x00"][head];
        bytes.splice(0..0, head.iter().copied());
        let _ = Model::from_bytes(&bytes);
        let _ = Outline::from_bytes(&bytes);
    }
}

#[test]
fn every_truncation_any_trailing_byte_and_other_versions_are_refused() {
    let model = small();
    for (bytes, read) in [
        (model.to_bytes(), (|b| Model::from_bytes(b).err()) as fn(&[u8]) -> Option<ModelError>),
        (model.outline().to_bytes(), |b| Outline::from_bytes(b).err()),
    ] {
        assert_eq!(read(&bytes), None);
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut]).is_some(), "cut at {cut}");
        }
        assert!(read(&[&bytes[..], &[0]].concat()).is_some());
        let mut newer = bytes.clone();
        newer[4] = 4;
        assert!(read(&newer).unwrap().to_string().contains("version 4; expected 2 or 3"));
        assert!(matches!(read(&vec![0; MAX_MODEL_BYTES + 1]), Some(ModelError::TooLarge { .. })));
    }
    assert!(Outline::from_bytes(&model.to_bytes()).is_err());
}

#[test]
fn weights_in_a_wider_type_than_they_need_are_refused() {
    let model = small();
    let body = (&**model.graph(), &[7u8; 32], {
        let mut weights = Vec::new();
        for values in model.weights() {
            // The third of the four types.
            weights.push((2u8, values.iter().map(|&value| value as i32).collect::<Vec<_>>()));
        }
        weights
    });
    let bytes = [&b"ASYM\x02\x00"[..], &assay_primitives::encode(&body)].concat();
    let error = Model::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("constant 0 takes 4 bytes a value"), "{error}");
}

#[test]
fn the_salt_each_weight_and_each_scale_change_the_id() {
    let model = small();
    let again = |change: fn(&mut Graph, &mut Vec<Vec<i64>>, &mut [u8; 32])| {
        let (mut graph, mut weights, mut salt) = (Graph::clone(model.graph()), model.weights().to_vec(), [7; 32]);
        change(&mut graph, &mut weights, &mut salt);
        Model::new(graph, weights, salt).unwrap().id()
    };
    assert_eq!(again(|_, _, _| ()), model.id());
    assert_ne!(again(|_, _, salt| salt[31] = 0), model.id());
    assert_ne!(again(|graph, _, _| graph.tensors[0].scale += 1), model.id());
    assert_ne!(again(|graph, _, _| graph.nodes[0].name.push('x')), model.id());
    // The largest weight becomes smaller in magnitude, so all bounds still hold.
    let smaller = again(|_, weights, _| {
        let largest = weights[0].iter_mut().max_by_key(|value| value.unsigned_abs()).unwrap();
        *largest -= largest.signum();
    });
    assert_ne!(smaller, model.id());
}

#[test]
fn outputs_beyond_32_bits_are_refused() {
    let wide = Op::Linear { coefficients: vec![1 << 17], constant: 0 };
    let sample = sample::one(sample::Kind::Sqrt, 1);
    let mut graph = sample.graph;
    let (low, high) = (-(1 << 32), (1 << 32) - (1 << 17));
    let input = Tensor { shape: vec![2], low: -(1 << 15), high: (1 << 15) - 1, scale: 1f32.to_bits() };
    graph.tensors = vec![input.clone(), Tensor { low, high, ..input }];
    graph.nodes.truncate(1);
    (graph.nodes[0].op, graph.nodes[0].inputs, graph.nodes[0].output) = (wide, vec![0], 1);
    (graph.inputs, graph.constants, graph.outputs) = (vec![0], vec![], vec![1]);
    assert_eq!(Model::new(graph, vec![], [0; 32]), Err(ModelError::Output { output: 0, low, high }));
}

#[test]
fn real_inputs_are_rounded_halves_away_from_zero_and_refused_with_position_and_limits() {
    let sample = (0..).map(|seed| sample::one(sample::Kind::Mul, seed)).find(|s| s.graph.inputs.len() == 1).unwrap();
    let mut graph = sample.graph;
    graph.tensors[0] = Tensor { shape: vec![3], low: -128, high: 127, scale: 0.5f32.to_bits() };
    graph.tensors[1] = Tensor { shape: vec![3], low: 0, high: 128 * 128, scale: 0.25f32.to_bits() };
    let outline = Model::new(graph, vec![], [0; 32]).unwrap().outline();
    let read = |values: &[f64]| outline.quantise_inputs(&[values.to_vec()]);
    assert_eq!(read(&[0.0, 63.5, -64.0]).unwrap(), [[0, 127, -128]]);
    assert_eq!(read(&[0.24, 0.25, -0.25]).unwrap(), [[0, 1, -1]]);
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 64.0, -65.0, 3e300] {
        let error = read(&[0.0, wrong, 0.0]).unwrap_err().to_string();
        assert!(error.starts_with("input 0 has") && error.contains("at 1"), "{error}");
    }
    assert!(read(&[64.0; 3]).unwrap_err().to_string().contains("calibrated for -64 to 63.5"));
    assert!(read(&[]).unwrap_err().to_string().contains("the model takes 3"));
    assert!(outline.quantise_inputs(&[]).is_err());

    let outputs = vec![vec![0, 9, 16384]];
    let real = outline.dequantise_outputs(&outputs);
    assert_eq!(real, [[0.0, 2.25, 4096.0]]);
    assert_eq!(outline.quantise_outputs(&real).unwrap(), outputs);
    for wrong in [0.3, -0.25, 4096.25, f64::NAN, f64::INFINITY, 1e300] {
        assert!(outline.quantise_outputs(&[vec![0.0, wrong, 0.0]]).is_err(), "{wrong}");
    }
    assert!(outline.quantise_outputs(&[vec![0.0]]).is_err());
}

#[test]
fn flat_lists_are_split_by_the_inputs_and_outputs_of_the_model() {
    let sample =
        (0..).map(|seed| sample::one(sample::Kind::Greater, seed)).find(|s| s.graph.inputs.len() == 2).unwrap();
    let model = Model::new(sample.graph, vec![], [0; 32]).unwrap();
    let flat: Vec<i16> = sample.inputs.concat().into_iter().map(|value| value as i16).collect();
    assert_eq!(model.split_input(&flat).unwrap(), sample.inputs);
    let outputs = model.run(&sample.inputs).unwrap();
    let given = model.run_flat(&flat).unwrap();
    assert_eq!(model.split_output(&given).unwrap(), outputs);
    assert_eq!((model.input_len(), model.output_len()), (flat.len(), given.len()));
    assert!(model.run_flat(&flat[1..]).is_err());
    assert!(model.split_output(&given[1..]).unwrap_err().to_string().contains("gives"));
    let wrong = vec![2; given.len()];
    assert!(model.split_output(&wrong).unwrap_err().to_string().contains("output 0 has 2 at 0"));
    let zeros = vec![0.0; flat.len()];
    assert_eq!(model.quantise_flat(&zeros).unwrap(), vec![0; flat.len()]);
    assert!(model.quantise_flat(&zeros[1..]).is_err());
}
