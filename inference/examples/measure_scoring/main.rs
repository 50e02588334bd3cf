//! Measures how well text answers are scored, on words that nothing was trained on.
//!
//! ```sh
//! measure_scoring --wordnet DIR --embedder DIR [--lm DIR] [--items 1200] [--climbs 60] [--rounds 1] [--cache FILE] [--tune] [--write] [--show N]
//! ```
//!
//! It trains fluency, reward head and calibrations on WordNet's senses that are not held out, always from the same seed,
//! and then judges the held-out ones: the true answer against six attacks, with each criterion left out in turn, and a
//! miner that optimises its answer against the score. `--write` puts what was trained, and the glossary that tasks are
//! drawn from, into `assets/`.

mod attacks;
mod bench;
mod climb;
mod dictionary;
mod learn;
mod table;

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use assay_chain_spec::Params;
use assay_scoring::text::{Method, TextJudge, Trained, scorer};

use crate::{
    bench::{Lm, Remembering, models},
    climb::{Climb, Knowledge, QUERIES, climb},
    dictionary::{Dictionary, Item},
    learn::{Climbed, Lessons, learn},
    table::{Case, Scores},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The largest glossary, in bytes.
const GLOSSARY: usize = 950_000;

struct Arguments {
    wordnet: PathBuf,
    embedder: PathBuf,
    lm: Option<PathBuf>,
    cache: Option<PathBuf>,
    items: usize,
    climbs: usize,
    rounds: usize,
    show: usize,
    write: bool,
    shipped: bool,
    tune: bool,
}

fn arguments() -> Result<Arguments> {
    let (mut paths, mut numbers, mut flags) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        match name.as_str() {
            "--write" | "--shipped" | "--tune" => flags.push(name),
            "--wordnet" | "--embedder" | "--lm" | "--cache" => {
                paths.insert(name.clone(), PathBuf::from(given.next().ok_or(format!("{name} needs a folder"))?));
            }
            "--items" | "--climbs" | "--rounds" | "--show" => {
                numbers.insert(name.clone(), given.next().ok_or(format!("{name} needs a number"))?.parse()?);
            }
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    Ok(Arguments {
        wordnet: paths.remove("--wordnet").ok_or("expected --wordnet DIR, such as /usr/share/wordnet")?,
        embedder: paths.remove("--embedder").ok_or("expected --embedder DIR, with all-MiniLM-L6-v2")?,
        lm: paths.remove("--lm"),
        cache: paths.remove("--cache"),
        items: numbers.get("--items").copied().unwrap_or(1200),
        climbs: numbers.get("--climbs").copied().unwrap_or(60),
        rounds: numbers.get("--rounds").copied().unwrap_or(1),
        show: numbers.get("--show").copied().unwrap_or(3),
        write: flags.iter().any(|f| f == "--write"),
        tune: flags.iter().any(|f| f == "--tune"),
        shipped: flags.iter().any(|f| f == "--shipped"),
    })
}

/// Some of the items, evenly.
fn some<'a>(items: &[&'a Item], count: usize) -> Vec<&'a Item> {
    let step = (items.len() / count.max(1)).max(1);
    items.iter().step_by(step).take(count).copied().collect()
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let dictionary = Dictionary::read(&arguments.wordnet)?;
    let owned = |items: Vec<&Item>| items.into_iter().cloned().collect::<Vec<_>>();
    let held_out: Vec<&Item> = dictionary.items.iter().filter(|i| i.held_out && !i.transparent).collect();
    let kept: Vec<&Item> = dictionary.items.iter().filter(|i| !i.held_out).collect();
    let step = (kept.len() / 2900).max(2);
    let training: Vec<Item> = owned(kept.iter().step_by(step).copied().collect());
    let calibration: Vec<Item> =
        owned(kept.iter().skip(1).step_by(step * 5).filter(|i| !i.transparent).copied().collect());
    eprintln!(
        "{} items, of them {} held out; {} to train on, {} to calibrate on",
        dictionary.items.len(),
        held_out.len(),
        training.len(),
        calibration.len()
    );
    let embedder = Remembering::load(&arguments.embedder, arguments.cache.as_deref())?;
    let lm = arguments.lm.as_deref().map(Lm::load).transpose()?;
    let trained = if arguments.shipped {
        Trained::shipped()
    } else {
        train(&dictionary, &training, &calibration, &embedder, lm.as_ref(), arguments.rounds)?
    };
    let save = || arguments.cache.as_deref().map_or(Ok(()), |path| embedder.save(path));
    save()?;
    if arguments.write {
        write(&dictionary, &trained)?;
    }
    if arguments.tune {
        tune(&table::open(&calibration), &trained, &embedder, lm.as_ref())?;
        save()?;
    }
    let params = content_params();
    let judge = |method| content_judge(method, &trained, &embedder, lm.as_ref());
    let items = owned(some(&held_out, arguments.items));
    let started = Instant::now();
    let open = table::open(&items);
    let scores = Scores::new(&judge(Method::Weighted), &open)?;
    scores.print("Nothing known of the answer, method `weighted`");
    save()?;
    for case in scores.refused_of(&open).take(arguments.show) {
        eprintln!("refused: {} {}", case.task.prompt, case.truth);
    }
    eprintln!("judged in {:.0} s", started.elapsed().as_secs_f64());
    let known = table::known(&items);
    Scores::new(&judge(Method::Weighted), &known)?.print("Meaning known in other words, method `weighted`");
    println!("\n| method | all pairs | first of all | worst attack |\n|---|---|---|---|");
    for method in [Method::Simple, Method::Weighted, Method::RewardModel, Method::Ensemble] {
        summary(method.name(), &Scores::new(&judge(method), &open)?);
    }
    println!("\n| left out | weight | all pairs | first of all | worst attack |\n|---|---|---|---|---|");
    let applied = ["length", "plain", "repetition", "echo", "language", "fluency", "relevance", "head", "information"];
    for (name, weight) in scorer(&params, &trained).weights().filter(|(name, _)| applied.contains(name)) {
        if name == "information" && lm.is_none() {
            continue;
        }
        let scorer = scorer(&params, &trained).without(name);
        let judge = TextJudge::with_scorer(Method::Weighted, scorer, models(&embedder, lm.as_ref()));
        summary(&format!("{name} | {weight}"), &Scores::new(&judge, &open)?);
    }
    for (title, cases) in [("nothing known", &open), ("meaning known", &known)] {
        climbs(title, &judge(Method::Weighted), cases, &items, &dictionary, &arguments)?;
        save()?;
    }
    Ok(())
}

