//! A model's tokenizer, with what its files say of special tokens and chat.

use std::{collections::HashMap, path::Path, sync::Arc};

use candle_core::quantized::{
    gguf_file::{Content, Value as Gguf, VersionedMagic},
    tokenizer::TokenizerFromGguf,
};
use serde::Deserialize;
use tokenizers::{
    AddedToken, Encoding, ModelWrapper, Tokenizer,
    decoders::{byte_fallback::ByteFallback, fuse::Fuse, sequence::Sequence as Decoders, strip::Strip},
    models::bpe::{BPE, Vocab},
    normalizers::{Prepend, Replace, Sequence as Normalizers},
};

use super::{
    config::{
        Config,
        gguf::{number, text},
    },
    constraint::Grammars,
    source::{Format, LoadError, Source},
    template::ChatTemplate,
    text::TextStream,
};
use crate::guard::guarded;

/// Text to tokens and back, and conversations to text.
#[derive(Clone, Debug)]
pub struct TextCodec {
    tokenizer: Arc<Tokenizer>,
    template: Option<ChatTemplate>,
    /// What each token stands for.
    bytes: Arc<Vec<Vec<u8>>>,
    /// Put before a text that is not a conversation.
    bos: Option<u32>,
    /// Ends of texts that files beside the description name.
    pub(crate) ends: Vec<u32>,
}

fn bad(reason: impl ToString) -> LoadError {
    // Some libraries add lines for those who mend them.
    LoadError::Tokenizer(reason.to_string().lines().next().unwrap_or_default().to_owned())
}

/// The most by which a normalizer may lengthen a text: a short prompt must not fill the memory.
const MOST_GROWTH: u64 = 64;

/// How much longer a normalizer may make a text, at most.
fn growth(normalizer: &serde_json::Value) -> Result<u64, LoadError> {
    match normalizer["type"].as_str() {
        Some("Sequence") => {
            let parts = normalizer["normalizers"].as_array().map_or(&[][..], Vec::as_slice);
            parts.iter().try_fold(1u64, |product, part| Ok(product.saturating_mul(growth(part)?)))
        }
        Some("Replace") => {
            let pattern = &normalizer["pattern"];
            let shortest = match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
                (Some(""), _) | (_, Some("")) => return Err(bad("its normalizer replaces nothing by something")),
                (Some(text), _) => text.len(),
                // What an expression matches may be one byte.
                _ => 1,
            };
            let by = normalizer["content"].as_str().map_or(0, str::len);
            Ok(by.div_ceil(shortest).max(1) as u64)
        }
        _ => Ok(1),
    }
}

impl TextCodec {
    /// Reads the tokenizer of an opened model at `path`.
    ///
    /// # Errors
    /// [`LoadError`], saying what is wrong with it.
    pub(crate) fn load(path: &Path, source: &Source) -> Result<Self, LoadError> {
        match source.format {
            Format::Safetensors => Self::from_folder(path, source),
            Format::Gguf => Self::from_gguf(source),
        }
    }

    /// The tokenizer itself.
    pub(crate) fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// The model's template, if it has one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Tokens that it knows, special ones among them.
    pub fn size(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Tokens of a text as the model takes it on its own: after the token that begins texts, if it has one.
    ///
    /// # Errors
    /// In words, if the tokenizer fails on it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        let tokens = self.encode_as_is(text)?;
        Ok(self.bos.filter(|b| tokens.first() != Some(b)).into_iter().chain(tokens).collect())
    }

    /// Tokens of a text that a template made: it has its special tokens in it.
    ///
    /// # Errors
    /// As [`TextCodec::encode`].
    pub fn encode_as_is(&self, text: &str) -> Result<Vec<u32>, String> {
        Ok(encode(&self.tokenizer, text, false)?.get_ids().to_vec())
    }

