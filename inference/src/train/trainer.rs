//! The model under training, and how it is trained.
//!
//! A Llama (RMS norms, rotary positions, gated feed-forward, tied embedding), AdamW (Loshchilov and Hutter, 2019) with
//! warm-up and a cosine, gradients cut to a norm.

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor, Var, backprop::GradStore};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::operations;

/// A model's shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// Tokens.
    pub vocabulary: usize,
    /// Width.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of queries, keys and values; divides the width.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub feed_forward: usize,
    /// Positions.
    pub context: usize,
}

impl Shape {
    /// Weights.
    pub fn weights(&self) -> usize {
        let layer = 4 * self.hidden * self.hidden + 3 * self.hidden * self.feed_forward + 2 * self.hidden;
        self.vocabulary * self.hidden + self.layers * layer + self.hidden
    }
}

/// How it is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainOptions {
    /// Of the weights and the order of the batches.
    pub seed: u64,
    /// Steps.
    pub steps: usize,
    /// Sequences in a step.
    pub batch: usize,
    /// Positions in a sequence.
    pub length: usize,
    /// The highest learning rate.
    pub rate: f64,
    /// Steps until it is reached.
    pub warm_up: usize,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// Mean loss of this step, in nats a token.
    pub loss: f32,
    /// This step's learning rate.
    pub rate: f64,
}

/// Why training fails.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The shape or the options make no sense.
    #[error("{0}")]
    Absurd(String),
    /// An operation failed.
    #[error("training failed: {0}")]
    Candle(#[from] candle_core::Error),
    /// The loss is no number any more.
    #[error("the loss is not a number at step {0}; a lower rate may help")]
    Diverged(usize),
}

/// A trained model: tensors under the names of the `transformers` library.
#[derive(Debug)]
pub struct Trained {
    /// Its shape.
    pub shape: Shape,
    /// By name.
    pub tensors: HashMap<String, Tensor>,
    /// Mean loss of the last hundred steps.
    pub loss: f32,
}

pub(super) const THETA: f32 = 10_000.0;
pub(super) const EPSILON: f64 = 1e-5;

struct Model {
    shape: Shape,
    vars: HashMap<String, Var>,
}

impl Model {
    fn new(shape: Shape, seed: u64) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut vars = HashMap::new();
        let mut add = |name: String, dims: &[usize], size: f32| {
            let values: Vec<f32> = (0..dims.iter().product())
                .map(|_| {
                    // Three uniform numbers are as good a bell as weights need.
                    let bell: f32 = (0..3).map(|_| rng.gen_range(-1.0f32..1.0)).sum();
                    if dims.len() == 1 { 1.0 } else { size * bell }
                })
                .collect();
            vars.insert(name, Var::from_vec(values, dims, &Device::Cpu)?);
            Ok::<_, candle_core::Error>(())
        };
        let Shape { hidden, feed_forward, layers, .. } = shape;
        let small = 0.02 / (2.0 * layers as f32).sqrt();
        add("model.embed_tokens.weight".to_owned(), &[shape.vocabulary, hidden], 0.02)?;
        add("model.norm.weight".to_owned(), &[hidden], 0.0)?;
        for layer in 0..layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            for part in ["q_proj", "k_proj", "v_proj"] {
                add(name(&format!("self_attn.{part}")), &[hidden, hidden], 0.02)?;
            }
            add(name("self_attn.o_proj"), &[hidden, hidden], small)?;
            add(name("mlp.gate_proj"), &[feed_forward, hidden], 0.02)?;
            add(name("mlp.up_proj"), &[feed_forward, hidden], 0.02)?;
            add(name("mlp.down_proj"), &[hidden, feed_forward], small)?;
            add(name("input_layernorm"), &[hidden], 0.0)?;
            add(name("post_attention_layernorm"), &[hidden], 0.0)?;
        }
        Ok(Self { shape, vars })
    }

    fn var(&self, name: &str) -> Result<&Tensor> {
        self.vars.get(name).map(Var::as_tensor).ok_or_else(|| candle_core::Error::Msg(format!("no weight {name}")))
    }

    fn linear(&self, x: &Tensor, layer: usize, part: &str) -> Result<Tensor> {
        let weight = self.var(&format!("model.layers.{layer}.{part}.weight"))?;
        let (batch, length, width) = x.dims3()?;
        let out = x.reshape((batch * length, width))?.matmul(&weight.t()?)?;
        out.reshape((batch, length, weight.dim(0)?))
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        operations::rms_norm(x, self.var(name)?, EPSILON)
    }

    /// The mean loss of predicting each next token of `rows` of `length + 1` tokens.
    fn loss(&self, rows: &[u32], length: usize) -> Result<Tensor> {
        let Shape { hidden, heads, layers, .. } = self.shape;
        let rows: Vec<&[u32]> = rows.chunks_exact(length + 1).collect();
        let batch = rows.len();
        let inputs: Vec<u32> = rows.iter().flat_map(|r| &r[..length]).copied().collect();
        let targets: Vec<u32> = rows.iter().flat_map(|r| &r[1..]).copied().collect();
        let inputs = Tensor::from_vec(inputs, batch * length, &Device::Cpu)?;
        let embedding = self.var("model.embed_tokens.weight")?;
        let mut x = embedding.embedding(&inputs)?.reshape((batch, length, hidden))?;
        let dim = hidden / heads;
        for layer in 0..layers {
            let normed = self.norm(&x, &format!("model.layers.{layer}.input_layernorm.weight"))?;
            let q = operations::rotate(&self.linear(&normed, layer, "self_attn.q_proj")?, dim, THETA)?;
            let k = operations::rotate(&self.linear(&normed, layer, "self_attn.k_proj")?, dim, THETA)?;
            let v = self.linear(&normed, layer, "self_attn.v_proj")?;
            let mixed = operations::attend(&q, &k, &v, dim)?;
            x = (x + self.linear(&mixed, layer, "self_attn.o_proj")?)?;
            let normed = self.norm(&x, &format!("model.layers.{layer}.post_attention_layernorm.weight"))?;
            let gate = self.linear(&normed, layer, "mlp.gate_proj")?;
            let fed = operations::gated(&gate, &self.linear(&normed, layer, "mlp.up_proj")?)?;
            x = (x + self.linear(&fed, layer, "mlp.down_proj")?)?;
        }
        let x = self.norm(&x, "model.norm.weight")?.reshape((batch * length, hidden))?;
        operations::cross_entropy(&x.matmul(&embedding.t()?)?, targets)
    }
}

