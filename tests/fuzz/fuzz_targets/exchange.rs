//! What peers of the data plane send on a stream: asks and replies for inference, texts, snapshots. Never a panic, one encoding each.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assay::fuzz::exchange(bytes);
});
