use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use proptest::prelude::*;

use super::*;
use crate::text::{Calibration, Embedder, Known, LanguageModel, Likelihood, ReplayOutcome, WordRange};

/// Two numbers: how many of a text's letters are in the first and the second half of the alphabet.
struct Halves(Arc<AtomicUsize>);

impl Embedder for Halves {
    fn embed(&self, text: &str) -> Result<Vec<f32>, ModelError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        if text.contains("unbearable") {
            return Err(ModelError { model: "embedder", reason: "it will not".to_owned() });
        }
        let count = |low, high| text.chars().filter(|c| (low..=high).contains(c)).count() as f32;
        Ok(vec![count('a', 'm') + 0.1, count('n', 'z') + 0.1])
    }
}

fn judge(method: Method) -> (TextJudge, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let models = Models { embedder: Some(Arc::new(Halves(Arc::clone(&asked)))), ..Models::default() };
    let calibration = Calibration { centre: 0.9, width: 0.05, full: 0.99 };
    let scorer = Scorer::default()
        .by(Mean::Geometric)
        .with(Replay, 1)
        .with(Length, 1)
        .with(Plain, 1)
        .with(Repetition, 1)
        .with(Echo, 1)
        .with(Match, 4)
        .with(Nearness(calibration), 2)
        .with(Relevance(Relation::cosine(calibration, 2)), 1);
    (TextJudge::with_scorer(method, scorer, models), asked)
}

fn task(known: Known) -> TextTask {
    TextTask {
        prompt: "What does \"lantern\" mean?".to_owned(),
        known,
        words: WordRange { low: 2, high: 40 },
        schema: None,
        language: Some("eng".to_owned()),
    }
}

fn arrived(text: &str) -> Option<Arrived> {
    Some(Arrived { text: text.to_owned(), ..Arrived::default() })
}

fn meaning() -> Known {
    Known::Meaning("a portable light in a case".to_owned())
}

#[test]
fn the_breakdown_is_kept_whatever_the_method_and_the_gate() {
    for method in Method::ALL {
        let (judge, _) = judge(method);
        let good = judge.judge(task(meaning()), arrived("a light in a case that one carries")).unwrap();
        let names: Vec<_> = good.verdict.breakdown.iter().map(|m| m.name).collect();
        assert_eq!(names, ["length", "plain", "repetition", "echo", "nearness", "relevance"], "{method:?}");
        assert!(good.verdict.gate.is_none() && good.verdict.score > Score::ZERO);
        let echo = judge.judge(task(meaning()), arrived("lantern mean")).unwrap();
        assert_eq!((echo.verdict.score, echo.verdict.gate), (Score::ZERO, Some("echo")));
        assert!(!echo.verdict.breakdown.is_empty());
    }
}

