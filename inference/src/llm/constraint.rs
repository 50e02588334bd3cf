//! Text that must have a form: JSON of a schema, a regular expression, one of some choices.
//!
//! The parser is `llguidance`'s; it tells before each token which ones may come.

use std::{fmt, sync::Arc};

use llguidance::{
    Matcher, ParserFactory,
    api::{GrammarWithLexer, TopLevelGrammar},
    token_bytes_from_tokenizer_json,
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

/// What a text must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON that a schema describes.
    Schema(Value),
    /// Any JSON object.
    Object,
    /// A regular expression, of the whole text.
    Regex(String),
}

/// Makes constraints for one tokenizer.
#[derive(Clone)]
pub struct Grammars(Arc<ParserFactory>);

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grammars")
    }
}

impl Grammars {
    /// For a tokenizer and a vocabulary, one of whose tokens ends a text.
    ///
    /// # Errors
    /// In words, if the tokenizer's tokens cannot be told apart as bytes.
    pub(crate) fn new(tokenizer: &Tokenizer, vocabulary: usize, end: u32) -> Result<Self, String> {
        let text = tokenizer.to_string(false).map_err(|e| e.to_string())?;
        let value: Value = serde_json::from_str(&text).map_err(|e| e.to_string())?;
        let mut words = token_bytes_from_tokenizer_json(&value).map_err(|e| e.to_string())?;
        words.resize(vocabulary, Vec::new());
        let size = u32::try_from(vocabulary).map_err(|_| "the vocabulary is too large".to_owned())?;
        let trie = TokTrie::from(&TokRxInfo::new(size, end), &words);
        let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&env).map_err(|e| e.to_string())?;
        factory.quiet();
        Ok(Self(Arc::new(factory)))
    }

    /// A constraint at its beginning.
    ///
    /// # Errors
    /// In words, if the grammar makes no sense or is too large.
    pub fn constraint(&self, grammar: &Grammar) -> Result<Constraint, String> {
        let grammar = match grammar {
            Grammar::Schema(schema) => GrammarWithLexer::from_json_schema(compact(schema.clone())),
            Grammar::Object => GrammarWithLexer::from_json_schema(compact(json!({ "type": "object" }))),
            Grammar::Regex(regex) => GrammarWithLexer::from_regex(regex),
        };
        let mut matcher = Matcher::new(self.0.create_parser(TopLevelGrammar::from_grammar(grammar)));
        match matcher.get_error() {
            Some(error) => Err(in_brief(&error)),
            // What can never be met is refused now rather than at the first token.
            None => matcher.compute_mask_or_eos().map(|_| Constraint(matcher)).map_err(|e| in_brief(&e.to_string())),
        }
    }
}

/// Without blanks between the parts: where they may come, a small model writes them for ever.
fn compact(mut schema: Value) -> Value {
    if let Value::Bool(all) = schema {
        schema = if all { json!({}) } else { json!({ "not": {} }) };
    }
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("x-guidance".to_owned(), json!({ "whitespace_flexible": false }));
    }
    schema
}

/// The parser's words without the state that it puts behind them.
fn in_brief(error: &str) -> String {
    let words = error.split("<state>").next().unwrap_or_default();
    words.lines().next().unwrap_or_default().trim().chars().take(300).collect()
}

/// A constraint on one text, and how far the text has come.
#[derive(Clone)]
pub struct Constraint(Matcher);

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Constraint")
    }
}

impl Constraint {
    /// Sets the logits of tokens that may not come to negative infinity.
    ///
    /// # Errors
    /// In words, if the text has left the grammar, or the grammar its limits.
    pub(crate) fn mask(&mut self, logits: &mut [f32]) -> Result<(), String> {
        let mask = self.0.compute_mask_or_eos().map_err(|e| e.to_string())?;
        mask.iter_unset_entries(|token| {
            if let Some(logit) = logits.get_mut(token) {
                *logit = f32::NEG_INFINITY;
            }
        });
        Ok(())
    }

    /// Takes the next token; whether the text is complete.
    pub(crate) fn take(&mut self, token: u32) -> bool {
        // A token that may not come leaves the matcher in its error, which the next mask tells.
        self.0.consume_token(token).is_ok() && self.0.is_stopped()
    }
}
