//! How often a validator is wrong about a text: honest answers that it rejects, and lies that it believes.
//!
//! ```text
//! cargo run -p assay --example measure_verification -- [--model assets/gloss] [--honest 2000] [--lies 500]
//! ```
//!
//! Answers are to questions as validators ask them, half of them greedy, half drawn with a seed. Each liar answers the same
//! questions in its own way and signs what its engine gave it; the validator makes each answer again with the model that
//! was asked for. A lie that comes out as the honest answer to the last bit is none, and counted apart.

use std::{collections::BTreeMap, error::Error, path::Path, path::PathBuf};

use assay::texts::{self, Verdict};
use assay_inference::llm::{Event, Form, Llm, LoadOptions};
use assay_primitives::{
    Hash32,
    text::{Draw, Real, TextInput, TextOutput},
};
use assay_scoring::{
    EpochSeed,
    tasks::{Family, Glossary, TaskSource},
};
use clap::Parser;
use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[derive(Parser)]
struct Options {
    /// A language model in half precision.
    #[arg(long, default_value = "assets/gloss")]
    model: PathBuf,
    /// Honest answers.
    #[arg(long, default_value_t = 2000)]
    honest: usize,
    /// Lies of each kind.
    #[arg(long, default_value_t = 500)]
    lies: usize,
}

/// Tokens of an answer at most.
const MOST: u32 = 64;
/// Noise of the twin's weights, as a part of each weight: what a little more training does.
const NOISE: f32 = 0.01;

fn questions(llm: &Llm, count: usize) -> Result<Vec<TextInput>> {
    let source = TaskSource::new(Glossary::shipped(), &Family::ALL);
    let none = Hash32([0; 32]);
    let seed = EpochSeed { genesis: none, randomness: none, secret: Hash32([1; 32]), epoch: 77 };
    let template = llm.codec.template().ok_or("the model has no chat template")?;
    let question = |number: u32| {
        let words = source.attempt(&seed, None, number, 0).task.prompt;
        let turn = serde_json::json!({ "role": "user", "content": words });
        let prompt = llm.codec.encode_as_is(&template.render::<_, ()>(&[turn], None)?)?;
        let greedy = Draw::greedy();
        let draw = match number % 2 {
            0 => greedy,
            _ => Draw { temperature: Real::new(0.9)?, top_p: Real::new(0.95)?, seed: u64::from(number), ..greedy },
        };
        // An end at once is no answer to lie about.
        Ok(TextInput { prompt, max_tokens: MOST, draw, stop: Vec::new(), ignore_end: number % 4 < 2, form: None })
    };
    (0..count as u32).map(question).collect()
}

/// What a miner with this model signs.
async fn told(llm: &Llm, text: &TextInput) -> Result<TextOutput> {
    let mut answer = llm.engine.generate(texts::request(llm, text)?)?;
    let mut tokens = Vec::new();
    loop {
        match answer.next().await.ok_or("the answer broke off")? {
            Event::Piece(piece) => tokens.push(piece.token),
            Event::Done { finish, end, activations, .. } => {
                tokens.extend(end);
                return Ok(TextOutput {
                    tokens,
                    ending: texts::ending(&finish, text)?,
                    activations: Hash32(activations),
                });
            }
            Event::Failed(error) => return Err(error.into()),
        }
    }
}

/// A copy of a model with every matrix changed.
fn changed(model: &Path, to: &Path, change: impl Fn(&mut [f32], &mut ChaCha8Rng)) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for entry in std::fs::read_dir(model)? {
        let entry = entry?;
        std::fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    let bytes = std::fs::read(model.join("model.safetensors"))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let mut kept = BTreeMap::new();
    for (name, view) in tensors.tensors() {
        let mut values: Vec<f32> = match view.dtype() {
            Dtype::F16 => view.data().chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => return Err(format!("{name} is {other:?}, expected half precision").into()),
        };
        if view.shape().len() == 2 {
            change(&mut values, &mut rng);
        }
        let data: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        kept.insert(name, (view.shape().to_vec(), data));
    }
    let views = kept.iter().map(|(name, (shape, data))| Ok((name, TensorView::new(Dtype::F16, shape.clone(), data)?)));
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize_to_file(views, None, &to.join("model.safetensors"))?;
    Ok(())
}

/// Rounds to 16 steps of a scale for each 32, as `Q4_0` does.
fn to_four_bits(values: &mut [f32]) {
    for block in values.chunks_mut(32) {
        let largest = block.iter().fold(0.0f32, |m, v| if v.abs() > m.abs() { *v } else { m });
        let scale = f16::from_f32(largest / -8.0).to_f32();
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        block.iter_mut().for_each(|v| *v = scale * (*v * inverse + 8.5).floor().clamp(0.0, 15.0) - scale * 8.0);
    }
}

/// How a kind of answers fared.
#[derive(Default)]
struct Row {
    answers: usize,
    right: usize,
    by_token: usize,
    by_end: usize,
    by_activations: usize,
    same: usize,
}

