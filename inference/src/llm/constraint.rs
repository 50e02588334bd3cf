//! Text that must have a form: JSON of a schema, a regular expression, one of some choices.
//!
//! The parser is `llguidance`'s; it tells before each token which ones may come.

use std::{fmt, sync::Arc, thread};

use llguidance::{
    Matcher, ParserFactory,
    api::{GrammarWithLexer, TopLevelGrammar},
    token_bytes_from_tokenizer_json,
    toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie},
};
use regex_syntax::hir::{Capture, Class, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Repetition};
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

impl Grammar {
    fn check_size(&self) -> Result<(), String> {
        let (what, size, most) = match self {
            Self::Schema(schema) => {
                let (size, patterns) = (schema.to_string().len(), patterns(schema));
                if patterns > MOST_REGEX {
                    ("schema's patterns have", patterns, MOST_REGEX)
                } else {
                    ("schema has", size, MOST_BYTES)
                }
            }
            Self::Regex(regex) => ("regular expression has", regex.len(), MOST_REGEX),
            Self::Object => return Ok(()),
        };
        if size > most {
            return Err(format!("a {what} at most {most} bytes, found {size}"));
        }
        Ok(())
    }
}

/// Bytes of all regular expressions in a schema.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(fields) => {
            let own = |(key, value): (&String, &Value)| match (key.as_str(), value) {
                ("pattern", Value::String(regex)) => regex.len(),
                ("patternProperties", Value::Object(named)) => named.keys().map(String::len).sum(),
                _ => 0,
            };
            fields.iter().map(|field| own(field) + patterns(field.1)).sum()
        }
        Value::Array(all) => all.iter().map(patterns).sum(),
        _ => 0,
    }
}

