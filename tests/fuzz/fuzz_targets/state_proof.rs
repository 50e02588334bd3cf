//! A state proof from a stranger: it never panics, and no bytes prove a fact under a root nobody made.
#![no_main]

use assay_ledger::tree;
use assay_primitives::Hash32;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(tree::verify_fact(&Hash32([7; 32]), b"key", b"value", bytes).is_err());
    assert!(tree::verify_absence(&Hash32([7; 32]), b"key", bytes).is_err());
});
