//! A byte-level tokenizer trained on the corpus (Sennrich et al., 2016; Radford et al., 2019).

use rayon::prelude::*;
use tokenizers::{
    AddedToken, Tokenizer, TokenizerBuilder,
    decoders::byte_level::ByteLevel,
    models::bpe::{BPE, BpeTrainerBuilder},
    normalizers::NFC,
    pre_tokenizers::{
        sequence::Sequence,
        split::{Split, SplitPattern},
    },
    tokenizer::SplitDelimiterBehavior,
};

/// Ends a message, and a text.
pub const END: &str = "<|end|>";
/// Begins what the operator says.
pub const SYSTEM: &str = "<|system|>";
/// Begins what the user says.
pub const USER: &str = "<|user|>";
/// Begins what the model says.
pub const ASSISTANT: &str = "<|assistant|>";

/// Where a text may be cut into tokens: Qwen 2's pattern, which keeps digits apart and which GGUF knows as `qwen2`.
const PATTERN: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Trains a tokenizer of `size` tokens; the first four are [`END`], [`SYSTEM`], [`USER`] and [`ASSISTANT`].
///
/// # Errors
/// In words, if the trainer fails.
pub fn train_tokenizer(texts: &[String], size: usize) -> Result<Tokenizer, String> {
    let special = [END, SYSTEM, USER, ASSISTANT].map(|t| AddedToken::from(t, true)).to_vec();
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(size)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special)
        .build();
    let level = || ByteLevel::new(false, false, false);
    let split = Split::new(SplitPattern::Regex(PATTERN.to_owned()), SplitDelimiterBehavior::Isolated, false)
        .map_err(|e| e.to_string())?;
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(Some(NFC))
        .with_pre_tokenizer(Some(Sequence::new(vec![split.into(), level().into()])))
        .with_post_processor(Some(level()))
        .with_decoder(Some(level()))
        .build()
        .map_err(|e| e.to_string())?;
    tokenizer.train(&mut trainer, texts.iter().map(String::as_str)).map_err(|e| e.to_string())?;
    // Through its text, so that it is the tokenizer that will be read from the file.
    let text = tokenizer.to_string(false).map_err(|e| e.to_string())?;
    text.parse::<Tokenizer>().map_err(|e| e.to_string())
}

/// The tokens of all texts, one after the other.
///
/// # Errors
/// In words, if the tokenizer fails on one.
pub fn tokens(tokenizer: &Tokenizer, texts: &[String]) -> Result<Vec<u32>, String> {
    let encode = |text: &String| tokenizer.encode_fast(text.as_str(), false).map(|e| e.get_ids().to_vec());
    let parts: Result<Vec<Vec<u32>>, _> = texts.par_iter().map(encode).collect();
    Ok(parts.map_err(|e| e.to_string())?.concat())
}
