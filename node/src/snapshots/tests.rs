use std::{
    collections::BTreeMap,
    num::NonZeroU64,
    path::Path,
    sync::{Arc, Mutex},
};

use assay_ledger::tx::Action;
use assay_primitives::{Amount, encode};
use async_trait::async_trait;
use libp2p::PeerId;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::{make::make, *};
use crate::{
    chain::tests::{Bench, key, spec},
    net::{AskError, SnapshotAsk, SnapshotReply},
    store::Store,
};

/// A chain of some blocks, in which the validator set has changed, and a snapshot of it.
fn chain(dir: &Path) -> (Bench, u64) {
    let mut bench = Bench::open(&dir.join("store"));
    bench.send(Action::Stake { validator: key(1).account(), amount: Amount::asy(100) });
    while bench.store.set_changes(u64::MAX).unwrap().is_empty() {
        bench.block();
    }
    for _ in 0..3 {
        bench.send(Action::Transfer { to: key(9).account(), amount: Amount::asy(1) });
        bench.block();
    }
    let height = make(&bench.store, &dir.join("snapshots")).unwrap();
    (bench, height)
}

fn files(dir: &Path, height: u64) -> (Vec<u8>, Vec<Vec<u8>>) {
    let dir = dir.join("snapshots").join(height.to_string());
    let manifest = std::fs::read(dir.join("manifest")).unwrap();
    let count = std::fs::read_dir(&dir).unwrap().count() - 1;
    (manifest, (0..count).map(|i| std::fs::read(dir.join(i.to_string())).unwrap()).collect())
}

fn trusted(manifest: &[u8]) -> Result<Trusted, BadSnapshot> {
    Manifest::verify(manifest, &spec().genesis_hash(), &spec().validator_set().unwrap())
}

/// Peers who have these manifests and chunks.
struct Peers {
    have: BTreeMap<PeerId, (Vec<u8>, Vec<Vec<u8>>)>,
    banned: Mutex<Vec<(PeerId, String)>>,
}

#[async_trait]
impl Source for Peers {
    async fn peers(&self) -> Vec<PeerId> {
        self.have.keys().copied().collect()
    }

    async fn ask(&self, peer: PeerId, ask: SnapshotAsk) -> Result<SnapshotReply, AskError> {
        let (manifest, chunks) = &self.have[&peer];
        Ok(match ask {
            SnapshotAsk::Newest if manifest.is_empty() => SnapshotReply::None,
            SnapshotAsk::Newest => SnapshotReply::Here(manifest.clone()),
            SnapshotAsk::Chunk { index, .. } => {
                chunks.get(index as usize).map_or(SnapshotReply::None, |c| SnapshotReply::Here(c.clone()))
            }
        })
    }

    async fn ban(&self, peer: PeerId, reason: &str) {
        self.banned.lock().unwrap().push((peer, reason.to_owned()));
    }
}

/// Joins from peers in an order of their own; who was banned and why.
async fn join_from(dir: &Path, have: Vec<(Vec<u8>, Vec<Vec<u8>>)>) -> (Arc<Store>, Option<u64>, Vec<String>) {
    let mut ids: Vec<PeerId> = have.iter().map(|_| PeerId::random()).collect();
    ids.sort();
    let peers = Peers { have: ids.into_iter().zip(have).collect(), banned: Mutex::default() };
    let store = Arc::new(Store::open(dir, &spec()).unwrap());
    let joined = join(&peers, &store, peers.have.len(), &spec()).await.unwrap();
    let banned = peers.banned.into_inner().unwrap().into_iter().map(|(_, reason)| reason).collect();
    (store, joined, banned)
}

#[tokio::test]
async fn a_node_that_joins_has_the_same_state_and_goes_on() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut bench, height) = chain(first.path());
    let honest = files(first.path(), height);
    let (store, joined, banned) = join_from(second.path(), vec![(Vec::new(), Vec::new()), honest]).await;
    assert_eq!((joined, banned), (Some(height), Vec::new()));
    assert_eq!(store.tip().unwrap(), bench.store.tip().unwrap());
    assert_eq!(store.set_changes(height).unwrap(), bench.store.set_changes(height).unwrap());
    assert_eq!(store.earliest().unwrap(), height);
    assert_eq!(store.block(height - 1).unwrap(), None);
    let names = store.signed_header(store.set_changes(height).unwrap()[0].0 - 1).unwrap();
    assert!(names.is_some(), "the headers that lead from genesis are there");
    // Both go on alike, and a proof that the new one gives is worth as much.
    drop(store);
    let mut joined = Bench::open(second.path());
    bench.send(Action::Transfer { to: key(9).account(), amount: Amount::asy(2) });
    let block = bench.prepared();
    bench.commit(&block);
    joined.commit(&block);
    assert_eq!(joined.store.tip().unwrap(), bench.store.tip().unwrap());
    let again = tempfile::tempdir().unwrap();
    make(&joined.store, again.path()).unwrap();
    // A store with blocks takes nothing over.
    let (manifest, chunks) = files(first.path(), height);
    let mut trusted = trusted(&manifest).unwrap();
    for chunk in &chunks {
        trusted.take(chunk).unwrap();
    }
    assert_eq!(trusted.wants(), None);
    let refused = joined.store.install(&trusted.into_installed()).unwrap_err().to_string();
    assert!(refused.contains("by an empty one only"), "{refused}");
}

