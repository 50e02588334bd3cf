//! WordNet's database files (Miller, 1995; the format of wndb(5WN)).

use std::{collections::BTreeMap, path::Path};

/// A part of speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A thing.
    Noun,
    /// An action.
    Verb,
    /// A quality.
    Adjective,
    /// A manner.
    Adverb,
}

impl Part {
    /// The name of its file.
    fn file(self) -> &'static str {
        match self {
            Self::Noun => "data.noun",
            Self::Verb => "data.verb",
            Self::Adjective => "data.adj",
            Self::Adverb => "data.adv",
        }
    }

    /// All of them.
    pub const ALL: [Self; 4] = [Self::Noun, Self::Verb, Self::Adjective, Self::Adverb];
}

/// One sense that some words share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Its place in its file: an identity within the part of speech.
    pub offset: u32,
    /// The part of speech.
    pub part: Part,
    /// The lexicographers' file: 5 animals, 6 artifacts, 13 food, 18 persons, 20 plants and so on.
    pub field: u8,
    /// Words, the usual one first, with spaces.
    pub words: Vec<String>,
    /// What it means.
    pub gloss: String,
    /// Sentences or phrases with it.
    pub examples: Vec<String>,
    /// Offsets of the senses of which it is a kind.
    pub kinds: Vec<u32>,
}

/// Senses by part of speech and offset.
#[derive(Clone, Debug, Default)]
pub struct WordNet {
    senses: BTreeMap<(Part, u32), Sense>,
}

/// Why files are no WordNet.
#[derive(Debug, thiserror::Error)]
pub enum WordNetError {
    /// A file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// From the system.
        source: std::io::Error,
    },
    /// A line is not of the format.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: &'static str,
    },
}

impl WordNet {
    /// Reads the four data files of a folder.
    ///
    /// # Errors
    /// [`WordNetError`], naming file and line.
    pub fn read(folder: &Path) -> Result<Self, WordNetError> {
        let mut all = Self::default();
        for part in Part::ALL {
            let path = folder.join(part.file());
            let name = path.display().to_string();
            let bytes = std::fs::read(&path).map_err(|source| WordNetError::Io { path: name.clone(), source })?;
            // Two glosses have a letter of Latin 1.
            let text = String::from_utf8_lossy(&bytes);
            // The licence stands in front, in indented lines.
            for (line, text) in text.lines().enumerate().filter(|(_, l)| !l.starts_with(' ') && !l.is_empty()) {
                let sense = parse(part, text).map_err(|reason| WordNetError::Line {
                    path: name.clone(),
                    line: line + 1,
                    reason,
                })?;
                all.senses.insert((part, sense.offset), sense);
            }
        }
        Ok(all)
    }

    /// All senses, by part of speech and offset.
    pub fn senses(&self) -> impl Iterator<Item = &Sense> {
        self.senses.values()
    }

    /// What a sense is a kind of.
    pub fn kind(&self, sense: &Sense) -> Option<&Sense> {
        sense.kinds.iter().find_map(|k| self.senses.get(&(sense.part, *k)))
    }
}

fn parse(part: Part, line: &str) -> Result<Sense, &'static str> {
    let (head, gloss) = line.split_once(" | ").ok_or("expected a gloss after a bar")?;
    let mut fields = head.split_ascii_whitespace();
    let mut next = |what| fields.next().ok_or(what);
    let offset = next("expected an offset")?.parse().map_err(|_| "the offset is not a number")?;
    let field = next("expected a lexicographers' file")?.parse().map_err(|_| "the file is not a number")?;
    next("expected a type")?;
    let count =
        usize::from_str_radix(next("expected a count of words")?, 16).map_err(|_| "the count is not a number")?;
    let mut words = Vec::new();
    for _ in 0..count {
        let word = next("expected a word")?;
        next("expected a sense of a word")?;
        // An adjective may say where it stands: `beautiful(a)`.
        let word = word.split_once('(').map_or(word, |(word, _)| word);
        words.push(word.replace('_', " "));
    }
    let pointers: usize = next("expected a count of pointers")?.parse().map_err(|_| "the count is not a number")?;
    let mut kinds = Vec::new();
    for _ in 0..pointers {
        let symbol = next("expected a pointer")?;
        let target = next("expected a pointer's target")?;
        next("expected a pointer's part of speech")?;
        next("expected a pointer's words")?;
        if symbol == "@" || symbol == "@i" {
            kinds.push(target.parse().map_err(|_| "a pointer's target is not a number")?);
        }
    }
    // The definition, then examples in quotation marks, divided by semicolons.
    let cut = gloss.find("; \"").or_else(|| gloss.find(" \"")).unwrap_or(gloss.len());
    let (meaning, rest) = gloss.split_at(cut);
    let examples = rest.split('"').skip(1).step_by(2).map(|e| e.trim().to_owned()).filter(|e| !e.is_empty()).collect();
    Ok(Sense { offset, part, field, words, gloss: meaning.trim().trim_end_matches(';').to_owned(), examples, kinds })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_database_is_read() {
        let line = "00002684 03 n 02 object 0 physical_object 0 002 @ 00001930 n 0000 ~ 00003553 n 0000 | a tangible and \
                    visible entity; an entity that can cast a shadow; \"it was full of rackets, balls and other objects\"  ";
        let sense = parse(Part::Noun, line).unwrap();
        assert_eq!((sense.offset, sense.field), (2684, 3));
        assert_eq!(sense.words, ["object", "physical object"]);
        assert_eq!(sense.gloss, "a tangible and visible entity; an entity that can cast a shadow");
        assert_eq!(sense.examples, ["it was full of rackets, balls and other objects"]);
        assert_eq!(sense.kinds, [1930]);
    }

    #[test]
    fn other_lines_are_refused_in_words() {
        assert_eq!(parse(Part::Noun, "no bar"), Err("expected a gloss after a bar"));
        assert_eq!(parse(Part::Noun, "00002684 03 n 05 object 0 | x"), Err("expected a word"));
    }
}
