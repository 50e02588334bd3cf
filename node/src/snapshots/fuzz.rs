//! For the fuzzer: what peers give as a snapshot.

use std::sync::LazyLock;

use assay_ledger::{
    Changes,
    tree::{self, MemoryTree},
};
use assay_primitives::{
    Certificate, Hash32, Header, Keypair, Signed, SignedHeader, Validator, ValidatorSet, VoteContent, VoteKind, decode,
    encode, light::SetChange,
};

use super::{Chunk, Manifest, Trusted};
use crate::chain::Block;

const GENESIS: Hash32 = Hash32([9; 32]);
/// The last header of the first validator set, and the snapshot's.
const CHANGED: u64 = 3;
const HEIGHT: u64 = 5;

/// A snapshot of a small chain.
struct Honest {
    /// The set at genesis.
    first: ValidatorSet,
    manifest: Manifest,
    header: SignedHeader,
    chunk: Vec<u8>,
}

static HONEST: LazyLock<Honest> = LazyLock::new(Honest::make);

fn set(keys: &[Keypair]) -> ValidatorSet {
    let validator = |key: &Keypair| Validator { account: key.account(), power: 10 };
    ValidatorSet::new(keys.iter().map(validator).collect()).expect("different keys")
}

fn certified(header: Header, keys: &[Keypair]) -> SignedHeader {
    let (height, block) = (header.height, header.id(&GENESIS));
    let vote = |validator| VoteContent { kind: VoteKind::Precommit, height, round: 0, block: Some(block), validator };
    let sign = |key: &Keypair| (key.account(), Signed::new(vote(key.account()), &GENESIS, key).signature);
    let mut signatures: Vec<_> = keys.iter().map(sign).collect();
    signatures.sort();
    SignedHeader { header, certificate: Certificate { height, round: 0, block, signatures } }
}

impl Honest {
    fn make() -> Self {
        let keys = [1, 2, 3].map(|n| Keypair::from_secret([n; 32]));
        let (first, next) = (set(&keys[..1]), set(&keys));
        let entries: Chunk = (0u8..40).map(|n| (vec![n / 8, n], vec![n; usize::from(n)])).collect();
        let chunk = encode(&entries);
        let state: Changes = entries.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let (state_root, _) = tree::apply(&MemoryTree::default(), HEIGHT, &state).expect("a tree in memory");
        let header = |height, validators: &ValidatorSet| Header {
            chain_id: "fuzz".into(),
            height,
            time_ms: height,
            parent: Hash32::ZERO,
            proposer: keys[0].account(),
            tx_root: Block::tx_root(&GENESIS, &[]),
            state_root,
            validators_hash: validators.hash(&GENESIS),
            next_validators_hash: next.hash(&GENESIS),
            evidence_root: Block::evidence_root(&GENESIS, &[]),
            app_version: 1,
        };
        let change = SetChange { signed: certified(header(CHANGED, &first), &keys[..1]), next: next.clone() };
        let header = certified(header(HEIGHT, &next), &keys);
        let manifest = Manifest {
            block: Block { header: header.header.clone(), transactions: Vec::new() }.encode(),
            certificate: header.certificate.clone(),
            changes: vec![change],
            next: None,
            chunks: vec![Hash32::digest(&chunk)],
            bytes: chunk.len() as u64,
        };
        Self { first, manifest, header, chunk }
    }
}

/// A manifest and its one chunk, which hold.
pub fn honest_snapshot() -> (Vec<u8>, Vec<u8>) {
    (encode(&HONEST.manifest), HONEST.chunk.clone())
}

/// Reads a manifest, and follows it from genesis. Whether it holds.
///
/// # Panics
/// If it has another encoding, or leads to a header that nobody certified.
pub fn manifest(bytes: &[u8]) -> bool {
    if let Ok(manifest) = decode::<Manifest>("manifest", bytes) {
        assert_eq!(encode(&manifest), bytes, "a manifest has one encoding");
    }
    let Ok(trusted) = Manifest::verify(bytes, &GENESIS, &HONEST.first) else { return false };
    assert_eq!(trusted.header.header, HONEST.header.header, "nobody certified this");
    true
}

/// Takes a chunk that a manifest names, and makes the tree of its entries. Whether it is one.
///
/// # Panics
/// If entries are taken that do not ascend, or the tree of another state has the honest one's root.
pub fn chunk(bytes: &[u8]) -> bool {
    let named = Manifest { chunks: vec![Hash32::digest(bytes)], bytes: bytes.len() as u64, ..HONEST.manifest.clone() };
    let mut trusted =
        Trusted { manifest: named, header: HONEST.header.clone(), state: Changes::new(), taken: 0, bytes: 0 };
    if trusted.take(bytes).is_err() {
        return false;
    }
    assert!(trusted.wants().is_none());
    let entries: Chunk = decode("chunk", bytes).expect("it was taken");
    assert_eq!(entries.len(), trusted.state.len(), "each key once");
    let installed = trusted.into_installed();
    if let Ok((root, _)) = tree::apply(&MemoryTree::default(), HEIGHT, &installed.state) {
        assert_eq!(root == HONEST.header.header.state_root, bytes == HONEST.chunk, "a root is of one state");
    }
    true
}
