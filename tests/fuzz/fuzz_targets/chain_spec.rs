//! A chain spec in either form: never a panic, and what is accepted round-trips.
#![no_main]

use assay_chain_spec::ChainSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(spec) = ChainSpec::from_canonical(bytes) {
        assert_eq!(spec.to_canonical(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(spec) = ChainSpec::from_json(text)
    {
        let again = ChainSpec::from_json(&spec.to_json()).expect("what was accepted is accepted again");
        assert_eq!(again.genesis_hash(), spec.genesis_hash());
    }
});
