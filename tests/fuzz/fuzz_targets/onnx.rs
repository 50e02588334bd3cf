//! An ONNX file from a stranger: an import or an error, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = assay_circuits::dense::import_onnx(bytes, &[vec![1.0; 64]]);
});
