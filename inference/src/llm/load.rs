//! A network out of a model's files.

use std::ops::Range;

use super::{
    config::{Config, Family},
    matrix::Form,
    network::{Layer, Linear, Network, NormWeights},
    rope::Rotations,
    source::{Format, LoadError, Source, Tensors},
};

/// The names a format gives to the parts of a layer.
struct Names {
    format: Format,
    family: Family,
}

impl Names {
    fn layer(&self, layer: usize, hugging_face: &str, gguf: &str) -> String {
        match self.format {
            Format::Safetensors => format!("model.layers.{layer}.{hugging_face}"),
            Format::Gguf => format!("blk.{layer}.{gguf}"),
        }
    }

    fn top(&self, hugging_face: &str, gguf: &str) -> String {
        match self.format {
            Format::Safetensors => hugging_face.to_owned(),
            Format::Gguf => gguf.to_owned(),
        }
    }
}

/// Builds the network, with `positions` positions of rotary tables.
///
/// # Errors
/// [`LoadError`], naming the tensor.
pub(crate) fn network(source: &Source, form: Option<Form>, positions: usize) -> Result<Network, LoadError> {
    let config = source.config.clone();
    let loader = Loader {
        tensors: &source.tensors,
        config: &config,
        form,
        names: Names { format: source.format, family: config.family },
    };
    let layers = (0..config.layers).map(|l| loader.layer(l)).collect::<Result<_, _>>()?;
    let names = &loader.names;
    let hidden = config.hidden;
    let embedding =
        loader.matrix(&names.top("model.embed_tokens.weight", "token_embd.weight"), config.vocabulary, hidden)?;
    let output = if config.tied {
        None
    } else {
        Some(loader.linear(&names.top("lm_head", "output"), config.vocabulary, hidden, 0..config.vocabulary, None)?)
    };
    let norm = match config.family {
        Family::Phi2 => names.top("model.final_layernorm", "output_norm"),
        _ => names.top("model.norm", "output_norm"),
    };
    let rope = config.rope;
    let divisors = source.tensors.maybe_vector("rope_freqs.weight", rope.dims / 2)?;
    let rotations = Rotations::new(&rope, rope.theta, true, divisors.as_deref(), positions);
    let local_rotations = rope.local_theta.map(|theta| Rotations::new(&rope, theta, false, None, positions));
    let norm = loader.norm(&norm)?;
    // Old files keep what follows from the description, tied ones their output's matrix a second time.
    let spare = |name: &str| name.ends_with("rotary_emb.inv_freq") || (config.tied && name == "lm_head.weight");
    source.tensors.all_asked(spare)?;
    Ok(Network { embedding, layers, norm, output, rotations, local_rotations, config })
}

struct Loader<'a> {
    tensors: &'a Tensors,
    config: &'a Config,
    form: Option<Form>,
    names: Names,
}

