//! What is asked of a language model, what it answers, and what a chain keeps of it.
//!
//! ```text
//! TextModel (hashes of its files) ──ModelId──> registered
//! TextInput (tokens, how to draw) ──model──> TextOutput (tokens, why it ended, hash of what was computed)
//! ```
//!
//! The answer is a function of the model and the input to the last bit: whoever has the files can make it again.

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{DecodeError, Hash32, ModelId, decode, domain, encode};

/// A finite `f32` of one encoding: zero has no sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Real(u32);

/// A number that is not finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a finite number")]
pub struct NotFinite;

impl Real {
    /// One.
    pub const ONE: Real = Real(1f32.to_bits());

    /// From a number.
    ///
    /// # Errors
    /// [`NotFinite`].
    pub fn new(value: f32) -> Result<Self, NotFinite> {
        // Zero with a sign and without are one number.
        if value.is_finite() { Ok(Self(if value == 0.0 { 0 } else { value.to_bits() })) } else { Err(NotFinite) }
    }

    /// The number.
    pub fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl BorshDeserialize for Real {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let bits = u32::deserialize_reader(reader)?;
        let canonical = Self::new(f32::from_bits(bits)).ok().filter(|real| real.0 == bits);
        canonical.ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidData, NotFinite))
    }
}

impl fmt::Display for Real {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl Serialize for Real {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f32(self.get())
    }
}

impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<f32 as Deserialize>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// How tokens are drawn; the parameters of the OpenAI API.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// 0 takes the likeliest token; more flattens the distribution. 0..=2.
    pub temperature: Real,
    /// The likeliest tokens that together have at least this probability are kept. Over 0, up to 1.
    pub top_p: Real,
    /// So many of the likeliest tokens are kept; 0 is all.
    pub top_k: u32,
    /// Tokens of at least this part of the likeliest one's probability are kept. 0..=1.
    pub min_p: Real,
    /// Taken from the logit of each token that was drawn before. -2..=2.
    pub presence_penalty: Real,
    /// Taken from a token's logit for each time it was drawn before. -2..=2.
    pub frequency_penalty: Real,
    /// Added to tokens' logits, -100..=100; tokens ascend, each once.
    pub bias: Vec<(u32, Real)>,
    /// Of the random numbers.
    pub seed: u64,
}

impl Draw {
    /// The likeliest token each time.
    pub fn greedy() -> Self {
        Self {
            temperature: Real::default(),
            top_p: Real::ONE,
            top_k: 0,
            min_p: Real::default(),
            presence_penalty: Real::default(),
            frequency_penalty: Real::default(),
            bias: Vec::new(),
            seed: 0,
        }
    }
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// JSON that a schema describes; the schema's text.
    Schema(String),
    /// Any JSON object.
    Object,
    /// A regular expression, of the whole text.
    Regex(String),
}

/// A text's beginning, and how it is to go on.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextInput {
    /// Tokens; at least one.
    pub prompt: Vec<u32>,
    /// The most tokens to draw; at least one.
    pub max_tokens: u32,
    /// How they are drawn.
    pub draw: Draw,
    /// Strings that end the text.
    pub stop: Vec<String>,
    /// Whether the model's own end is not one.
    pub ignore_end: bool,
    /// What the text must be.
    pub form: Option<Form>,
}

/// Why a text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The model ended it, or it has the form that was asked for.
    End,
    /// A stop string came: the one at this place among those asked for.
    Stop(u8),
    /// It has as many tokens as were asked for.
    Length,
}

/// What a language model gives.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextOutput {
    /// Tokens drawn, the model's own end among them.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub ending: Ending,
    /// Hash of the last hidden states from which the tokens were drawn: another model, precision or prompt that draws the
    /// same tokens has others.
    pub activations: Hash32,
}

/// One file of a model.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its name in the model's folder: 1 to 100 of letters, digits, `-`, `_` and `.`, not beginning with a dot.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its content.
    pub hash: Hash32,
}

impl ModelFile {
    /// Whether a file of a model may have this name.
    pub fn is_name(name: &str) -> bool {
        (1..=100).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    }
}

/// What a chain keeps of a language model: hashes of its files, and what anyone must know who asks it. Its encoding's hash is
/// the model's id.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextModel {
    /// Its files, by ascending name; at least one, at most [`MAX_FILES`].
    pub files: Vec<ModelFile>,
    /// Positions of a sequence, prompt and answer together.
    pub context: u32,
    /// Tokens there are.
    pub vocabulary: u32,
    /// Version of the arithmetic that its answers are made by: with another, the same weights give other tokens.
    pub arithmetic: u32,
}

