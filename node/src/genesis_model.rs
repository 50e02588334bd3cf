//! A model on a chain's first page, with the `groth16` key that its receipts are checked with.

use assay_chain_spec::GenesisModel;
use assay_circuits::{
    answer::compact,
    model::Model,
    proof::{SetupError, groth16::Groth16},
    relation::Relations,
};
use assay_primitives::{
    Hash32,
    receipt::Blob,
    text::{ModelFile, TextModel},
};

/// Most constraints of a circuit whose development keys every node makes anew when it starts: about two seconds.
const MOST_CONSTRAINTS: usize = 1 << 16;

/// Where a model's `groth16` key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptKey {
    /// Nowhere: its receipts are by `sumcheck`.
    None,
    /// Made from the seed of development networks, if the model is small enough; whoever likes can forge proofs for it.
    Development,
    /// A ceremony.
    Given(Vec<u8>),
}

/// A model for a chain spec.
///
/// # Errors
/// [`SetupError`] on a key that is none of the model's.
pub fn genesis_model(name: &str, model: &Model, key: ReceiptKey) -> Result<GenesisModel, SetupError> {
    let groth16 = match key {
        ReceiptKey::Given(key) => {
            compact::provenance(&model.outline(), &key)?;
            Some(Blob(key))
        }
        ReceiptKey::Development if is_small(model) => Some(Blob(compact::dev_keys(model)?.verifier_key().to_vec())),
        ReceiptKey::Development | ReceiptKey::None => None,
    };
    Ok(GenesisModel { name: name.into(), id: model.id(), bytes: Blob(model.to_bytes()), groth16 })
}

/// A language model for a chain spec.
pub fn genesis_text_model(name: &str, model: &TextModel) -> GenesisModel {
    GenesisModel { name: name.into(), id: model.id(), bytes: Blob(model.to_bytes()), groth16: None }
}

/// A language model that this program carries: files by ascending name.
#[derive(Clone, Copy, Debug)]
pub struct Carried {
    /// Names and contents.
    pub files: &'static [(&'static str, &'static [u8])],
    /// Positions of a sequence.
    pub context: u32,
    /// Tokens there are.
    pub vocabulary: u32,
}

/// The language model of the devnet's second subnet; see `assets/gloss/README.md`.
pub const GLOSS: Carried = Carried {
    files: &[
        ("config.json", include_bytes!("../../assets/gloss/config.json")),
        ("model.safetensors", include_bytes!("../../assets/gloss/model.safetensors")),
        ("tokenizer.json", include_bytes!("../../assets/gloss/tokenizer.json")),
        ("tokenizer_config.json", include_bytes!("../../assets/gloss/tokenizer_config.json")),
    ],
    context: 512,
    vocabulary: 2048,
};

impl Carried {
    /// What a chain keeps of it.
    pub fn committed(&self) -> TextModel {
        let file = |(name, bytes): &(&str, &[u8])| ModelFile {
            name: (*name).to_owned(),
            bytes: bytes.len() as u64,
            hash: Hash32::digest(bytes),
        };
        TextModel {
            files: self.files.iter().map(file).collect(),
            context: self.context,
            vocabulary: self.vocabulary,
            arithmetic: assay_inference::llm::ARITHMETIC,
        }
    }

    /// Its files' contents.
    pub fn contents(&self) -> Vec<&'static [u8]> {
        self.files.iter().map(|(_, bytes)| *bytes).collect()
    }
}

fn is_small(model: &Model) -> bool {
    let counts = Relations::of(model.graph()).ok().and_then(|relations| Groth16::counts(&relations).ok());
    counts.is_some_and(|counts| counts.constraints <= MOST_CONSTRAINTS)
}
