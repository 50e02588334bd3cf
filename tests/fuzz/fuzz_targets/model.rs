//! A compiled model's bytes: never a panic, one encoding each, and what is accepted runs without overflow.
#![no_main]

use assay_circuits::dense::CompiledModel;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(model) = CompiledModel::from_bytes(bytes) {
        assert_eq!(model.to_bytes(), bytes);
        let _ = model.run(&vec![127; model.input_len()]);
        let _ = model.run(&vec![-128; model.input_len()]);
    }
});
