//! What can be seen of an answer without a model: form, not content. Most are gates.

use std::collections::{BTreeMap, BTreeSet};

use assay_primitives::Score;

use super::{
    calibration::mark,
    case::{TextAnswer, TextCase},
    reading::Reading,
};
use crate::criteria::{Criterion, full_if};

/// Words that carry no content.
const FUNCTION_WORDS: [&str; 64] = [
    "a", "about", "also", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "define", "did",
    "do", "does", "for", "from", "had", "has", "have", "how", "i", "if", "in", "into", "is", "it", "its", "may", "me",
    "my", "no", "not", "of", "on", "one", "or", "our", "so", "some", "such", "that", "the", "their", "them", "there",
    "they", "this", "to", "was", "were", "what", "when", "which", "who", "will", "with", "word", "would", "you",
    "your",
];

/// Whether a lower-case word carries no content.
pub(crate) fn is_function_word(word: &str) -> bool {
    FUNCTION_WORDS.binary_search(&word).is_ok()
}

/// A word without its commonest endings.
fn stem(word: &str) -> &str {
    const ENDINGS: [&str; 6] = ["'s", "ing", "ly", "es", "ed", "s"];
    let cut = ENDINGS.iter().find_map(|e| word.strip_suffix(e).filter(|rest| rest.len() >= 3 && rest.is_ascii()));
    cut.unwrap_or(word)
}

fn content(reading: &Reading) -> impl Iterator<Item = &str> {
    reading.words().filter(|w| !is_function_word(w)).map(stem)
}

/// The text without the words of content that the prompt has: what it adds. Words that stand apart from others by
/// blanks are taken out whole; the text itself where nothing would be left.
pub fn added(prompt: &Reading, text: &Reading) -> String {
    let known: BTreeSet<&str> = content(prompt).collect();
    let adds = |piece: &&str| {
        let piece = Reading::new(piece);
        content(&piece).next().is_none() || content(&piece).any(|w| !known.contains(w))
    };
    let kept: Vec<&str> = text.raw.split_whitespace().filter(adds).collect();
    if kept.is_empty() { text.raw.clone() } else { kept.join(" ") }
}

fn pairs(reading: &Reading) -> Vec<(&str, &str)> {
    let words: Vec<&str> = reading.words().collect();
    words.windows(2).map(|w| (w[0], w[1])).collect()
}

/// `1` up to `full`, then linear down to `0` at `none`.
fn falling(value: f64, full: f64, none: f64) -> f64 {
    if value <= full { 1.0 } else { ((none - value) / (none - full)).max(0.0) }
}

/// The text is as long as the task asks. A gate at no words, at four times the most, and where more came than is read.
#[derive(Clone, Copy, Debug)]
pub struct Length;

impl Criterion<TextCase> for Length {
    fn name(&self) -> &'static str {
        "length"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        let (words, range) = (answer.text.words().count() as f64, case.task.words);
        let (low, high) = (range.low.max(1) as f64, range.high.max(range.low).max(1) as f64);
        let value = if words < low { words / low } else { falling(words, high, 2.0 * high) };
        Some(if answer.text.is_cut() { Score::ZERO } else { mark(value) })
    }
    fn refutes(&self, case: &TextCase, answer: &TextAnswer) -> bool {
        let words = answer.text.words().count();
        words == 0 || words > case.task.words.high.max(1).saturating_mul(4) || answer.text.is_cut()
    }
}

/// Word pairs are not said again and again: the share of distinct ones (distinct-2 of Li et al., 2016), and no word of
/// content fills the text. A gate below 3 distinct pairs in 10.
#[derive(Clone, Copy, Debug)]
pub struct Repetition;

impl Repetition {
    /// Words below which nothing is said of repetition.
    const WORDS: usize = 6;

