//! Checking and making the engine's signatures: each message under its own domain and this chain's genesis.

use std::sync::{Arc, Mutex};

use assay_primitives::{AccountId, Hash32, Keypair, Signature, domain};
use async_trait::async_trait;
use malachitebft_core_types::{SignedMessage, SigningScheme as _, ValidatorProof, VoteExtensionScope};
use malachitebft_signing::{Error, Signer, VerificationResult, Verifier};

use super::{
    blocking::Blocking,
    context::{Ctx, Ed25519, Proposal, Vote},
    watermark::{Message, Watermark, WatermarkError},
};

type Extension = Vec<u8>;

/// The log's target that tells of each message before its signature is given out: `kind height round digest`.
pub const SIGNED: &str = "assay_consensus::signed";

fn extension_preimage(genesis: &Hash32, scope: &VoteExtensionScope<Ctx>, extension: &Extension) -> Vec<u8> {
    let content = (scope.height, scope.round, scope.value_id, scope.validator_address, extension);
    domain::preimage(domain::VOTE_EXTENSION, genesis, &content)
}

fn check(key: &AccountId, preimage: Option<Vec<u8>>, signature: &Signature) -> VerificationResult {
    VerificationResult::from_bool(
        preimage.is_some_and(|bytes| signature.verify("consensus message", key, &bytes).is_ok()),
    )
}

/// Checks signatures of this chain.
#[derive(Clone, Debug)]
pub(crate) struct ChainVerifier {
    pub(crate) genesis: Hash32,
}

#[async_trait]
impl Verifier<Ctx> for ChainVerifier {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Signature,
        key: &AccountId,
    ) -> Result<VerificationResult, Error> {
        Ok(check(key, vote.preimage(&self.genesis), signature))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Signature,
        key: &AccountId,
    ) -> Result<VerificationResult, Error> {
        Ok(check(key, proposal.preimage(&self.genesis), signature))
    }

    async fn verify_signed_vote_extension(
        &self,
        scope: &VoteExtensionScope<Ctx>,
        extension: &Extension,
        signature: &Signature,
        key: &AccountId,
    ) -> Result<VerificationResult, Error> {
        Ok(check(key, Some(extension_preimage(&self.genesis, scope, extension)), signature))
    }

    async fn verify_validator_proof(&self, proof: &ValidatorProof<Ctx>) -> Result<VerificationResult, Error> {
        Ok(match Ed25519::decode_public_key(&proof.public_key) {
            // No prefix of ours: the engine prescribes the preimage of this one.
            Ok(key) => check(&key, Some(proof.preimage()), &proof.signature),
            Err(_) => VerificationResult::Invalid,
        })
    }
}

/// Signs for the operator, never two conflicting messages: see [`Watermark`].
pub(crate) struct OperatorSigner {
    key: Keypair,
    genesis: Hash32,
    watermark: Arc<Mutex<Watermark>>,
    /// Where the watermark's disk is waited for.
    blocking: Blocking,
    /// Where a refusal is noted, for the reason the engine then stops.
    refusal: Arc<Mutex<Option<String>>>,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Watermark(#[from] WatermarkError),
    #[error("the engine asked to sign a message without a round; this is a fault in the engine, report it")]
    NoRound,
    #[error("the engine asked {signer} to sign for {named}; check that the node's key is the one it was started with")]
    OtherSigner { signer: AccountId, named: AccountId },
    #[error("the signing thread died; restart the node")]
    Died,
}

impl OperatorSigner {
    pub(crate) fn new(
        key: Keypair,
        genesis: Hash32,
        watermark: Watermark,
        blocking: Blocking,
        refusal: Arc<Mutex<Option<String>>>,
    ) -> Self {
        Self { key, genesis, watermark: Arc::new(Mutex::new(watermark)), blocking, refusal }
    }

    async fn record(&self, message: Option<Message>, named: AccountId) -> Result<Signature, Refused> {
        let message = message.ok_or(Refused::NoRound)?;
        let signer = self.key.account();
        if signer != named {
            return Err(Refused::OtherSigner { signer, named });
        }
        let signature = self.key.sign(&message.preimage(&self.genesis));
        let described = message.to_string();
        let watermark = Arc::clone(&self.watermark);
        // The write waits for the disk, so not on the runtime's threads.
        let recorded = self
            .blocking
            .run(move || watermark.lock().unwrap_or_else(std::sync::PoisonError::into_inner).record(&message));
        recorded.await.map_err(|_| Refused::Died)??;
        tracing::debug!(target: SIGNED, "{described}");
        Ok(signature)
    }

    async fn sign(&self, message: Option<Message>, named: AccountId) -> Result<Signature, Error> {
        self.record(message, named).await.map_err(|refused| {
            tracing::error!(%refused, "not signing");
            *self.refusal.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(refused.to_string());
            Error::from_source(refused)
        })
    }
}

#[async_trait]
impl Signer<Ctx> for OperatorSigner {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedMessage<Ctx, Vote>, Error> {
        let signature = self.sign(vote.content().map(Message::Vote), vote.validator.0).await?;
        Ok(SignedMessage::new(vote, signature))
    }

    async fn sign_proposal(&self, proposal: Proposal) -> Result<SignedMessage<Ctx, Proposal>, Error> {
        let signature = self.sign(proposal.content().map(Message::Proposal), proposal.proposer.0).await?;
        Ok(SignedMessage::new(proposal, signature))
    }

    async fn sign_vote_extension(
        &self,
        scope: VoteExtensionScope<Ctx>,
        extension: Extension,
    ) -> Result<SignedMessage<Ctx, Extension>, Error> {
        let signature = self.key.sign(&extension_preimage(&self.genesis, &scope, &extension));
        Ok(SignedMessage::new(extension, signature))
    }

    async fn sign_validator_proof(&self, public_key: Vec<u8>, peer_id: Vec<u8>) -> Result<ValidatorProof<Ctx>, Error> {
        let signature = self.key.sign(&ValidatorProof::<Ctx>::signing_bytes(&public_key, &peer_id));
        Ok(ValidatorProof::new(public_key, peer_id, signature))
    }
}
