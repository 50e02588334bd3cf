//! A stranger's JSON-RPC call: an answer or an error in JSON, and never one that says that the node failed.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assay::fuzz::call(bytes);
});
