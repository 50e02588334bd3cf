//! Words with their meanings.

/// Kinds of things that classification offers: WordNet's lexicographers' files that are clear to people.
pub const KINDS: [&str; 7] = ["animal", "artifact", "body part", "food", "place", "person", "plant"];

/// A word with its meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The word, or a few.
    pub word: String,
    /// Others of the same meaning.
    pub others: Vec<String>,
    /// Which of [`KINDS`] the thing is, if it is one.
    pub kind: Option<&'static str>,
    /// What it means.
    pub gloss: String,
}

/// A line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("glossary, line {line}: {reason}")]
pub struct GlossaryError {
    /// From 1.
    pub line: usize,
    /// Expected and found.
    pub reason: String,
}

/// Words, the most familiar first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glossary(Vec<Entry>);

impl Glossary {
    /// The words that come with the node, from WordNet.
    pub fn shipped() -> Self {
        Self::parse(include_str!("../../../assets/glossary/glossary.tsv"))
            .expect("the committed file is the one that was written with this code")
    }

    /// Reads lines of `word TAB other words, between | TAB kind or nothing TAB meaning`.
    ///
    /// # Errors
    /// [`GlossaryError`], naming the line; a glossary needs 30 entries and one of each of two kinds.
    pub fn parse(text: &str) -> Result<Self, GlossaryError> {
        let mut entries = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let wrong = |reason: &str| GlossaryError { line: at + 1, reason: reason.to_owned() };
            let fields: Vec<&str> = line.split('\t').collect();
            let [word, others, kind, gloss] = fields[..] else {
                return Err(wrong(&format!("expected 4 fields between tabs, found {}", fields.len())));
            };
            if word.is_empty() || gloss.is_empty() {
                return Err(wrong("expected a word and a meaning"));
            }
            let kind = match kind {
                "" => None,
                kind => Some(*KINDS.iter().find(|k| **k == kind).ok_or_else(|| wrong("unknown kind"))?),
            };
            let others = others.split('|').filter(|o| !o.is_empty()).map(str::to_owned).collect();
            entries.push(Entry { word: word.to_owned(), others, kind, gloss: gloss.to_owned() });
        }
        let kinds: std::collections::BTreeSet<_> = entries.iter().filter_map(|e| e.kind).collect();
        if entries.len() < 30 || kinds.len() < 2 {
            let reason = format!("expected 30 entries and 2 kinds, found {} and {}", entries.len(), kinds.len());
            return Err(GlossaryError { line: entries.len(), reason });
        }
        Ok(Self(entries))
    }

    /// All entries, the most familiar first.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_come_with_the_node_are_many_and_of_every_kind() {
        let all = Glossary::shipped();
        assert!(all.entries().len() > 5000);
        for kind in KINDS {
            assert!(all.entries().iter().filter(|e| e.kind == Some(kind)).count() > 50, "{kind}");
        }
    }

    #[test]
    fn malformed_lines_are_refused_and_named() {
        let error = |text: &str| Glossary::parse(text).unwrap_err().to_string();
        assert!(error("a\tb").contains("line 1: expected 4 fields"));
        assert!(error("a\t\t\tb\n\t\t\tb").contains("line 2"));
        assert!(error("a\t\tthing\tb").contains("unknown kind"));
        assert!(error("").contains("30 entries"));
    }
}