/// Largest schema, without blanks: about what OpenAI takes.
const MOST_BYTES: usize = 128 << 10;
/// Largest regular expression, or all of a schema's: the parser's time grows with their square.
const MOST_REGEX: usize = 8 << 10;
/// For the deepest grammar of that size, many times over. What a thread does not touch of its stack costs nothing.
pub(super) const STACK: usize = 256 << 20;

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
        grammar.check_size()?;
        // The parser goes down as deep as references lead, and a stack that overflows ends the process.
        let built = thread::scope(|scope| {
            let builder = thread::Builder::new().name("grammar".to_owned()).stack_size(STACK);
            builder.spawn_scoped(scope, || self.build(grammar)).map(thread::ScopedJoinHandle::join)
        });
        match built {
            Ok(Ok(built)) => built,
            Ok(Err(_)) => Err("the parser cannot read it".to_owned()),
            Err(e) => Err(format!("no thread for the parser: {e}")),
        }
    }

    fn build(&self, grammar: &Grammar) -> Result<Constraint, String> {
        let grammar = match grammar {
            Grammar::Schema(schema) => {
                let mut schema = schema.clone();
                amend(&mut schema)?;
                GrammarWithLexer::from_json_schema(compact(schema))
            }
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

/// From it on not every whole number is a number of its own in JSON as most read it.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Takes out of a schema what the parser gets wrong, so that an answer that it lets pass is always one of the schema's.
///
/// # Errors
/// In words, where it cannot be said otherwise.
fn amend(schema: &mut Value) -> Result<(), String> {
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Array(all) => return all.iter_mut().try_for_each(amend),
        _ => return Ok(()),
    };
    let required = fields.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    if fields.get("minProperties").and_then(Value::as_u64).is_some_and(|least| least > required) {
        return Err("`minProperties` beyond what is `required` is not supported: one name could come twice".to_owned());
    }
    for (key, value) in fields.iter_mut() {
        match (key.as_str(), value) {
            // Values, whatever they look like.
            ("const" | "enum" | "default" | "examples", _) => {}
            ("minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum", Value::Number(bound)) => {
                if bound.as_f64().is_none_or(|bound| bound.abs() >= MOST_EXACT) {
                    return Err(format!("`{key}` of {bound} is not supported; bounds lie within 2^53"));
                }
            }
            ("pattern", Value::String(regex)) => *regex = without_nul(regex),
            ("patternProperties", Value::Object(named)) => {
                let known = std::mem::take(named);
                named.extend(known.into_iter().map(|(regex, value)| (without_nul(&regex), value)));
                named.values_mut().try_for_each(amend)?;
            }
            (_, value) => amend(value)?,
        }
    }
    Ok(())
}

/// A regular expression whose classes do not have the character of code 0: the parser takes such a class within a JSON string
/// for one that has quotes and backslashes too. What it does not read, it says itself.
fn without_nul(regex: &str) -> String {
    let Ok(parsed) = regex_syntax::parse(regex) else { return regex.to_owned() };
    let mut changed = false;
    let amended = strip_nul(&parsed, &mut changed);
    if changed { amended.to_string() } else { regex.to_owned() }
}

fn strip_nul(hir: &Hir, changed: &mut bool) -> Hir {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => {
            let has = |c: char| class.iter().any(|range| (range.start()..=range.end()).contains(&c));
            if !has('\0') || (has('"') && has('\\')) {
                return hir.clone();
            }
            *changed = true;
            let mut without = class.clone();
            without.difference(&ClassUnicode::new([ClassUnicodeRange::new('\0', '\0')]));
            Hir::class(Class::Unicode(without))
        }
        HirKind::Repetition(repeated) => {
            let sub = Box::new(strip_nul(&repeated.sub, changed));
            Hir::repetition(Repetition { sub, ..repeated.clone() })
        }
        HirKind::Capture(captured) => {
            let sub = Box::new(strip_nul(&captured.sub, changed));
            Hir::capture(Capture { sub, ..captured.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(|part| strip_nul(part, changed)).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(|part| strip_nul(part, changed)).collect()),
        HirKind::Literal(literal) if &*literal.0 == b"\0" => {
            *changed = true;
            Hir::fail()
        }
        _ => hir.clone(),
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

/// The parser's words without the state that it puts behind them: the first line, and the reason, which may stand in the last.
fn in_brief(error: &str) -> String {
    let words = error.split("<state>").next().unwrap_or_default();
    let mut lines = words.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let reason = lines.filter_map(|line| line.strip_prefix("error: ")).next_back();
    let whole = reason.map_or_else(|| first.to_owned(), |reason| format!("{first} {reason}"));
    whole.chars().take(300).collect()
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
        let mask = self.0.compute_mask_or_eos().map_err(|e| in_brief(&e.to_string()))?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::llm::{Llm, LoadOptions, threads::Threads};

    fn gloss() -> Llm {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/gloss");
        Llm::load(&folder, &LoadOptions::default()).unwrap()
    }

    /// Definitions that lead from one to the next, as many as a schema may have.
    fn longest(link: impl Fn(&Value) -> Value) -> Grammar {
        let last = json!({ "type": "integer" });
        let with = |count: usize| {
            let next = |at: usize| json!({ "$ref": format!("#/$defs/{}", at + 1) });
            let mut all: serde_json::Map<_, _> = (0..count).map(|at| (at.to_string(), link(&next(at)))).collect();
            all.insert(count.to_string(), last.clone());
            json!({ "$defs": all, "$ref": "#/$defs/0" })
        };
        let one = (with(2000).to_string().len() - with(1000).to_string().len()).div_ceil(1000) + 4;
        let longest = Grammar::Schema(with(MOST_BYTES / one));
        longest.check_size().unwrap();
        longest
    }

    #[test]
    fn grammars_as_deep_as_they_may_be_end_no_process() {
        let grammars = gloss().grammars.unwrap();
        let properties: serde_json::Map<_, _> =
            (0..3000).map(|n| (format!("p{n}"), json!({ "type": "null" }))).collect();
        let required: Vec<String> = properties.keys().cloned().collect();
        let all = [
            longest(Value::clone),
            longest(|next| json!({ "anyOf": [next, { "type": "null" }] })),
            longest(|next| json!({ "allOf": [next] })),
            longest(|next| json!({ "oneOf": [next, { "type": "null" }] })),
            longest(|next| json!({ "type": "object", "properties": { "a": next }, "required": ["a"] })),
            longest(|next| json!({ "type": "array", "items": next })),
            Grammar::Schema(json!({ "type": "object", "properties": properties, "required": required })),
            Grammar::Regex("(?:".repeat(200) + "a" + &")?".repeat(200)),
            Grammar::Regex("a?".repeat(MOST_REGEX / 2)),
            Grammar::Schema(json!({ "type": "string", "pattern": "(a|b)?".repeat(MOST_REGEX / 6) })),
            Grammar::Schema(json!({ "const": "a".repeat(MOST_BYTES - 100) })),
            Grammar::Schema(json!({ "enum": (0..10_000).map(|n| format!("v{n}")).collect::<Vec<_>>() })),
        ];
        let threads = Threads::new(2).unwrap();
        for grammar in &all {
            let name = format!("{grammar:?}").chars().take(200).collect::<String>();
            // Refused or not, it is said in a line; and what is built can be followed, where the engine does.
            match grammars.constraint(grammar) {
                Err(words) => assert!(words.len() <= 1200 && !words.contains('\n'), "{name}: {words}"),
                Ok(constraint) => threads.share(vec![constraint.clone(), constraint], |mut constraint| {
                    for _ in 0..8 {
                        let mut logits = vec![0.0; 8192];
                        if constraint.mask(&mut logits).is_err() {
                            return;
                        }
                        let Some(token) = logits.iter().position(|l| *l == 0.0) else { return };
                        if constraint.take(token as u32) {
                            return;
                        }
                    }
                }),
            }
        }
    }

    /// Whether a text is one of a grammar's, a byte at a time.
    fn takes(llm: &Llm, grammar: &Grammar, text: &str) -> bool {
        let mut constraint = llm.grammars.as_ref().unwrap().constraint(grammar).unwrap();
        let size = llm.config.vocabulary;
        let token = |byte: u8| (0..size as u32).find(|t| llm.codec.bytes(*t) == [byte]).unwrap();
        for byte in text.bytes() {
            let mut logits = vec![0.0; size];
            if constraint.mask(&mut logits).is_err() || logits[token(byte) as usize] != 0.0 {
                return false;
            }
            constraint.take(token(byte));
        }
        let mut logits = vec![0.0; size];
        constraint.0.is_stopped() || (constraint.mask(&mut logits).is_ok() && constraint.0.is_accepting().unwrap())
    }

    #[test]
    fn patterns_keep_quotes_and_backslashes_out_where_they_say_so() {
        let llm = gloss();
        let pattern = |regex: &str| Grammar::Schema(json!({ "type": "string", "pattern": regex }));
        for (regex, text, expected) in [
            (r"^[^\\]{2}$", r#""ab""#, true),
            (r"^[^\\]{2}$", r#""\\\\""#, false),
            (r"^[^\\]{2}$", r#""\"\"""#, true),
            (r#"^[^"]+$"#, r#""a\\""#, true),
            (r#"^[^"]+$"#, r#""a\"""#, false),
            (r"^(x|[\x00-\x1f]{2})$", r#""\n\n""#, true),
            (r"^(x|[\x00-\x1f]{2})$", r#""\"\"""#, false),
            (r"^.$", r#""\"""#, true),
            (r"^[a-z]\d$", r#""a1""#, true),
            (r"^[a-z]\d$", r#""a""#, false),
        ] {
            assert_eq!(takes(&llm, &pattern(regex), text), expected, "{regex} {text}");
        }
        let named = json!({ "type": "object", "patternProperties": { r"^[^\\]$": { "type": "null" } },
            "additionalProperties": false });
        assert!(takes(&llm, &Grammar::Schema(named.clone()), r#"{"a":null}"#));
        assert!(!takes(&llm, &Grammar::Schema(named), r#"{"\\":null}"#));
    }

    #[test]
    fn what_the_parser_would_get_wrong_is_refused() {
        let grammars = gloss().grammars.unwrap();
        let refused = |schema: Value| grammars.constraint(&Grammar::Schema(schema)).err();
        let twice = json!({ "type": "object", "patternProperties": { "^a$": {} }, "minProperties": 2 });
        assert!(refused(json!({ "type": "array", "items": twice })).unwrap().contains("minProperties"));
        for bound in [json!(9007199254740993_u64), json!(u64::MAX), json!(-1e19), json!(1e300)] {
            assert!(refused(json!({ "type": "integer", "minimum": bound })).unwrap().contains("2^53"), "{bound}");
        }
        // Values are what they are.
        let value = json!({ "minProperties": 9, "minimum": 1e300, "pattern": "[^a]" });
        assert_eq!(refused(json!({ "const": value })), None);
        assert_eq!(refused(json!({ "type": "integer", "minimum": -9007199254740991_i64, "maximum": 5 })), None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason_in_a_line() {
        let grammars = gloss().grammars.unwrap();
        let error = |grammar: Grammar| grammars.constraint(&grammar).unwrap_err();
        let large = error(Grammar::Regex("a".repeat(MOST_REGEX + 1)));
        assert!(large.contains("a regular expression has at most 8192 bytes, found 8193"), "{large}");
        let half = "a".repeat(MOST_REGEX / 2 + 1);
        let large = error(Grammar::Schema(
            json!({ "properties": { "a": { "pattern": half } }, "patternProperties": { half: {} } }),
        ));
        assert!(large.contains("a schema's patterns have at most 8192 bytes, found 8194"), "{large}");
        let large = error(Grammar::Schema(json!({ "const": "a".repeat(MOST_BYTES) })));
        assert!(large.contains("a schema has at most"), "{large}");
        let unclosed = error(Grammar::Regex("(".into()));
        assert!(unclosed.contains("regex parse error: unclosed group"), "{unclosed}");
        assert!(!error(Grammar::Schema(json!({ "type": "nothing" }))).is_empty());
    }
}
