//! An ONNX file from a stranger: an import or an error, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

use assay_circuits::onnx;

fuzz_target!(|bytes: &[u8]| {
    let read = onnx::read(bytes, &onnx::Options::default());
    if let Ok(network) = read
        && network.values.iter().map(|v| v.shape.iter().product::<usize>()).sum::<usize>() < 1 << 16
    {
        let inputs: Vec<Vec<f64>> =
            network.inputs.iter().map(|&id| vec![0.5; network.values[id].shape.iter().product()]).collect();
        network.evaluate(&inputs).expect("what was read can be evaluated");
    }
    let _ = assay_circuits::dense::import_onnx(bytes, &[vec![1.0; 64]]);
});