/// Items that climbers start from in a round of training.
const CLIMBED: usize = 90;

/// Trains, lets climbers find what pleases the scorer wrongly, and trains again with what they found.
fn train(
    dictionary: &Dictionary,
    items: &[Item],
    others: &[Item],
    embedder: &Remembering,
    lm: Option<&Lm>,
    rounds: usize,
) -> Result<Trained> {
    let mut climbed = Vec::new();
    let knowledge = knowledge(dictionary);
    let mut trained = None;
    for round in 0..=rounds {
        let lessons = Lessons { texts: &dictionary.texts, items, others, climbed: &climbed };
        let scorers = learn(&lessons, embedder, lm)?;
        if round < rounds {
            let judge = content_judge(Method::Weighted, &scorers, embedder, lm);
            let from = items.iter().skip(round).step_by((items.len() / CLIMBED).max(1)).cloned().collect::<Vec<_>>();
            for (at, (case, item)) in table::open(&from).iter().zip(&from).enumerate() {
                let Some(start) = &case.attacks[[6, 4, 3][at % 3]] else { continue };
                let found = climb(&judge, &case.task, item, start, &knowledge, (round * 100_000 + at) as u64)?;
                if found.after > found.before {
                    let (prompt, truth) = (item.prompt(), case.truth.clone());
                    climbed.push(Climbed { prompt, truth, start: start.clone(), end: found.text });
                }
            }
            eprintln!("round {round}: {} climbed answers to learn from", climbed.len());
        }
        trained = Some(scorers);
    }
    trained.ok_or_else(|| "nothing was trained".into())
}

/// What climbers edit with.
fn knowledge(dictionary: &Dictionary) -> Knowledge<'_> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for word in dictionary.texts.iter().flat_map(|t| t.split(' ')).filter(|w| w.chars().all(char::is_alphanumeric)) {
        *counts.entry(word).or_default() += 1;
    }
    let words = counts.into_iter().filter(|(_, n)| *n >= 40).map(|(w, _)| w).collect();
    let answers = dictionary.items.iter().filter(|i| !i.held_out).map(|i| i.gloss.as_str()).collect();
    Knowledge { words, answers }
}

/// A judge of the text alone. How an answer was served is left out: equal for all, it would only make differences look
/// smaller.
fn content_judge(method: Method, trained: &Trained, embedder: &Remembering, lm: Option<&Lm>) -> TextJudge {
    TextJudge::with_scorer(method, scorer(&content_params(), trained), models(embedder, lm))
}

fn content_params() -> Params {
    Params { weight_text_latency: 0, weight_cost: 0, ..Params::dev() }
}

