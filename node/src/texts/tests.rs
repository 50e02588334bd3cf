use assay_inference::llm::Event;
use assay_primitives::{Hash32, text::TextOutput};

use super::*;

fn gloss() -> Llm {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/gloss");
    Llm::load(&folder, &LoadOptions::default()).unwrap()
}

/// As a conversation, which is what the model was trained on.
fn question(llm: &Llm, words: &str) -> TextInput {
    let turn = serde_json::json!({ "role": "user", "content": words });
    let prompt = llm.codec.template().unwrap().render::<_, ()>(&[turn], None).unwrap();
    TextInput {
        prompt: llm.codec.encode_as_is(&prompt).unwrap(),
        max_tokens: 24,
        draw: Draw::greedy(),
        stop: Vec::new(),
        ignore_end: false,
        form: None,
    }
}

/// What a miner would sign.
async fn told(llm: &Llm, text: &TextInput) -> TextOutput {
    let mut answer = llm.engine.generate(request(llm, text).unwrap()).unwrap();
    let mut tokens = Vec::new();
    loop {
        match answer.next().await.unwrap() {
            Event::Piece(piece) => tokens.push(piece.token),
            Event::Done { finish, end, activations, .. } => {
                tokens.extend(end);
                return TextOutput { tokens, ending: ending(&finish, text).unwrap(), activations: Hash32(activations) };
            }
            Event::Failed(error) => panic!("{error}"),
        }
    }
}

async fn verdict(llm: &Llm, text: &TextInput, told: &TextOutput) -> Verdict {
    look(llm, text, told).await.unwrap().verdict
}

fn sampled(seed: u64) -> Draw {
    Draw { temperature: Real::new(0.9).unwrap(), top_p: Real::new(0.95).unwrap(), seed, ..Draw::greedy() }
}

#[tokio::test]
async fn what_the_engine_told_is_right_however_it_was_drawn_and_ended() {
    let llm = gloss();
    let plain = question(&llm, "What does \"river\" mean?");
    let said = told(&llm, &plain).await;
    let first = llm.codec.decode(&said.tokens[..3]).unwrap();
    let word = first.split_whitespace().last().unwrap().to_owned();
    let texts = [
        TextInput { max_tokens: 1, ..plain.clone() },
        TextInput { ignore_end: true, max_tokens: 60, ..plain.clone() },
        TextInput { stop: vec!["\u{1}".into(), word], ..plain.clone() },
        TextInput { form: Some(Form::Regex("[a-z]{3,9}".into())), ..plain.clone() },
        TextInput { draw: sampled(7), ..plain.clone() },
        TextInput { draw: Draw { presence_penalty: Real::new(1.5).unwrap(), ..sampled(8) }, ..plain.clone() },
        plain,
    ];
    for text in texts {
        let said = told(&llm, &text).await;
        let Look { verdict, logprob } = look(&llm, &text, &said).await.unwrap();
        assert_eq!(verdict, Verdict::Right, "{text:?} {said:?}");
        assert!(logprob <= 0.0 && logprob.is_finite());
    }
}

#[tokio::test]
async fn another_token_ending_or_activation_is_found() {
    let llm = gloss();
    let text = question(&llm, "What does \"river\" mean?");
    let right = told(&llm, &text).await;
    assert!(right.tokens.len() > 3);

    let mut other = right.clone();
    other.tokens[2] = (other.tokens[2] + 1) % llm.config.vocabulary as u32;
    assert_eq!(
        verdict(&llm, &text, &other).await,
        Verdict::OtherToken { at: 2, signed: other.tokens[2], drawn: right.tokens[2] }
    );

    let other = TextOutput { activations: Hash32([1; 32]), ..right.clone() };
    assert_eq!(verdict(&llm, &text, &other).await, Verdict::OtherActivations);

    // Cut short, with the activations of what is left: only the ending tells.
    let short = TextInput { max_tokens: 3, ..text.clone() };
    let cut = told(&llm, &short).await;
    assert_eq!(cut.tokens, right.tokens[..3]);
    for ending in [Ending::Length, Ending::End] {
        let cut = TextOutput { ending, ..cut.clone() };
        assert!(matches!(verdict(&llm, &text, &cut).await, Verdict::OtherEnding(_)), "{ending:?}");
    }
    let other = TextOutput { ending: Ending::End, ..cut.clone() };
    assert!(matches!(verdict(&llm, &short, &other).await, Verdict::OtherEnding(_)));

    let vast = u32::try_from(llm.config.vocabulary).unwrap();
    for tokens in [Vec::new(), vec![vast], vec![u32::MAX; 3], vec![1; 25]] {
        let other = TextOutput { tokens, ..right.clone() };
        assert!(matches!(verdict(&llm, &text, &other).await, Verdict::OtherEnding(_)), "{other:?}");
    }
}

