//! The verifier of `groth16`: no bytes make it panic, or accept what was not proved.
#![no_main]

use std::sync::LazyLock;

use assay_circuits::proof::groth16::Groth16;
use assay_fuzz::Honest;
use libfuzzer_sys::fuzz_target;

static HONEST: LazyLock<Honest<Groth16>> = LazyLock::new(Honest::make);

fuzz_target!(|bytes: &[u8]| HONEST.attack(bytes));