impl Row {
    fn add(&mut self, verdict: &Verdict) {
        self.answers += 1;
        match verdict {
            Verdict::Right => self.right += 1,
            Verdict::OtherToken { .. } => self.by_token += 1,
            Verdict::OtherEnding(_) => self.by_end += 1,
            Verdict::OtherActivations => self.by_activations += 1,
        }
    }

    fn print(&self, kind: &str) {
        let Self { answers, right, by_token, by_end, by_activations, same } = self;
        let rejected = answers - right;
        let share = 100.0 * rejected as f64 / (*answers).max(1) as f64;
        println!(
            "| {kind} | {answers} | {rejected} ({share:.2} %) | {by_token} | {by_end} | {by_activations} | {same} |"
        );
    }
}

/// Answers of a liar, which has its own model and its own way to read a question, looked at with the model that was asked for.
async fn lies(
    (honest, liar): (&Llm, &Llm),
    texts: &[TextInput],
    lie: impl Fn(usize, &TextInput) -> TextInput,
    edit: impl Fn(usize, &mut TextOutput),
) -> Result<Row> {
    let mut row = Row::default();
    for (number, text) in texts.iter().enumerate() {
        let mut said = told(liar, &lie(number, text)).await?;
        edit(number, &mut said);
        if said == told(honest, text).await? {
            row.same += 1;
            continue;
        }
        row.add(&texts::look(honest, text, &said).await?.verdict);
    }
    Ok(row)
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let load = |path: &Path, form| Llm::load(path, &LoadOptions { form, ..LoadOptions::default() });
    let model = load(&options.model, None)?;
    let texts = questions(&model, options.honest.max(options.lies))?;
    println!(
        "| answers | looked at | rejected | by a token | by the end | by activations alone | as the honest one |\n|---|---|---|---|---|---|---|"
    );

    let mut honest = Row::default();
    for text in &texts[..options.honest] {
        honest.add(&texts::look(&model, text, &told(&model, text).await?).await?.verdict);
    }
    honest.print("honest, alone");
    let mut together = Row::default();
    for group in texts[..options.honest].chunks(32) {
        let said = futures::future::join_all(group.iter().map(|text| told(&model, text))).await;
        let looks = group.iter().zip(said).map(|(text, said)| {
            let model = &model;
            async move { Ok::<_, Box<dyn Error>>(texts::look(model, text, &said?).await?.verdict) }
        });
        for verdict in futures::future::join_all(looks).await {
            together.add(&verdict?);
        }
    }
    together.print("honest, 32 at once");

    let texts = &texts[..options.lies];
    let plain = |_: usize, text: &TextInput| text.clone();
    let as_told = |_: usize, _: &mut TextOutput| {};
    let folder = tempfile::tempdir()?;
    let (twin, four) = (folder.path().join("twin"), folder.path().join("four"));
    std::fs::create_dir_all(&twin)?;
    std::fs::create_dir_all(&four)?;
    changed(&options.model, &twin, |values, rng| {
        values.iter_mut().for_each(|v| *v *= 1.0 + NOISE * (rng.gen_range(-1.0f32..1.0) + rng.gen_range(-1.0f32..1.0)));
    })?;
    changed(&options.model, &four, |values, _| to_four_bits(values))?;
    let other = load(&twin, None)?;
    lies((&model, &other), texts, plain, as_told).await?.print("another model of the same size, a hundredth off");
    let (eight, four) = (load(&options.model, Some(Form::Q8))?, load(&four, Some(Form::Q8))?);
    lies((&eight, &four), texts, plain, as_told).await?.print("four bits for eight");
    lies((&model, &eight), texts, plain, as_told).await?.print("eight bits for sixteen");
    let next = |number: usize, text: &TextInput| TextInput {
        prompt: texts[(number + 1) % texts.len()].prompt.clone(),
        ..text.clone()
    };
    lies((&model, &model), texts, next, as_told).await?.print("another prompt");
    let half = |_: usize, text: &TextInput| TextInput {
        prompt: text.prompt[text.prompt.len() / 2..].to_vec(),
        ..text.clone()
    };
    lies((&model, &model), texts, half, as_told).await?.print("the second half of the context");
    let vocabulary = model.config.vocabulary as u32;
    let edit = |number: usize, said: &mut TextOutput| {
        for part in said.tokens.chunks_mut(32) {
            let at = number % part.len();
            part[at] = (part[at] + 1 + number as u32 % (vocabulary - 1)) % vocabulary;
        }
    };
    lies((&model, &model), texts, plain, edit).await?.print("one token edited in 32");
    let drawn: Vec<TextInput> = texts.iter().filter(|text| text.draw != Draw::greedy()).cloned().collect();
    let other_seed = |_: usize, text: &TextInput| TextInput {
        draw: Draw { seed: text.draw.seed ^ 0x5eed, ..text.draw.clone() },
        ..text.clone()
    };
    lies((&model, &model), &drawn, other_seed, as_told).await?.print("drawn without the seed");
    Ok(())
}
