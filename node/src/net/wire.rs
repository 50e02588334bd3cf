//! What is said on the inference protocol, and how: `u32` length, big endian, then borsh. A length above the limit is
//! refused before anything is read; bytes that do not decode exactly are refused too.

use std::{io, marker::PhantomData};

use assay_primitives::{
    Signed,
    task::{Request, Response},
};
use async_trait::async_trait;
use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};

/// Largest encoded [`Ask`], in bytes.
pub const MAX_ASK_BYTES: usize = 256 * 1024;
/// Largest encoded [`Reply`], in bytes.
pub const MAX_REPLY_BYTES: usize = 1024 * 1024;
/// Longest reason in a refusal that is sent, in bytes.
const MAX_REASON_BYTES: usize = 400;

/// A request for inference on its way to a miner.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Ask {
    /// What is asked, signed by the requester.
    pub request: Signed<Request>,
    /// Whether the proof should come with the answer even where the model's policy leaves it for later.
    pub want_proof: bool,
    /// Whether a `groth16` proof should come too, for a receipt: 128 bytes, where the model has keys for it.
    pub want_compact: bool,
}

/// What a miner replies.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Reply {
    /// It did the work.
    Answer {
        /// What it answers, signed.
        response: Box<Signed<Response>>,
        /// The proof whose hash stands in the response.
        proof: Option<Vec<u8>>,
        /// The `groth16` proof, if it was asked for and the miner has the model's keys.
        compact: Option<Vec<u8>>,
    },
    /// It did not.
    Refused {
        /// The kind of reason.
        code: RefusalCode,
        /// The reason, for people.
        reason: String,
    },
}

impl Reply {
    /// A refusal; the reason is cut to 400 bytes.
    pub fn refused(code: RefusalCode, reason: impl ToString) -> Self {
        Reply::Refused { code, reason: cut(reason.to_string()) }
    }
}

/// A reason of at most 400 bytes.
pub(super) fn cut(mut reason: String) -> String {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}

/// Why work was refused, for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RefusalCode {
    /// The input is none of the model's, or the ask is otherwise not well formed.
    Malformed,
    /// The request carries an empty signature.
    Unsigned,
    /// The signature does not hold for this requester, this content and this chain.
    BadSignature,
    /// Another miner is addressed, or another market.
    NotForMe,
    /// The request is of an epoch other than the chain's current or last.
    Epoch,
    /// This requester used this nonce before.
    Replay,
    /// The miner does not serve that model.
    UnknownModel,
    /// The requester is neither a validator nor has enough money.
    NotAllowed,
    /// Too many asks from this peer or requester; try again in a while.
    RateLimited,
    /// Too much work waits already; try again in a moment.
    Busy,
    /// The requester owes the miner as much as it gives credit for; to be paid on chain.
    PaymentDue,
    /// The answer to go on from does not begin as the model begins it.
    OtherBeginning,
    /// The node takes no asks, or could not do the work for a reason of its own.
    Unavailable,
}

impl RefusalCode {
    /// The same ask may succeed a moment later.
    pub fn is_passing(self) -> bool {
        matches!(self, RefusalCode::Busy | RefusalCode::Epoch | RefusalCode::RateLimited | RefusalCode::PaymentDue)
    }
}

fn invalid(reason: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_string())
}

/// Reads one length-prefixed value of at most `limit` bytes.
pub(crate) async fn read<T: BorshDeserialize>(
    what: &'static str,
    limit: usize,
    io: &mut (impl AsyncRead + Unpin + Send),
) -> io::Result<T> {
    let mut prefix = [0; 4];
    io.read_exact(&mut prefix).await?;
    let length = u32::from_be_bytes(prefix);
    if length as usize > limit {
        return Err(invalid(format!("{what}: at most {limit} bytes are taken, {length} were announced")));
    }
    // The buffer grows with what arrives, not with what was announced.
    let mut bytes = Vec::new();
    io.take(u64::from(length)).read_to_end(&mut bytes).await?;
    if bytes.len() != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    assay_primitives::decode(what, &bytes).map_err(invalid)
}

/// Writes one length-prefixed value of at most `limit` bytes.
pub(crate) async fn write<T: BorshSerialize>(
    what: &'static str,
    limit: usize,
    io: &mut (impl AsyncWrite + Unpin + Send),
    value: &T,
) -> io::Result<()> {
    let bytes = assay_primitives::encode(value);
    if bytes.len() > limit {
        return Err(invalid(format!("{what}: at most {limit} bytes are sent, found {}", bytes.len())));
    }
    let length = u32::try_from(bytes.len()).map_err(invalid)?;
    io.write_all(&length.to_be_bytes()).await?;
    io.write_all(&bytes).await?;
    io.flush().await
}

/// A codec of asks and replies, each with its most bytes.
pub(super) struct Codec<Q, R, const MAX_ASK: usize, const MAX_REPLY: usize>(PhantomData<fn() -> (Q, R)>);

impl<Q, R, const MAX_ASK: usize, const MAX_REPLY: usize> Default for Codec<Q, R, MAX_ASK, MAX_REPLY> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Q, R, const MAX_ASK: usize, const MAX_REPLY: usize> Clone for Codec<Q, R, MAX_ASK, MAX_REPLY> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// The codec of `/assay/<genesis>/infer/1`.
pub(super) type Infer = Codec<Ask, Reply, MAX_ASK_BYTES, MAX_REPLY_BYTES>;

