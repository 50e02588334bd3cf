//! Low-rank adapters (LoRA; Hu et al., 2021): `y += scale * B (A x)` for the rows of the requests that ask for one.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{
    config::{Config, Family},
    lanes::LANES,
    matrix::{Form, Matrix, MatrixError, Output, Panels, Rows, Then, products},
    source::{LoadError, Tensors},
    threads::Threads,
};

/// The linear maps of a layer that an adapter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Place {
    const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Its name in a layer of the `transformers` library.
    fn name(self, family: Family) -> &'static str {
        let phi = family == Family::Phi2;
        match self {
            Self::Query => "self_attn.q_proj",
            Self::Key => "self_attn.k_proj",
            Self::Value => "self_attn.v_proj",
            Self::Output if phi => "self_attn.dense",
            Self::Output => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up if phi => "mlp.fc1",
            Self::Up => "mlp.up_proj",
            Self::Down if phi => "mlp.fc2",
            Self::Down => "mlp.down_proj",
        }
    }

    /// Outputs and inputs.
    fn shape(self, c: &Config) -> (usize, usize) {
        match self {
            Self::Query => (c.query_width(), c.hidden),
            Self::Key | Self::Value => (c.kv_width(), c.hidden),
            Self::Output => (c.hidden, c.query_width()),
            Self::Gate | Self::Up => (c.feed_forward, c.hidden),
            Self::Down => (c.hidden, c.feed_forward),
        }
    }
}

/// `adapter_config.json` of the `peft` library.
#[derive(Deserialize)]
struct AdapterConfig {
    #[serde(default)]
    peft_type: Option<String>,
    r: usize,
    lora_alpha: f32,
    /// Ranks and alphas of some places, by the end of their names.
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f32>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    lora_bias: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    modules_to_save: Option<Vec<String>>,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    layer_replication: Option<serde_json::Value>,
    #[serde(default)]
    alora_invocation_tokens: Option<serde_json::Value>,
    #[serde(default)]
    trainable_token_indices: Option<serde_json::Value>,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
}

/// An adapter's files.
struct Files {
    config: AdapterConfig,
    tensors: Tensors,
    digest: blake3::Hash,
}

impl Files {
    fn open(folder: &Path) -> Result<Self, LoadError> {
        let path = folder.join(CONFIG);
        let text = std::fs::read_to_string(&path).map_err(|source| LoadError::Io { path: path.clone(), source })?;
        let config: AdapterConfig = serde_json::from_str(&text)
            .map_err(|e| e.to_string())
            .and_then(|config: AdapterConfig| config.check().map(|()| config))
            .map_err(|reason| LoadError::Malformed { path, reason })?;
        let weights = folder.join("adapter_model.safetensors");
        let tensors = Tensors::open(vec![weights.clone()])?;
        let mut digest = blake3::Hasher::new();
        digest.update(text.as_bytes());
        let hashed = std::fs::File::open(&weights).and_then(|file| digest.update_reader(file).map(drop));
        hashed.map_err(|source| LoadError::Io { path: weights, source })?;
        Ok(Self { config, tensors, digest: digest.finalize() })
    }
}

const CONFIG: &str = "adapter_config.json";

/// What an adapter says of itself, looked at without its model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownAdapter {
    /// Its rank, where it says nothing else of a place.
    pub rank: usize,
    /// The model that it names.
    pub base_model: Option<String>,
    /// How each tensor is kept, and how many values it has.
    pub forms: Vec<(String, u64)>,
}

/// Looks at an adapter's folder: all that can be known to be wrong without the model.
///
/// # Errors
/// [`LoadError`], naming file and tensor.
pub fn survey_adapter(folder: &Path) -> Result<KnownAdapter, LoadError> {
    let Files { config, tensors, .. } = Files::open(folder)?;
    let malformed = |reason: String| LoadError::Malformed { path: folder.join(CONFIG), reason };
    for (name, entry) in tensors.entries() {
        let parts = [".lora_A.weight", ".lora_B.weight"].map(|end| name.strip_suffix(end));
        let place = parts[0].or(parts[1]).ok_or_else(|| malformed(format!("`{name}` is no low-rank change")))?;
        let (rank, _) = config.of(place).map_err(malformed)?;
        let other = |at: usize| entry.shape.get(at).copied().unwrap_or(0);
        let (rows, columns) = if parts[0].is_some() { (rank, other(1)) } else { (other(0), rank) };
        tensors.matrix(name, rows, columns, 0..rows, None, Some(Form::F32))?;
    }
    Ok(KnownAdapter {
        rank: config.r,
        base_model: config.base_model_name_or_path,
        forms: tensors.entries().values().map(|entry| (entry.form().to_owned(), entry.values())).collect(),
    })
}

