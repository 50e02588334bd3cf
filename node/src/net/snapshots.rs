//! What is said of snapshots, with limits: see [`crate::snapshots`].

use std::io;

use async_trait::async_trait;
use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncWrite};
use libp2p::{StreamProtocol, request_response};

use super::wire;
use crate::snapshots::MAX_MANIFEST_BYTES;

/// Largest encoded ask, in bytes.
const MAX_ASK_BYTES: usize = 64;
/// Largest encoded reply, in bytes: a manifest, which may be larger than a chunk, and what stands around it.
const MAX_REPLY_BYTES: usize = MAX_MANIFEST_BYTES + 64;

/// What a node that joins asks.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SnapshotAsk {
    /// The newest snapshot's manifest.
    Newest,
    /// One of its chunks.
    Chunk {
        /// The snapshot's height.
        height: u64,
        /// Which, from 0.
        index: u32,
    },
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SnapshotReply {
    /// The manifest or chunk, encoded.
    Here(Vec<u8>),
    /// There is none.
    None,
    /// It is asked too often: ask again in a moment.
    Later,
}

/// The codec of `/assay/<genesis>/snapshot/1`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codec;

#[async_trait]
impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = SnapshotAsk;
    type Response = SnapshotReply;

    async fn read_request<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<SnapshotAsk> {
        wire::read("ask for a snapshot", MAX_ASK_BYTES, io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
    ) -> io::Result<SnapshotReply> {
        wire::read("part of a snapshot", MAX_REPLY_BYTES, io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        ask: SnapshotAsk,
    ) -> io::Result<()> {
        wire::write("ask for a snapshot", MAX_ASK_BYTES, io, &ask).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        reply: SnapshotReply,
    ) -> io::Result<()> {
        wire::write("part of a snapshot", MAX_REPLY_BYTES, io, &reply).await
    }
}
