//! For the fuzzer: what peers of the engine send, as functions of bytes.

use std::io;

use assay_primitives::{AccountId, Hash32, Signature, Signed};
use bytes::Bytes;
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_codec::{Codec, HasEncodedLen as _};
use malachitebft_core_consensus::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use malachitebft_core_types::{PolkaCertificate, ValidatorProof};
use malachitebft_engine::util::streaming::{StreamContent, StreamId, StreamMessage};
use malachitebft_sync::{Request, Response, Status};

use super::{
    codec::BorshCodec,
    context::Ctx,
    parts::{CHUNK, Init, OPENED, Part, Streams},
};

/// Largest block of the streams below.
const LARGEST: usize = 4 * CHUNK;
/// Bytes of one step of the streams.
const STEP: usize = 5;
/// Most steps of one run: each may bring a whole chunk.
const STEPS: usize = 200;

/// Reads a message of the kind that the first byte chooses, as it comes from a peer or from the log. Whether it is one.
///
/// # Panics
/// If what was read is written otherwise, or has another length than it is said to have.
pub fn message(bytes: &[u8]) -> bool {
    let Some((&kind, bytes)) = bytes.split_first() else { return false };
    match kind % 10 {
        0 => read::<SignedConsensusMsg<Ctx>>(bytes).is_some(),
        1 => read::<LivenessMsg<Ctx>>(bytes).is_some(),
        2 => read::<StreamMessage<Part>>(bytes).is_some(),
        3 => read::<Part>(bytes).is_some(),
        4 => read::<ProposedValue<Ctx>>(bytes).is_some(),
        5 => read::<PolkaCertificate<Ctx>>(bytes).is_some(),
        6 => read::<Status<Ctx>>(bytes).is_some(),
        7 => read::<Request<Ctx>>(bytes).is_some(),
        8 => read::<Response<Ctx>>(bytes).is_some_and(|response| {
            let length = BorshCodec.encoded_len(&response).expect("what was read has a length");
            assert_eq!(length, bytes.len(), "the engine is told another length");
            true
        }),
        _ => read::<ValidatorProof<Ctx>>(bytes).is_some(),
    }
}

fn read<T>(bytes: &[u8]) -> Option<T>
where
    BorshCodec: Codec<T, Error = io::Error>,
{
    let message: T = BorshCodec.decode(Bytes::copy_from_slice(bytes)).ok()?;
    let again = BorshCodec.encode(&message).expect("what was read can be written");
    assert_eq!(&again[..], bytes, "a message has one encoding");
    Some(message)
}

/// Takes parts of blocks as anybody may send them, a step of five bytes each: from whom and of which stream, what, and two numbers.
/// How many blocks became whole.
///
/// # Panics
/// If more is held than the streams promise, or a block is not what its opening says.
pub fn parts(bytes: &[u8]) -> usize {
    let (mut streams, mut whole) = (Streams::new(LARGEST), 0);
    for step in bytes.chunks_exact(STEP).take(STEPS) {
        let [whose, what, at, low, high] = [step[0], step[1], step[2], step[3], step[4]];
        let number = usize::from(u16::from_le_bytes([low, high]));
        // Up to a little more than is taken.
        let length = number * (LARGEST + CHUNK) / usize::from(u16::MAX);
        let (sender, stream) = (whose % 8, whose / 8);
        let content = match what % 8 {
            0 | 1 => StreamContent::Data(Part::Init(opening(stream, length))),
            // The chunk that an honest block of this length has there.
            2..=5 => {
                let begin = usize::from(at).saturating_sub(1) * CHUNK;
                let held = length.saturating_sub(begin).min(CHUNK);
                StreamContent::Data(Part::Data(vec![stream; held]))
            }
            6 => StreamContent::Data(Part::Data(vec![low; number * 2])),
            _ if high < 8 => {
                streams.forget(u64::from(at));
                continue;
            }
            _ => StreamContent::Fin,
        };
        let sequence = if what % 8 < 2 { u64::from(at / 16) } else { u64::from(at) };
        let message =
            StreamMessage::new(StreamId::new(vec![stream; usize::from(stream) * 3].into()), sequence, content);
        // What the proposer of a round did not sign is not admitted.
        let admit = |_: &Signed<Init>| if what < 240 { Ok(()) } else { Err("not the proposer".to_owned()) };
        let taken = streams.insert(peer(sender), message, admit);
        assert!(streams.held() <= (OPENED + 5) * LARGEST, "{} bytes are held", streams.held());
        if let Ok(Some(block)) = taken {
            whole += 1;
            assert_eq!(block.bytes.len(), block.init.body.length as usize);
            assert_eq!(Hash32::digest(&block.bytes), block.init.body.digest);
        }
    }
    whole
}

/// The opening of a block of so many bytes, all of them the stream's number.
fn opening(stream: u8, length: usize) -> Signed<Init> {
    let body = Init {
        height: u64::from(stream),
        round: 0,
        valid_round: None,
        proposer: AccountId([stream; 32]),
        block: Hash32([stream; 32]),
        length: u32::try_from(length).unwrap_or(u32::MAX),
        digest: Hash32::digest(&vec![stream; length]),
    };
    Signed { body, signature: Signature([1; 64]) }
}

/// A peer by a number.
fn peer(number: u8) -> PeerId {
    // An identity holds its ed25519 key: multihash code and length, then the key's type and length.
    PeerId::from_bytes(&[&[0, 36, 8, 1, 18, 32][..], &[number; 32]].concat()).expect("an identity of 38 bytes")
}
