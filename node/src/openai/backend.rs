//! Who answers: the engines of this process, or miners.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use assay_inference::{
    encoders::{Embedder, EncoderError},
    llm::{
        Answer, Constraint, Event, Finish, GenerateError, GenerateRequest, Grammar, Grammars, Llm, LlmShelf, LoadError,
        Piece, Sampling, TextCodec, Usage,
    },
};
use assay_ledger::records::Tariff;
use assay_primitives::Amount;
use async_trait::async_trait;
use futures::{
    FutureExt as _, TryFutureExt as _,
    future::BoxFuture,
    stream::{BoxStream, StreamExt as _, TryStreamExt as _},
};
use tokio::sync::Semaphore;

use super::{aside::aside, error::ApiError, stream::now, wire::ModelCard};
use crate::texts::write_metrics;

/// What is known of a language model before it is asked.
#[derive(Clone, Debug)]
pub struct TextModel {
    /// Its name in the API.
    pub name: String,
    /// Its tokenizer and template.
    pub codec: TextCodec,
    /// Makes constraints, where its tokenizer allows.
    pub grammars: Option<Grammars>,
    /// Positions.
    pub context: usize,
    /// Tokens there are.
    pub vocabulary: usize,
    /// Short hash of model, engine and mode: what a seed's text depends on.
    pub fingerprint: String,
}

/// What a language model is asked for, checked.
#[derive(Clone, Debug)]
pub struct TextRequest {
    /// Tokens; at least one.
    pub prompt: Vec<u32>,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// The most tokens to draw; at least one, and there is room for them.
    pub max_tokens: usize,
    /// Strings that end the text.
    pub stop: Vec<String>,
    /// Whether the model's own end is not one.
    pub ignore_end: bool,
    /// Log-probabilities wanted: of the token, and of so many of the likeliest.
    pub logprobs: Option<usize>,
    /// What the text must be, and the constraint that keeps it so.
    pub form: Option<(Grammar, Constraint)>,
    /// Higher goes first.
    pub priority: i32,
    /// Whether its client reads it as it comes.
    pub stream: bool,
    /// When its client asked for it.
    pub arrived: Instant,
}

/// An answer under way. Dropping it cancels.
pub struct Answering {
    /// What comes of it.
    pub chunks: BoxStream<'static, Chunk>,
    /// Where its receipt will be, once it is finished, if it has one.
    pub receipt: Option<String>,
    /// What its tokens cost, should it be broken off.
    pub tariff: Tariff,
}

/// What comes of an answer.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// The next token.
    Piece(Piece),
    /// The end.
    Done {
        /// Text that was held back.
        text: String,
        /// Why.
        finish: Finish,
        /// Counts.
        usage: Usage,
        /// What its miner is paid for it.
        cost: Amount,
    },
    /// It will not be finished.
    Failed(ApiError),
}

/// Answers requests of the API.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// What can be asked.
    async fn models(&self) -> Result<Vec<ModelCard>, ApiError>;

    /// A language model by name.
    async fn text_model(&self, name: &str) -> Result<TextModel, ApiError>;

    /// Asks a language model.
    async fn generate(&self, model: &TextModel, request: TextRequest) -> Result<Answering, ApiError>;

    /// A receipt of an answer that was finished, in its canonical form.
    async fn receipt(&self, id: &str) -> Result<String, ApiError>;

    /// Looks at texts or tokens that a model of that name shall embed; nothing is computed yet.
    async fn embed(&self, model: &str, inputs: Vec<EmbedInput>) -> Result<Embedding, ApiError>;

    /// Whether requests can be served now, and why not.
    async fn health(&self) -> Result<(), String>;

    /// Adds this backend's metrics to a text in Prometheus' form.
    fn metrics(&self, text: &mut String);
}

/// What an embedding is of.
#[derive(Clone, Debug, PartialEq)]
pub enum EmbedInput {
    /// A text.
    Text(String),
    /// Its tokens.
    Tokens(Vec<u32>),
}

/// Inputs that a model will embed.
pub struct Embedding {
    /// Tokens of all of them.
    pub tokens: usize,
    /// Numbers in a vector.
    pub dimensions: usize,
    /// Computes their vectors, in their order, when it is awaited.
    pub vectors: BoxFuture<'static, Result<Vec<Vec<f32>>, ApiError>>,
}

/// Models of this process.
#[derive(Debug)]
pub struct Local {
    shelf: LlmShelf,
    texts: BTreeMap<String, Served>,
    embedders: BTreeMap<String, Arc<Embedder>>,
    /// Texts that are embedded at once.
    embedding: Arc<Semaphore>,
    /// Requests for embeddings that may wait.
    embedding_places: Arc<Semaphore>,
    created: u64,
}

/// A language model, or one with an adapter.
#[derive(Debug)]
struct Served {
    path: PathBuf,
    /// The name of the model that this adapter is for.
    parent: Option<String>,
    model: TextModel,
}

/// Requests for embeddings that may wait or be at work.
const EMBEDDINGS_WAITING: usize = 64;

