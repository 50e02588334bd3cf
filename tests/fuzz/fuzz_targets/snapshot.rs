//! A snapshot from a stranger: nothing is taken that was not certified from genesis on.
#![no_main]

use std::sync::LazyLock;

use assay::fuzz::{chunk, honest_snapshot, manifest};
use assay_fuzz::edited;
use libfuzzer_sys::fuzz_target;

static HONEST: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(honest_snapshot);

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let _ = match kind {
        0..16 => manifest(bytes),
        16..32 => chunk(bytes),
        // Of many edits the first that is met hides the rest.
        _ if kind % 4 > 0 => manifest(&edited(&HONEST.0, &bytes[..bytes.len().min(32)])),
        _ => chunk(&edited(&HONEST.1, bytes)),
    };
});
