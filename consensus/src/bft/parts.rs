//! How a block travels: a signed opening, then chunks.
//!
//! ```text
//! sequence 0: Init (height, round, proposer, block id, length, digest), signed by the round's proposer
//! sequence 1..=n: Data, CHUNK bytes each but the last
//! sequence n+1: the engine's end-of-stream mark; it carries nothing
//! ```
//!
//! Anybody may send parts, in any order, so what is held before the signed opening is bounded per sender and
//! in total, and what is held after it is bounded by the length that the expected proposer signed for.

use std::collections::BTreeMap;

use assay_primitives::{AccountId, Hash32, Signed, domain, keys::Signable};
use borsh::{BorshDeserialize, BorshSerialize};
use malachitebft_app_channel::app::types::PeerId;
use malachitebft_core_types as core;
use malachitebft_engine::util::streaming::{StreamContent, StreamId, StreamMessage};

use super::context::Ctx;

/// Bytes of a block in one part.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Streams without their opening that one sender may have.
const UNOPENED_PER_SENDER: usize = 4;
/// Streams with a valid opening, over all senders.
const OPENED: usize = 16;
/// The longest stream id accepted; ours have 24 bytes.
const LONGEST_ID: usize = 64;

/// What opens a stream.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Init {
    /// The height proposed for.
    pub(crate) height: u64,
    /// The round.
    pub(crate) round: u32,
    /// For a block proposed again: the round in which two thirds prevoted it.
    pub(crate) valid_round: Option<u32>,
    /// The proposer of the round.
    pub(crate) proposer: AccountId,
    /// The block id.
    pub(crate) block: Hash32,
    /// Bytes of the encoded block.
    pub(crate) length: u32,
    /// Hash of the encoded block.
    pub(crate) digest: Hash32,
}

impl Signable for Init {
    const DOMAIN: &'static str = domain::PROPOSAL_PART;
    const NAME: &'static str = "proposal part";
    fn signer(&self) -> AccountId {
        self.proposer
    }
}

/// One part of a block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Part {
    /// The signed opening.
    Init(Signed<Init>),
    /// A chunk.
    Data(Vec<u8>),
}

impl core::ProposalPart<Ctx> for Part {
    fn is_first(&self) -> bool {
        matches!(self, Part::Init(_))
    }
    fn is_last(&self) -> bool {
        // The engine's own mark ends a stream.
        false
    }
}

/// A block as the messages of one stream.
pub(crate) fn split(id: &StreamId, init: Signed<Init>, bytes: &[u8]) -> Vec<StreamMessage<Part>> {
    let contents = std::iter::once(StreamContent::Data(Part::Init(init)))
        .chain(bytes.chunks(CHUNK).map(|chunk| StreamContent::Data(Part::Data(chunk.to_vec()))))
        .chain(std::iter::once(StreamContent::Fin));
    (0u64..).zip(contents).map(|(sequence, content)| StreamMessage::new(id.clone(), sequence, content)).collect()
}

/// A block put together again, its digest checked; its content is not judged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assembled {
    /// The opening, its signature checked.
    pub(crate) init: Signed<Init>,
    /// The encoded block.
    pub(crate) bytes: Vec<u8>,
}

type Key = (PeerId, StreamId);

#[derive(Debug, Default)]
struct Stream {
    init: Option<Signed<Init>>,
    chunks: BTreeMap<u64, Vec<u8>>,
    held: usize,
    arrived: u64,
}

/// The streams that are not complete.
#[derive(Debug)]
pub(crate) struct Streams {
    max_block_bytes: usize,
    streams: BTreeMap<Key, Stream>,
    arrivals: u64,
}

impl Streams {
    /// Memory is bounded by `OPENED + 5` times `max_block_bytes` in all.
    pub(crate) fn new(max_block_bytes: usize) -> Self {
        Self { max_block_bytes, streams: BTreeMap::new(), arrivals: 0 }
    }

