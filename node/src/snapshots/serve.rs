//! Giving snapshots to peers.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::make::{MANIFEST, chunk_path, heights};
use crate::net::{InboundSnapshotAsk, SnapshotAsk, SnapshotReply};

fn read(path: &Path) -> SnapshotReply {
    match fs::read(path) {
        Ok(bytes) => SnapshotReply::Here(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => SnapshotReply::None,
        Err(e) => {
            tracing::warn!(path = %path.display(), "a snapshot cannot be read: {e}");
            SnapshotReply::None
        }
    }
}

fn answer(dir: &Path, ask: &SnapshotAsk) -> SnapshotReply {
    match *ask {
        SnapshotAsk::Newest => match heights(dir).last() {
            Some(height) => read(&dir.join(height.to_string()).join(MANIFEST)),
            None => SnapshotReply::None,
        },
        SnapshotAsk::Chunk { height, index } => read(&chunk_path(dir, height, index)),
    }
}

/// Answers peers from a folder, one at a time, until it is told to stop.
///
/// # Errors
/// If the thread that reads dies.
pub async fn serve(
    dir: PathBuf,
    mut asks: mpsc::Receiver<InboundSnapshotAsk>,
    stop: CancellationToken,
) -> eyre::Result<()> {
    loop {
        let asked = tokio::select! {
            asked = asks.recv() => asked,
            () = stop.cancelled() => None,
        };
        let Some(asked) = asked else { return Ok(()) };
        let (here, ask) = (dir.clone(), asked.ask.clone());
        let reply = tokio::task::spawn_blocking(move || answer(&here, &ask)).await?;
        asked.answer(reply);
    }
}
