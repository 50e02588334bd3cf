//! The questions of each family.

use rand::{Rng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{
    Family, Level,
    glossary::{Entry, Glossary, KINDS},
};
use crate::text::{Known, Reading, TextTask, WordRange, surface::is_function_word};

const NAMES: [&str; 40] = [
    "Ada", "Alan", "Amara", "Ana", "Ben", "Carlos", "Chen", "Clara", "David", "Elena", "Emma", "Farid", "Grace",
    "Hana", "Hugo", "Ines", "Ivan", "James", "Jonas", "Kofi", "Lena", "Liam", "Maria", "Mei", "Nadia", "Nina", "Olga",
    "Omar", "Paula", "Pedro", "Priya", "Rosa", "Sam", "Sara", "Tom", "Uma", "Victor", "Wanda", "Yuki", "Zara",
];
const CITIES: [&str; 32] = [
    "Accra", "Athens", "Berlin", "Bogota", "Cairo", "Dakar", "Delhi", "Dublin", "Geneva", "Hanoi", "Helsinki", "Kyoto",
    "Lagos", "Lima", "Lisbon", "London", "Madrid", "Manila", "Nairobi", "Oslo", "Paris", "Porto", "Prague", "Quito",
    "Riga", "Rome", "Seoul", "Sofia", "Tunis", "Turin", "Vienna", "Warsaw",
];
const JOBS: [&str; 20] = [
    "baker",
    "barber",
    "carpenter",
    "doctor",
    "driver",
    "engineer",
    "farmer",
    "gardener",
    "judge",
    "lawyer",
    "nurse",
    "painter",
    "pilot",
    "plumber",
    "sailor",
    "singer",
    "tailor",
    "teacher",
    "waiter",
    "writer",
];

/// What people and models say who do not know, besides words that carry no content.
const SHRUGS: [&str; 27] = [
    "afraid",
    "ai",
    "answer",
    "certain",
    "context",
    "data",
    "find",
    "help",
    "idea",
    "information",
    "know",
    "language",
    "model",
    "more",
    "need",
    "nothing",
    "provide",
    "question",
    "remember",
    "request",
    "say",
    "sorry",
    "sure",
    "tell",
    "understand",
    "unknown",
    "unsure",
];

/// A question of a family and level.
pub(super) fn task(family: Family, level: Level, glossary: &Glossary, rng: &mut ChaCha8Rng) -> TextTask {
    match family {
        Family::Definition => definition(entry(glossary, level, rng, |_| true), rng),
        Family::Word => word(entry(glossary, level, rng, |e| !is_in_a_shrug(&e.word)), rng),
        Family::Arithmetic => arithmetic(level, rng),
        Family::Extraction => extraction(level, rng),
        Family::Span => span(level, rng),
        Family::Classification => classification(entry(glossary, level, rng, |e| e.kind.is_some()), level, rng),
    }
}

/// A task in words, whose prompt gives the answer's form.
fn plain(prompt: String, known: Known, low: usize, high: usize) -> TextTask {
    TextTask { prompt, known, words: WordRange { low, high }, schema: None, language: Some("eng".to_owned()) }
}

fn pick<'a>(from: &[&'a str], rng: &mut ChaCha8Rng) -> &'a str {
    from.choose(rng).copied().expect("the lists are not empty")
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// An entry of the level's part of the glossary: its first fifth, the next two, the rest.
fn entry<'a>(glossary: &'a Glossary, level: Level, rng: &mut ChaCha8Rng, fits: impl Fn(&Entry) -> bool) -> &'a Entry {
    let all = glossary.entries();
    let (first, third) = (all.len() / 5, all.len() * 3 / 5);
    let part = match level {
        Level::Easy => &all[..first],
        Level::Medium => &all[first..third],
        Level::Hard => &all[third..],
    };
    let fitting = |part: &'a [Entry]| part.iter().filter(|e| fits(e)).collect::<Vec<_>>();
    let mut candidates = fitting(part);
    if candidates.is_empty() {
        candidates = fitting(all);
    }
    candidates.choose(rng).copied().expect("a glossary has entries of two kinds")
}

