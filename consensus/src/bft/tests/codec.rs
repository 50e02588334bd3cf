//! Every message of the engine survives its codec, and no bytes make a decoder panic.

use assay_primitives::{AccountId, Hash32, Keypair, Signature, Signed, VoteContent, VoteKind};
use bytes::Bytes;
use malachitebft_app_channel::app::types::{Keypair as NetworkKey, PeerId};
use malachitebft_codec::{Codec, HasEncodedLen};
use malachitebft_core_consensus::{LivenessMsg, ProposedValue, SignedConsensusMsg};
use malachitebft_core_types::{
    CommitCertificate, CommitSignature, NilOrVal, PolkaCertificate, PolkaSignature, Round, RoundCertificate,
    RoundCertificateType, RoundSignature, SignedMessage, ValidatorProof, Validity, VoteType,
};
use malachitebft_engine::util::streaming::{StreamContent, StreamId, StreamMessage};
use malachitebft_sync::{RawDecidedValue, Request, Response, Status, ValueRequest, ValueResponse};
use proptest::prelude::*;

use crate::bft::{
    ProposalContent,
    codec::{BorshCodec, extended},
    context::{Address, BlockId, Ctx, Height, Proposal, Vote},
    parts::{Init, Part},
};

const GENESIS: Hash32 = Hash32([1; 32]);

fn round_trip<T: PartialEq + std::fmt::Debug>(message: &T)
where
    BorshCodec: Codec<T>,
    <BorshCodec as Codec<T>>::Error: std::fmt::Debug,
{
    let bytes = BorshCodec.encode(message).unwrap();
    assert_eq!(&BorshCodec.decode(bytes.clone()).unwrap(), message);
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(BorshCodec.decode(longer.into()).is_err(), "trailing bytes of {message:?} were accepted");
    let shorter = bytes.slice(..bytes.len() - 1);
    assert!(BorshCodec.decode(shorter).is_err(), "a cut {message:?} was accepted");
}

fn peer() -> PeerId {
    PeerId::from_bytes(&NetworkKey::ed25519_from_bytes([3; 32]).unwrap().public().to_peer_id().to_bytes()).unwrap()
}

fn account() -> impl Strategy<Value = AccountId> {
    any::<[u8; 32]>().prop_map(AccountId)
}

fn hash() -> impl Strategy<Value = Hash32> {
    any::<[u8; 32]>().prop_map(Hash32)
}

fn signature() -> impl Strategy<Value = Signature> {
    prop::collection::vec(any::<u8>(), 64).prop_map(|bytes| Signature(bytes.try_into().unwrap()))
}

fn vote() -> impl Strategy<Value = Vote> {
    (any::<bool>(), any::<u64>(), 0..u32::MAX, prop::option::of(hash()), account()).prop_map(
        |(first, height, round, block, validator)| {
            let kind = if first { VoteKind::Prevote } else { VoteKind::Precommit };
            VoteContent { kind, height, round, block, validator }.into()
        },
    )
}

fn proposal() -> impl Strategy<Value = Proposal> {
    (any::<u64>(), 0..u32::MAX, hash(), prop::option::of(0..u32::MAX), account()).prop_map(
        |(height, round, block, valid_round, proposer)| {
            ProposalContent { height, round, block, valid_round, proposer }.into()
        },
    )
}

