//! A stranger's body of the OpenAI API, and what a model says of tools: taken or refused in the API's own words.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assay::fuzz::request(bytes);
});
