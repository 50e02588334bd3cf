//! Answers that are known: right or wrong, whatever else they are like.

use std::collections::BTreeSet;

use assay_primitives::Score;
use serde_json::Value;

use super::{
    calibration::mark,
    case::{Known, TextAnswer, TextCase},
    reading::Reading,
};
use crate::criteria::{Criterion, full_if};

/// The JSON in an answer: the whole text, or what stands in its one fenced block.
fn json(text: &Reading) -> Option<Value> {
    let trimmed = text.raw.trim();
    let fenced = trimmed.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = fenced.map_or(trimmed, |block| block.trim_start_matches("json"));
    // serde_json refuses nesting deeper than 128.
    (!text.is_cut()).then(|| serde_json::from_str(inner).ok()).flatten()
}

/// The answer is JSON that meets the task's schema. A gate. A schema that is none says nothing about the answer.
#[derive(Clone, Copy, Debug)]
pub struct Format;

impl Format {
    fn holds(case: &TextCase, answer: &TextAnswer) -> Option<bool> {
        let schema = case.task.schema.as_ref()?;
        // Patterns run in linear time: a schema from a client must not hang the validator.
        let options = jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex());
        let schema = options.build(schema).ok()?;
        Some(json(&answer.text).is_some_and(|value| schema.is_valid(&value)))
    }
}

impl Criterion<TextCase> for Format {
    fn name(&self) -> &'static str {
        "format"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Self::holds(case, answer).map(full_if)
    }
    fn refutes(&self, case: &TextCase, answer: &TextAnswer) -> bool {
        Self::holds(case, answer) == Some(false)
    }
}

/// The answer is the known one: words and numbers right or wrong, records by the share of right fields. A gate where
/// nothing of it is right.
#[derive(Clone, Copy, Debug)]
pub struct Match;

impl Match {
    fn share(case: &TextCase, answer: &TextAnswer) -> Option<f64> {
        let right = |holds| Some(if holds { 1.0 } else { 0.0 });
        match &case.task.known {
            Known::Nothing | Known::Meaning(_) => None,
            Known::Words { accepted, rivals } => right(says(&answer.text, accepted, rivals)),
            Known::Number(number) => right(ends_in(&case.prompt, &answer.text, *number)),
            Known::Record(known) => Some(json(&answer.text).map_or(0.0, |found| fields(known, &found))),
        }
    }
}

impl Criterion<TextCase> for Match {
    fn name(&self) -> &'static str {
        "match"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Self::share(case, answer).map(mark)
    }
    fn refutes(&self, case: &TextCase, answer: &TextAnswer) -> bool {
        Self::share(case, answer) == Some(0.0)
    }
}

/// The words of a text, without an article in front.
fn bare(text: &Reading) -> Vec<&str> {
    let words: Vec<&str> = text.words().collect();
    match words.split_first() {
        Some((first, rest)) if !rest.is_empty() && ["a", "an", "the"].contains(first) => rest.to_vec(),
        _ => words,
    }
}

/// One of the accepted answers is the text, or stands in it while no rival does.
fn says(text: &Reading, accepted: &[String], rivals: &[String]) -> bool {
    let read = |all: &[String]| all.iter().map(|t| Reading::new(t)).collect::<Vec<_>>();
    let (accepted, rivals) = (read(accepted), read(rivals));
    let words = bare(text);
    let within = |part: &Reading| {
        let part = bare(part);
        !part.is_empty() && words.windows(part.len()).any(|w| *w == part)
    };
    accepted.iter().any(|a| bare(a) == words && !words.is_empty())
        || (accepted.iter().any(within) && !rivals.iter().any(within))
}

/// The text's last number is the known one, and all others stand in the prompt: one answer is given, not a choice.
fn ends_in(prompt: &Reading, text: &Reading, number: i64) -> bool {
    let (found, given) = (numbers(&text.raw), numbers(&prompt.raw));
    match found.split_last() {
        Some((last, rest)) => *last == number && rest.iter().all(|n| *n == number || given.contains(n)),
        None => false,
    }
}

/// Whole numbers in a text, with a sign that stands right before them, and commas or blanks between thousands left
/// out. A number with decimals counts as two.
fn numbers(text: &str) -> Vec<i64> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let signed = at > 0 && bytes[at - 1] == b'-' && (at == 1 || !bytes[at - 2].is_ascii_alphanumeric());
        let mut digits = String::from(if signed { "-" } else { "" });
        while at < bytes.len() {
            let thousands = bytes[at] == b','
                && bytes.get(at + 1..at + 4).is_some_and(|d| d.iter().all(u8::is_ascii_digit))
                && !bytes.get(at + 4).is_some_and(u8::is_ascii_digit);
            if bytes[at].is_ascii_digit() {
                digits.push(char::from(bytes[at]));
            } else if !thousands {
                break;
            }
            at += 1;
        }
        // What does not fit is some number, and not the known one.
        all.push(digits.parse().unwrap_or(i64::MIN));
    }
    all
}

/// The share of right fields among the known and the found ones.
fn fields(known: &Value, found: &Value) -> f64 {
    match (known, found) {
        (Value::Object(known), Value::Object(found)) => {
            let right: f64 = known.iter().filter_map(|(k, v)| found.get(k).map(|f| fields(v, f))).sum();
            let names = known.keys().chain(found.keys()).collect::<BTreeSet<_>>().len();
            if names == 0 { 1.0 } else { right / names as f64 }
        }
        (Value::Array(known), Value::Array(found)) => {
            let right: f64 = known.iter().zip(found).map(|(k, f)| fields(k, f)).sum();
            let length = known.len().max(found.len());
            if length == 0 { 1.0 } else { right / length as f64 }
        }
        (Value::String(known), Value::String(found)) => {
            f64::from(u8::from(Reading::new(known).tokens == Reading::new(found).tokens))
        }
        (known, found) => f64::from(u8::from(known == found)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
