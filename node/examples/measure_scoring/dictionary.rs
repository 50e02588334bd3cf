//! Items from WordNet: words whose usual meaning is the gloss.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use crate::Result;
use assay_inference::train::{Part, Sense, WordNet, is_held_out};

/// Lexicographers' files of the kinds that classification offers, as in `assay_scoring::tasks::KINDS`.
const KINDS: [(u8, &str); 7] =
    [(5, "animal"), (6, "artifact"), (8, "body part"), (13, "food"), (15, "place"), (18, "person"), (20, "plant")];

/// A question and its true answer.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// The word.
    pub(crate) word: String,
    /// Others of the same meaning.
    pub(crate) others: Vec<String>,
    /// Its kind, if it is clear.
    pub(crate) kind: Option<&'static str>,
    /// What it means: the true answer.
    pub(crate) gloss: String,
    /// What the sense that it is a kind of means: about the same thing, and not the answer.
    pub(crate) related: Option<String>,
    /// The meaning says the word again, as that of "kitchen table": a poor question.
    pub(crate) transparent: bool,
    /// Kept out of all training.
    pub(crate) held_out: bool,
    /// Larger is more familiar.
    pub(crate) familiarity: u32,
}

impl Item {
    /// What a miner is asked.
    pub(crate) fn prompt(&self) -> String {
        format!("What does \"{}\" mean?", self.word)
    }
}

/// What is read of WordNet.
pub(crate) struct Dictionary {
    /// By part of speech and offset.
    pub(crate) items: Vec<Item>,
    /// Glosses and examples of all senses that are not held out.
    pub(crate) texts: Vec<String>,
}

/// Of a word in a part of speech: its first sense, how many it has, and how often the first was met in tagged texts.
type Usual = BTreeMap<(String, Part), (u32, u32, u32)>;

impl Dictionary {
    /// Reads WordNet's folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let words = WordNet::read(folder)?;
        let usual = usual(folder)?;
        let kept = || words.senses().filter(|s| !is_held_out(s));
        let texts: Vec<String> = kept()
            .flat_map(|s| [&s.gloss].into_iter().chain(&s.examples))
            .filter(|t| (3..=40).contains(&t.split_whitespace().count()))
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for text in words.senses().flat_map(|s| [&s.gloss].into_iter().chain(&s.examples)) {
            let text = text.to_lowercase();
            let words = text.split(|c: char| !c.is_ascii_lowercase()).filter(|w| !w.is_empty());
            words.for_each(|w| *counts.entry(w.to_owned()).or_default() += 1);
        }
        let items = words.senses().filter_map(|s| item(&words, s, &usual, &counts)).collect();
        Ok(Self { items, texts })
    }

    /// The most familiar items in the form of the glossary, as many as fit.
    pub(crate) fn glossary(&self, bytes: usize) -> String {
        let mut ranked: Vec<&Item> = self.items.iter().filter(|i| !i.transparent).collect();
        ranked.sort_by_key(|i| std::cmp::Reverse(i.familiarity));
        let mut text = String::new();
        for i in ranked {
            let line = format!("{}\t{}\t{}\t{}\n", i.word, i.others.join("|"), i.kind.unwrap_or(""), i.gloss);
            if text.len() + line.len() > bytes {
                break;
            }
            text.push_str(&line);
        }
        text
    }
}

/// The files `index.*` and `cntlist.rev` of a folder.
fn usual(folder: &Path) -> Result<Usual> {
    let files = [
        (Part::Noun, "index.noun"),
        (Part::Verb, "index.verb"),
        (Part::Adjective, "index.adj"),
        (Part::Adverb, "index.adv"),
    ];
    let mut all = Usual::new();
    for (part, file) in files {
        let text = std::fs::read_to_string(folder.join(file))?;
        for line in text.lines().filter(|l| !l.starts_with(' ')) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let count: usize = fields.get(2).and_then(|n| n.parse().ok()).ok_or("index: expected a count of senses")?;
            let first = fields.get(fields.len() - count).ok_or("index: expected as many senses as it says")?;
            all.insert((fields[0].replace('_', " "), part), (first.parse()?, count as u32, 0));
        }
    }
    for line in std::fs::read_to_string(folder.join("cntlist.rev"))?.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [key, "1", count] = fields[..] else { continue };
        let Some((lemma, rest)) = key.split_once('%') else { continue };
        let part = match rest.as_bytes().first() {
            Some(b'1') => Part::Noun,
            Some(b'2') => Part::Verb,
            Some(b'3' | b'5') => Part::Adjective,
            _ => Part::Adverb,
        };
        if let Some((_, _, met)) = all.get_mut(&(lemma.replace('_', " "), part)) {
            *met = (*met).max(count.parse()?);
        }
    }
    Ok(all)
}

/// An item for a sense that is the usual one of a familiar word, with a gloss of some length.
fn item(words: &WordNet, sense: &Sense, usual: &Usual, counts: &BTreeMap<String, u32>) -> Option<Item> {
    if !(4..=25).contains(&sense.gloss.split_whitespace().count()) || sense.gloss.contains('(') {
        return None;
    }
    let (familiarity, word) = sense
        .words
        .iter()
        .filter(|w| w.chars().all(|c| c.is_ascii_lowercase() || c == ' ') && w.matches(' ').count() <= 1)
        .filter_map(|w| Some((familiarity(sense, w, usual, counts)?, w)))
        .max_by_key(|(f, w)| (*f, std::cmp::Reverse(*w)))?;
    let kind = KINDS.iter().find(|(file, _)| sense.part == Part::Noun && *file == sense.field).map(|(_, kind)| *kind);
    Some(Item {
        word: word.clone(),
        others: sense.words.iter().filter(|w| *w != word).cloned().collect(),
        kind,
        gloss: sense.gloss.clone(),
        related: words.kind(sense).map(|s| s.gloss.clone()),
        transparent: is_transparent(word, &sense.gloss),
        held_out: is_held_out(sense),
        familiarity,
    })
}

/// Whether half of a meaning's words of content begin like one of the word's.
fn is_transparent(word: &str, gloss: &str) -> bool {
    let start = |w: &str| w.chars().take(5).collect::<String>();
    let own: Vec<String> = word.split(' ').map(start).collect();
    let content: Vec<String> = gloss
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| w.len() > 3 && !["that", "which", "with", "from", "this"].contains(w))
        .map(start)
        .collect();
    2 * content.iter().filter(|w| own.contains(w)).count() >= content.len()
}

/// How familiar a word is, if the sense is its usual one over all parts of speech and people know the word: it was met
/// in tagged texts, or it has this one sense and its parts are met in glosses.
fn familiarity(sense: &Sense, word: &str, usual: &Usual, counts: &BTreeMap<String, u32>) -> Option<u32> {
    let mut parts: Vec<(u32, Part, u32, u32)> = Part::ALL
        .into_iter()
        .filter_map(|p| usual.get(&(word.to_owned(), p)).map(|(first, senses, met)| (*met, p, *first, *senses)))
        .collect();
    parts.sort_by_key(|(met, ..)| std::cmp::Reverse(*met));
    let (met, part, first, senses) = *parts.first()?;
    let tied = parts.get(1).is_some_and(|second| second.0 == met);
    if tied || part != sense.part || first != sense.offset {
        return None;
    }
    let single = !word.contains(' ');
    let rarest = word.split(' ').map(|w| counts.get(w).copied().unwrap_or(0)).min()?;
    let known = met > 0 || (senses == 1 && rarest >= if single { 2 } else { 10 });
    known.then(|| met * 10 + rarest.min(200) / if single { 1 } else { 4 })
}