impl AdapterConfig {
    fn check(&self) -> Result<(), String> {
        if let Some(kind) = self.peft_type.as_ref().filter(|kind| *kind != "LORA") {
            return Err(format!("expected `peft_type` LORA, found {kind}"));
        }
        let biased = self.lora_bias || self.bias.as_ref().is_some_and(|b| b != "none");
        if self.use_dora || biased || self.modules_to_save.as_ref().is_some_and(|m| !m.is_empty()) {
            return Err("only low-rank changes are supported: no DoRA, biases or saved modules".to_owned());
        }
        let unsupported = [
            ("fan_in_fan_out", self.fan_in_fan_out),
            ("layer_replication", self.layer_replication.is_some()),
            ("alora_invocation_tokens", self.alora_invocation_tokens.is_some()),
            ("trainable_token_indices", self.trainable_token_indices.is_some()),
        ];
        if let Some((name, _)) = unsupported.iter().find(|(_, found)| *found) {
            return Err(format!("`{name}` is not supported"));
        }
        let ranks = [self.r].into_iter().chain(self.rank_pattern.values().copied());
        let mut alphas = [self.lora_alpha].into_iter().chain(self.alpha_pattern.values().copied());
        if ranks.into_iter().any(|r| !(1..=MAX_RANK).contains(&r)) || alphas.any(|alpha| !alpha.is_finite()) {
            return Err(format!("`r` lies in 1 to {MAX_RANK} and `lora_alpha` is a number"));
        }
        let mut patterns = self.rank_pattern.keys().chain(self.alpha_pattern.keys());
        match patterns.find(|p| !p.chars().all(|c| c.is_ascii_alphanumeric() || "._".contains(c))) {
            Some(pattern) => {
                Err(format!("`{pattern}` in `rank_pattern` or `alpha_pattern`: expected the end of a name"))
            }
            None => Ok(()),
        }
    }

    /// Rank and scale of a place.
    fn of(&self, name: &str) -> Result<(usize, f32), String> {
        let rank = own_of(&self.rank_pattern, name)?.unwrap_or(self.r);
        let alpha = own_of(&self.alpha_pattern, name)?.unwrap_or(self.lora_alpha);
        let rooted = if self.use_rslora { (rank as f32).sqrt() } else { rank as f32 };
        Ok((rank, alpha / rooted))
    }
}

/// What a pattern says of a name: the value of the key that it ends with, from a dot on.
fn own_of<T: Copy + PartialEq>(pattern: &BTreeMap<String, T>, name: &str) -> Result<Option<T>, String> {
    let fits = |key: &str| name.strip_suffix(key).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let mut found = pattern.iter().filter(|(key, _)| fits(key)).map(|(_, value)| *value);
    let first = found.next();
    match found.any(|other| Some(other) != first) {
        true => Err(format!("`rank_pattern` or `alpha_pattern` says two things of {name}")),
        false => Ok(first),
    }
}

/// The largest rank: beyond it a model of its own is the better way.
const MAX_RANK: usize = 1024;

/// `B A`, with `A` of `rank x inputs` and `B` of `outputs x rank`, the scale in `B`.
#[derive(Debug)]
pub(crate) struct LowRank {
    pub(crate) a: Matrix,
    pub(crate) b: Matrix,
}

/// Changes to a network's layers.
#[derive(Debug)]
pub(crate) struct Adapter {
    /// Of its files: what tells two of a name apart.
    pub(crate) digest: blake3::Hash,
    /// By layer, then by [`Place`].
    pub(crate) layers: Vec<[Option<LowRank>; 7]>,
}

impl Adapter {
    /// Reads a folder with `adapter_config.json` and `adapter_model.safetensors` for a model.
    ///
    /// # Errors
    /// [`LoadError`], naming file and tensor; also if a tensor is for a part that the model does not have.
    pub(crate) fn load(folder: &Path, config: &Config) -> Result<Self, LoadError> {
        let Files { config: own, tensors, digest } = Files::open(folder)?;
        let malformed = |reason: String| LoadError::Malformed { path: folder.join(CONFIG), reason };
        let mut used = 0;
        let mut layers = Vec::new();
        for layer in 0..config.layers {
            let mut places: [Option<LowRank>; 7] = std::array::from_fn(|_| None);
            for place in Place::ALL {
                let name = format!("base_model.model.model.layers.{layer}.{}", place.name(config.family));
                let (a_name, b_name) = (format!("{name}.lora_A.weight"), format!("{name}.lora_B.weight"));
                if !tensors.has(&a_name) && !tensors.has(&b_name) {
                    continue;
                }
                let (outputs, inputs) = place.shape(config);
                let (rank, scale) = own.of(&name).map_err(malformed)?;
                let a = tensors.matrix(&a_name, rank, inputs, 0..rank, None, Some(Form::F32))?;
                let b: Vec<f32> = tensors.floats(&b_name, &[outputs, rank])?.into_iter().map(|w| w * scale).collect();
                let weights = |source: MatrixError| LoadError::Weights { tensor: b_name.clone(), source };
                let b = Matrix::from_floats(Form::F32, outputs, rank, &b).map_err(weights)?;
                places[place as usize] = Some(LowRank { a, b });
                used += 2;
            }
            layers.push(places);
        }
        if used == 0 || used != tensors.entries().len() {
            let reason =
                format!("{} tensors are there, {used} of them are for parts of this model", tensors.entries().len());
            return Err(malformed(reason));
        }
        Ok(Self { digest, layers })
    }

    /// Adds this adapter's part to the products of `rows`.
    pub(crate) fn add(
        &self,
        threads: &Threads,
        layer: usize,
        place: Place,
        from: &Rows,
        rows: &[usize],
        to: &mut Panels,
    ) {
        let Some(change) = &self.layers[layer][place as usize] else { return };
        let chosen = from.chosen(rows);
        let (mut low, mut out) = (Panels::default(), Panels::default());
        low.reset(rows.len(), change.a.outputs());
        products(threads, &chosen, &mut [Output { matrix: &change.a, bias: None, then: Then::Put, out: &mut low }]);
        let low = low.rows();
        out.reset(rows.len(), change.b.outputs());
        products(threads, &low, &mut [Output { matrix: &change.b, bias: None, then: Then::Put, out: &mut out }]);
        for (at, row) in rows.iter().enumerate() {
            for panel in 0..out.width().div_ceil(LANES) {
                let from = *out.lanes(at, panel);
                to.lanes_mut(*row, panel).iter_mut().zip(from).for_each(|(to, x)| *to += x);
            }
        }
    }
}
