//! Making snapshots of this node's own state, and keeping the newest.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
};

use assay_primitives::{Hash32, encode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{CHUNK_BYTES, Chunk, MAX_CHUNK_BYTES, MAX_MANIFEST_BYTES, MAX_STATE_BYTES, Manifest};
use crate::store::{Store, StoreFault};

/// Snapshots that are kept: who has begun to fetch one can go on when the next is there.
const KEPT: usize = 2;
/// The manifest's file.
pub(super) const MANIFEST: &str = "manifest";

/// What a node makes snapshots of, where, and how often.
pub struct Makes {
    /// The store.
    pub store: Arc<Store>,
    /// The folder.
    pub dir: PathBuf,
    /// Blocks between two; `None` makes none.
    pub every: Option<NonZeroU64>,
    /// Blocks that the store keeps; `None` keeps all.
    pub keep_blocks: Option<NonZeroU64>,
}

/// Why no snapshot was made.
#[derive(Debug, thiserror::Error)]
pub(super) enum MakeError {
    #[error(transparent)]
    Store(#[from] StoreFault),
    #[error("the state cannot be read: {0}")]
    State(#[from] assay_ledger::StoreError),
    #[error("cannot write {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("the state has {0} bytes, a snapshot takes at most {MAX_STATE_BYTES}")]
    TooLarge(u64),
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> MakeError {
    let path = path.to_owned();
    move |source| MakeError::Io { path, source }
}

/// The heights of snapshots in a folder, ascending.
pub(super) fn heights(dir: &Path) -> Vec<u64> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<u64> = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    found.sort_unstable();
    found
}

/// A chunk's file.
pub(super) fn chunk_path(dir: &Path, height: u64, index: u32) -> PathBuf {
    dir.join(height.to_string()).join(index.to_string())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), MakeError> {
    let mut file = File::create(path).map_err(failed(path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed(path))
}

/// Cuts entries into chunks.
fn cut(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Chunk> {
    let (mut chunks, mut size) = (Vec::<Chunk>::new(), usize::MAX);
    for (key, value) in entries {
        let bytes = key.len() + value.len() + 8;
        if size.saturating_add(bytes) > CHUNK_BYTES {
            chunks.push(Chunk::new());
            size = 4;
        }
        size += bytes;
        if let Some(chunk) = chunks.last_mut() {
            chunk.push((key, value));
        }
    }
    chunks
}

/// Makes a snapshot of what the store is at now; returns its height.
pub(super) fn make(store: &Store, dir: &Path) -> Result<u64, MakeError> {
    use assay_ledger::StateRead as _;

    let view = store.snapshot();
    let tip = view.tip()?;
    let height = tip.height;
    let missing = |what: &str| assay_ledger::StoreError::backend(format!("{what} of block {height} is missing"));
    let signed = store.signed_header(height)?.ok_or_else(|| missing("the header"))?;
    let mut changes = Vec::new();
    for (first, next) in store.set_changes(height)? {
        let signed = store.signed_header(first - 1)?.ok_or_else(|| missing("a header before that"))?;
        changes.push(assay_primitives::light::SetChange { signed, next });
    }
    let changed = signed.header.validators_hash != signed.header.next_validators_hash;
    let next = if changed { Some(store.validators(height + 1)?) } else { None };
    let block = store.block(height)?.ok_or_else(|| missing("the body"))?;

    let unfinished = dir.join("unfinished");
    // Of a run that was ended in the middle.
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).map_err(failed(&unfinished))?;
    }
    fs::create_dir_all(&unfinished).map_err(failed(&unfinished))?;
    let (mut hashes, mut bytes) = (Vec::new(), 0);
    for (index, chunk) in cut(view.scan(b"")?).into_iter().enumerate() {
        let encoded = encode(&chunk);
        bytes += encoded.len() as u64;
        if bytes > MAX_STATE_BYTES || encoded.len() > MAX_CHUNK_BYTES {
            return Err(MakeError::TooLarge(bytes));
        }
        write(&unfinished.join(index.to_string()), &encoded)?;
        hashes.push(Hash32::digest(&encoded));
    }
    let manifest = Manifest { block, certificate: signed.certificate, changes, next, chunks: hashes, bytes };
    let manifest = encode(&manifest);
    if manifest.len() > MAX_MANIFEST_BYTES {
        return Err(MakeError::TooLarge(manifest.len() as u64));
    }
    write(&unfinished.join(MANIFEST), &manifest)?;
    let whole = dir.join(height.to_string());
    fs::rename(&unfinished, &whole).map_err(failed(&whole))?;
    let all = heights(dir);
    for old in &all[..all.len().saturating_sub(KEPT)] {
        let old = dir.join(old.to_string());
        fs::remove_dir_all(&old).map_err(failed(&old))?;
    }
    Ok(height)
}

/// Makes snapshots and forgets old blocks while a chain goes on, until it is told to stop.
///
/// # Errors
/// If the disk fails. A state that is too large for a snapshot is only warned of.
pub async fn keep(makes: Makes, mut tip: watch::Receiver<u64>, stop: CancellationToken) -> eyre::Result<()> {
    let Makes { store, dir, every, keep_blocks } = makes;
    let mut last = heights(&dir).last().copied().unwrap_or(0);
    loop {
        let height = *tip.borrow_and_update();
        if let Some(keep) = keep_blocks {
            prune(&store, keep, &stop).await?;
        }
        if every.is_some_and(|every| height >= last.saturating_add(every.get())) {
            let (store, dir) = (Arc::clone(&store), dir.clone());
            last = match tokio::task::spawn_blocking(move || make(&store, &dir)).await? {
                Ok(made) => {
                    tracing::info!(height = made, "snapshot made");
                    made
                }
                Err(MakeError::TooLarge(bytes)) => {
                    tracing::warn!(bytes, "the state is too large for a snapshot: nodes that join execute all blocks");
                    height
                }
                Err(e) => return Err(e.into()),
            };
        }
        tokio::select! {
            changed = tip.changed() => if changed.is_err() { return Ok(()) },
            () = stop.cancelled() => return Ok(()),
        }
    }
}

async fn prune(store: &Arc<Store>, keep: NonZeroU64, stop: &CancellationToken) -> eyre::Result<()> {
    while !stop.is_cancelled() {
        let store = Arc::clone(store);
        if tokio::task::spawn_blocking(move || store.prune(keep.get())).await?? == 0 {
            break;
        }
    }
    Ok(())
}
