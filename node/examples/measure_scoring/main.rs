//! Measures how well text answers are scored, on words that nothing was trained on.
//!
//! ```sh
//! measure_scoring --wordnet DIR --embedder DIR [--lm DIR] [--items 1022] [--climbs 30] [--rounds 1] [--cache FILE] [--tune] [--write | --shipped] [--show N]
//! ```
//!
//! It trains fluency, relation and reward head on WordNet's senses that are not held out, always from the same seed, and
//! calibrates some marks on a sixth of those that are (or, with `--shipped`, takes what the node comes with),
//! and then judges the other held-out ones: the true answer against six attacks, with each criterion left out in turn, and a
//! miner that optimises its answer against the score. `--write` puts what was trained, and the glossary that tasks are
//! drawn from, into `assets/`.

mod attacks;
mod bench;
mod climb;
mod dictionary;
mod learn;
mod replayed;
mod table;

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use assay_chain_spec::Params;
use assay_primitives::Score;
use assay_scoring::text::{Calibration, Method, TextJudge, Trained, scorer};

use crate::{
    bench::{Lm, Remembering, models},
    climb::{Climb, Knowledge, QUERIES, climb},
    dictionary::{Dictionary, Item},
    learn::{Climbed, Lessons, learn},
    replayed::Network,
    table::{Case, Marks, Scores},
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
        items: numbers.get("--items").copied().unwrap_or(1022),
        climbs: numbers.get("--climbs").copied().unwrap_or(30),
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
    // Nothing has read these. What is calibrated on models that have read all others is calibrated on a sixth of them.
    let held_out = || dictionary.items.iter().filter(|i| i.held_out && !i.transparent).enumerate();
    let unread: Vec<Item> = held_out().filter(|(at, _)| at % 6 == 5).map(|(_, i)| i.clone()).collect();
    let held_out: Vec<&Item> = held_out().filter(|(at, _)| at % 6 != 5).map(|(_, i)| i).collect();
    let kept: Vec<&Item> = dictionary.items.iter().filter(|i| !i.held_out).collect();
    let step = (kept.len() / 8700).max(2);
    let training: Vec<Item> = owned(kept.iter().step_by(step).copied().collect());
    let calibration: Vec<Item> =
        owned(kept.iter().skip(1).step_by(step * 16).filter(|i| !i.transparent).copied().collect());
    // All that is not calibrated on; a pair costs two embeddings and no corruption.
    let paired: Vec<Item> =
        kept.iter().enumerate().filter(|(at, _)| at % (step * 16) != 1).map(|(_, i)| (*i).clone()).collect();
    eprintln!(
        "{} items, of them {} held out to measure on; {} to train on, {} to pair, {} and {} to calibrate on",
        dictionary.items.len(),
        held_out.len(),
        training.len(),
        paired.len(),
        calibration.len(),
        unread.len()
    );
    let embedder = Remembering::load(&arguments.embedder, arguments.cache.as_deref())?;
    let lm = arguments.lm.as_deref().map(Lm::load).transpose()?;
    let trained = if arguments.shipped {
        Trained::shipped()
    } else {
        train(&dictionary, [&training, &paired, &calibration, &unread], &embedder, lm.as_ref(), arguments.rounds)?
    };
    let save = || arguments.cache.as_deref().map_or(Ok(()), |path| embedder.save(path));
    save()?;
    if arguments.write {
        write(&dictionary, &trained)?;
    }
    let params = content_params();
    let judge = |method| content_judge(method, &trained, &embedder, lm.as_ref());
    let items = owned(some(&held_out, arguments.items));
    let started = Instant::now();
    let open = table::open(&items);
    if arguments.tune {
        tune(&open, &trained, &embedder, lm.as_ref())?;
    }
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
    let applied = [
        "length",
        "plain",
        "repetition",
        "echo",
        "language",
        "fluency",
        "relevance",
        "head",
        "information",
        "likely",
        "ending",
    ];
    for (name, weight) in scorer(&params, &trained).weights().filter(|(name, _)| applied.contains(name)) {
        if ["information", "likely", "ending"].contains(&name) && lm.is_none() {
            continue;
        }
        let scorer = scorer(&params, &trained).without(name);
        let judge = TextJudge::with_scorer(Method::Weighted, scorer, models(&embedder, lm.as_ref()))
            .whole(trained.calibrations.whole);
        summary(&format!("{name} | {weight}"), &Scores::new(&judge, &open)?);
    }
    if arguments.climbs == 0 {
        return Ok(());
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
    [items, paired, others, unread]: [&[Item]; 4],
    embedder: &Remembering,
    lm: Option<&Lm>,
    rounds: usize,
) -> Result<Trained> {
    let mut climbed = Vec::new();
    let knowledge = knowledge(dictionary);
    let mut trained = None;
    for round in 0..=rounds {
        let lessons = Lessons { texts: &dictionary.texts, items, paired, others, unread, climbed: &climbed };
        let mut scorers = learn(&lessons, embedder, lm)?;
        scorers.calibrations.whole = whole(unread, &scorers, embedder, lm)?;
        if round < rounds {
            let judge = content_judge(Method::Weighted, &scorers, embedder, lm);
            let from = items.iter().skip(round).step_by((items.len() / CLIMBED).max(1)).cloned().collect::<Vec<_>>();
            for (at, (case, item)) in table::open(&from).iter().zip(&from).enumerate() {
                let Some(start) = &case.attacks[[6, 4, 3][at % 3]] else { continue };
                let score = |text: &str| table::score(&judge, &case.task, text);
                let found = climb(&score, item, start, &knowledge, (round * 100_000 + at) as u64)?;
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

/// Share of honest answers whose score is below a half, and below 0.95.
const POOR: (f64, f64) = (0.02, 0.1);

/// The curve from the weighted mean of marks to the score.
fn whole(unread: &[Item], trained: &Trained, embedder: &Remembering, lm: Option<&Lm>) -> Result<Calibration> {
    let judge = TextJudge::with_scorer(Method::Weighted, scorer(&content_params(), trained), models(embedder, lm));
    let honest = Scores::new(&judge, &table::open(unread))?.of_truth();
    let whole = Calibration::by_honest(&honest, POOR.0, POOR.1, 1.0).ok_or("all honest answers score alike")?;
    eprintln!("whole: {whole:?}");
    Ok(whole)
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
    let judge = TextJudge::with_scorer(method, scorer(&content_params(), trained), models(embedder, lm));
    judge.whole(trained.calibrations.whole)
}

fn content_params() -> Params {
    Params { weight_text_latency: 0, weight_cost: 0, ..Params::dev() }
}

/// Weights that are tuned; the others stay.
const TUNED: [&str; 6] = ["fluency", "relevance", "head", "information", "likely", "ending"];

/// Tunes weights on every second case, one after the other from those in force on, and prints what each step makes of these
/// and of the others.
fn tune(cases: &[Case], trained: &Trained, embedder: &Remembering, lm: Option<&Lm>) -> Result<()> {
    let judge = content_judge(Method::Weighted, trained, embedder, lm);
    let (tuned, others) = Marks::new(&judge, cases)?.halves();
    let mut weights: BTreeMap<&str, u64> = scorer(&content_params(), trained).weights().collect();
    let with = |weights: &BTreeMap<&'static str, u64>, name, weight| {
        BTreeMap::from_iter(weights.iter().map(|(n, w)| (*n, *w)).chain([(name, weight)]))
    };
    let merit = |scores: &Scores| (scores.worst().0, scores.accuracy());
    println!("\n| {} | worst attack, all pairs | of the others |", TUNED.join(" | "));
    println!("|{}", "---|".repeat(TUNED.len() + 2));
    let print = |weights: &BTreeMap<&str, u64>| {
        let [tuned, others] = [&tuned, &others].map(|half| {
            let scores = half.scores(weights);
            let (worst, attack) = scores.worst();
            format!("{:.1} % ({attack}), {:.1} %", 100.0 * worst, 100.0 * scores.accuracy())
        });
        println!("| {} | {tuned} | {others} |", TUNED.map(|name| weights[name].to_string()).join(" | "));
    };
    print(&weights);
    loop {
        let mut best = merit(&tuned.scores(&weights));
        let before = best;
        for name in TUNED {
            for weight in (0..=32).map(|n| n * 250) {
                let tried = with(&weights, name, weight);
                let merit = merit(&tuned.scores(&tried));
                if merit > best {
                    (weights, best) = (tried, merit);
                }
            }
        }
        if best == before {
            return Ok(());
        }
        print(&weights);
    }
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
    std::fs::write(assets.join("text-scorers/relation.bin"), trained.relation.to_bytes())?;
    std::fs::write(assets.join("text-scorers/head.bin"), trained.head.to_bytes())?;
    std::fs::write(assets.join("text-scorers/calibrations.bin"), borsh::to_vec(&trained.calibrations)?)?;
    Ok(())
}

/// Climbs of a miner that has honest answers, and of ones that have worse.
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
    let network = arguments.lm.as_deref().map(Network::load).transpose()?;
    let step = (cases.len() / arguments.climbs.max(1)).max(1);
    let chosen: Vec<&Case> = cases.iter().step_by(step).take(arguments.climbs).collect();
    println!("\nClimbs with {QUERIES} queries, {title}:\n");
    println!(
        "| start | climbs | before | after | gain | gained 0.05 or more | above the true answer before, after |\n|---|---|---|---|---|---|---|"
    );
    let starts = [
        (None, "the true answer"),
        (Some(6), "what a related word means"),
        (Some(4), "half of the truth"),
        (Some(3), "another item's answer"),
    ];
    for (attack, start) in starts {
        let mut all = Vec::new();
        for (at, case) in chosen.iter().enumerate() {
            let text = attack.map_or(Some(&case.truth), |attack: usize| case.attacks[attack].as_ref());
            let (Some(text), Some(item)) = (text, by_prompt.get(&case.task.prompt)) else { continue };
            let score = |text: &str| table::score(judge, &case.task, text);
            all.push((climb(&score, item, text, &knowledge, at as u64)?, score(&case.truth)?));
        }
        climbed(start, &all, arguments.show);
    }
    for replayed in [false, true] {
        let Some(network) = &network else { continue };
        let mut all = Vec::new();
        for (at, case) in chosen.iter().enumerate() {
            let Some(item) = by_prompt.get(&case.task.prompt) else { continue };
            let told = network.ask(&case.task.prompt)?;
            let score = |text: &str| match replayed {
                true => network.score(judge, &case.task, &told, text),
                false => table::score(judge, &case.task, text),
            };
            let truth = table::score(judge, &case.task, &case.truth)?;
            all.push((climb(&score, item, &told.text, &knowledge, at as u64)?, truth));
        }
        climbed(if replayed { "the model's own, replayed" } else { "the model's own" }, &all, arguments.show);
    }
    Ok(())
}

/// Prints a row: climbs, each with the true answer's score.
fn climbed(start: &str, all: &[(Climb, Score)], show: usize) {
    let count = all.len().max(1) as f64;
    let mean = |f: &dyn Fn(&Climb, f64) -> f64| all.iter().map(|(c, truth)| f(c, truth.to_f64())).sum::<f64>() / count;
    let (before, after) = (mean(&|c, _| c.before.to_f64()), mean(&|c, _| c.after.to_f64()));
    let share = |f: &dyn Fn(&Climb, f64) -> bool| 100.0 * mean(&|c, truth| f64::from(u8::from(f(c, truth))));
    println!(
        "| {start} | {} | {before:.3} | {after:.3} | {:+.3} | {:.0} % | {:.0} %, {:.0} % |",
        all.len(),
        after - before,
        share(&|c, _| c.after.to_f64() - c.before.to_f64() >= 0.05),
        share(&|c, truth| c.before.to_f64() > truth),
        share(&|c, truth| c.after.to_f64() > truth)
    );
    for (climb, truth) in all.iter().take(show) {
        let [before, after, truth] = [climb.before, climb.after, *truth].map(Score::to_f64);
        eprintln!("  {before:.2} -> {after:.2} (truth {truth:.2}): {}", climb.text);
    }
}