impl Loader<'_> {
    fn matrix(&self, name: &str, outputs: usize, inputs: usize) -> Result<super::matrix::Matrix, LoadError> {
        self.tensors.matrix(name, outputs, inputs, 0..outputs, None, self.form_for(inputs))
    }

    /// Blocks need widths that they divide; what they do not divide stays as it is.
    fn form_for(&self, inputs: usize) -> Option<Form> {
        self.form.filter(|f| inputs.is_multiple_of(f.block()))
    }

    /// Rows of a weight with those of its bias, if there is one.
    fn linear(
        &self,
        name: &str,
        whole: usize,
        inputs: usize,
        rows: Range<usize>,
        order: Option<&dyn Fn(usize) -> usize>,
    ) -> Result<Linear, LoadError> {
        let matrix = self.tensors.matrix(
            &format!("{name}.weight"),
            whole,
            inputs,
            rows.clone(),
            order,
            self.form_for(inputs),
        )?;
        let bias = self.tensors.maybe_vector(&format!("{name}.bias"), whole)?.map(|bias| {
            let bias = &bias[rows];
            (0..bias.len()).map(|to| bias[order.map_or(to, |o| o(to))]).collect()
        });
        Ok(Linear { matrix, bias })
    }

    fn norm(&self, name: &str) -> Result<NormWeights, LoadError> {
        let hidden = self.config.hidden;
        let weight = self.tensors.vector(&format!("{name}.weight"), hidden)?;
        let bias = self.tensors.maybe_vector(&format!("{name}.bias"), hidden)?;
        Ok(NormWeights { weight, bias })
    }

    fn layer(&self, layer: usize) -> Result<Layer, LoadError> {
        let c = self.config;
        let family = self.names.family;
        let name = |hugging_face: &str, gguf: &str| self.names.layer(layer, hugging_face, gguf);
        let (hidden, feed, q, kv) = (c.hidden, c.feed_forward, c.query_width(), c.kv_width());

        // GGUF's Llamas have the two halves of each head interleaved, for a rotation of neighbours.
        let interleaved = self.names.format == Format::Gguf && family == Family::Llama;
        let half = c.head_dim / 2;
        let order = move |row: usize| {
            let (head, at) = (row / (2 * half), row % (2 * half));
            head * 2 * half + if at < half { 2 * at } else { 2 * (at - half) + 1 }
        };
        let order: Option<&dyn Fn(usize) -> usize> = if interleaved { Some(&order) } else { None };

        let joined = name("self_attn.qkv_proj", "attn_qkv");
        let (query, key, value) = if self.tensors.has(&format!("{joined}.weight")) {
            let whole = q + 2 * kv;
            (
                self.linear(&joined, whole, hidden, 0..q, order)?,
                self.linear(&joined, whole, hidden, q..q + kv, order)?,
                self.linear(&joined, whole, hidden, q + kv..whole, None)?,
            )
        } else {
            (
                self.linear(&name("self_attn.q_proj", "attn_q"), q, hidden, 0..q, order)?,
                self.linear(&name("self_attn.k_proj", "attn_k"), kv, hidden, 0..kv, order)?,
                self.linear(&name("self_attn.v_proj", "attn_v"), kv, hidden, 0..kv, None)?,
            )
        };
        if c.biased && [&query, &key, &value].iter().any(|linear| linear.bias.is_none()) {
            return Err(LoadError::Missing(format!("{}.bias", name("self_attn.q_proj", "attn_q"))));
        }
        let output = if family == Family::Phi2 { "self_attn.dense" } else { "self_attn.o_proj" };
        let output = self.linear(&name(output, "attn_output"), hidden, q, 0..hidden, None)?;
        let head_norms = if c.head_norms {
            let weight = |hf: &str, gguf: &str| self.tensors.vector(&format!("{}.weight", name(hf, gguf)), c.head_dim);
            Some((weight("self_attn.q_norm", "attn_q_norm")?, weight("self_attn.k_norm", "attn_k_norm")?))
        } else {
            None
        };

        let (up, gate, down) = match family {
            Family::Phi2 => ("mlp.fc1", None, "mlp.fc2"),
            _ => ("mlp.up_proj", Some("mlp.gate_proj"), "mlp.down_proj"),
        };
        let joined = match self.names.format {
            Format::Safetensors => name("mlp.gate_up_proj", ""),
            Format::Gguf => name("", "ffn_up"),
        };
        let (gate, up) = if family == Family::Phi3 {
            (
                Some(self.linear(&joined, 2 * feed, hidden, 0..feed, None)?),
                self.linear(&joined, 2 * feed, hidden, feed..2 * feed, None)?,
            )
        } else {
            let gate = gate.map(|g| self.linear(&name(g, "ffn_gate"), feed, hidden, 0..feed, None)).transpose()?;
            (gate, self.linear(&name(up, "ffn_up"), feed, hidden, 0..feed, None)?)
        };
        let down = self.linear(&name(down, "ffn_down"), hidden, feed, 0..hidden, None)?;

        let norm = |hf: &str, gguf: &str| self.norm(&name(hf, gguf));
        let (feed_norm, attention_post_norm, feed_post_norm) = if family == Family::Phi2 {
            (None, None, None)
        } else if c.post_norms {
            (
                Some(norm("pre_feedforward_layernorm", "ffn_norm")?),
                Some(norm("post_attention_layernorm", "post_attention_norm")?),
                Some(norm("post_feedforward_layernorm", "post_ffw_norm")?),
            )
        } else {
            (Some(norm("post_attention_layernorm", "ffn_norm")?), None, None)
        };
        Ok(Layer {
            input_norm: norm("input_layernorm", "attn_norm")?,
            query,
            key,
            value,
            output,
            head_norms,
            attention_post_norm,
            feed_norm,
            gate,
            up,
            down,
            feed_post_norm,
        })
    }
}