#[test]
fn no_model_is_asked_about_what_a_gate_refutes_or_what_is_known_exactly() {
    let (judge, asked) = judge(Method::Weighted);
    for text in ["", "lantern", &"x ".repeat(1 << 20), "\0\0\0 a b", "l\u{200b}i\u{200b}g\u{200b}ht is a thing"] {
        assert!(judge.judge(task(meaning()), arrived(text)).unwrap().verdict.gate.is_some(), "{text:.20}");
    }
    let number = judge.judge(task(Known::Number(7)), arrived("it is 7")).unwrap();
    assert_eq!(number.verdict.score, Score::ONE);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_refuted_replay_outweighs_the_best_text() {
    let (judge, _) = judge(Method::Weighted);
    let with = |replay| {
        let text = "a portable light in a case".to_owned();
        judge.judge(task(meaning()), Some(Arrived { text, replay, ..Arrived::default() })).unwrap()
    };
    assert_eq!(with(ReplayOutcome::Refuted).verdict.gate, Some("replay"));
    assert!(with(ReplayOutcome::Confirmed).verdict.score >= with(ReplayOutcome::NotReplayed).verdict.score);
}

#[test]
fn silence_scores_nothing_and_a_failing_model_is_not_the_miners_fault() {
    let (judge, _) = judge(Method::Weighted);
    assert_eq!(judge.judge(task(meaning()), None).unwrap().verdict.score, Score::ZERO);
    let failed = judge.judge(task(meaning()), arrived("an unbearable light in a case")).unwrap_err();
    assert!(failed.to_string().contains("the validator's own embedder"));
}

#[test]
fn methods_read_the_same_marks_in_their_own_way() {
    let by = |method, known: &Known, text| judge(method).0.judge(task(known.clone()), arrived(text)).unwrap();
    let strong = |method| by(method, &meaning(), "a sort of strong torch one owns");
    let (weighted, ensemble) = (strong(Method::Weighted), strong(Method::Ensemble));
    assert_eq!(strong(Method::Simple).verdict, weighted.verdict);
    assert_eq!(strong(Method::Comparative).verdict, weighted.verdict);
    let mut members: Vec<Score> = ensemble.members.iter().map(|(_, score)| *score).collect();
    members.sort();
    assert_eq!(ensemble.verdict.score, members[1]);
    // Of two right answers, the one that is too long has its match alone under `simple`.
    let words: Vec<String> = ('a'..='g').flat_map(|a| ('a'..='f').map(move |b| format!("{a}{b}"))).collect();
    let long = format!("{} 7", words.join(" "));
    let number = |method| by(method, &Known::Number(7), &long).verdict.score;
    assert!(number(Method::Simple) == Score::ONE && number(Method::Weighted) < Score::ONE);
}

#[test]
fn marks_that_contradict_each_other_are_less_sure() {
    let (judge, _) = judge(Method::Weighted);
    let sure = judge.judge(task(meaning()), arrived("a portable light in a case")).unwrap();
    let unsure = judge.judge(task(meaning()), arrived("strong stuff on top")).unwrap();
    assert!(sure.confidence > unsure.confidence, "{} {}", sure.confidence, unsure.confidence);
}

/// Finds a text likelier the more of it is the letter "e", and finished if it ends on a full stop.
struct Letters;

impl LanguageModel for Letters {
    fn likelihood(&self, _prompt: &str, answer: &str) -> Result<Likelihood, ModelError> {
        let mut after: Vec<f64> = answer.chars().map(|c| if c == 'e' { -1.0 } else { -4.0 }).collect();
        after.push(if answer.ends_with('.') { -0.5 } else { -6.0 });
        let alone = vec![-4.0; after.len()];
        Ok(Likelihood::of(&after, &alone, true))
    }
}

#[test]
fn a_language_model_says_what_is_likely_and_what_is_finished() {
    let models = Models { language_model: Some(Arc::new(Letters)), ..Models::default() };
    let calibration = |centre| Calibration { centre, width: 0.5, full: 0.0 };
    let scorer =
        Scorer::default().by(Mean::Geometric).with(Likely(calibration(-3.0)), 1).with(Ending(calibration(-3.0)), 1);
    let judge = TextJudge::with_scorer(Method::Weighted, scorer, models);
    let marks = |text: &str| -> Vec<Score> {
        let judged = judge.judge(task(Known::Nothing), arrived(text)).unwrap();
        judged.verdict.breakdown.iter().map(|m| m.mark).collect()
    };
    let (whole, cut, odd) = (marks("see the bees."), marks("see the bees"), marks("xxx xxx xxxx."));
    assert!(whole[0] > odd[0] && whole[1] == odd[1], "{whole:?} {odd:?}");
    assert!(whole[1] > cut[1], "{whole:?} {cut:?}");
}

#[test]
fn the_curve_keeps_the_order_of_answers_and_leaves_gates_and_exact_answers_alone() {
    let texts = ["a portable light in a case", "strong stuff on top", "a light in a case that one carries", "lantern"];
    let bare = judge(Method::Weighted).0;
    let whole = judge(Method::Weighted).0.whole(Calibration { centre: 0.2, width: 0.1, full: 1.0 });
    let score = |judge: &TextJudge, text| judge.judge(task(meaning()), arrived(text)).unwrap().verdict.score;
    let mut order: Vec<(Score, Score)> = texts.iter().map(|text| (score(&bare, text), score(&whole, text))).collect();
    order.sort();
    assert!(order.windows(2).all(|pair| pair[0].1 < pair[1].1), "{order:?}");
    assert_eq!(order[0], (Score::ZERO, Score::ZERO));
    assert!(order[1..].iter().any(|(bare, whole)| bare != whole));
    let number =
        |judge: &TextJudge| judge.judge(task(Known::Number(7)), arrived("it is 8, or 7")).unwrap().verdict.score;
    assert_eq!(number(&bare), number(&whole));
}

#[test]
fn the_chains_weights_and_method_are_taken() {
    let params = Params { text_method: 2, weight_head: 7, ..Params::dev() };
    assert_eq!(Method::from_params(&params), Method::Ensemble);
    let scorer = scorer(&params, &Trained::shipped());
    assert!(scorer.weights().any(|w| w == ("head", 7)));
    assert_eq!(scorer.weights().count(), 18);
    assert_eq!(Method::from_params(&Params { text_method: 99, ..params }), Method::Weighted);
}

#[test]
fn what_the_node_ships_tells_language_from_its_pieces() {
    let fluency = Fluency::shipped();
    let measure = |text: &str| fluency.measure(&crate::text::Reading::new(text));
    let good = measure("a portable light with a handle that can be carried in the hand");
    for bad in [
        "handle light that be the with a carried hand portable in can a",
        "light lantern portable handle carried light hand lantern",
        "a portable light with a handle that can be carried in the",
    ] {
        assert!(measure(bad) < good, "{bad}: {} against {good}", measure(bad));
    }
}

proptest! {
    #[test]
    fn any_answer_is_judged_within_bounds(text: String) {
        for method in Method::ALL {
            let (judge, _) = judge(method);
            let judgement = judge.judge(task(meaning()), arrived(&text));
            if !text.contains("unbearable") {
                let judgement = judgement.unwrap();
                prop_assert!(judgement.verdict.score <= Score::ONE && judgement.confidence <= Score::ONE);
            }
        }
    }
}