#[tokio::test]
async fn a_colder_draw_another_seed_and_another_prompt_are_found() {
    let llm = gloss();
    let text = TextInput { draw: sampled(1), max_tokens: 40, ignore_end: true, ..question(&llm, "Define \"stone\".") };
    let right = told(&llm, &text).await;
    assert!(verdict(&llm, &text, &right).await.is_right());
    let greedy = told(&llm, &TextInput { draw: Draw::greedy(), ..text.clone() }).await;
    assert!(!verdict(&llm, &text, &greedy).await.is_right());
    let reseeded = told(&llm, &TextInput { draw: sampled(2), ..text.clone() }).await;
    assert!(!verdict(&llm, &text, &reseeded).await.is_right());
    let elsewhere = TextInput { prompt: llm.codec.encode("Define \"tone\".").unwrap(), ..text.clone() };
    assert!(!verdict(&llm, &elsewhere, &right).await.is_right());
}

#[tokio::test]
async fn what_no_model_takes_is_the_callers_fault() {
    let llm = gloss();
    let text = question(&llm, "a");
    let wrong = [
        TextInput { stop: vec![String::new()], ..text.clone() },
        TextInput { stop: vec!["x".into(); 17], ..text.clone() },
        TextInput { stop: vec!["x".repeat(1025)], ..text.clone() },
        TextInput { form: Some(Form::Regex("(".into())), ..text.clone() },
        TextInput { form: Some(Form::Schema("{".into())), ..text.clone() },
        TextInput { draw: Draw { bias: vec![(3, Real::new(1.0).unwrap()); 2], ..Draw::greedy() }, ..text.clone() },
    ];
    for text in wrong {
        let error = request(&llm, &text).unwrap_err();
        assert!(error.is_callers_fault(), "{error}");
    }
    let endless = TextInput { prompt: vec![5; 100_000], ..text };
    assert!(llm.engine.generate(request(&llm, &endless).unwrap()).is_err());
}

#[test]
fn forms_and_draws_survive_the_network() {
    let forms = [Form::Object, Form::Regex("a+".into()), Form::Schema(r#"{"type":"object"}"#.into())];
    for one in forms {
        assert_eq!(form(&grammar(&one).unwrap()), one);
    }
    let one = Draw { bias: vec![(3, Real::new(-2.5).unwrap())], ..sampled(5) };
    assert_eq!(draw(&sampling(&one)).unwrap(), one);
}

#[test]
fn a_model_that_is_not_here_or_was_changed_is_told_by_its_name() {
    let home = tempfile::tempdir().unwrap();
    let texts = Texts::at(home.path().to_path_buf());
    let id = ModelId([7; 32]);
    let error = texts.llm(&id).unwrap_err().to_string();
    assert!(error.contains("assay model keep") && error.contains(&id.to_string()), "{error}");

    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/gloss");
    let dir = texts.dir(&id);
    std::fs::create_dir_all(&dir).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), dir.join(file.file_name())).unwrap();
    }
    let error = texts.llm(&id).unwrap_err();
    assert!(matches!(error, TextError::OtherModel { .. }), "{error}");
}
