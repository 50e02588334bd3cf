//! A miner that optimises an answer against the scorer's own score.
//!
//! It starts from an answer, good or bad, and edits it: words in, out, swapped and replaced, clauses added, templates put
//! around. Each query is judged with its exact score; an edit that does not lower the score is kept. That is more than a
//! miner learns on the network, where a task is judged once and only an epoch's mean is seen.

use assay_primitives::Score;
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::{Result, dictionary::Item};

/// Queries for each answer.
pub(crate) const QUERIES: usize = 200;

/// What a climber edits with.
pub(crate) struct Knowledge<'a> {
    /// Words that are common in answers.
    pub(crate) words: Vec<&'a str>,
    /// Answers to other questions.
    pub(crate) answers: Vec<&'a str>,
}

/// A start and an end.
#[derive(Clone, Debug)]
pub(crate) struct Climb {
    /// The first answer's score.
    pub(crate) before: Score,
    /// The best one's.
    pub(crate) after: Score,
    /// The best answer.
    pub(crate) text: String,
}

fn edit(text: &str, item: &Item, knowledge: &Knowledge<'_>, rng: &mut ChaCha8Rng) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let own: Vec<&str> = item.others.iter().flat_map(|o| o.split(' ')).chain(item.word.split(' ')).collect();
    let word = |rng: &mut ChaCha8Rng| -> String {
        let from = if rng.gen_bool(0.25) { &own } else { &knowledge.words };
        from.choose(rng).map_or_else(String::new, |w| (*w).to_owned())
    };
    let at = |words: &[&str], rng: &mut ChaCha8Rng| rng.gen_range(0..words.len().max(1)).min(words.len());
    let new = word(rng);
    match rng.gen_range(0..12) {
        0..=2 => words.insert(rng.gen_range(0..=words.len()), &new),
        3 | 4 if words.len() > 1 => {
            words.remove(at(&words, rng));
        }
        5 | 6 if !words.is_empty() => {
            let place = at(&words, rng);
            words[place] = &new;
        }
        7 if words.len() > 1 => {
            let (a, b) = (at(&words, rng), at(&words, rng));
            words.swap(a, b);
        }
        8 => {
            let other = knowledge.answers.choose(rng).copied().unwrap_or("");
            let clause: Vec<&str> = other.split("; ").collect();
            return format!("{text}; {}", clause.choose(rng).copied().unwrap_or(""));
        }
        9 => {
            let other: Vec<&str> = knowledge.answers.choose(rng).copied().unwrap_or("").split_whitespace().collect();
            let keep = rng.gen_range(1..=words.len().max(1)).min(words.len());
            let from = rng.gen_range(0..other.len().max(1)).min(other.len());
            words.truncate(keep);
            words.extend(&other[from..]);
        }
        _ => {
            let templates = [
                format!("a kind of {text}"),
                format!("{} is {text}", item.word),
                format!("{text}; used of a {}", item.word),
                format!("{text} that is called {}", item.word),
                format!("the act of {text}"),
                format!("a {} or {text}", own.choose(rng).copied().unwrap_or("")),
                format!("{text}; especially {}", own.choose(rng).copied().unwrap_or("")),
                format!("in a manner of {text}"),
            ];
            return templates.choose(rng).cloned().unwrap_or_default();
        }
    }
    words.join(" ")
}

/// Climbs from one answer.
pub(crate) fn climb(
    score: &dyn Fn(&str) -> Result<Score>,
    item: &Item,
    start: &str,
    knowledge: &Knowledge<'_>,
    seed: u64,
) -> Result<Climb> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let before = score(start)?;
    let mut best = Climb { before, after: before, text: start.to_owned() };
    for _ in 0..QUERIES {
        let mut text = edit(&best.text, item, knowledge, &mut rng);
        if rng.gen_bool(0.2) {
            text = edit(&text, item, knowledge, &mut rng);
        }
        let found = score(&text)?;
        if found >= best.after {
            best = Climb { after: found, text, ..best };
        }
    }
    Ok(best)
}
