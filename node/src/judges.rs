//! The models that a validator judges texts by, where its operator has some: a sentence encoder, a language model, a
//! reward model. They are no part of the node, for their files are large.
//!
//! Whoever is judged chooses the text, so no text may make a model fail: what a model has no room for is judged by its
//! beginning.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use assay_inference::{
    encoders,
    llm::{Llm, LoadOptions, ReplayRequest, Sampling},
};
use assay_scoring::text::{Embedder, LanguageModel, Likelihood, ModelError, Models, Relation, RewardModel};
use serde_json::{Value, json};

use crate::home::ValidatorSettings;

/// Why a model cannot judge.
#[derive(Debug, thiserror::Error)]
#[error("validator.{field}, {}: {reason}", path.display())]
pub struct JudgeError {
    /// As in `config.toml`.
    field: &'static str,
    path: PathBuf,
    reason: String,
}

/// All that cannot judge, of those that are named.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct JudgeErrors(Vec<JudgeError>);

/// Loads the models that a home's settings name, from its folder; call it where blocking is allowed.
///
/// # Errors
/// [`JudgeErrors`], naming the settings.
pub fn load(settings: &ValidatorSettings, home: &Path) -> Result<Models, JudgeErrors> {
    let ValidatorSettings { embedder, language_model, reward_model } = settings;
    let mut failed = Vec::new();
    let models = Models {
        embedder: one("embedder", embedder, home, Encoder::load, &mut failed).map(|m| Arc::new(m) as _),
        language_model: one("language_model", language_model, home, Reader::load, &mut failed)
            .map(|m| Arc::new(m) as _),
        reward_model: one("reward_model", reward_model, home, Rewarder::load, &mut failed).map(|m| Arc::new(m) as _),
    };
    if failed.is_empty() { Ok(models) } else { Err(JudgeErrors(failed)) }
}

/// The model of a setting; `None` if none is named, or it failed.
fn one<T>(
    field: &'static str,
    named: &Option<PathBuf>,
    home: &Path,
    load: impl Fn(&Path) -> Result<T, String>,
    failed: &mut Vec<JudgeError>,
) -> Option<T> {
    let path = home.join(named.as_ref()?);
    match load(&path) {
        Ok(loaded) => {
            tracing::info!(path = %path.display(), "texts are judged by a model ({field})");
            Some(loaded)
        }
        Err(reason) => {
            failed.push(JudgeError { field, path, reason });
            None
        }
    }
}

struct Encoder(encoders::Embedder);

impl Encoder {
    fn load(folder: &Path) -> Result<Self, String> {
        let model = Self(encoders::Embedder::load(folder).map_err(|e| format!("no sentence encoder: {e}"))?);
        Relation::shipped().fits(&model).map_err(|reason| format!("{reason}; expected all-MiniLM-L6-v2"))?;
        Ok(model)
    }
}

impl Embedder for Encoder {
    fn embed(&self, text: &str) -> Result<Vec<f32>, ModelError> {
        let embedded = self.0.embed_beginning(text);
        Ok(embedded.map_err(|e| ModelError { model: "embedder", reason: e.to_string() })?.vector)
    }
}

/// A language model that is asked how likely it finds texts.
struct Reader {
    llm: Llm,
    /// What an answer follows that is to no question.
    alone: Vec<u32>,
}

impl Reader {
    fn load(path: &Path) -> Result<Self, String> {
        let llm = Llm::load(path, &LoadOptions::default()).map_err(|e| e.to_string())?;
        let alone = before(&llm, &[])?;
        Ok(Self { llm, alone })
    }

    /// The log-probabilities of an answer's tokens after others, in nats: of as many as there is room for.
    fn read(&self, before: &[u32], answer: &[u32]) -> Result<Vec<f64>, String> {
        let context = self.llm.committed.context as usize;
        let (tokens, answer) = cut(before, answer, context);
        let request = ReplayRequest {
            answer: tokens.len() - answer,
            tokens,
            sampling: Sampling::default(),
            constraint: None,
            adapter: None,
        };
        let replayed = futures::executor::block_on(self.llm.engine.replay(request)).map_err(|e| e.to_string())?;
        Ok(replayed.tokens.iter().map(|t| f64::from(t.logprob)).collect())
    }
}

/// The tokens that an answer to some messages follows.
fn before(llm: &Llm, messages: &[Value]) -> Result<Vec<u32>, String> {
    let template = llm.codec.template().ok_or("it has no chat template")?;
    let text = template.render::<_, ()>(messages, None).map_err(|e| e.to_string())?;
    let tokens = llm.codec.encode_as_is(&text)?;
    if tokens.is_empty() {
        return Err("its chat template gives nothing for an answer to follow".to_owned());
    }
    Ok(tokens)
}

