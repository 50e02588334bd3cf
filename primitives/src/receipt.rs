//! What a client keeps of an answer: everything needed to check it offline, knowing only the genesis hash.
//!
//! ```text
//! genesis hash --> canonical genesis --> genesis validator set --certificates--> header --> state root
//! state root --proof--> "this ModelId is registered", "this miner is registered"
//! ModelId --> outline, verifying key;  request + response + binding --> proof holds
//! ```

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    Signed, SignedHeader,
    light::SetChange,
    task::{Request, Response},
};

/// Bytes shown as lowercase hexadecimal in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Blob(pub Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex::decode(<String as Deserialize>::deserialize(deserializer)?).map(Blob).map_err(D::Error::custom)
    }
}

/// One entry of the state with the proof that the header's state root contains it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFact {
    /// The state key.
    pub key: Blob,
    /// The value under it.
    pub value: Blob,
    /// The Merkle path.
    pub proof: Blob,
}

/// The version this crate writes and reads.
pub const RECEIPT_VERSION: u16 = 2;

/// The zero-knowledge proof of an answer.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "system", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReceiptProof {
    /// Sumchecks over a commitment to the weights that the model's outline carries; its hash stands in the response.
    Sumcheck {
        /// The proof.
        proof: Blob,
    },
    /// 128 bytes under a key whose hash the model's registration carries.
    Groth16 {
        /// The verifier's key.
        key: Blob,
        /// The proof.
        proof: Blob,
    },
    /// None: a text, which whoever has the model makes again.
    Replay {},
}

impl ReceiptProof {
    /// The proof system's name.
    pub fn system(&self) -> &'static str {
        match self {
            ReceiptProof::Sumcheck { .. } => "sumcheck",
            ReceiptProof::Groth16 { .. } => "groth16",
            ReceiptProof::Replay {} => "replay",
        }
    }
}

/// A receipt. Its JSON form is canonical: two-space indentation, keys in this order, one final newline.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// [`RECEIPT_VERSION`].
    pub version: u16,
    /// The canonical chain spec; its hash is the genesis hash.
    pub genesis: Blob,
    /// What was asked.
    pub request: Signed<Request>,
    /// What was answered.
    pub response: Signed<Response>,
    /// The zero-knowledge proof of the answer.
    pub proof: ReceiptProof,
    /// The committed model without its weights, or the hashes of a language model's files; its id is the `ModelId`.
    pub outline: Blob,
    /// Validator-set changes between genesis and `header`.
    pub changes: Vec<SetChange>,
    /// The final header whose state the facts belong to.
    pub header: SignedHeader,
    /// The model's registration.
    pub model_fact: StateFact,
    /// The miner's registration.
    pub miner_fact: StateFact,
}

/// Why a text is not a receipt.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptFormatError {
    /// Not the JSON of a receipt.
    #[error("not a receipt: {0}")]
    Json(#[from] serde_json::Error),
    /// The same content, written otherwise than the tool writes it.
    #[error("the receipt is not in its canonical form: it was edited after it was written")]
    NotCanonical,
    /// Another version.
    #[error("receipt version {0} is not known to this program, which reads version {RECEIPT_VERSION}")]
    Version(u16),
}

impl Receipt {
    /// The canonical JSON text.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a receipt holds only strings, numbers and lists");
        text.push('\n');
        text
    }

    /// Reads a receipt; any byte that differs from the canonical form is an error.
    pub fn from_json(text: &str) -> Result<Self, ReceiptFormatError> {
        let receipt: Receipt = serde_json::from_str(text)?;
        if receipt.version != RECEIPT_VERSION {
            return Err(ReceiptFormatError::Version(receipt.version));
        }
        if receipt.to_json() != text {
            return Err(ReceiptFormatError::NotCanonical);
        }
        Ok(receipt)
    }
}