#[tokio::test]
async fn peers_whose_snapshots_are_false_are_banned_and_an_honest_one_is_found() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (bench, height) = chain(first.path());
    let honest = files(first.path(), height);
    let flipped = |at: usize| {
        let (manifest, mut chunks) = honest.clone();
        chunks[0][at] ^= 1;
        (manifest, chunks)
    };
    // Its manifest names what it gives, so that only the state's root tells.
    let consistent = |change: &dyn Fn(&mut Chunk)| {
        let mut manifest: Manifest = decode("manifest", &honest.0).unwrap();
        let mut chunk: Chunk = decode("chunk", &honest.1[0]).unwrap();
        change(&mut chunk);
        let chunks = vec![encode(&chunk)];
        manifest.chunks = vec![Hash32::digest(&chunks[0])];
        manifest.bytes = chunks[0].len() as u64;
        (encode(&manifest), chunks)
    };
    assert_eq!(honest.1.len(), 1);
    let other_value = consistent(&|chunk| chunk[3].1.push(0));
    let one_less = consistent(&|chunk| drop(chunk.pop()));
    let one_twice = consistent(&|chunk| chunk.push(chunk[0].clone()));
    let nothing = (b"junk".to_vec(), Vec::new());
    let more_than_said = {
        let mut manifest: Manifest = decode("manifest", &honest.0).unwrap();
        manifest.bytes -= 1;
        (encode(&manifest), honest.1.clone())
    };
    let last = flipped(honest.1[0].len() - 1);
    let lying = vec![flipped(100), last, other_value, one_less, one_twice, more_than_said, nothing];
    let count = lying.len();
    let (store, joined, banned) = join_from(second.path(), lying.into_iter().chain([honest]).collect()).await;
    assert_eq!(joined, Some(height));
    assert_eq!(store.tip().unwrap(), bench.store.tip().unwrap());
    assert_eq!(banned.len(), count, "{banned:?}");
    let words = [
        "chunk 0 has the hash",
        "chunk 0 has",
        "the state has the root",
        "the state has",
        "does not go on",
        "bytes, at most",
        "",
    ];
    for (reason, word) in banned.iter().zip(words) {
        assert!(reason.contains(word), "{reason}");
    }
}

#[tokio::test]
async fn without_a_snapshot_that_holds_the_store_stays_as_it_was() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (_bench, height) = chain(first.path());
    let (manifest, mut chunks) = files(first.path(), height);
    let gone = (manifest.clone(), Vec::new());
    chunks[0][40] ^= 16;
    let (store, joined, banned) = join_from(second.path(), vec![gone, (manifest, chunks)]).await;
    assert_eq!((joined, banned.len(), store.tip().unwrap().height), (None, 1, 0));
    drop(store);
    Bench::open(second.path()).block();
}

#[test]
fn the_newest_two_are_kept_and_one_that_was_not_finished_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, first) = chain(dir.path());
    let snapshots = dir.path().join("snapshots");
    std::fs::create_dir_all(snapshots.join("unfinished")).unwrap();
    std::fs::write(snapshots.join("unfinished").join("0"), b"half").unwrap();
    for _ in 0..2 {
        bench.block();
        make(&bench.store, &snapshots).unwrap();
    }
    assert_eq!(super::make::heights(&snapshots), [first + 1, first + 2]);
    assert!(!snapshots.join("unfinished").exists());
    trusted(&files(dir.path(), first + 2).0).unwrap();
}

#[test]
fn old_blocks_are_forgotten_and_their_headers_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mut bench, height) = chain(dir.path());
    for _ in 0..100 {
        bench.block();
    }
    let tip = height + 100;
    let old = bench.store.block(2).unwrap();
    assert!(old.is_some());
    while bench.store.prune(10).unwrap() > 0 {}
    assert_eq!(bench.store.earliest().unwrap(), tip - 9);
    for height in 1..=tip {
        assert_eq!(bench.store.block(height).unwrap().is_some(), height > tip - 10, "{height}");
        assert!(bench.store.signed_header(height).unwrap().is_some(), "{height}");
    }
    // What is left is enough for a snapshot, and the chain goes on.
    make(&bench.store, &dir.path().join("snapshots")).unwrap();
    bench.block();
}

#[tokio::test]
async fn snapshots_are_made_every_so_many_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&dir.path().join("store"));
    let (tip, seen) = tokio::sync::watch::channel(0);
    let stop = CancellationToken::new();
    let snapshots = dir.path().join("snapshots");
    let makes = Makes {
        store: Arc::clone(&bench.store),
        dir: snapshots.clone(),
        every: NonZeroU64::new(5),
        keep_blocks: NonZeroU64::new(7),
    };
    let keeping = tokio::spawn(keep(makes, seen, stop.clone()));
    for height in 1..=23 {
        bench.block();
        tip.send_replace(height);
        if height % 5 == 0 {
            while super::make::heights(&snapshots).last() != Some(&height) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    }
    while bench.store.earliest().unwrap() != 17 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.cancel();
    keeping.await.unwrap().unwrap();
    assert_eq!(super::make::heights(&snapshots), [15, 20]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_manifest_with_any_byte_changed_is_refused_or_names_other_chunks(at: prop::sample::Index, bit in 0u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let (_bench, height) = chain(dir.path());
        let (manifest, chunks) = files(dir.path(), height);
        trusted(&manifest).unwrap();
        let mut bytes = manifest;
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // What is not certified is the chunks' hashes and their sum, and those the state's root tells of.
        if let Ok(mut trusted) = trusted(&bytes) {
            let taken = chunks.iter().try_for_each(|chunk| trusted.take(chunk));
            let sum_alone = at + 8 >= bytes.len();
            prop_assert!(taken.is_err() || sum_alone);
        }
    }

    #[test]
    fn bytes_of_any_kind_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(trusted(&bytes).is_err());
    }
}