/// An answer after what goes before it, in at most `context` tokens, at least one of each; and how many are the answer's. Of
/// what goes before, the end is kept, of the answer the beginning.
fn cut(before: &[u32], answer: &[u32], context: usize) -> (Vec<u32>, usize) {
    let before = &before[before.len().saturating_sub((context / 2).max(1))..];
    let answer = &answer[..answer.len().min(context.saturating_sub(before.len()).max(1))];
    ([before, answer].concat(), answer.len())
}

impl LanguageModel for Reader {
    fn likelihood(&self, prompt: &str, answer: &str) -> Result<Likelihood, ModelError> {
        let failed = |reason| ModelError { model: "language model", reason };
        let mut said = self.llm.codec.encode_as_is(answer).map_err(failed)?;
        let end = self.llm.config.eos.first();
        said.extend(end);
        let asked = before(&self.llm, &[json!({ "role": "user", "content": prompt })]).map_err(failed)?;
        let after_prompt = self.read(&asked, &said).map_err(failed)?;
        let alone = self.read(&self.alone, &said[..after_prompt.len()]).map_err(failed)?;
        let ended = end.is_some() && after_prompt.len() == said.len();
        Ok(Likelihood::of(&after_prompt, &alone, ended))
    }
}

struct Rewarder(encoders::RewardModel);

impl Rewarder {
    fn load(folder: &Path) -> Result<Self, String> {
        encoders::RewardModel::load(folder).map(Self).map_err(|e| e.to_string())
    }
}

impl RewardModel for Rewarder {
    fn reward(&self, prompt: &str, answer: &str) -> Result<f64, ModelError> {
        let reward = self.0.reward(prompt, answer);
        Ok(f64::from(reward.map_err(|e| ModelError { model: "reward model", reason: e.to_string() })?))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GLOSS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/gloss");

    fn settings(language_model: &str) -> ValidatorSettings {
        ValidatorSettings { language_model: Some(language_model.into()), ..Default::default() }
    }

    #[test]
    fn what_a_question_makes_likely_has_information_and_no_answer_makes_the_model_fail() {
        let models = load(&settings(GLOSS), Path::new("/")).unwrap();
        assert!(models.embedder.is_none() && models.reward_model.is_none());
        let model = models.language_model.unwrap();
        let of = |prompt, answer: &str| model.likelihood(prompt, answer).unwrap();
        let known = [
            ("What does \"bird\" mean?", "warm-blooded egg-laying vertebrates with feathers and wings"),
            ("What does \"money\" mean?", "the most common medium of exchange; functions as legal tender"),
            ("What does \"river\" mean?", "a large natural stream of water"),
            ("What does \"doctor\" mean?", "a licensed medical practitioner"),
        ];
        let sum = |step: usize| {
            let pairs = known.iter().zip(known.iter().cycle().skip(step));
            pairs.map(|((question, _), (_, answer))| of(question, answer).information()).sum::<f64>()
        };
        let (right, wrong) = (sum(0), sum(1).max(sum(2)).max(sum(3)));
        assert!(right > wrong, "{right} {wrong}");
        for hostile in ["", "\u{0}", "\u{1f9ff}\u{301}", &"very ".repeat(20_000), &"\u{10ffff}".repeat(5_000)] {
            let found = of(known[0].0, hostile);
            assert!(found.information().is_finite() && found.tokens >= 1, "{found:?}");
            assert!(of(hostile, known[2].1).information().is_finite());
        }
    }

    #[test]
    fn a_model_that_is_not_there_is_refused_by_the_name_of_its_setting() {
        let error = |settings: &ValidatorSettings| load(settings, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error(&settings("gloss")).starts_with("validator.language_model, /nowhere/gloss: "));
        let encoder = ValidatorSettings { embedder: Some("minilm".into()), ..Default::default() };
        assert!(error(&encoder).starts_with("validator.embedder, /nowhere/minilm: "));
        let rewards = ValidatorSettings { reward_model: Some("deberta".into()), ..Default::default() };
        assert!(error(&rewards).starts_with("validator.reward_model, /nowhere/deberta: "));
        let all = error(&ValidatorSettings { embedder: encoder.embedder, ..rewards });
        assert!(all.contains("validator.embedder, ") && all.contains("; validator.reward_model, "), "{all}");
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_and_has_something_of_both(before in 1usize..80, answer in 1usize..80, context in 2usize..100) {
            let (of_before, of_answer): (Vec<u32>, Vec<u32>) = ((0..before as u32).collect(), (100..100 + answer as u32).collect());
            let (tokens, said) = cut(&of_before, &of_answer, context);
            prop_assert!(said >= 1 && said < tokens.len() && tokens.len() <= context);
            prop_assert_eq!(&tokens[tokens.len() - said..], &of_answer[..said]);
            prop_assert!(of_before.ends_with(&tokens[..tokens.len() - said]));
            prop_assert!(tokens.len() == before + answer || tokens.len() * 2 >= context);
        }
    }
}