impl Local {
    /// No models yet; language models will lie on this shelf.
    pub fn new(shelf: LlmShelf) -> Self {
        Self {
            shelf,
            texts: BTreeMap::new(),
            embedders: BTreeMap::new(),
            embedding: Arc::new(Semaphore::new(1)),
            embedding_places: Arc::new(Semaphore::new(EMBEDDINGS_WAITING)),
            created: now(),
        }
    }

    /// Serves a language model under a name.
    ///
    /// # Errors
    /// [`LoadError`].
    pub fn add_llm(&mut self, name: &str, path: &Path) -> Result<(), LoadError> {
        let llm = self.shelf.get(path)?;
        let model = TextModel {
            name: name.to_owned(),
            codec: llm.codec.clone(),
            grammars: llm.grammars.clone(),
            context: llm.engine.options().context,
            vocabulary: llm.config.vocabulary,
            fingerprint: llm.fingerprint().to_owned(),
        };
        self.texts.insert(name.to_owned(), Served { path: path.to_owned(), parent: None, model });
        Ok(())
    }

    /// Serves the language model `parent` with an adapter out of `folder`, under a name of its own.
    ///
    /// # Errors
    /// [`LoadError`]; of a `parent` that is not served nothing comes.
    pub fn add_adapter(&mut self, name: &str, parent: &str, folder: &Path) -> Result<(), LoadError> {
        let Some(Served { path, model, .. }) = self.texts.get(parent) else { return Ok(()) };
        let fingerprint = self.shelf.adapt(path, name, folder)?;
        let model = TextModel { name: name.to_owned(), fingerprint, ..model.clone() };
        let served = Served { path: path.clone(), parent: Some(parent.to_owned()), model };
        self.texts.insert(name.to_owned(), served);
        Ok(())
    }

    /// A language model's engine, loaded if it was let go.
    async fn llm(&self, served: &Served) -> Result<Arc<Llm>, ApiError> {
        if let Some(llm) = self.shelf.get_loaded(&served.path) {
            return Ok(llm);
        }
        let (shelf, path) = (self.shelf.clone(), served.path.clone());
        let loaded = tokio::task::spawn_blocking(move || shelf.get(&path)).await.map_err(ApiError::internal)?;
        loaded.map_err(|error| {
            tracing::error!(model = served.model.name, %error, "a model does not load any more");
            ApiError::unavailable(format!("`{}` cannot be loaded now; the server's log says why", served.model.name))
        })
    }

    /// Serves a sentence encoder under a name.
    pub fn add_embedder(&mut self, name: &str, embedder: Embedder) {
        self.embedders.insert(name.to_owned(), Arc::new(embedder));
    }
}

/// Texts of one request that a language model embeds at once.
const EMBEDDED_AT_ONCE: usize = 16;

/// Vectors by a language model: the directions of the means of its last hidden states.
///
/// # Errors
/// [`ApiError`].
pub(super) async fn embed_by(llm: Arc<Llm>, inputs: Vec<EmbedInput>) -> Result<Embedding, ApiError> {
    let mut all = Vec::with_capacity(inputs.len());
    for (at, input) in inputs.into_iter().enumerate() {
        let wrong = |words: String| ApiError::invalid("input", format!("input {at}: {words}"));
        let tokens = match input {
            EmbedInput::Text(text) => aside(text.len(), || llm.codec.encode(&text)).await.map_err(wrong)?,
            EmbedInput::Tokens(tokens) => tokens,
        };
        llm.engine.check_embed(&tokens).map_err(|e| match e {
            GenerateError::TooLong { .. } => ApiError::too_long("input", format!("input {at}: {e}")),
            e => wrong(e.to_string()),
        })?;
        all.push(tokens);
    }
    let (tokens, dimensions) = (all.iter().map(Vec::len).sum(), llm.engine.dimensions());
    let vectors = async move {
        let one = |tokens| llm.engine.embed(tokens).map_err(ApiError::from);
        futures::stream::iter(all).map(one).buffered(EMBEDDED_AT_ONCE).try_collect().await
    };
    Ok(Embedding { tokens, dimensions, vectors: vectors.boxed() })
}

impl From<GenerateError> for ApiError {
    fn from(error: GenerateError) -> Self {
        let words = error.to_string();
        match error {
            GenerateError::Empty => ApiError::invalid("prompt", words),
            GenerateError::TooLong { .. } => ApiError::too_long("messages", words),
            GenerateError::Token { .. } => ApiError::invalid("prompt", words),
            GenerateError::Sampling(e) => ApiError::invalid(e.parameter, words),
            GenerateError::Adapter(_) => ApiError::invalid("model", words),
            GenerateError::Resume { .. } => ApiError::internal(words),
            GenerateError::Constraint(_) => ApiError::invalid("response_format", words),
            GenerateError::Busy { retry_after, .. } => ApiError::busy(words, retry_after),
            GenerateError::Deadline => ApiError::timeout(words),
            GenerateError::Stopped => ApiError::unavailable(words),
            GenerateError::Internal(_) => ApiError::internal(words),
        }
    }
}

