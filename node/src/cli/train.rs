//! `assay train`: models made on this machine.

use std::{collections::BTreeSet, path::PathBuf};

use assay_inference::train::{self, Conversation, Corpus, Shape, TrainOptions, WordNet};
use assay_primitives::Hash32;
use assay_scoring::{
    EpochSeed,
    tasks::{Family, Glossary, TaskSource},
    text::Known,
};
use clap::{Args, Subcommand};
use eyre::{WrapErr as _, eyre};
use indicatif::ProgressBar;
use rand::SeedableRng as _;
use serde_json::json;

use super::global::{Global, pairs};

#[derive(Debug, Subcommand)]
pub(super) enum Train {
    /// Train a small language model from a dictionary.
    Lm(Lm),
}

#[derive(Args, Debug)]
pub(super) struct Lm {
    /// WordNet's data files, as Debian's wordnet-base has them.
    #[arg(long, value_name = "DIR", default_value = "/usr/share/wordnet")]
    wordnet: PathBuf,
    /// A plain text to read as well; may be given again.
    #[arg(long, value_name = "FILE")]
    text: Vec<PathBuf>,
    /// Tasks as validators set them, to be read with their answers.
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    lessons: usize,
    /// Where the model is put.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Of the corpus, the weights and the order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Tokens of the vocabulary.
    #[arg(long, default_value_t = 2048)]
    vocabulary: usize,
    /// Width.
    #[arg(long, default_value_t = 160)]
    hidden: usize,
    /// Layers.
    #[arg(long, default_value_t = 6)]
    layers: usize,
    /// Heads.
    #[arg(long, default_value_t = 5)]
    heads: usize,
    /// Width of the feed-forward part.
    #[arg(long, default_value_t = 448)]
    feed_forward: usize,
    /// Positions.
    #[arg(long, default_value_t = 512)]
    context: usize,
    /// Steps.
    #[arg(long, default_value_t = 3000)]
    steps: usize,
    /// Sequences in a step.
    #[arg(long, default_value_t = 16)]
    batch: usize,
    /// Positions in a sequence.
    #[arg(long, default_value_t = 192)]
    length: usize,
    /// The highest learning rate.
    #[arg(long, default_value_t = 3e-3)]
    rate: f64,
}

pub(super) fn run(global: &Global, command: &Train) -> eyre::Result<()> {
    let Train::Lm(lm) = command;
    let words = WordNet::read(&lm.wordnet).wrap_err("WordNet comes with Debian's package wordnet-base")?;
    let read =
        |path: &PathBuf| std::fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()));
    let texts = lm.text.iter().map(read).collect::<eyre::Result<Vec<_>>>()?;
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(lm.seed);
    let corpus = Corpus::new(&words, &texts, lessons(lm.seed, &words).take(lm.lessons), &mut rng);
    global.hint(format!("{} texts; training the tokenizer", corpus.texts.len()));
    let tokenizer = train::train_tokenizer(&corpus.texts, lm.vocabulary).map_err(|e| eyre!(e))?;
    let tokens = train::tokens(&tokenizer, &corpus.texts).map_err(|e| eyre!(e))?;
    let shape = Shape {
        vocabulary: tokenizer.get_vocab_size(true),
        hidden: lm.hidden,
        layers: lm.layers,
        heads: lm.heads,
        feed_forward: lm.feed_forward,
        context: lm.context,
    };
    global.hint(format!("{} tokens; {} weights", tokens.len(), shape.weights()));
    let options = TrainOptions {
        seed: lm.seed,
        steps: lm.steps,
        batch: lm.batch,
        length: lm.length,
        rate: lm.rate,
        warm_up: (lm.steps / 20).max(1),
    };
    let bar = if global.quiet || global.json { ProgressBar::hidden() } else { ProgressBar::new(lm.steps as u64) };
    let trained = train::train(shape, &tokens, options, |p| {
        bar.set_position(p.step as u64);
        bar.set_message(format!("loss {:.3}", p.loss));
    })?;
    bar.finish_and_clear();
    train::save(&trained, &tokenizer, &lm.out)?;
    let weights = lm.out.join("model.safetensors");
    let hash = blake3::hash(&std::fs::read(&weights)?).to_hex().to_string();
    let value = json!({ "folder": lm.out, "weights": shape.weights(), "tokens": tokens.len(), "loss": trained.loss, "blake3": hash });
    global.show(&value, || {
        pairs([
            ("folder", lm.out.display().to_string()),
            ("weights", shape.weights().to_string()),
            ("loss", format!("{:.3} nats a token", trained.loss)),
            ("blake3", hash.clone()),
        ])
    });
    Ok(())
}

/// Tasks as validators set them, with their answers: definitions most often, for they are most to learn. Words of senses
/// that are kept out of training are not asked about. Their seed is of no chain.
fn lessons(seed: u64, words: &WordNet) -> impl Iterator<Item = Conversation> {
    use Family::{Arithmetic, Classification, Definition, Extraction, Span, Word};
    let families = [Definition, Definition, Definition, Word, Arithmetic, Arithmetic, Extraction, Span, Classification];
    let source = TaskSource::new(Glossary::shipped(), &families);
    let none = Hash32([0; 32]);
    let seed = EpochSeed { genesis: none, randomness: none, secret: none, epoch: seed };
    let kept_out: BTreeSet<String> =
        words.senses().filter(|s| train::is_held_out(s)).flat_map(|s| s.words.clone()).collect();
    (0..).filter_map(move |number| {
        let task = source.attempt(&seed, None, number, 0).task;
        let asked = task.prompt.split('"').nth(1).map(str::to_owned);
        let answer = match task.known {
            Known::Words { accepted, .. } => accepted.into_iter().next()?,
            Known::Number(number) => number.to_string(),
            Known::Record(record) => record.to_string(),
            Known::Meaning(meaning) => meaning,
            Known::Nothing => return None,
        };
        let about = asked.as_ref().unwrap_or(&answer);
        (!kept_out.contains(about)).then_some(Conversation { question: task.prompt, answer })
    })
}
