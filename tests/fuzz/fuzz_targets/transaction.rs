//! Bytes that gossip or RPC hands in as a transaction: decoding never panics, and what decodes encodes to itself.
#![no_main]

use assay_ledger::SignedTransaction;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(tx) = assay_primitives::decode::<SignedTransaction>("transaction", bytes) {
        assert_eq!(assay_primitives::encode(&tx), bytes, "one transaction has one encoding");
    }
});