/// An engine's answer as a stream.
fn chunks(answer: Answer) -> BoxStream<'static, Chunk> {
    let next = |mut answer: Answer| async move {
        let chunk = match answer.next().await? {
            Event::Piece(piece) => Chunk::Piece(piece),
            Event::Done { text, finish, usage, .. } => Chunk::Done { text, finish, usage, cost: Amount::ZERO },
            Event::Failed(error) => Chunk::Failed(error.into()),
        };
        Some((chunk, answer))
    };
    futures::stream::unfold(answer, next).boxed()
}

#[async_trait]
impl Backend for Local {
    async fn models(&self) -> Result<Vec<ModelCard>, ApiError> {
        let card = |id: &String, max_model_len, parent: Option<&String>| ModelCard {
            id: id.clone(),
            object: "model",
            created: self.created,
            owned_by: "assay".to_owned(),
            max_model_len,
            parent: parent.cloned(),
        };
        let texts = self.texts.iter().map(|(id, s)| card(id, Some(s.model.context), s.parent.as_ref()));
        Ok(texts.chain(self.embedders.keys().map(|id| card(id, None, None))).collect())
    }

    async fn text_model(&self, name: &str) -> Result<TextModel, ApiError> {
        let model = self.texts.get(name).map(|served| served.model.clone());
        model.ok_or_else(|| match self.embedders.contains_key(name) {
            true => ApiError::invalid("model", format!("`{name}` gives embeddings, not texts: POST /v1/embeddings")),
            false => ApiError::no_model(name),
        })
    }

    async fn generate(&self, model: &TextModel, request: TextRequest) -> Result<Answering, ApiError> {
        let served = self.texts.get(&model.name).ok_or_else(|| ApiError::no_model(&model.name))?;
        let llm = self.llm(served).await?;
        let TextRequest { prompt, sampling, max_tokens, stop, ignore_end, logprobs, form, priority, .. } = request;
        let request = GenerateRequest {
            prompt,
            sampling,
            max_tokens,
            stop,
            ignore_end,
            logprobs,
            constraint: form.map(|(_, constraint)| constraint),
            priority,
            adapter: served.parent.as_ref().map(|_| served.model.name.clone()),
            ..GenerateRequest::default()
        };
        Ok(Answering { chunks: chunks(llm.engine.generate(request)?), receipt: None, tariff: Tariff::FREE })
    }

    async fn receipt(&self, _id: &str) -> Result<String, ApiError> {
        Err(ApiError::no_receipt("answers of this machine's own engines have no receipts: nobody else stands for them"))
    }

    async fn embed(&self, model: &str, inputs: Vec<EmbedInput>) -> Result<Embedding, ApiError> {
        if let Some(served) = self.texts.get(model) {
            if let Some(parent) = &served.parent {
                let words = format!("`{model}` is an adapter, and embeddings are its model's: ask `{parent}`");
                return Err(ApiError::invalid("model", words));
            }
            return embed_by(self.llm(served).await?, inputs).await;
        }
        let embedder = self.embedders.get(model).cloned().ok_or_else(|| ApiError::no_model(model))?;
        let Ok(place) = Arc::clone(&self.embedding_places).try_acquire_owned() else {
            let words = format!("{EMBEDDINGS_WAITING} requests for embeddings wait already; try again in a moment");
            return Err(ApiError::busy(words, Duration::from_secs(1)));
        };
        let failed = |error: EncoderError| match error.is_callers_fault() {
            true => ApiError::invalid("input", error.to_string()),
            false => ApiError::internal(error),
        };
        let mut all = Vec::with_capacity(inputs.len());
        for (at, input) in inputs.into_iter().enumerate() {
            let tokens = match input {
                EmbedInput::Text(text) => aside(text.len(), || embedder.tokens(at, &text)).await.map_err(failed)?,
                EmbedInput::Tokens(tokens) => tokens,
            };
            embedder.check(at, &tokens).map_err(failed)?;
            all.push(tokens);
        }
        let (tokens, dimensions) = (all.iter().map(Vec::len).sum(), embedder.dimensions());
        let turns = Arc::clone(&self.embedding);
        let vectors = async move {
            let _place = place;
            let mut vectors = Vec::with_capacity(all.len());
            for (at, tokens) in all.into_iter().enumerate() {
                // One text at a time, so that others have their turn, and a client that has gone costs no more.
                let _turn = turns.acquire().await.map_err(ApiError::internal)?;
                let embedder = Arc::clone(&embedder);
                let embedded = tokio::task::spawn_blocking(move || embedder.embed_tokens(at, &tokens)).await;
                vectors.push(embedded.map_err(ApiError::internal)?.map_err(failed)?.vector);
            }
            Ok(vectors)
        };
        Ok(Embedding { tokens, dimensions, vectors: vectors.boxed() })
    }

    async fn health(&self) -> Result<(), String> {
        Ok(())
    }

    fn metrics(&self, text: &mut String) {
        let models = self.texts.iter().filter(|(_, served)| served.parent.is_none());
        let loaded: Vec<_> = models.filter_map(|(name, s)| Some((name, self.shelf.peek(&s.path)?))).collect();
        write_metrics(text, loaded.iter().map(|(name, llm)| ((*name).clone(), llm.engine.counters())));
    }
}
