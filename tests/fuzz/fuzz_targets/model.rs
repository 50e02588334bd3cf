//! A model's or an outline's bytes: never a panic, one encoding each, and what is accepted runs without overflow.
#![no_main]

use std::sync::LazyLock;

use assay_circuits::{
    graph::sample,
    model::{Model, Outline, Port},
};
use assay_fuzz::edited;
use libfuzzer_sys::fuzz_target;

/// Values of models that are run: a few bytes may ask for far more.
const MOST: usize = 1 << 16;

/// A model of most operations, and its outline.
static HONEST: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let sample = sample::random(1, 12);
    let model = Model::new(sample.graph, sample.weights, [0; 32]).expect("samples are valid");
    [model.to_bytes(), model.outline().to_bytes()]
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    let bytes = match kind {
        0..16 => rest.to_vec(),
        _ => edited(&HONEST[usize::from(kind) % 2], rest),
    };
    if let Ok(outline) = Outline::from_bytes(&bytes) {
        assert_eq!(outline.to_bytes(), bytes);
    }
    let Ok(model) = Model::from_bytes(&bytes) else { return };
    assert_eq!(model.to_bytes(), bytes);
    if model.graph().tensors.iter().map(|tensor| tensor.len()).sum::<usize>() > MOST {
        return;
    }
    let ports = model.outline().inputs();
    for high in [false, true] {
        let input = |port: &Port| {
            let length = port.shape.iter().map(|&size| size as usize).product();
            vec![if high { port.high } else { port.low }; length]
        };
        let inputs: Vec<Vec<i64>> = ports.iter().map(input).collect();
        model.run(&inputs).expect("inputs in range are run");
    }
});
