//! For the fuzzer: what peers of the data plane send.

use futures::{executor::block_on, io::Cursor};
use libp2p::{StreamProtocol, request_response::Codec};
use tokio::sync::mpsc;

use super::{Frame, snapshots, texts, wire};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/assay/fuzz/1");
/// Bytes of the shortest frame, and of its length.
const SHORTEST: usize = 6;

/// Reads an ask or a reply of the protocol that the first byte chooses, as it comes on a stream. Whether it is one. From 128 on, the
/// length that comes before a message is put there first.
///
/// # Panics
/// If what was read is written otherwise.
pub fn exchange(bytes: &[u8]) -> bool {
    let Some((&kind, bytes)) = bytes.split_first() else { return false };
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let before: &[u8] = if kind < 128 { &[] } else { &length };
    let framed = [before, bytes].concat();
    let bytes = framed.as_slice();
    match kind % 6 {
        0 => ask(wire::Infer::default(), bytes),
        1 => reply(wire::Infer::default(), bytes),
        2 => ask(texts::Codec::default(), bytes),
        3 => told(bytes),
        4 => ask(snapshots::Codec::default(), bytes),
        _ => reply(snapshots::Codec::default(), bytes),
    }
}

fn ask<C: Codec<Protocol = StreamProtocol>>(mut codec: C, bytes: &[u8]) -> bool {
    let Ok(ask) = block_on(codec.read_request(&PROTOCOL, &mut Cursor::new(bytes))) else { return false };
    let mut written: Vec<u8> = Vec::new();
    block_on(codec.write_request(&PROTOCOL, &mut written, ask)).expect("what was read can be written");
    assert!(bytes.starts_with(&written), "an ask has one encoding");
    true
}

fn reply<C: Codec<Protocol = StreamProtocol>>(mut codec: C, bytes: &[u8]) -> bool {
    let Ok(reply) = block_on(codec.read_response(&PROTOCOL, &mut Cursor::new(bytes))) else { return false };
    let mut written: Vec<u8> = Vec::new();
    block_on(codec.write_response(&PROTOCOL, &mut written, reply)).expect("what was read can be written");
    assert!(bytes.starts_with(&written), "a reply has one encoding");
    true
}

/// The frames of a text, up to the last or to one that is none.
fn told(bytes: &[u8]) -> bool {
    let (heard, mut frames) = mpsc::channel(bytes.len() / SHORTEST + 1);
    let mut codec = texts::Codec { heard: Some(heard) };
    let whole = block_on(codec.read_response(&PROTOCOL, &mut Cursor::new(bytes))).is_ok();
    let mut written: Vec<u8> = Vec::new();
    while let Ok(frame) = frames.try_recv() {
        let frame: Frame = frame.expect("what was read is no error");
        block_on(wire::write("frame", texts::MAX_FRAME_BYTES, &mut written, &frame)).expect("as above");
    }
    assert!(bytes.starts_with(&written), "a frame has one encoding");
    whole
}
