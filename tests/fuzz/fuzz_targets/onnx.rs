//! An ONNX file from a stranger: a model or an error, never a panic.
#![no_main]

use assay_circuits::{
    compile::{Options, Samples, compile},
    onnx,
};
use libfuzzer_sys::fuzz_target;

/// Values of networks that are evaluated and compiled.
const MOST: usize = 1 << 14;

fuzz_target!(|bytes: &[u8]| {
    let Ok(network) = onnx::read(bytes, &onnx::Options::default()) else { return };
    if network.values.iter().map(|value| value.shape.iter().product::<usize>()).sum::<usize>() > MOST {
        return;
    }
    let length = |&id: &usize| network.values[id].shape.iter().product();
    let inputs: Vec<Vec<f64>> = network.inputs.iter().map(|id| vec![0.5; length(id)]).collect();
    network.evaluate(&inputs).expect("what was read can be evaluated");
    if let Ok(compiled) = compile(bytes, &Samples::new(inputs.clone()), &Options::default())
        && let Ok(inputs) = compiled.model.outline().quantise_inputs(&inputs)
    {
        compiled.model.run(&inputs).expect("inputs in range are run");
    }
});