    /// Takes one part from `sender`; `admit` says whether an opening is by the expected proposer and properly
    /// signed. Returns the block when this part completes it.
    ///
    /// # Errors
    /// Why the part was refused.
    pub(crate) fn insert(
        &mut self,
        sender: PeerId,
        message: StreamMessage<Part>,
        admit: impl FnOnce(&Signed<Init>) -> Result<(), String>,
    ) -> Result<Option<Assembled>, String> {
        let StreamContent::Data(part) = message.content else { return Ok(None) };
        if message.stream_id.to_bytes().len() > LONGEST_ID {
            return Err(format!("a stream id has at most {LONGEST_ID} bytes"));
        }
        let key = (sender, message.stream_id);
        match part {
            Part::Init(init) => {
                if message.sequence != 0 {
                    return Err(format!("the opening has sequence 0, found {}", message.sequence));
                }
                if self.streams.get(&key).is_some_and(|stream| stream.init.is_some()) {
                    return Ok(None);
                }
                if init.body.length == 0 || init.body.length as usize > self.max_block_bytes {
                    self.streams.remove(&key);
                    return Err(format!(
                        "a block has 1..={} bytes, the opening says {}",
                        self.max_block_bytes, init.body.length
                    ));
                }
                if let Err(reason) = admit(&init) {
                    self.streams.remove(&key);
                    return Err(reason);
                }
                self.make_room_for_opened();
                self.stream(&key).init = Some(init);
            }
            Part::Data(chunk) => {
                let most = self.max_block_bytes.div_ceil(CHUNK) as u64;
                if chunk.is_empty() || chunk.len() > CHUNK || !(1..=most).contains(&message.sequence) {
                    return Err(format!("a chunk has 1..={CHUNK} bytes and sequence 1..={most}"));
                }
                if self.streams.get(&key).is_some_and(|stream| stream.chunks.contains_key(&message.sequence)) {
                    return Ok(None);
                }
                if self.streams.get(&key).is_none_or(|stream| stream.init.is_none()) {
                    self.make_room_for_unopened(&key, chunk.len())?;
                }
                let stream = self.stream(&key);
                stream.held += chunk.len();
                stream.chunks.insert(message.sequence, chunk);
            }
        }
        self.complete(&key)
    }

    /// Forgets streams for heights up to `height`.
    pub(crate) fn forget(&mut self, height: u64) {
        self.streams.retain(|_, stream| stream.init.as_ref().is_none_or(|init| init.body.height > height));
    }