    /// Text of tokens, without special ones.
    ///
    /// # Errors
    /// In words, if the tokenizer fails on them.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, String> {
        let decoded = guarded(|| self.tokenizer.decode(tokens, true));
        decoded.map_err(|_| "the tokenizer fails on these tokens")?.map_err(|e| e.to_string())
    }

    /// Turns tokens into text as they come, up to one of the strings that end it.
    pub fn stream(&self, stop: Vec<String>) -> TextStream {
        TextStream::new(Arc::clone(&self.tokenizer), stop)
    }

    /// Makes constraints, where the tokenizer allows.
    pub fn grammars(&self, config: &Config) -> Option<Grammars> {
        let end = config.eos.first().or(self.ends.first())?;
        Grammars::new(&self.tokenizer, config.vocabulary, *end).ok()
    }

    /// The texts of special tokens.
    pub fn specials(&self) -> Vec<String> {
        let added = self.tokenizer.get_added_tokens_decoder();
        added.into_values().filter(|token| token.special).map(|token| token.content).collect()
    }

    /// What a token stands for in a text that shows special ones too.
    pub fn shown(&self, token: u32) -> Vec<u8> {
        let bytes = self.bytes(token);
        bytes.strip_prefix(&[0xff]).map_or(bytes.clone(), <[u8]>::to_vec)
    }

    /// What a token stands for, which need not be whole characters; a special token's begins with a byte of 255.
    pub fn bytes(&self, token: u32) -> Vec<u8> {
        self.bytes.get(token as usize).cloned().unwrap_or_default()
    }

    /// Characters that begin in a token's text; a special token has none.
    pub fn characters(&self, token: u32) -> usize {
        let bytes = self.bytes(token);
        if bytes.first() == Some(&0xff) { 0 } else { bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count() }
    }

    fn from_folder(folder: &Path, source: &Source) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Special {
            Text(String),
            Token { content: String },
        }
        #[derive(Deserialize)]
        struct Named {
            name: String,
            template: String,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Templates {
            One(String),
            Many(Vec<Named>),
        }
        #[derive(Default, Deserialize)]
        struct TokenizerConfig {
            bos_token: Option<Special>,
            eos_token: Option<Special>,
            chat_template: Option<Templates>,
            add_bos_token: Option<bool>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Ends {
            One(u32),
            Many(Vec<u32>),
        }
        #[derive(Default, Deserialize)]
        struct GenerationConfig {
            eos_token_id: Option<Ends>,
        }
        fn read<T: Default + serde::de::DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
            match std::fs::read_to_string(path) {
                Ok(text) => serde_json::from_str(&text)
                    .map_err(|e| LoadError::Malformed { path: path.to_owned(), reason: e.to_string() }),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
                Err(source) => Err(LoadError::Io { path: path.to_owned(), source }),
            }
        }
        let file = folder.join("tokenizer.json");
        let bytes = std::fs::read(&file).map_err(|source| LoadError::Io { path: file.clone(), source })?;
        let tokenizer = parse(&bytes).map_err(|e| bad(format!("tokenizer.json: {e}")))?;
        let config: TokenizerConfig = read(&folder.join("tokenizer_config.json"))?;
        let generation: GenerationConfig = read(&folder.join("generation_config.json"))?;
        let written = |special: Option<Special>| {
            special.map(|s| match s {
                Special::Text(text) | Special::Token { content: text } => text,
            })
        };
        let (bos, eos) = (written(config.bos_token), written(config.eos_token));
        let apart = folder.join("chat_template.jinja");
        let template = if apart.exists() {
            Some(std::fs::read_to_string(&apart).map_err(|source| LoadError::Io { path: apart, source })?)
        } else {
            config.chat_template.and_then(|t| match t {
                Templates::One(template) => Some(template),
                Templates::Many(all) => all.into_iter().find(|n| n.name == "default").map(|n| n.template),
            })
        };
        let id = |text: &Option<String>| text.as_deref().and_then(|t| tokenizer.token_to_id(t));
        // Where the configuration is silent, the tokenizer's own post-processing tells.
        let adds = || {
            let encoded = encode(&tokenizer, "a", true).map_err(bad)?;
            Ok::<_, LoadError>(encoded.get_ids().first().copied().filter(|t| Some(*t) == id(&bos)).is_some())
        };
        let adds_bos = config.add_bos_token.map_or_else(adds, Ok)?;
        let ends = match generation.eos_token_id {
            Some(Ends::One(one)) => vec![one],
            Some(Ends::Many(many)) => many,
            None => id(&eos).into_iter().collect(),
        };
        let begin = if adds_bos { id(&bos).or(source.config.bos) } else { None };
        Self::new(tokenizer, template, bos, eos, begin, ends)
    }

    fn new(
        tokenizer: Tokenizer,
        template: Option<String>,
        bos_text: Option<String>,
        eos_text: Option<String>,
        bos: Option<u32>,
        ends: Vec<u32>,
    ) -> Result<Self, LoadError> {
        let template = template
            .map(|t| ChatTemplate::new(t, bos_text.unwrap_or_default(), eos_text.unwrap_or_default()))
            .transpose()
            .map_err(bad)?;
        let text = tokenizer.to_string(false).map_err(bad)?;
        let value: serde_json::Value = serde_json::from_str(&text).map_err(bad)?;
        let growth = growth(&value["normalizer"])?;
        if growth > MOST_GROWTH {
            return Err(bad(format!(
                "its normalizer makes a text up to {growth} times as long; at most {MOST_GROWTH} is taken"
            )));
        }
        let bytes = guarded(|| llguidance::token_bytes_from_tokenizer_json(&value));
        let bytes = bytes.map_err(|_| bad("its tokens make no sense together"))?.map_err(bad)?;
        Ok(Self { tokenizer: Arc::new(tokenizer), template, bytes: Arc::new(bytes), bos, ends })
    }

    fn from_gguf(source: &Source) -> Result<Self, LoadError> {
        let metadata = &source.metadata;
        let kind = text(metadata, "tokenizer.ggml.model").ok_or_else(|| bad("`tokenizer.ggml.model` is missing"))?;
        let tokenizer = match kind {
            "gpt2" => {
                let mut metadata = metadata.clone();
                // `candle` knows Llama 3's by another name, and takes any name that it does not know for GPT-2's.
                match text(&metadata, "tokenizer.ggml.pre").unwrap_or("gpt-2") {
                    "gpt-2" | "default" | "qwen2" => {}
                    "llama-bpe" | "llama3" | "llama-v3" => {
                        metadata.insert("tokenizer.ggml.pre".to_owned(), Gguf::String("llama3".to_owned()));
                    }
                    other => return Err(bad(format!("the way `{other}` to cut texts is not supported"))),
                }
                let content = Content {
                    magic: VersionedMagic::GgufV3,
                    metadata,
                    tensor_infos: HashMap::new(),
                    tensor_data_offset: 0,
                };
                guarded(|| Tokenizer::from_gguf(&content)).map_err(|_| bad(SENSELESS))?.map_err(bad)?
            }
            "llama" => guarded(|| sentence_pieces(metadata)).map_err(|_| bad(SENSELESS))??,
            other => return Err(bad(format!("the kind `{other}` is not supported; use gpt2 or llama"))),
        };
        let id = |name: &str| number(metadata, &format!("tokenizer.ggml.{name}")).and_then(|n| u32::try_from(n).ok());
        let written = |id: Option<u32>| id.and_then(|i| tokenizer.id_to_token(i));
        let (bos, eos) = (id("bos_token_id"), id("eos_token_id"));
        let adds = match metadata.get("tokenizer.ggml.add_bos_token") {
            Some(Gguf::Bool(adds)) => *adds,
            _ => kind == "llama",
        };
        try_out(&tokenizer).map_err(bad)?;
        let template = text(metadata, "tokenizer.chat_template").map(str::to_owned);
        Self::new(
            tokenizer.clone(),
            template,
            written(bos),
            written(eos),
            bos.filter(|_| adds),
            source.config.eos.clone(),
        )
    }
}