#[async_trait]
impl<Q, R, const MAX_ASK: usize, const MAX_REPLY: usize> request_response::Codec for Codec<Q, R, MAX_ASK, MAX_REPLY>
where
    Q: BorshDeserialize + BorshSerialize + Send + Sync + 'static,
    R: BorshDeserialize + BorshSerialize + Send + Sync + 'static,
{
    type Protocol = StreamProtocol;
    type Request = Q;
    type Response = R;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Q> {
        read("ask", MAX_ASK, io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<R> {
        read("reply", MAX_REPLY, io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        ask: Q,
    ) -> io::Result<()> {
        write("ask", MAX_ASK, io, &ask).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        reply: R,
    ) -> io::Result<()> {
        write("reply", MAX_REPLY, io, &reply).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::{
        AccountId, Hash32, ModelId, Signature,
        task::{Input, Output},
    };
    use futures::{executor::block_on, io::Cursor};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn ask(input: Vec<i16>, nonce: [u8; 16], want_proof: bool) -> Ask {
        let body = Request {
            requester: AccountId([1; 32]),
            miner: AccountId([2; 32]),
            subnet: 1,
            model: ModelId([3; 32]),
            epoch: 4,
            nonce,
            input: Input::Numbers(input),
        };
        Ask { request: Signed { body, signature: Signature([5; 64]) }, want_proof, want_compact: !want_proof }
    }

    fn answer(output: Vec<i32>, proof: Option<Vec<u8>>) -> Reply {
        let body = Response {
            miner: AccountId([2; 32]),
            request: Hash32([1; 32]),
            model: ModelId([3; 32]),
            input: Hash32([4; 32]),
            output: Output::Numbers(output),
            proof: proof.as_deref().map(Hash32::digest),
        };
        let compact = proof.as_ref().map(|proof| proof.iter().copied().take(128).collect());
        Reply::Answer { response: Box::new(Signed { body, signature: Signature([5; 64]) }), proof, compact }
    }

    fn written<T: BorshSerialize>(value: &T, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        block_on(write("value", limit, &mut bytes, value)).map(|()| bytes)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(input in vec(any::<i16>(), 0..200), nonce: [u8; 16], want: bool,
                                        output in vec(any::<i32>(), 0..50), proof in proptest::option::of(vec(any::<u8>(), 0..500))) {
            let ask = ask(input, nonce, want);
            let bytes = written(&ask, MAX_ASK_BYTES).unwrap();
            prop_assert_eq!(block_on(read::<Ask>("ask", MAX_ASK_BYTES, &mut Cursor::new(bytes))).unwrap(), ask);
            let reply = answer(output, proof);
            let bytes = written(&reply, MAX_REPLY_BYTES).unwrap();
            prop_assert_eq!(block_on(read::<Reply>("reply", MAX_REPLY_BYTES, &mut Cursor::new(bytes))).unwrap(), reply);
        }

        #[test]
        fn random_bytes_are_refused_and_never_panic(bytes in vec(any::<u8>(), 0..400)) {
            let mut framed = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
            framed.extend(&bytes);
            prop_assert!(block_on(read::<Ask>("ask", MAX_ASK_BYTES, &mut Cursor::new(framed.clone()))).is_err());
            let _ = block_on(read::<Reply>("reply", MAX_REPLY_BYTES, &mut Cursor::new(framed)));
            let _ = block_on(read::<Ask>("ask", MAX_ASK_BYTES, &mut Cursor::new(bytes)));
        }

        #[test]
        fn a_truncated_or_prolonged_message_is_refused(cut in 1usize..200) {
            let bytes = written(&ask(vec![1; 64], [7; 16], true), MAX_ASK_BYTES).unwrap();
            let short = bytes[..bytes.len() - cut].to_vec();
            prop_assert!(block_on(read::<Ask>("ask", MAX_ASK_BYTES, &mut Cursor::new(short))).is_err());
            let mut long = bytes.clone();
            long.extend(vec![0; cut]);
            let announced = u32::try_from(long.len() - 4).unwrap();
            long[..4].copy_from_slice(&announced.to_be_bytes());
            prop_assert!(block_on(read::<Ask>("ask", MAX_ASK_BYTES, &mut Cursor::new(long))).is_err());
        }
    }

    #[test]
    fn an_announced_length_above_the_limit_is_refused_before_anything_is_read() {
        let mut stream = Cursor::new(u32::MAX.to_be_bytes().to_vec());
        let error = block_on(read::<Ask>("ask", MAX_ASK_BYTES, &mut stream)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains("262144"), "{error}");
    }

    #[test]
    fn an_oversize_message_is_not_sent() {
        assert!(written(&answer(vec![], Some(vec![0; MAX_REPLY_BYTES])), MAX_REPLY_BYTES).is_err());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let Reply::Refused { reason, .. } = Reply::refused(RefusalCode::Busy, "é".repeat(1000)) else { panic!() };
        assert_eq!(reason.len(), 400);
    }
}
