use proptest::prelude::*;

use super::*;
use crate::{
    criteria::Case as _,
    text::{Arrived, Known, TextTask, WordRange},
};

const PROMPT: &str = "What does \"lantern\" mean?";

fn case(prompt: &str, text: &str) -> TextCase {
    let task = TextTask {
        prompt: prompt.to_owned(),
        known: Known::Nothing,
        words: WordRange { low: 3, high: 40 },
        schema: None,
        language: Some("eng".to_owned()),
    };
    TextCase::read(task, Some(Arrived { text: text.to_owned(), ..Arrived::default() }))
}

fn mark_of(criterion: &impl Criterion<TextCase>, text: &str) -> Option<Score> {
    let case = case(PROMPT, text);
    criterion.mark(&case, case.answer().unwrap())
}

fn refuted(criterion: &impl Criterion<TextCase>, text: &str) -> bool {
    let case = case(PROMPT, text);
    criterion.refutes(&case, case.answer().unwrap())
}

const GOOD: &str = "a portable light in a case with sides of glass that keep out the wind";

#[test]
fn a_good_answer_has_every_full_mark_and_passes_every_gate() {
    let all: [(&str, &dyn Criterion<TextCase>); 4] =
        [("length", &Length), ("repetition", &Repetition), ("echo", &Echo), ("plain", &Plain)];
    let case = case(PROMPT, GOOD);
    for (name, criterion) in all {
        assert_eq!(criterion.name(), name);
        assert_eq!(criterion.mark(&case, case.answer().unwrap()), Some(Score::ONE), "{name}");
        assert!(!criterion.refutes(&case, case.answer().unwrap()), "{name}");
    }
    assert!(!Language.refutes(&case, case.answer().unwrap()));
}

#[test]
fn function_words_are_in_order_as_they_are_searched_by_halves() {
    assert!(FUNCTION_WORDS.is_sorted());
}

#[test]
fn length_falls_off_outside_its_range_and_nothing_at_all_is_refuted() {
    assert_eq!(mark_of(&Length, "a b c"), Some(Score::ONE));
    assert!(mark_of(&Length, "a") < mark_of(&Length, "a b"));
    assert!(mark_of(&Length, &"word ".repeat(60)) < Some(Score::ONE));
    assert!(refuted(&Length, &"word ".repeat(161)) && !refuted(&Length, &"word ".repeat(160)));
    for nothing in ["", " \n\t ", "?!... --- ()", "\0\0\0", "\u{200b}\u{200b}"] {
        assert!(refuted(&Length, nothing), "{nothing:?}");
    }
    assert!(refuted(&Length, &"x".repeat(1 << 20)));
}

#[test]
fn saying_it_again_and_again_is_refuted() {
    assert!(refuted(&Repetition, &"light ".repeat(20)));
    assert!(refuted(&Repetition, &"a light with glass ".repeat(10)));
    assert!(refuted(&Repetition, &"word ".repeat(200_000)));
    let stuffed = "lantern light lantern glass lantern lamp lantern bulb";
    assert!(mark_of(&Repetition, stuffed) < Some(Score::ONE));
    assert_eq!(mark_of(&Repetition, "light light"), None);
}

#[test]
fn an_echo_is_refuted_in_any_disguise() {
    for echo in [
        PROMPT,
        "lantern means lantern",
        "The meaning of the word lantern is what lantern means.",
        "WHAT DOES LANTERN MEAN",
        "l\u{0430}ntern me\u{0430}ns lantern",
        "lan\u{200b}tern mean lan\u{200b}tern",
        "mean lantern, mean lantern",
        "it is what it is",
    ] {
        assert!(refuted(&Echo, echo), "{echo:?}");
    }
    assert!(!refuted(&Echo, "a lantern is a portable light"));
}

#[test]
fn what_an_answer_adds_is_what_the_prompt_does_not_have() {
    let added = |text: &str| added(&Reading::new(PROMPT), &Reading::new(text));
    assert_eq!(added(GOOD), GOOD);
    assert_eq!(added("A \"lantern\" means a light; lanterns are l\u{0430}ntern lights."), "A a light; are lights.");
    assert_eq!(added("lantern"), "lantern");
}

#[test]
fn where_the_answer_is_known_exactly_it_may_stand_in_the_prompt() {
    let mut case = case("Ada lives in Rome. Where does Ada live?", "Ada lives in Rome.");
    assert!(Echo.refutes(&case, case.answer().unwrap()));
    case.task.known = Known::Words { accepted: vec!["Rome".to_owned()], rivals: Vec::new() };
    assert!(!Echo.refutes(&case, case.answer().unwrap()));
    assert_eq!(Echo.mark(&case, case.answer().unwrap()), None);
}

#[test]
fn invisible_and_disguised_writing_is_refuted_and_honest_scripts_are_not() {
    assert!(refuted(&Plain, "a po\u{200b}rta\u{200b}ble li\u{200b}ght"));
    assert!(refuted(&Plain, "\u{0440}ortable l\u{0456}ght in gl\u{0430}ss"));
    assert!(refuted(&Plain, "a \u{202e}thgil\u{202c} in\u{202e} glass"));
    assert!(refuted(&Plain, "light\0\0\0"));
    assert_eq!(mark_of(&Plain, "a li\u{200b}ght"), Some(Score::ZERO));
    assert!(!refuted(&Plain, "une lumière portative — à l'abri"));
    assert!(!refuted(&Plain, "\u{5d0}\u{5d5}\u{5e8}\u{200f} \u{200f}\u{5e7}\u{5d8}\u{5df}\u{200f}"));
}

#[test]
fn another_language_is_refuted_where_that_is_certain() {
    let german = "eine tragbare Lampe mit einem Gehäuse aus Glas, das die Flamme vor dem Wind und dem Regen schützt";
    assert!(refuted(&Language, german));
    assert!(refuted(&Language, "переносной светильник в стеклянном корпусе"));
    assert_eq!(mark_of(&Language, "12 345"), None);
    let mut case = case(PROMPT, german);
    case.task.language = None;
    assert_eq!(Language.mark(&case, case.answer().unwrap()), None);
}

proptest! {
    #[test]
    fn any_text_has_marks_within_bounds_and_is_judged_alike_twice(text: String, prompt: String) {
        let case = case(&prompt, &text);
        let answer = case.answer().unwrap();
        let all: [&dyn Criterion<TextCase>; 5] = [&Length, &Repetition, &Echo, &Plain, &Language];
        for criterion in all {
            prop_assert_eq!(criterion.mark(&case, answer), criterion.mark(&case, answer));
            prop_assert_eq!(criterion.refutes(&case, answer), criterion.refutes(&case, answer));
        }
    }

    #[test]
    fn a_prompt_is_its_own_echo(words in proptest::collection::vec("[a-z]{3,9}", 1..30)) {
        let prompt = words.join(" ");
        let case = case(&prompt, &prompt);
        prop_assert!(Echo.refutes(&case, case.answer().unwrap()));
    }
}