/// SentencePiece's byte-pair model, whose merges are those of its vocabulary, the better scored first.
fn sentence_pieces(metadata: &HashMap<String, Gguf>) -> Result<Tokenizer, LoadError> {
    let list = |key: &str| {
        let key = format!("tokenizer.ggml.{key}");
        metadata.get(&key).and_then(|v| v.to_vec().ok()).ok_or_else(|| bad(format!("`{key}` is missing")))
    };
    let tokens: Vec<String> =
        list("tokens")?.iter().map(|t| t.to_string().cloned().map_err(bad)).collect::<Result<_, _>>()?;
    let scores: Vec<f32> = list("scores")?.iter().map(|s| s.to_f32().map_err(bad)).collect::<Result<_, _>>()?;
    let kinds: Vec<i32> = list("token_type")?.iter().map(|k| k.to_i32().map_err(bad)).collect::<Result<_, _>>()?;
    if tokens.len() != scores.len() || tokens.len() != kinds.len() {
        return Err(bad("tokens, scores and types are not equally many"));
    }
    // Types of GGUF: 1 normal, 2 unknown, 3 control, 4 user defined, 6 byte.
    let ids: HashMap<&str, u32> = tokens.iter().enumerate().map(|(i, t)| (t.as_str(), i as u32)).collect();
    let mut merges: Vec<(f32, u32, (String, String))> = Vec::new();
    for (id, token) in tokens.iter().enumerate().filter(|(i, _)| kinds[*i] == 1) {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((scores[id], id as u32, (left.to_owned(), right.to_owned())));
            }
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then_with(|| a.2.cmp(&b.2)));
    let unknown = kinds.iter().position(|k| *k == 2).map(|i| tokens[i].clone());
    let mut model = BPE::builder()
        .vocab_and_merges(
            tokens.iter().enumerate().map(|(i, t)| (t.clone(), i as u32)).collect::<Vocab>(),
            merges.into_iter().map(|(_, _, pair)| pair).collect(),
        )
        .fuse_unk(true)
        .byte_fallback(true);
    if let Some(unknown) = unknown {
        model = model.unk_token(unknown);
    }
    let mut tokenizer = Tokenizer::new(ModelWrapper::BPE(model.build().map_err(bad)?));
    let mut normalizers = Vec::new();
    let prefixed = !matches!(metadata.get("tokenizer.ggml.add_space_prefix"), Some(Gguf::Bool(false)));
    if prefixed {
        normalizers.push(Prepend::new("▁".to_owned()).into());
    }
    normalizers.push(Replace::new(" ", "▁").map_err(bad)?.into());
    tokenizer.with_normalizer(Some(Normalizers::new(normalizers))).map_err(bad)?;
    let mut decoders =
        vec![Replace::new("▁", " ").map_err(bad)?.into(), ByteFallback::default().into(), Fuse::default().into()];
    if prefixed {
        decoders.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(Decoders::new(decoders)));
    let special = |kind: i32| {
        kinds.iter().enumerate().filter(move |(_, k)| **k == kind).map(|(i, _)| tokens[i].clone()).collect::<Vec<_>>()
    };
    let controls: Vec<AddedToken> = special(3).into_iter().map(|t| AddedToken::from(t, true)).collect();
    let own: Vec<AddedToken> = special(4).into_iter().map(|t| AddedToken::from(t, false)).collect();
    tokenizer.add_special_tokens(controls).map_err(bad)?;
    tokenizer.add_tokens(own).map_err(bad)?;
    Ok(tokenizer)
}

