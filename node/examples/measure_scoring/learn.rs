//! Training of the scorer's parts, on items that are not measured on.

use assay_scoring::text::{
    Calibration, Corruption, Embedder, Fluency, FluencyTraining, HeadTraining, LanguageModel, MeaningCalibrations,
    Preference, Reading, Relation, RelationTraining, RewardHead, Trained, added, models::cosine, relation::PROBE,
};
use rand::{SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    Result,
    attacks::FLATTERY,
    bench::{Lm, Remembering},
    dictionary::Item,
};

/// Of all that is drawn in training.
const SEED: u64 = 20_250_101;
/// Share of honest answers that the head gives less than the full mark.
const USUAL: f64 = 0.8;
/// The same of relevance.
const RELEVANT: f64 = 0.7;
/// The same of an answer's likelihood.
const LIKELY: f64 = 0.7;
/// The same of ends.
const FINISHED: f64 = 0.5;
/// Other items' answers that each answer is preferred to.
const OTHERS: usize = 24;

/// A prompt with its true answer and bad ones, as vectors.
struct Vectors {
    prompt: Vec<f32>,
    truth: Vec<f32>,
    bad: Vec<Vec<f32>>,
}

/// Bad answers that fluency says little about. What breaks the order of words is for fluency to find: the head would
/// learn faint traces of it, and less of what an answer means.
fn spoilt(item: &Item, rng: &mut ChaCha8Rng) -> Vec<String> {
    let elsewhere: Vec<&str> = FLATTERY.iter().flat_map(|t| t.split(' ')).collect();
    let mut make = |kind: Corruption, text: &str| kind.apply(text, &elsewhere, rng);
    let stuffed = format!("{} {} {}", item.word, item.others.join(" "), item.gloss);
    [
        Some(item.prompt()),
        make(Corruption::Stuffed, &stuffed),
        FLATTERY.iter().step_by(2).copied().collect::<Vec<_>>().choose(rng).map(|t| (*t).to_owned()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// An answer's vector as the judge takes it.
fn answer(prompt: &str, text: &str, embedder: &Remembering) -> Result<Vec<f32>> {
    Ok(embedder.embed(&added(&Reading::new(prompt), &Reading::new(text)))?)
}

fn vectors(items: &[Item], embedder: &Remembering, rng: &mut ChaCha8Rng) -> Result<Vec<Vectors>> {
    let mut all = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        // Spoilt texts cost an embedding each, other items' answers none.
        let bad = if at % 4 == 0 { spoilt(item, rng) } else { vec![item.prompt()] };
        all.push(Vectors {
            prompt: embedder.embed(&item.prompt())?,
            truth: answer(&item.prompt(), &item.gloss, embedder)?,
            bad: bad.iter().map(|t| answer(&item.prompt(), t, embedder)).collect::<Result<_>>()?,
        });
    }
    Ok(all)
}

/// An answer that a climber made of another to please the scorer.
pub(crate) struct Climbed {
    /// The question.
    pub(crate) prompt: String,
    /// Its true answer.
    pub(crate) truth: String,
    /// Where the climber started.
    pub(crate) start: String,
    /// Where it came to.
    pub(crate) end: String,
}

/// What is learned from.
pub(crate) struct Lessons<'a> {
    /// Texts that read like language.
    pub(crate) texts: &'a [String],
    /// Items to train on.
    pub(crate) items: &'a [Item],
    /// Items whose questions and answers belong together.
    pub(crate) paired: &'a [Item],
    /// Items to calibrate on.
    pub(crate) others: &'a [Item],
    /// Items that the language model has not read, and that are not measured on.
    pub(crate) unread: &'a [Item],
    /// Answers made to please an earlier scorer.
    pub(crate) climbed: &'a [Climbed],
}

/// Trains and calibrates.
pub(crate) fn learn(lessons: &Lessons<'_>, embedder: &Remembering, lm: Option<&Lm>) -> Result<Trained> {
    let Lessons { texts, items, paired, others, unread, climbed } = *lessons;
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut texts = texts.to_vec();
    texts.shuffle(&mut rng);
    let started = std::time::Instant::now();
    let edited: Vec<(String, String)> = climbed.iter().map(|c| (c.start.clone(), c.end.clone())).collect();
    let fluency = Fluency::train(&texts, &edited, FluencyTraining { seed: SEED, bits: 18, rounds: 5 })
        .ok_or("too few texts to learn fluency from")?;
    eprintln!("fluency: {} texts, {:.0} s", texts.len(), started.elapsed().as_secs_f64());
    let started = std::time::Instant::now();
    let known = vectors(items, embedder, &mut rng)?;
    eprintln!("embeddings of {} items, {:.0} s", items.len(), started.elapsed().as_secs_f64());
    let started = std::time::Instant::now();
    let mut pairs = Vec::new();
    for v in &known {
        let pair = |worse| Preference { prompt: &v.prompt, better: &v.truth, worse };
        pairs.extend(v.bad.iter().map(|bad| pair(bad)));
        pairs.extend(known.choose_multiple(&mut rng, OTHERS).map(|other| pair(&other.truth)));
    }
    let ends = climbed.iter().map(|c| {
        let vector = |text| answer(&c.prompt, text, embedder);
        Ok([embedder.embed(&c.prompt)?, vector(&c.truth)?, vector(&c.start)?, vector(&c.end)?])
    });
    let ends: Vec<[Vec<f32>; 4]> = ends.collect::<Result<_>>()?;
    for [prompt, truth, start, end] in &ends {
        let pair = |better| Preference { prompt, better, worse: end };
        pairs.extend([pair(truth), pair(truth), pair(start), pair(start)]);
    }
    let training = HeadTraining { seed: SEED, members: 4, rounds: 6, decay: 1e-3 };
    let mut head = RewardHead::train(&pairs, training).ok_or("no pairs to learn rewards from")?;
    eprintln!("head: {} pairs, {:.0} s", pairs.len(), started.elapsed().as_secs_f64());
    let fresh = vectors(others, embedder, &mut rng)?;
    let relation = relation(paired, &fresh, embedder)?;
    let reward = |p: &[f32], a: &[f32]| head.reward(p, a).unwrap_or(f64::MIN);
    let honest: Vec<f64> = fresh.iter().map(|v| reward(&v.prompt, &v.truth)).collect();
    let bad: Vec<f64> = fresh
        .iter()
        .flat_map(|v| {
            let other = fresh.choose_multiple(&mut rng, 3).map(|o| reward(&v.prompt, &o.truth)).collect::<Vec<_>>();
            v.bad.iter().map(|b| reward(&v.prompt, b)).chain(other).collect::<Vec<_>>()
        })
        .collect();
    head.calibration = Calibration::fit(&honest, &bad, USUAL).ok_or("the head prefers bad answers")?;
    let calibrations = calibrations(&fresh, others, unread, embedder, lm)?;
    eprintln!(
        "calibrations: head {:?}\n  fluency {:?}\n  relation {:?}\n  {calibrations:?}",
        head.calibration, fluency.calibration, relation.calibration
    );
    Ok(Trained { fluency, relation, head, calibrations })
}

/// Learns what belongs together, and calibrates on what it was not learned from.
fn relation(paired: &[Item], fresh: &[Vectors], embedder: &Remembering) -> Result<Relation> {
    let started = std::time::Instant::now();
    let pair = |item: &Item| Ok((embedder.embed(&item.prompt())?, answer(&item.prompt(), &item.gloss, embedder)?));
    let vectors: Vec<(Vec<f32>, Vec<f32>)> = paired.iter().map(pair).collect::<Result<_>>()?;
    eprintln!("embeddings of {} pairs, {:.0} s", vectors.len(), started.elapsed().as_secs_f64());
    let started = std::time::Instant::now();
    let pairs: Vec<(&[f32], &[f32])> = vectors.iter().map(|(p, a)| (&p[..], &a[..])).collect();
    let training = RelationTraining { seed: SEED, steps: 1000, batch: 384 };
    let mut relation = Relation::train(&pairs, training).ok_or("too few pairs to learn relations from")?;
    let of = |prompt: &Vectors, answer: &Vectors| relation.measure(&prompt.prompt, &answer.truth).unwrap_or(f64::MIN);
    let honest: Vec<f64> = fresh.iter().map(|v| of(v, v)).collect();
    let bad: Vec<f64> = fresh.iter().zip(fresh.iter().cycle().skip(1)).map(|(v, next)| of(v, next)).collect();
    relation.probe = embedder.embed(PROBE)?;
    relation.calibration =
        Calibration::fit(&honest, &bad, RELEVANT).ok_or("answers are no nearer to their prompts than others")?;
    eprintln!("relation: {} pairs, {:.0} s", pairs.len(), started.elapsed().as_secs_f64());
    Ok(relation)
}

fn calibrations(
    fresh: &[Vectors],
    items: &[Item],
    unread: &[Item],
    embedder: &Remembering,
    lm: Option<&Lm>,
) -> Result<MeaningCalibrations> {
    // Two clauses of a gloss say the same in other words.
    let (mut honest, mut bad) = (Vec::new(), Vec::new());
    for (at, item) in items.iter().enumerate() {
        let clauses: Vec<&str> = item.gloss.split("; ").filter(|c| c.split(' ').count() >= 3).collect();
        if let [first, second] = clauses[..] {
            let first = embedder.embed(first)?;
            honest.push(cosine(&first, &embedder.embed(second)?));
            bad.extend((1..4).map(|step| cosine(&first, &fresh[(at + step) % fresh.len()].truth)));
        }
    }
    let nearness = Calibration::fit(&honest, &bad, 0.8).ok_or("too few glosses in two clauses")?;
    // Without a model, what is usual of small ones: half a nat for each token is much.
    let mut information = Calibration { centre: 0.15, width: 0.1, full: 0.4 };
    let mut likely = Calibration { centre: -4.3, width: 0.3, full: -3.0 };
    let mut ending = Calibration { centre: -3.0, width: 1.0, full: -1.0 };
    if let Some(lm) = lm {
        let of = |p: &Item, a: &Item| lm.likelihood(&p.prompt(), &a.gloss).map(|l| l.information());
        let honest: Vec<f64> = unread.iter().map(|i| of(i, i)).collect::<std::result::Result<_, _>>()?;
        let next = unread.iter().cycle().skip(1);
        let bad: Vec<f64> = unread.iter().zip(next).map(|(i, n)| of(i, n)).collect::<std::result::Result<_, _>>()?;
        information =
            Calibration::fit(&honest, &bad, 0.5).ok_or("the language model finds no information in answers")?;
        let of = |item: &Item, text: &str| -> Result<f64> {
            Ok(lm.likelihood(&item.prompt(), text)?.end.ok_or("the language model knows no end")?)
        };
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let (mut honest, mut bad) = (Vec::new(), Vec::new());
        for item in unread {
            honest.push(of(item, &item.gloss)?);
            for kind in [Corruption::Halved, Corruption::Cut] {
                bad.extend(kind.apply(&item.gloss, &[], &mut rng).map(|cut| of(item, &cut)).transpose()?);
            }
        }
        ending = Calibration::fit(&honest, &bad, FINISHED).ok_or("the language model ends no answers")?;
        let of = |item: &Item, text: &str| -> Result<f64> { Ok(lm.likelihood(&item.prompt(), text)?.of_a_token()) };
        let (mut honest, mut bad) = (Vec::new(), Vec::new());
        let elsewhere: Vec<&str> = unread.iter().flat_map(|i| i.gloss.split(' ')).collect();
        for item in unread {
            honest.push(of(item, &item.gloss)?);
            for kind in [Corruption::Inserted, Corruption::Swapped, Corruption::Stuffed] {
                bad.extend(kind.apply(&item.gloss, &elsewhere, &mut rng).map(|text| of(item, &text)).transpose()?);
            }
        }
        likely = Calibration::fit(&honest, &bad, LIKELY)
            .ok_or("the language model finds answers as unlikely as nonsense")?;
    }
    // OpenAssistant's rewards of good answers lie about 1 to 5, of bad ones below 0.
    let reward = Calibration { centre: 0.0, width: 1.0, full: 2.0 };
    let whole = Calibration { centre: 0.0, width: 1.0, full: 1.0 };
    Ok(MeaningCalibrations { nearness, information, likely, ending, reward, whole })
}
