//! A block from a proposer or a peer, and what certifies it: never a panic, one encoding each, and nothing holds that nobody signed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assay::fuzz::block(bytes);
});
