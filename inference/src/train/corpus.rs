//! What the model reads: conversations about words, lessons with known answers, and plain texts.
//!
//! The kinds are those of the tasks that validators set, so that the model can do its subnet's work. One sense in twenty
//! is kept out of training, by its offset, so that what is measured on those has not been read.

use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

use super::{
    vocabulary::{ASSISTANT, END, USER},
    wordnet::{Part, Sense, WordNet},
};

/// One question with its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The user's words.
    pub question: String,
    /// The model's.
    pub answer: String,
}

impl Conversation {
    /// As the model reads it.
    pub fn text(&self) -> String {
        format!("{USER}{}{END}{ASSISTANT}{}{END}", self.question, self.answer)
    }
}

/// Texts to train on.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// Each as the model reads it, in the order in which they are read.
    pub texts: Vec<String>,
}

/// Whether a sense is kept out of training.
pub fn is_held_out(sense: &Sense) -> bool {
    sense.offset % 20 == 7
}

/// Lexicographers' files that make clear kinds of things.
const FIELDS: [(u8, &str); 7] =
    [(5, "animal"), (6, "artifact"), (8, "body part"), (13, "food"), (15, "place"), (18, "person"), (20, "plant")];

/// The part of a dictionary's senses that is talked about: a small model has no room for all.
const TALKED_ABOUT: f64 = 0.25;

impl Corpus {
    /// Conversations about a part of a dictionary, lessons, and plain texts; shuffled.
    pub fn new(
        words: &WordNet,
        texts: &[String],
        lessons: impl Iterator<Item = Conversation>,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let mut all: Vec<String> = lessons.map(|lesson| lesson.text()).collect();
        for sense in words.senses().filter(|s| !is_held_out(s)) {
            if rng.gen_bool(TALKED_ABOUT) {
                all.extend(about(words, sense, rng).iter().map(Conversation::text));
            }
        }
        all.extend(texts.iter().flat_map(|t| paragraphs(t)).map(|p| format!("{p}{END}")));
        all.shuffle(rng);
        Self { texts: all }
    }
}

/// Paragraphs of a plain text, on one line each.
fn paragraphs(text: &str) -> impl Iterator<Item = String> {
    let joined = |p: &str| p.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split("\n\n").map(joined).filter(|p| p.len() > 60)
}

fn pick<'a>(rng: &mut ChaCha8Rng, from: &[&'a str]) -> &'a str {
    from.choose(rng).copied().expect("the lists are not empty")
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u', 'A', 'E', 'I', 'O', 'U']) { "an" } else { "a" }
}

/// Conversations about one sense.
fn about(words: &WordNet, sense: &Sense, rng: &mut ChaCha8Rng) -> Vec<Conversation> {
    let mut all = Vec::new();
    let word = &sense.words[0];
    let mut say = |question: String, answer: String| all.push(Conversation { question, answer });
    say(definition_question(word, rng), sense.gloss.clone());
    if let Some(other) = sense.words.get(1) {
        let question = pick(rng, &["Give a synonym of \"{}\".", "What is another word for \"{}\"?"]);
        say(question.replace("{}", word), other.clone());
    }
    if rng.gen_bool(0.25) {
        let question = pick(rng, &["Which word means: {}?", "Name the word for: {}."]);
        say(question.replace("{}", &sense.gloss), word.clone());
    }
    if let Some(kind) = words.kind(sense).filter(|_| sense.part == Part::Noun && rng.gen_bool(0.3)) {
        let kind = &kind.words[0];
        say(format!("What kind of thing is {} {word}?", article(word)), format!("{} {kind}", article(kind)));
    }
    if let Some(example) = sense.examples.first().filter(|_| rng.gen_bool(0.5)) {
        say(format!("Use \"{word}\" in a sentence."), example.clone());
    }
    if sense.part == Part::Noun
        && let Some((_, field)) = FIELDS.iter().find(|(f, _)| *f == sense.field)
        && rng.gen_bool(0.3)
    {
        say(class_question(word, field, rng), (*field).to_owned());
    }
    all
}

/// Asks for a definition.
fn definition_question(word: &str, rng: &mut ChaCha8Rng) -> String {
    pick(rng, &["What does \"{}\" mean?", "Define \"{}\".", "What is the meaning of \"{}\"?"]).replace("{}", word)
}

/// Asks which of some kinds of things a word is, `field` among them.
fn class_question(word: &str, field: &str, rng: &mut ChaCha8Rng) -> String {
    let mut others: Vec<&str> = FIELDS.iter().map(|(_, f)| *f).filter(|f| *f != field).collect();
    others.shuffle(rng);
    others.truncate([2, 4, others.len()][rng.gen_range(0..3)]);
    others.push(field);
    others.shuffle(rng);
    format!("Classify \"{word}\" as one of: {}.", others.join(", "))
}
