//! Ed25519 keys and signatures. Verification is `verify_strict`: no malleable signature, no weak key.

use std::{fmt, str::FromStr};

use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{AccountId, Hash32, domain};

/// An ed25519 signature, 128 hexadecimal digits in text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

/// A signature that does not hold, and for what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// All 64 bytes are zero: nothing was signed.
    #[error("the {what} is not signed: its signature is empty")]
    Empty {
        /// The kind of message.
        what: &'static str,
    },
    /// The signature does not match the signer and the message.
    #[error("the signature on the {what} does not match its signer {signer} on this chain")]
    Invalid {
        /// The kind of message.
        what: &'static str,
        /// Who is said to have signed.
        signer: AccountId,
    },
}

impl Signature {
    /// Sixty-four zero bytes: the mark of something unsigned.
    pub const EMPTY: Signature = Signature([0; 64]);

    /// Checks the signature over raw bytes; `what` names the message in the error.
    pub fn verify(&self, what: &'static str, signer: &AccountId, message: &[u8]) -> Result<(), SignatureError> {
        if *self == Signature::EMPTY {
            return Err(SignatureError::Empty { what });
        }
        let invalid = SignatureError::Invalid { what, signer: *signer };
        let key = VerifyingKey::from_bytes(&signer.0).map_err(|_| invalid.clone())?;
        key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&self.0)).map_err(|_| invalid)
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}…)", hex::encode(&self.0[..4]))
    }
}

impl FromStr for Signature {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0u8; 64];
        if text.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(format!("a signature is 128 lowercase hexadecimal digits, found {} characters", text.len()));
        }
        Ok(Signature(bytes))
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A secret key with its account. The secret is wiped from memory on drop and never printed.
#[derive(Clone)]
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key of a 32-byte secret.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&secret))
    }

    /// A fresh key from a cryptographic random source of the caller's.
    pub fn generate(random: &mut (impl rand_core::CryptoRng + rand_core::RngCore)) -> Self {
        let mut secret = zeroize::Zeroizing::new([0u8; 32]);
        random.fill_bytes(secret.as_mut());
        Self(SigningKey::from_bytes(&secret))
    }

    /// The 32-byte secret, for writing a key file.
    pub fn secret(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The account this key signs for.
    pub fn account(&self) -> AccountId {
        AccountId(self.0.verifying_key().to_bytes())
    }

    /// Signs raw bytes. Callers pass a [`domain::preimage`].
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for Keypair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keypair({}, secret hidden)", self.account().short())
    }
}

/// A message that names its signer and its signing domain.
pub trait Signable: BorshSerialize {
    /// The domain tag, one of [`crate::domain`]'s constants.
    const DOMAIN: &'static str;
    /// The message's name in errors.
    const NAME: &'static str;
    /// The account whose signature makes it valid.
    fn signer(&self) -> AccountId;
}

/// A value with its signer's signature. Holding one does not mean it was checked: call [`Signed::verify`].
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed<T> {
    /// What was signed.
    pub body: T,
    /// The signer's signature over the body's preimage.
    pub signature: Signature,
}

impl<T: Signable> Signed<T> {
    /// Signs `body`.
    ///
    /// # Panics
    /// If `key` is not the key of the signer that the body names: that is a fault in the caller.
    pub fn new(body: T, genesis: &Hash32, key: &Keypair) -> Self {
        assert_eq!(body.signer(), key.account(), "a {} must be signed by the account it names", T::NAME);
        let signature = key.sign(&domain::preimage(T::DOMAIN, genesis, &body));
        Self { body, signature }
    }

    /// Checks the signature against the signer that the body names, on this chain.
    pub fn verify(&self, genesis: &Hash32) -> Result<(), SignatureError> {
        self.signature.verify(T::NAME, &self.body.signer(), &domain::preimage(T::DOMAIN, genesis, &self.body))
    }

    /// The hash of the body (not of the signature) under its domain: the message's id.
    pub fn id(&self, genesis: &Hash32) -> Hash32 {
        domain::hash(T::DOMAIN, genesis, &self.body)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Clone, BorshSerialize)]
    struct Note(AccountId, u64);
    impl Signable for Note {
        const DOMAIN: &'static str = domain::MESSAGE;
        const NAME: &'static str = "note";
        fn signer(&self) -> AccountId {
            self.0
        }
    }

    #[test]
    fn a_signature_holds_for_its_signer_message_and_chain_only() {
        let key = Keypair::from_secret([7; 32]);
        let chain = Hash32([1; 32]);
        let note = Signed::new(Note(key.account(), 5), &chain, &key);
        note.verify(&chain).unwrap();
        assert!(note.verify(&Hash32([2; 32])).is_err());
        assert!(Signed { body: Note(key.account(), 6), ..note.clone() }.verify(&chain).is_err());
        let other = Keypair::from_secret([8; 32]).account();
        assert!(Signed { body: Note(other, 5), ..note.clone() }.verify(&chain).is_err());
        let empty = Signed { signature: Signature::EMPTY, ..note };
        assert_eq!(empty.verify(&chain), Err(SignatureError::Empty { what: "note" }));
    }

    #[test]
    fn a_key_never_prints_its_secret() {
        let key = Keypair::from_secret([7; 32]);
        assert!(!format!("{key:?}").contains(&hex::encode([7u8; 4])));
    }
}
