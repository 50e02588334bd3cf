//! What peers of the engine send: each message has one encoding, and parts of blocks in any order hold no more than they may.
#![no_main]

use assay_consensus::bft::fuzz::{message, parts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some((192.., steps)) = bytes.split_first() {
        parts(steps);
    } else {
        message(bytes);
    }
});