    fn distinct(text: &Reading) -> Option<f64> {
        let pairs = pairs(text);
        if pairs.len() + 1 < Self::WORDS {
            return None;
        }
        let distinct = pairs.iter().collect::<BTreeSet<_>>().len() as f64 / pairs.len() as f64;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        content(text).for_each(|w| *counts.entry(w).or_default() += 1);
        let (all, most) = (counts.values().sum::<usize>(), counts.values().max().copied().unwrap_or(0));
        // A word may be a fifth of the content, or come twice.
        let filled = most.saturating_sub(2) as f64 / all.max(1) as f64;
        Some(distinct.min(1.0 - filled))
    }
}

impl Criterion<TextCase> for Repetition {
    fn name(&self) -> &'static str {
        "repetition"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        let distinct = Self::distinct(&answer.text)?;
        Some(mark(falling(1.0 - distinct, 0.2, 0.7)))
    }
    fn refutes(&self, _case: &TextCase, answer: &TextAnswer) -> bool {
        Self::distinct(&answer.text).is_some_and(|d| d < 0.3)
    }
}

/// The answer says something that the prompt does not. Where the right answer is known exactly it may stand in the
/// prompt, and this does not apply. A gate from nine tenths of the content on.
#[derive(Clone, Copy, Debug)]
pub struct Echo;

impl Echo {
    /// The share of an answer's content, or of its word pairs, that the prompt has; 1 where it has no content.
    fn overlap(prompt: &Reading, answer: &Reading) -> f64 {
        let known: BTreeSet<&str> = content(prompt).collect();
        let said: Vec<&str> = content(answer).collect();
        if said.is_empty() {
            return 1.0;
        }
        let words = said.iter().filter(|w| known.contains(**w)).count() as f64 / said.len() as f64;
        let known: BTreeSet<(&str, &str)> = pairs(prompt).into_iter().collect();
        let said = pairs(answer);
        let both = said.iter().filter(|p| known.contains(*p)).count() as f64;
        words.max(both / said.len().max(1) as f64)
    }

    fn of(case: &TextCase, answer: &TextAnswer) -> Option<f64> {
        (!case.task.known.is_exact()).then(|| Self::overlap(&case.prompt, &answer.text))
    }
}

impl Criterion<TextCase> for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(mark(falling(Self::of(case, answer)?, 0.5, 0.9)))
    }
    fn refutes(&self, case: &TextCase, answer: &TextAnswer) -> bool {
        Self::of(case, answer).is_some_and(|overlap| overlap >= 0.9)
    }
}

/// Nothing is written so that people do not see it, or read it as something else. A gate at more than two such tricks.
#[derive(Clone, Copy, Debug)]
pub struct Plain;

impl Criterion<TextCase> for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }
    fn mark(&self, _case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Some(full_if(answer.text.hidden + answer.text.disguised == 0))
    }
    fn refutes(&self, _case: &TextCase, answer: &TextAnswer) -> bool {
        answer.text.hidden + answer.text.disguised > 2
    }
}

/// The text is in the language that the task asks for. Of a short or mixed text nothing is said. A gate where another
/// language is certain.
#[derive(Clone, Copy, Debug)]
pub struct Language;

impl Language {
    /// `None` where nothing can be said.
    fn fits(case: &TextCase, answer: &TextAnswer) -> Option<bool> {
        let expected = case.task.language.as_deref().filter(|_| !case.task.known.is_exact())?;
        let expected = whatlang::Lang::from_code(expected)?;
        let found = whatlang::detect(&answer.text.raw)?;
        if found.lang() == expected {
            return Some(true);
        }
        let script = |lang| matches!(lang, whatlang::Lang::Eng) && found.script() != whatlang::Script::Latin;
        let sure = found.is_reliable() && found.confidence() > 0.9 && answer.text.words().count() >= 8;
        (script(expected) || sure).then_some(false)
    }
}

impl Criterion<TextCase> for Language {
    fn name(&self) -> &'static str {
        "language"
    }
    fn mark(&self, case: &TextCase, answer: &TextAnswer) -> Option<Score> {
        Self::fits(case, answer).map(full_if)
    }
    fn refutes(&self, case: &TextCase, answer: &TextAnswer) -> bool {
        Self::fits(case, answer) == Some(false)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
