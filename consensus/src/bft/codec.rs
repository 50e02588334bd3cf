//! How the engine's messages travel and rest in its write-ahead log: borsh, with nothing left over.

use assay_primitives::Signature;
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use malachitebft_codec::{Codec, HasEncodedLen};
use malachitebft_core_consensus::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use malachitebft_core_types::{
    CommitCertificate, CommitSignature, ExtendedCommitCertificate, PolkaCertificate, Round, ValidatorProof,
    VoteExtensions,
};
use malachitebft_engine::util::streaming::StreamMessage;
use malachitebft_sync::{RawDecidedValue, Request, Response, Status, ValueResponse};
use std::io;

use super::{
    context::{Address, BlockId, Ctx, Height},
    parts::Part,
};

/// The one codec of all messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BorshCodec;

macro_rules! borsh_codec {
    ($($message:ty),* $(,)?) => {$(
        impl Codec<$message> for BorshCodec {
            type Error = io::Error;
            fn decode(&self, bytes: Bytes) -> io::Result<$message> {
                <$message>::try_from_slice(&bytes)
            }
            fn encode(&self, message: &$message) -> io::Result<Bytes> {
                borsh::to_vec(message).map(Into::into)
            }
        }
    )*};
}

borsh_codec!(
    Part,
    SignedConsensusMsg<Ctx>,
    LivenessMsg<Ctx>,
    StreamMessage<Part>,
    ProposedValue<Ctx>,
    PolkaCertificate<Ctx>,
    Status<Ctx>,
    Request<Ctx>,
);

/// By hand: the engine has no borsh for it.
impl Codec<ValidatorProof<Ctx>> for BorshCodec {
    type Error = io::Error;
    fn decode(&self, bytes: Bytes) -> io::Result<ValidatorProof<Ctx>> {
        let (key, peer, signature) = <(Vec<u8>, Vec<u8>, Signature)>::try_from_slice(&bytes)?;
        Ok(ValidatorProof::new(key, peer, signature))
    }
    fn encode(&self, proof: &ValidatorProof<Ctx>) -> io::Result<Bytes> {
        borsh::to_vec(&(&proof.public_key, &proof.peer_id, &proof.signature)).map(Into::into)
    }
}

#[derive(BorshSerialize, BorshDeserialize)]
struct RawValue {
    height: Height,
    round: Round,
    block: BlockId,
    signatures: Vec<(Address, Signature)>,
    bytes: Vec<u8>,
}

/// An extended certificate without extensions, which this chain does not use.
pub(crate) fn extended(certificate: CommitCertificate<Ctx>) -> ExtendedCommitCertificate<Ctx> {
    ExtendedCommitCertificate::from_commit_certificate_and_extensions(certificate, VoteExtensions::default())
}

/// By hand: the engine has no borsh for extended certificates.
impl Codec<Response<Ctx>> for BorshCodec {
    type Error = io::Error;
    fn decode(&self, bytes: Bytes) -> io::Result<Response<Ctx>> {
        let (start_height, raw) = <(Height, Vec<RawValue>)>::try_from_slice(&bytes)?;
        let values = raw.into_iter().map(|value| {
            let certificate = CommitCertificate {
                height: value.height,
                round: value.round,
                value_id: value.block,
                commit_signatures: value.signatures.into_iter().map(|(a, s)| CommitSignature::new(a, s)).collect(),
            };
            RawDecidedValue::new(value.bytes.into(), extended(certificate))
        });
        Ok(Response::ValueResponse(ValueResponse::new(start_height, values.collect())))
    }
    fn encode(&self, message: &Response<Ctx>) -> io::Result<Bytes> {
        let Response::ValueResponse(response) = message;
        let raw = response.values.iter().map(|value| RawValue {
            height: value.certificate.height,
            round: value.certificate.round,
            block: value.certificate.value_id,
            signatures: value.certificate.commit_signatures.iter().map(|s| (s.address, s.signature)).collect(),
            bytes: value.value_bytes.to_vec(),
        });
        borsh::to_vec(&(response.start_height, raw.collect::<Vec<_>>())).map(Into::into)
    }
}

impl HasEncodedLen<Response<Ctx>> for BorshCodec {
    fn encoded_len(&self, message: &Response<Ctx>) -> io::Result<usize> {
        // start height + vector length, then per value: height, round, id, two lengths, signatures, bytes.
        let Response::ValueResponse(response) = message;
        let values = response.values.iter().map(|value| {
            let round = if value.certificate.round.is_defined() { 5 } else { 1 };
            8 + round + 32 + 4 + 96 * value.certificate.commit_signatures.len() + 4 + value.value_bytes.len()
        });
        Ok(12 + values.sum::<usize>())
    }
}
