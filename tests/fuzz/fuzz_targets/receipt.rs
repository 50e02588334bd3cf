//! A receipt's text: never a panic, and only the canonical text is accepted.
#![no_main]

use assay_primitives::receipt::Receipt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(receipt) = Receipt::from_json(text) {
        assert_eq!(receipt.to_json(), text);
    }
});
