//! What is said of texts on chain and on the wire: never a panic, and what is read is written as it was.
#![no_main]

use assay_primitives::{
    Signed, decode, encode,
    task::{Request, Response},
    text::{TextInput, TextModel, TextOutput},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => {
            if let Ok(model) = TextModel::from_bytes(bytes) {
                assert_eq!(model.to_bytes(), bytes);
                let _ = model.id();
            }
        }
        1 => {
            if let Ok(input) = decode::<TextInput>("text input", bytes) {
                assert_eq!(encode(&input), bytes);
            }
        }
        2 => {
            if let Ok(output) = decode::<TextOutput>("text output", bytes) {
                assert_eq!(encode(&output), bytes);
            }
        }
        3 => {
            if let Ok(request) = decode::<Signed<Request>>("request", bytes) {
                assert_eq!(encode(&request), bytes);
            }
        }
        _ => {
            if let Ok(response) = decode::<Signed<Response>>("response", bytes) {
                assert_eq!(encode(&response), bytes);
            }
        }
    }
});