/// Prints the weights under which the calibration items' true answers win most often.
fn tune(cases: &[Case], trained: &Trained, embedder: &Remembering, lm: Option<&Lm>) -> Result<()> {
    let weighed = |head, fluency, relevance, form| {
        let of_form = Params {
            weight_length: form,
            weight_repetition: form,
            weight_echo: form,
            weight_plain: form,
            weight_language: form,
            ..content_params()
        };
        Params { weight_head: head, weight_fluency: fluency, weight_relevance: relevance, ..of_form }
    };
    let mut all = Vec::new();
    for fluency in [1000, 2000, 3000] {
        for relevance in [0, 1000, 2000] {
            for form in [100, 500] {
                let params = weighed(2000, fluency, relevance, form);
                let judge = TextJudge::with_scorer(Method::Weighted, scorer(&params, trained), models(embedder, lm));
                let scores = Scores::new(&judge, cases)?;
                all.push((scores.worst(), scores.accuracy(), [fluency, relevance, form]));
            }
        }
    }
    all.sort_by(|a, b| b.0.0.total_cmp(&a.0.0));
    println!(
        "\nweights on {} calibration items, head 2000: worst attack, all pairs, [fluency, relevance, form]",
        cases.len()
    );
    all.iter().take(8).for_each(|row| println!("{row:?}"));
    Ok(())
}

fn summary(name: &str, scores: &Scores) {
    let (worst, attack) = scores.worst();
    println!(
        "| {name} | {:.1} % | {:.1} % | {:.1} % ({attack}) |",
        100.0 * scores.accuracy(),
        100.0 * scores.first(),
        100.0 * worst
    );
}

fn write(dictionary: &Dictionary, trained: &Trained) -> Result<()> {
    let assets = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../assets"));
    std::fs::write(assets.join("glossary/glossary.tsv"), dictionary.glossary(GLOSSARY))?;
    std::fs::write(assets.join("text-scorers/fluency.bin"), trained.fluency.to_bytes())?;
    std::fs::write(assets.join("text-scorers/head.bin"), trained.head.to_bytes())?;
    std::fs::write(assets.join("text-scorers/calibrations.bin"), borsh::to_vec(&trained.calibrations)?)?;
    Ok(())
}

/// Climbs from mediocre answers: what a related word means, and half of the truth.
fn climbs(
    title: &str,
    judge: &TextJudge,
    cases: &[Case],
    items: &[Item],
    dictionary: &Dictionary,
    arguments: &Arguments,
) -> Result<()> {
    let knowledge = knowledge(dictionary);
    let by_prompt: BTreeMap<String, &Item> = items.iter().map(|i| (i.prompt(), i)).collect();
    println!("\nClimbs with {QUERIES} queries, {title}:\n");
    println!(
        "| start | climbs | before | after | gain | gained 0.05 or more | above the true answer before, after |\n|---|---|---|---|---|---|---|"
    );
    for (attack, start) in [(6, "what a related word means"), (4, "half of the truth"), (3, "another item's answer")] {
        let step = (cases.len() / arguments.climbs.max(1)).max(1);
        let mut all: Vec<(Climb, f64)> = Vec::new();
        for (at, case) in cases.iter().enumerate().step_by(step).take(arguments.climbs) {
            let (Some(text), Some(item)) = (&case.attacks[attack], by_prompt.get(&case.task.prompt)) else { continue };
            let truth = table::score(judge, &case.task, &case.truth)?.to_f64();
            all.push((climb(judge, &case.task, item, text, &knowledge, at as u64)?, truth));
        }
        let count = all.len().max(1) as f64;
        let mean = |f: &dyn Fn(&(Climb, f64)) -> f64| all.iter().map(f).sum::<f64>() / count;
        let (before, after) = (mean(&|c| c.0.before.to_f64()), mean(&|c| c.0.after.to_f64()));
        let gained = mean(&|c| f64::from(u8::from(c.0.after.to_f64() - c.0.before.to_f64() >= 0.05)));
        let above = |f: &dyn Fn(&Climb) -> f64| 100.0 * mean(&|c| f64::from(u8::from(f(&c.0) > c.1)));
        println!(
            "| {start} | {} | {before:.3} | {after:.3} | {:+.3} | {:.0} % | {:.0} %, {:.0} % |",
            all.len(),
            after - before,
            100.0 * gained,
            above(&|c| c.before.to_f64()),
            above(&|c| c.after.to_f64())
        );
        for (climb, truth) in all.iter().take(arguments.show) {
            eprintln!(
                "  {:.2} -> {:.2} (truth {truth:.2}): {}",
                climb.before.to_f64(),
                climb.after.to_f64(),
                climb.text
            );
        }
    }
    Ok(())
}