fn definition(entry: &Entry, rng: &mut ChaCha8Rng) -> TextTask {
    const ASKED: [&str; 3] = ["What does \"{}\" mean?", "Define \"{}\".", "What is the meaning of \"{}\"?"];
    let prompt = pick(&ASKED, rng).replace("{}", &entry.word);
    plain(prompt, Known::Meaning(entry.gloss.clone()), 3, 60)
}

/// Whether saying that one does not know would name the word, in either case of its letters.
fn is_in_a_shrug(word: &str) -> bool {
    Reading::new(word).words().all(|word| SHRUGS.contains(&word) || is_function_word(word))
}

fn word(entry: &Entry, rng: &mut ChaCha8Rng) -> TextTask {
    let prompt = pick(&["Which word means: {}?", "Name the word for: {}."], rng).replace("{}", &entry.gloss);
    let others = entry.others.iter().filter(|word| !is_in_a_shrug(word));
    let accepted = [&entry.word].into_iter().chain(others).cloned().collect();
    plain(prompt, Known::Words { accepted, rivals: Vec::new() }, 1, 12)
}

fn arithmetic(level: Level, rng: &mut ChaCha8Rng) -> TextTask {
    let high = match level {
        Level::Easy => 100,
        Level::Medium => 1000,
        Level::Hard => 10_000,
    };
    let (a, b, c) = (rng.gen_range(0..high), rng.gen_range(0..high), rng.gen_range(2..20));
    let (larger, smaller): (i64, i64) = (a.max(b), a.min(b));
    let (question, answer) = match (level, rng.gen_range(0..3)) {
        (Level::Easy, 0) => (format!("{a} + {b}"), a + b),
        (Level::Easy, 1) => (format!("{larger} - {smaller}"), larger - smaller),
        (Level::Easy, _) => (format!("{} * {}", a % 13, b % 13), (a % 13) * (b % 13)),
        (Level::Medium, 0) => (format!("{a} + {b} - {c}"), a + b - c),
        (Level::Medium, 1) => (format!("{a} * {c}"), a * c),
        (Level::Medium, _) => (format!("{smaller} - {larger}"), smaller - larger),
        (Level::Hard, 0) => (format!("({a} + {b}) * {c}"), (a + b) * c),
        (Level::Hard, 1) => (format!("{a} * {c} - {b}"), a * c - b),
        (Level::Hard, _) => (format!("the remainder of {a} divided by {c}"), a % c),
    };
    plain(format!("What is {question}?"), Known::Number(answer), 1, 30)
}

/// A person, as texts and records tell of one.
struct Person {
    name: &'static str,
    age: u32,
    city: &'static str,
    job: &'static str,
}

impl Person {
    /// As many as the level has, with nothing in common.
    fn some(level: Level, rng: &mut ChaCha8Rng) -> Vec<Self> {
        let count = match level {
            Level::Easy => 1,
            Level::Medium => 2,
            Level::Hard => 3,
        };
        let distinct =
            |from: &[&'static str], rng: &mut ChaCha8Rng| from.choose_multiple(rng, count).copied().collect::<Vec<_>>();
        let (names, cities, jobs) = (distinct(&NAMES, rng), distinct(&CITIES, rng), distinct(&JOBS, rng));
        let ages = rand::seq::index::sample(rng, 72, count);
        (0..count)
            .map(|i| Self { name: names[i], age: 18 + ages.index(i) as u32, city: cities[i], job: jobs[i] })
            .collect()
    }

    fn told(&self, rng: &mut ChaCha8Rng) -> String {
        let Self { name, age, city, job } = self;
        let a = article(job);
        match rng.gen_range(0..4) {
            0 => format!("{name} is {age} years old, lives in {city} and works as {a} {job}."),
            1 => format!("In {city} lives {name}, {a} {job} of {age} years."),
            2 => format!("{name} is {a} {job} from {city}. Last week {name} turned {age}."),
            _ => format!("At {age}, {name} still works as {a} {job} in {city}."),
        }
    }

    fn record(&self) -> Value {
        json!({ "name": self.name, "age": self.age, "city": self.city, "job": self.job })
    }
}

fn told(people: &[Person], rng: &mut ChaCha8Rng) -> String {
    people.iter().map(|p| p.told(rng)).collect::<Vec<_>>().join(" ")
}

fn extraction(level: Level, rng: &mut ChaCha8Rng) -> TextTask {
    let people = Person::some(level, rng);
    let text = told(&people, rng);
    let one = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" }, "age": { "type": "integer" },
            "city": { "type": "string" }, "job": { "type": "string" },
        },
        "required": ["name", "age", "city", "job"],
        "additionalProperties": false,
    });
    let asked = &people[rng.gen_range(0..people.len())];
    let (prompt, known, schema) = match level {
        Level::Easy => (format!("Extract name, age, city and job as JSON: {text}"), asked.record(), one),
        Level::Medium => {
            let prompt = format!("Extract name, age, city and job of {} as JSON: {text}", asked.name);
            (prompt, asked.record(), one)
        }
        Level::Hard => {
            let prompt =
                format!("Extract name, age, city and job of each person, in the text's order, as a JSON array: {text}");
            let schema = json!({ "type": "array", "items": one });
            (prompt, Value::Array(people.iter().map(Person::record).collect()), schema)
        }
    };
    let words = WordRange { low: 8, high: 80 };
    TextTask { prompt, known: Known::Record(known), words, schema: Some(schema), language: None }
}

