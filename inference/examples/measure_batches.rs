//! What batches and threads are worth: throughput of the genesis language model and of the digit CNN.
//!
//! ```text
//! cargo run -p assay-inference --example measure_batches
//! ```
//!
//! The same requests are answered one by one and several at a time, on one thread and on two, and must get the same
//! answers each time. Printed as the rows of a table; rates are the best of three passes.

use std::{fs, num::NonZeroUsize, path::Path, sync::Arc, time::Instant};

use assay_circuits::{
    compile::{Compiled, Options, Samples, compile},
    exec::{self, Program},
    onnx,
};
use assay_inference::llm::{Event, GenerateRequest, Llm, LoadOptions};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const BATCHES: [usize; 4] = [1, 4, 8, 16];
const WORKERS: [usize; 2] = [1, 2];
const PASSES: usize = 3;
/// Texts of a pass, tokens of their prompts and of each.
const TEXTS: usize = 32;
const PROMPT: usize = 32;
const TOKENS: usize = 64;

fn main() -> Result<()> {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets");
    println!("| model | workers | one by one | batch of 4 | batch of 8 | batch of 16 |\n|---|---|---|---|---|---|");
    texts(&assets.join("gloss"))?;
    digits(&assets)
}

/// A row of the table: rates, and how many times the first each is.
fn row(model: &str, workers: usize, unit: &str, rates: &[f64]) {
    let cells: Vec<String> = rates.iter().map(|r| format!("{r:.0} {unit}, {:.1}x", r / rates[0])).collect();
    println!("| {model} | {workers} | {} |", cells.join(" | "));
}

/// The most that `pass` does in a second; it does `amount`.
fn rate(amount: usize, mut pass: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = 0f64;
    for _ in 0..PASSES {
        let begun = Instant::now();
        pass()?;
        best = best.max(amount as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn texts(path: &Path) -> Result<()> {
    let mut expected: Option<Vec<Vec<u32>>> = None;
    for workers in WORKERS {
        let llm = Llm::load(path, &LoadOptions { threads: Some(workers), ..LoadOptions::default() })?;
        let mut rates = Vec::new();
        let mut seed = 0;
        for batch in BATCHES {
            rates.push(rate(TEXTS * TOKENS, || {
                // Prompts of each pass are new to the prefix cache; the first pass of each size answers the same ones.
                let prompts = prompts(llm.config.vocabulary, seed);
                seed += 1;
                let mut answers = Vec::new();
                for together in prompts.chunks(batch) {
                    answers.extend(tell(&llm, together)?);
                }
                if seed == 1 && expected.as_ref().is_some_and(|e| *e != answers) {
                    return Err(format!("batches of {batch} on {workers} threads give other texts").into());
                }
                expected.get_or_insert(answers);
                Ok(())
            })?);
            seed = 0;
        }
        row("gloss", workers, "tok/s", &rates);
    }
    Ok(())
}

fn prompts(vocabulary: usize, seed: u64) -> Vec<Vec<u32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let token = |rng: &mut ChaCha8Rng| rng.gen_range(300..vocabulary as u32);
    (0..TEXTS).map(|_| (0..PROMPT).map(|_| token(&mut rng)).collect()).collect()
}

/// The answers to prompts that come together.
fn tell(llm: &Llm, prompts: &[Vec<u32>]) -> Result<Vec<Vec<u32>>> {
    let ask = |prompt: &Vec<u32>| {
        let request =
            GenerateRequest { prompt: prompt.clone(), max_tokens: TOKENS, ignore_end: true, ..Default::default() };
        llm.engine.generate(request)
    };
    let answers = prompts.iter().map(ask).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut texts = Vec::new();
    for mut answer in answers {
        let mut tokens = Vec::new();
        while let Some(event) = answer.wait() {
            match event {
                Event::Piece(piece) => tokens.push(piece.token),
                Event::Failed(error) => return Err(error.into()),
                Event::Done { .. } => {}
            }
        }
        texts.push(tokens);
    }
    Ok(texts)
}

#[derive(Deserialize)]
struct Scan {
    pixels: Vec<f64>,
}

fn digits(assets: &Path) -> Result<()> {
    let scans = |name: &str| -> Result<Vec<Vec<f64>>> {
        let scans: Vec<Scan> = serde_json::from_slice(&fs::read(assets.join("digits").join(name))?)?;
        Ok(scans.into_iter().map(|s| s.pixels).collect())
    };
    let onnx = fs::read(assets.join("digits-cnn/digits-cnn.onnx"))?;
    let mut inputs = scans("heldout.json")?;
    inputs.truncate(inputs.len() / 16 * 16);
    let samples = Samples::new(scans("calibration.json")?);
    let mut expected: Option<Vec<i64>> = None;
    for workers in WORKERS {
        let mut rates = Vec::new();
        for batch in BATCHES {
            let options = Options { onnx: onnx::Options { batch, ..Default::default() }, ..Options::default() };
            let Compiled { model, .. } = compile(&onnx, &samples, &options)?;
            let options = exec::Options { threads: NonZeroUsize::new(workers), ..Default::default() };
            let program = Program::new(Arc::clone(model.graph()), model.weights(), options)?;
            let together = inputs.chunks(batch).map(|scans| model.quantise_inputs(&[scans.concat()]));
            let together = together.collect::<std::result::Result<Vec<_>, _>>()?;
            rates.push(rate(inputs.len(), || {
                let mut outputs = Vec::new();
                for inputs in &together {
                    outputs.extend(program.run(inputs)?.concat());
                }
                if *expected.get_or_insert_with(|| outputs.clone()) != outputs {
                    return Err(format!("batches of {batch} on {workers} threads give other numbers").into());
                }
                Ok(())
            })?);
        }
        row("digits-cnn", workers, "scans/s", &rates);
    }
    Ok(())
}