fn commit() -> impl Strategy<Value = CommitCertificate<Ctx>> {
    (any::<u64>(), 0..u32::MAX, hash(), prop::collection::btree_map(account(), signature(), 0..5)).prop_map(
        |(height, round, block, signatures)| CommitCertificate {
            height: Height(height),
            round: Round::new(round),
            value_id: BlockId(block),
            commit_signatures: signatures.into_iter().map(|(a, s)| CommitSignature::new(Address(a), s)).collect(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn votes_and_proposals_round_trip(vote in vote(), proposal in proposal(), signature in signature()) {
        round_trip(&SignedConsensusMsg::<Ctx>::Vote(SignedMessage::new(vote.clone(), signature)));
        round_trip(&SignedConsensusMsg::<Ctx>::Proposal(SignedMessage::new(proposal, signature)));
        let polka = PolkaCertificate::<Ctx> {
            height: vote.height,
            round: vote.round,
            value_id: BlockId(Hash32([2; 32])),
            polka_signatures: vec![PolkaSignature::new(vote.validator, signature)],
        };
        round_trip(&polka);
        let encoded = BorshCodec.encode(&LivenessMsg::<Ctx>::PolkaCertificate(polka)).unwrap();
        let decoded: LivenessMsg<Ctx> = BorshCodec.decode(encoded.clone()).unwrap();
        prop_assert_eq!(BorshCodec.encode(&decoded).unwrap(), encoded);
        let skip = RoundCertificate::<Ctx> {
            height: vote.height,
            round: vote.round,
            cert_type: RoundCertificateType::Skip,
            round_signatures: vec![RoundSignature::new(VoteType::Precommit, NilOrVal::Nil, vote.validator, signature)],
        };
        let encoded = BorshCodec.encode(&LivenessMsg::<Ctx>::SkipRoundCertificate(skip)).unwrap();
        let decoded: LivenessMsg<Ctx> = BorshCodec.decode(encoded.clone()).unwrap();
        prop_assert_eq!(BorshCodec.encode(&decoded).unwrap(), encoded);
    }

    #[test]
    fn sync_messages_round_trip_and_know_their_length(certificates in prop::collection::vec((commit(), prop::collection::vec(any::<u8>(), 0..300)), 0..4), low in 1u64..100, more in 0u64..50) {
        round_trip(&Status::<Ctx> { peer_id: peer(), tip_height: Height(low + more), history_min_height: Height(low) });
        round_trip(&Request::<Ctx>::ValueRequest(ValueRequest::new(Height(low)..=Height(low + more))));
        let values = certificates.into_iter().map(|(certificate, bytes)| RawDecidedValue::new(bytes.into(), extended(certificate)));
        let response = Response::<Ctx>::ValueResponse(ValueResponse::new(Height(low), values.collect()));
        round_trip(&response);
        prop_assert_eq!(BorshCodec.encoded_len(&response).unwrap(), BorshCodec.encode(&response).unwrap().len());
    }

    #[test]
    fn parts_values_and_proofs_round_trip(bytes in prop::collection::vec(any::<u8>(), 1..400), signature in signature(), block in hash(), sequence: u64, valid: bool) {
        let key = Keypair::from_secret([4; 32]);
        let init = Init { height: sequence, round: 2, valid_round: Some(1), proposer: key.account(), block, length: 9, digest: block };
        let init = Part::Init(Signed::new(init, &GENESIS, &key));
        for content in [StreamContent::Data(init.clone()), StreamContent::Data(Part::Data(bytes.clone())), StreamContent::Fin] {
            round_trip(&StreamMessage::new(StreamId::new(vec![7; 24].into()), sequence, content));
        }
        round_trip(&init);
        round_trip(&ProposedValue::<Ctx> {
            height: Height(sequence),
            round: Round::new(3),
            valid_round: Round::Nil,
            proposer: Address(key.account()),
            value: BlockId(block),
            validity: Validity::from_bool(valid),
        });
        round_trip(&ValidatorProof::<Ctx>::new(key.account().0.to_vec(), bytes, signature));
    }

    #[test]
    fn random_bytes_never_make_a_decoder_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..600), small in any::<bool>()) {
        if small {
            // Small numbers look like tags and lengths more often.
            bytes.iter_mut().for_each(|byte| *byte %= 4);
        }
        let bytes = Bytes::from(bytes);
        let _ = Codec::<Part>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<StreamMessage<Part>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<SignedConsensusMsg<Ctx>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<LivenessMsg<Ctx>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<ProposedValue<Ctx>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<PolkaCertificate<Ctx>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<Status<Ctx>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<Request<Ctx>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<Response<Ctx>>::decode(&BorshCodec, bytes.clone());
        let _ = Codec::<ValidatorProof<Ctx>>::decode(&BorshCodec, bytes);
    }
}

#[test]
fn a_vote_without_a_round_cannot_be_encoded_nor_signed() {
    let vote = Vote {
        kind: VoteType::Prevote,
        height: Height(1),
        round: Round::Nil,
        value: NilOrVal::Nil,
        validator: Address(AccountId([1; 32])),
        extension: None,
    };
    assert!(vote.preimage(&GENESIS).is_none());
    assert!(borsh::to_vec(&vote).is_err());
}