/// Most files of a model.
pub const MAX_FILES: usize = 256;

/// What the bytes of a [`TextModel`] begin with.
const MAGIC: &[u8; 6] = b"ASYT\x01\x00";

impl TextModel {
    /// Whether bytes claim to be those of a text model.
    pub fn is_magic(bytes: &[u8]) -> bool {
        bytes.starts_with(b"ASYT")
    }

    /// The bytes that a chain keeps.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&MAGIC[..], &encode(self)].concat()
    }

    /// Reads and checks what [`TextModel::to_bytes`] writes, from anyone.
    ///
    /// # Errors
    /// [`DecodeError`], saying which field is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "text model";
        let wrong = |reason: String| DecodeError { what: WHAT, reason };
        let body = bytes.strip_prefix(MAGIC).ok_or_else(|| wrong("it does not begin as one of version 1".into()))?;
        let model: Self = decode(WHAT, body)?;
        model.check().map_err(wrong)?;
        Ok(model)
    }

    /// The model's id.
    pub fn id(&self) -> ModelId {
        ModelId(domain::hash(domain::TEXT_MODEL, &Hash32::ZERO, self).0)
    }

    /// Sizes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.bytes))
    }

    fn check(&self) -> Result<(), String> {
        if self.files.is_empty() || self.files.len() > MAX_FILES {
            return Err(format!("{} files; expected 1 to {MAX_FILES}", self.files.len()));
        }
        if let Some(file) = self.files.iter().find(|file| !ModelFile::is_name(&file.name)) {
            return Err(format!("a file named {:?}; expected letters, digits, `-`, `_` and `.`", file.name));
        }
        if self.files.windows(2).any(|pair| pair[0].name >= pair[1].name) {
            return Err("files do not ascend by name, each once".into());
        }
        if self.context < 2 || self.vocabulary < 2 {
            return Err(format!("a context of {} and {} tokens; expected at least 2", self.context, self.vocabulary));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn model() -> TextModel {
        let file = |name: &str| ModelFile { name: name.into(), bytes: 7, hash: Hash32::digest(name.as_bytes()) };
        let files = vec![file("config.json"), file("model.safetensors"), file("tokenizer.json")];
        TextModel { files, context: 512, vocabulary: 2048, arithmetic: 1 }
    }

    #[test]
    fn a_text_model_round_trips_and_every_field_changes_its_id() {
        let reference = model();
        assert_eq!(TextModel::from_bytes(&reference.to_bytes()).unwrap(), reference);
        let edits: [fn(&mut TextModel); 5] = [
            |m| m.context += 1,
            |m| m.vocabulary += 1,
            |m| m.arithmetic += 1,
            |m| m.files[1].hash = Hash32::ZERO,
            |m| m.files[2].bytes += 1,
        ];
        for edit in edits {
            let mut other = model();
            edit(&mut other);
            assert_ne!(other.id(), reference.id());
        }
    }

    #[test]
    fn a_text_model_of_wrong_names_order_or_numbers_is_refused() {
        type Edit = fn(&mut TextModel);
        let edits: [(Edit, &str); 6] = [
            (|m| m.files.clear(), "0 files"),
            (|m| m.files.swap(0, 1), "ascend"),
            (|m| m.files[1] = m.files[0].clone(), "ascend"),
            (|m| m.files[0].name = "../x".into(), "named"),
            (|m| m.files[0].name = ".hidden".into(), "named"),
            (|m| m.context = 0, "context"),
        ];
        for (edit, words) in edits {
            let mut other = model();
            edit(&mut other);
            let error = TextModel::from_bytes(&other.to_bytes()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let bytes = model().to_bytes();
        assert!((0..bytes.len()).all(|end| TextModel::from_bytes(&bytes[..end]).is_err()));
    }

    proptest! {
        #[test]
        fn a_real_is_the_same_number_in_json_and_borsh_or_is_refused(bits: u32) {
            let value = f32::from_bits(bits);
            let Ok(real) = Real::new(value) else {
                prop_assert!(decode::<Real>("real", &bits.to_le_bytes()).is_err());
                return Ok(());
            };
            prop_assert_eq!(real.get(), value);
            let json = serde_json::to_string(&real).unwrap();
            prop_assert_eq!(serde_json::from_str::<Real>(&json).unwrap(), real);
            prop_assert_eq!(decode::<Real>("real", &encode(&real)).unwrap(), real);
        }
    }

    #[test]
    fn zero_has_one_encoding() {
        assert_eq!(Real::new(-0.0).unwrap(), Real::default());
        assert!(decode::<Real>("real", &(-0f32).to_bits().to_le_bytes()).is_err());
    }
}
