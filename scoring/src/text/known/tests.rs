use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    criteria::Case as _,
    text::{Arrived, TextTask, WordRange},
};

fn case(prompt: &str, known: Known, text: &str) -> TextCase {
    let words = WordRange { low: 1, high: 40 };
    let task = TextTask { prompt: prompt.to_owned(), known, words, schema: None, language: None };
    TextCase::read(task, Some(Arrived { text: text.to_owned(), ..Arrived::default() }))
}

fn share(prompt: &str, known: &Known, text: &str) -> f64 {
    let case = case(prompt, known.clone(), text);
    Match::share(&case, case.answer().unwrap()).unwrap()
}

fn words(accepted: &[&str], rivals: &[&str]) -> Known {
    let owned = |all: &[&str]| all.iter().map(|w| (*w).to_owned()).collect();
    Known::Words { accepted: owned(accepted), rivals: owned(rivals) }
}

#[test]
fn words_match_alone_or_in_a_sentence_whatever_case_marks_and_article() {
    let known = words(&["New York", "Gotham"], &["Rome", "Oslo"]);
    for right in ["New York", "new york.", "  \"New York\" ", "Ada lives in New York.", "gotham", "the Gotham"] {
        assert_eq!(share("", &known, right), 1.0, "{right}");
    }
    for wrong in ["York", "Rome", "New York or Rome", "newyork", "", "York New", "Oslo, Rome, New York"] {
        assert_eq!(share("", &known, wrong), 0.0, "{wrong}");
    }
}

#[test]
fn a_number_matches_as_the_last_and_only_one_that_the_prompt_does_not_have() {
    let (prompt, known) = ("What is 30 + 4?", Known::Number(34));
    for right in ["34", "30 + 4 = 34", "The answer is 34.", "It is 34"] {
        assert_eq!(share(prompt, &known, right), 1.0, "{right}");
    }
    for wrong in ["33, 34", "340", "34 or 35", "-34", "3 4", "34.5", "thirty-four", "", "99999999999999999999"] {
        assert_eq!(share(prompt, &known, wrong), 0.0, "{wrong}");
    }
    assert_eq!(share("What is 3 - 10?", &Known::Number(-7), "-7"), 1.0);
    assert_eq!(share("What is 3 - 10?", &Known::Number(-7), "3-10 = -7"), 1.0);
    assert_eq!(share("What is 2000 * 3?", &Known::Number(6000), "6,000"), 1.0);
}

#[test]
fn a_record_earns_the_share_of_its_right_fields() {
    let known = Known::Record(json!({ "name": "Ada", "age": 36 }));
    assert_eq!(share("", &known, "{\"age\": 36, \"name\": \"ada\"}"), 1.0);
    assert_eq!(share("", &known, "```json\n{\"age\": 36, \"name\": \"Ada\"}\n```"), 1.0);
    assert_eq!(share("", &known, "{\"age\": 36, \"name\": \"Bob\"}"), 0.5);
    assert_eq!(share("", &known, "{\"age\": \"36\"}"), 0.0);
    assert_eq!(share("", &known, "{\"age\": 36, \"name\": \"Ada\", \"more\": 1, \"still\": 2}"), 0.5);
    for wrong in ["", "{", "[]", "null", "name: Ada", "{\"name\": \"Ada\"} and more"] {
        assert_eq!(share("", &known, wrong), 0.0, "{wrong}");
    }
}

#[test]
fn a_schema_is_a_gate_and_a_broken_one_says_nothing() {
    let holds = |schema: Value, text: &str| {
        let mut case = case("", Known::Nothing, text);
        case.task.schema = Some(schema);
        Format::holds(&case, case.answer().unwrap())
    };
    let schema = json!({ "type": "object", "required": ["a"], "properties": { "a": { "type": "integer" } } });
    assert_eq!(holds(schema.clone(), "{\"a\": 1}"), Some(true));
    assert_eq!(holds(schema.clone(), "{\"a\": \"1\"}"), Some(false));
    assert_eq!(holds(schema.clone(), "a is 1"), Some(false));
    assert_eq!(holds(json!({ "type": 7 }), "{}"), None);
    assert_eq!(holds(json!({ "$ref": "https://example.com/schema" }), "{}"), None);
}

#[test]
fn bombs_of_json_are_refused_in_a_moment() {
    let known = Known::Record(json!({ "a": 1 }));
    let bombs = [
        "[".repeat(60_000),
        format!("{}1{}", "{\"a\":".repeat(5_000), "}".repeat(5_000)),
        format!("{{\"a\": 1{}", " ".repeat(1 << 20)),
        format!("[{}1]", "1,".repeat(30_000)),
        "{\"a\": 1e999999999}".to_owned(),
    ];
    let start = std::time::Instant::now();
    for bomb in bombs {
        let mut case = case("", known.clone(), &bomb);
        case.task.schema = Some(json!({ "type": "object", "properties": { "a": { "pattern": "(a+)+$" } } }));
        assert!(Match.refutes(&case, case.answer().unwrap()));
        Format.refutes(&case, case.answer().unwrap());
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(5));
}

proptest! {
    #[test]
    fn any_answer_to_any_known_can_be_compared(text: String, number: i64, accepted: String) {
        for known in [Known::Number(number), words(&[&accepted], &[]), Known::Record(json!({ "x": text.clone() }))] {
            prop_assert!((0.0..=1.0).contains(&share("", &known, &text)));
        }
    }

    #[test]
    fn a_number_said_plainly_matches_and_its_neighbour_does_not(number in -1_000_000i64..1_000_000) {
        prop_assert_eq!(share("", &Known::Number(number), &number.to_string()), 1.0);
        prop_assert_eq!(share("", &Known::Number(number), &(number + 1).to_string()), 0.0);
    }

    #[test]
    fn json_said_again_is_the_same_record(keys in proptest::collection::btree_map("[a-z]{1,5}", 0u32..100, 1..8)) {
        let value = json!(keys);
        prop_assert_eq!(share("", &Known::Record(value.clone()), &value.to_string()), 1.0);
    }
}