fn span(level: Level, rng: &mut ChaCha8Rng) -> TextTask {
    let people = Person::some(level, rng);
    let text = told(&people, rng);
    let asked = rng.gen_range(0..people.len());
    let (name, of): (_, fn(&Person) -> String) = match rng.gen_range(0..3) {
        0 => (format!("Where does {} live?", people[asked].name), |p| p.city.to_owned()),
        1 => (format!("How old is {}?", people[asked].name), |p| p.age.to_string()),
        _ => (format!("What is the job of {}?", people[asked].name), |p| p.job.to_owned()),
    };
    let rivals = people.iter().enumerate().filter(|(at, _)| *at != asked).map(|(_, p)| of(p)).collect();
    plain(format!("{text} {name}"), Known::Words { accepted: vec![of(&people[asked])], rivals }, 1, 20)
}

fn classification(entry: &Entry, level: Level, rng: &mut ChaCha8Rng) -> TextTask {
    let kind = entry.kind.unwrap_or(KINDS[0]);
    let others = match level {
        Level::Easy => 2,
        Level::Medium => 4,
        Level::Hard => KINDS.len() - 1,
    };
    let wrong: Vec<&str> = KINDS.into_iter().filter(|k| *k != kind).collect();
    let mut offered: Vec<&str> = wrong.choose_multiple(rng, others).copied().collect();
    let rivals = offered.iter().map(|k| (*k).to_owned()).collect();
    offered.push(kind);
    offered.shuffle(rng);
    let prompt = format!("Classify \"{}\" as one of: {}.", entry.word, offered.join(", "));
    plain(prompt, Known::Words { accepted: vec![kind.to_owned()], rivals }, 1, 12)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::{
        criteria::{Case as _, Criterion},
        text::{Arrived, TextCase, known::Match},
    };

    #[test]
    fn a_shrug_names_no_word_of_the_glossary() {
        const SHRUGGED: [&str; 12] = [
            "I do not know.",
            "i don't know",
            "I have no idea.",
            "Sorry, I am not sure about that.",
            "I can not help you with this question.",
            "The answer to it is unknown.",
            "As an AI language model, I am unable to answer.",
            "I cannot provide that information.",
            "I need more context to understand the request.",
            "I'm afraid nothing I know of can tell.",
            "I can't find or remember it, nor say.",
            "There is no data about this.",
        ];
        let glossary = Glossary::shipped();
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let asked: Vec<_> = glossary.entries().iter().filter(|entry| !is_in_a_shrug(&entry.word)).collect();
        assert!(asked.len() + 60 > glossary.entries().len(), "hardly a word is in a shrug");
        for entry in asked {
            let task = word(entry, rng);
            for text in SHRUGGED {
                let arrived = Arrived { text: text.to_owned(), ..Arrived::default() };
                let case = TextCase::read(task.clone(), Some(arrived));
                assert!(case.answer().is_some_and(|answer| Match.refutes(&case, answer)), "{text} for {task:?}");
            }
        }
    }
}