/// Trains on a stream of tokens.
///
/// # Errors
/// [`TrainError`].
pub fn train(
    shape: Shape,
    tokens: &[u32],
    options: TrainOptions,
    mut told: impl FnMut(Progress),
) -> std::result::Result<Trained, TrainError> {
    let TrainOptions { seed, steps, batch, length, .. } = options;
    let absurd = |words: &str| Err(TrainError::Absurd(words.to_owned()));
    if shape.heads == 0 || !shape.hidden.is_multiple_of(shape.heads) || !(shape.hidden / shape.heads).is_multiple_of(2)
    {
        return absurd("the heads divide the width into even parts");
    }
    if steps == 0 || batch == 0 || length == 0 || length > shape.context {
        return absurd("steps, batch and length are at least 1, and the length at most the context");
    }
    if tokens.len() <= length {
        return absurd("the corpus is shorter than one sequence");
    }
    let model = Model::new(shape, seed)?;
    // In the order of their names, so that a run is like the other.
    let mut names: Vec<&String> = model.vars.keys().collect();
    names.sort();
    let vars: Vec<Var> = names.iter().map(|n| model.vars[*n].clone()).collect();
    let params = ParamsAdamW { lr: options.rate, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 };
    // Norms are not pulled to nothing.
    let (plain, decayed): (Vec<Var>, Vec<Var>) = vars.iter().cloned().partition(|v| v.rank() == 1);
    let mut optimisers =
        [AdamW::new(decayed, params.clone())?, AdamW::new(plain, ParamsAdamW { weight_decay: 0.0, ..params })?];
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x006f_7264_6572);
    let mut last = Vec::new();
    for step in 0..steps {
        let rows: Vec<u32> = (0..batch)
            .flat_map(|_| {
                let at = rng.gen_range(0..tokens.len() - length);
                &tokens[at..=at + length]
            })
            .copied()
            .collect();
        let loss = model.loss(&rows, length)?;
        let mut grads = loss.backward()?;
        let loss = loss.to_scalar::<f32>()?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged(step));
        }
        cut(&vars, &mut grads)?;
        let rate = rate_at(&options, step);
        for optimiser in &mut optimisers {
            optimiser.set_learning_rate(rate);
            optimiser.step(&grads)?;
        }
        if steps - step <= 100 {
            last.push(loss);
        }
        told(Progress { step: step + 1, loss, rate });
    }
    let loss = last.iter().sum::<f32>() / last.len() as f32;
    let tensors = model.vars.iter().map(|(n, v)| (n.clone(), v.as_detached_tensor())).collect();
    Ok(Trained { shape, tensors, loss })
}

/// Warm-up, then a cosine down to a tenth.
fn rate_at(options: &TrainOptions, step: usize) -> f64 {
    if step < options.warm_up {
        return options.rate * (step + 1) as f64 / options.warm_up as f64;
    }
    let done = (step - options.warm_up) as f64 / (options.steps - options.warm_up).max(1) as f64;
    options.rate * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * done).cos()))
}

/// Scales the gradients down to a norm of 1.
fn cut(vars: &[Var], grads: &mut GradStore) -> std::result::Result<(), TrainError> {
    let mut squares = 0.0;
    for var in vars {
        // A weight without a gradient would stay as it was drawn, and nobody would notice.
        let grad = grads.get(var).ok_or_else(|| TrainError::Absurd("a weight has no gradient".to_owned()))?;
        squares += f64::from(grad.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    let norm = squares.sqrt();
    if norm > 1.0 {
        for var in vars {
            if let Some(grad) = grads.remove(var) {
                grads.insert(var, (grad / norm)?);
            }
        }
    }
    Ok(())
}