/// The greatest number that a token may have; no vocabulary is near it.
const MOST_TOKENS: u64 = 1 << 24;

/// Of parts of which each could be right.
const SENSELESS: &str = "its parts make no sense together";

/// Tokens of a text.
///
/// # Errors
/// In words, if the tokenizer fails on it.
pub(crate) fn encode(tokenizer: &Tokenizer, text: &str, special: bool) -> Result<Encoding, String> {
    let encoded = guarded(|| tokenizer.encode_fast(text, special));
    encoded.map_err(|_| "the tokenizer fails on this text")?.map_err(|e| e.to_string())
}

/// Finds out whether a tokenizer fails on any text: some only do when they are used.
fn try_out(tokenizer: &Tokenizer) -> Result<(), String> {
    // An error is none here: one that does not know every text may know others.
    let work = || {
        let encoded = tokenizer.encode_fast("What does it mean?", true)?;
        tokenizer.decode(encoded.get_ids(), false)
    };
    guarded(work).map(drop).map_err(|_| SENSELESS.to_owned())
}

/// Reads a `tokenizer.json`, but for how it would cut texts and fill them up: that is for those who use it to say.
///
/// # Errors
/// In words, if it is none, if it fails on any text, or if it gives a token a number that no vocabulary has: the library counts
/// on from the greatest one.
pub(crate) fn parse(bytes: &[u8]) -> Result<Tokenizer, String> {
    let mut whole: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let known = whole["model"]["vocab"].as_object().into_iter().flat_map(|vocabulary| vocabulary.values());
    let added = whole["added_tokens"].as_array().into_iter().flatten().map(|token| &token["id"]);
    if let Some(id) = known.chain(added).filter_map(serde_json::Value::as_u64).find(|id| *id >= MOST_TOKENS) {
        return Err(format!("a token has the number {id}; there are at most {MOST_TOKENS}"));
    }
    if let Some(parts) = whole.as_object_mut() {
        parts.remove("truncation");
        parts.remove("padding");
    }
    let tokenizer = guarded(|| Tokenizer::from_bytes(whole.to_string()));
    let tokenizer = tokenizer.map_err(|_| SENSELESS)?.map_err(|e| e.to_string())?;
    try_out(&tokenizer)?;
    Ok(tokenizer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_whose_number_no_vocabulary_has_is_refused() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/gloss/tokenizer.json");
        let text = std::fs::read_to_string(file).unwrap();
        parse(text.as_bytes()).unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        for id in [MOST_TOKENS, u64::from(u32::MAX)] {
            let (mut known, mut added) = (whole.clone(), whole.clone());
            known["model"]["vocab"]["ator"] = json!(id);
            added["added_tokens"][0]["id"] = json!(id);
            for wrong in [known, added] {
                let error = parse(wrong.to_string().as_bytes()).unwrap_err();
                assert!(error.contains(&format!("the number {id}")), "{error}");
            }
        }
        for junk in [&b""[..], b"{}", b"[]", b"null", b"{\"model\":{\"vocab\":[1]},\"added_tokens\":{}}"] {
            assert!(parse(junk).is_err());
        }
    }

    #[test]
    fn a_tokenizer_that_fails_on_any_text_is_refused_and_none_cuts_or_fills_texts_by_itself() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/gloss/tokenizer.json");
        let whole: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let with = |part: &str, value: serde_json::Value| {
            let mut changed = whole.clone();
            changed[part] = value;
            parse(changed.to_string().as_bytes())
        };
        let parts = json!([{ "Sequence": { "id": "B", "type_id": 0 } }]);
        for (part, value) in [
            ("pre_tokenizer", json!({ "type": "FixedLength", "length": 0 })),
            (
                "post_processor",
                json!({ "type": "TemplateProcessing", "single": parts, "pair": [], "special_tokens": {} }),
            ),
            ("normalizer", json!({ "type": "Precompiled", "precompiled_charsmap": "AAAA" })),
        ] {
            assert!(with(part, value).is_err(), "{part}");
        }
        let mut prefixed = whole.clone();
        prefixed["model"]["continuing_subword_prefix"] = json!("##");
        assert!(parse(prefixed.to_string().as_bytes()).is_err());
        let text = "What does \"river\" mean?";
        let expected = encode(&parse(whole.to_string().as_bytes()).unwrap(), text, false).unwrap();
        let cut = json!({ "max_length": 2, "strategy": "LongestFirst", "stride": 5, "direction": "Right" });
        let fill = |strategy| {
            json!({ "strategy": strategy, "direction": "Right", "pad_to_multiple_of": 1u64 << 62,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "x" })
        };
        for (part, value) in [
            ("truncation", cut),
            ("padding", fill(json!("BatchLongest"))),
            ("padding", fill(json!({ "Fixed": 1u64 << 40 }))),
        ] {
            let tokens = encode(&with(part, value).unwrap(), text, false).unwrap();
            assert_eq!(tokens.get_ids(), expected.get_ids());
        }
    }

    #[test]
    fn a_normalizer_may_not_blow_a_text_up() {
        let replace = |pattern: serde_json::Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        let string = |text: &str| json!({ "String": text });
        let sequence = |parts: &[serde_json::Value]| json!({ "type": "Sequence", "normalizers": parts });
        assert_eq!(growth(&json!(null)).unwrap(), 1);
        assert_eq!(growth(&replace(string(" "), "▁")).unwrap(), 3);
        assert_eq!(growth(&replace(string("a"), &"a".repeat(100_000))).unwrap(), 100_000);
        assert_eq!(growth(&replace(json!({ "Regex": " {2,}" }), "")).unwrap(), 1);
        let twice = replace(string("a"), "aaaaaaaa");
        assert_eq!(growth(&sequence(&[twice.clone(), sequence(&[twice])])).unwrap(), 64);
        assert!(growth(&replace(string(""), "x")).is_err());
    }
}