    /// Bytes held over all streams.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.streams.values().map(|stream| stream.held).sum()
    }

    fn stream(&mut self, key: &Key) -> &mut Stream {
        self.arrivals += 1;
        let arrived = self.arrivals;
        self.streams.entry(key.clone()).or_insert_with(|| Stream { arrived, ..Stream::default() })
    }

    fn oldest(&self, choose: impl Fn(&Key, &Stream) -> bool) -> Option<Key> {
        let chosen = self.streams.iter().filter(|(key, stream)| choose(key, stream));
        chosen.min_by_key(|(_, stream)| stream.arrived).map(|(key, _)| key.clone())
    }

    fn make_room_for_opened(&mut self) {
        while self.streams.values().filter(|stream| stream.init.is_some()).count() >= OPENED {
            let Some(oldest) = self.oldest(|_, stream| stream.init.is_some()) else { break };
            self.streams.remove(&oldest);
        }
    }

    fn make_room_for_unopened(&mut self, key: &Key, more: usize) -> Result<(), String> {
        let unopened = |stream: &Stream| stream.init.is_none();
        let mine = |other: &Key| other.0 == key.0;
        loop {
            let by_sender = self.streams.iter().filter(|(other, stream)| mine(other) && unopened(stream));
            let (count, held) =
                by_sender.fold((0, 0), |(n, sum), (other, stream)| (n + usize::from(other != key), sum + stream.held));
            if count < UNOPENED_PER_SENDER && held + more <= self.max_block_bytes + CHUNK {
                break;
            }
            match self.oldest(|other, stream| mine(other) && unopened(stream) && other != key) {
                Some(oldest) => self.streams.remove(&oldest),
                None => {
                    self.streams.remove(key);
                    return Err("a sender may hold at most one block's bytes without an opening".into());
                }
            };
        }
        while self.streams.values().filter(|s| unopened(s)).map(|s| s.held).sum::<usize>() + more
            > 4 * (self.max_block_bytes + CHUNK)
        {
            let Some(oldest) = self.oldest(|_, stream| unopened(stream)) else { break };
            self.streams.remove(&oldest);
        }
        Ok(())
    }

    fn complete(&mut self, key: &Key) -> Result<Option<Assembled>, String> {
        let Some(stream) = self.streams.get(key) else { return Ok(None) };
        let Some(init) = &stream.init else { return Ok(None) };
        let length = init.body.length as usize;
        let count = length.div_ceil(CHUNK);
        if stream.held > length || stream.chunks.keys().next_back().is_some_and(|last| *last > count as u64) {
            self.streams.remove(key);
            return Err(format!("the opening says {length} bytes, the chunks hold more"));
        }
        if stream.chunks.len() < count {
            return Ok(None);
        }
        let Some(Stream { init: Some(init), chunks, .. }) = self.streams.remove(key) else { return Ok(None) };
        let bytes: Vec<u8> = chunks.into_values().flatten().collect();
        if bytes.len() != length || Hash32::digest(&bytes) != init.body.digest {
            return Err("the chunks do not make the block that the opening names".into());
        }
        Ok(Some(Assembled { init, bytes }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::Keypair;
    use malachitebft_app_channel::app::types::Keypair as NetworkKey;
    use proptest::prelude::*;

    use super::*;

    const GENESIS: Hash32 = Hash32([1; 32]);
    const LIMIT: usize = 4 * CHUNK;

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes(&NetworkKey::ed25519_from_bytes([n; 32]).unwrap().public().to_peer_id().to_bytes()).unwrap()
    }

    fn opening(bytes: &[u8]) -> Signed<Init> {
        let key = Keypair::from_secret([7; 32]);
        let init = Init {
            height: 3,
            round: 0,
            valid_round: None,
            proposer: key.account(),
            block: Hash32([4; 32]),
            length: bytes.len() as u32,
            digest: Hash32::digest(bytes),
        };
        Signed::new(init, &GENESIS, &key)
    }

    fn id(n: u8) -> StreamId {
        StreamId::new(vec![n; 24].into())
    }

    fn admit(init: &Signed<Init>) -> Result<(), String> {
        init.verify(&GENESIS).map_err(|e| e.to_string())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn parts_in_any_order_and_twice_make_the_block_once(len in 1usize..LIMIT, order in any::<u64>()) {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + i / 255) as u8).collect();
            let init = opening(&bytes);
            let mut messages = split(&id(1), init.clone(), &bytes);
            messages.extend(messages.clone());
            messages.sort_by_key(|m| Hash32::digest(&[m.sequence.to_le_bytes(), order.to_le_bytes()].concat()));
            let mut streams = Streams::new(LIMIT);
            let mut found = Vec::new();
            for message in messages {
                if let Some(block) = streams.insert(peer(1), message, admit).unwrap() {
                    found.push(block);
                }
            }
            prop_assert_eq!(&found[0], &Assembled { init, bytes });
            prop_assert!(streams.held() <= LIMIT);
        }
    }

    #[test]
    fn one_sender_cannot_fill_the_memory_nor_push_out_an_opened_stream() {
        let bytes = vec![9; 2 * CHUNK];
        let mut streams = Streams::new(LIMIT);
        let parts = split(&id(0), opening(&bytes), &bytes);
        streams.insert(peer(2), parts[0].clone(), admit).unwrap();
        streams.insert(peer(2), parts[1].clone(), admit).unwrap();
        for sender in 3..40 {
            for stream in 1..20 {
                for sequence in 1..=4 {
                    let chunk = StreamContent::Data(Part::Data(vec![0; CHUNK]));
                    let _ = streams.insert(peer(sender), StreamMessage::new(id(stream), sequence, chunk), admit);
                }
            }
        }
        assert!(streams.held() <= 4 * (LIMIT + CHUNK) + 2 * CHUNK, "{}", streams.held());
        let block = streams.insert(peer(2), parts[2].clone(), admit).unwrap();
        assert_eq!(block.unwrap().bytes, bytes);
    }

    #[test]
    fn an_oversize_forged_or_inconsistent_stream_is_refused() {
        let mut streams = Streams::new(LIMIT);
        let mut large = opening(&[1; 10]);
        large.body.length = LIMIT as u32 + 1;
        let message = |init: &Signed<Init>| StreamMessage::new(id(1), 0, StreamContent::Data(Part::Init(init.clone())));
        assert!(streams.insert(peer(1), message(&large), admit).unwrap_err().contains("bytes"));
        let mut forged = opening(&[1; 10]);
        forged.body.round = 5;
        assert!(streams.insert(peer(1), message(&forged), admit).unwrap_err().contains("signature"));
        streams.insert(peer(1), message(&opening(&[1; 10])), admit).unwrap();
        let other = StreamMessage::new(id(1), 1, StreamContent::Data(Part::Data(vec![2; 10])));
        assert!(streams.insert(peer(1), other, admit).is_err());
        assert_eq!(streams.held(), 0);
    }
}
