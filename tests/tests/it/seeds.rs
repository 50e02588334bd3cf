//! What the fuzzer begins with: see `tests/fuzz/seeds.py`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use assay_chain_spec::ChainSpec;
use assay_consensus::bft;
use assay_ledger::SignedTransaction;
use assay_primitives::{
    Signed, decode,
    task::{Request, Response},
    text::{TextInput, TextModel, TextOutput},
};

/// The seeds of a target, with their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let read = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    fs::read_dir(folder).unwrap().map(|entry| read(entry.unwrap())).collect()
}

/// As the target of that name does with it; edits of what a target makes itself are not for here.
fn is_taken(target: &str, bytes: &[u8]) -> bool {
    match (target, bytes[0]) {
        ("transaction", _) => decode::<SignedTransaction>("transaction", bytes).is_ok(),
        ("text", 0) => TextModel::from_bytes(&bytes[1..]).is_ok(),
        ("text", 1) => decode::<TextInput>("text input", &bytes[1..]).is_ok(),
        ("text", 2) => decode::<TextOutput>("text output", &bytes[1..]).is_ok(),
        ("text", 3) => decode::<Signed<Request>>("request", &bytes[1..]).is_ok(),
        ("text", 4) => decode::<Signed<Response>>("response", &bytes[1..]).is_ok(),
        ("chain_spec", _) => ChainSpec::from_json(std::str::from_utf8(bytes).unwrap()).is_ok(),
        ("block", _) => assay::fuzz::block(bytes),
        ("message", 192..) => bft::fuzz::parts(&bytes[1..]) > 0,
        ("message", _) => bft::fuzz::message(bytes),
        ("exchange", _) => assay::fuzz::exchange(bytes),
        ("snapshot", 16..32) => assay::fuzz::chunk(&bytes[1..]),
        ("rpc", _) => assay::fuzz::call(bytes),
        ("openai", _) => assay::fuzz::request(bytes),
        _ => panic!("{target} has no such seeds"),
    }
}

#[test]
fn the_fuzzer_begins_with_inputs_that_are_taken() {
    for target in ["transaction", "text", "chain_spec", "block", "message", "exchange", "snapshot", "rpc", "openai"] {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        for (name, bytes) in seeds.into_iter().filter(|(name, _)| !name.starts_with("edit-")) {
            let refused = name.starts_with("refused-");
            assert_eq!(is_taken(target, &bytes), !refused, "{target}/{name}: has an encoding changed?");
        }
    }
}

#[test]
fn the_honest_snapshot_that_the_fuzzer_edits_holds() {
    let (manifest, chunk) = assay::fuzz::honest_snapshot();
    assert!(assay::fuzz::manifest(&manifest) && assay::fuzz::chunk(&chunk));
    for at in 0..manifest.len() {
        let mut other = manifest.clone();
        other[at] ^= 1;
        // Panics if it leads to another block; what is not certified is the chunks' hashes and their sum.
        assay::fuzz::manifest(&other);
    }
}
