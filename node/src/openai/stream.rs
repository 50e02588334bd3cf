//! Answers to several choices, gathered or as they come, and server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::sse::{Event as Sse, KeepAlive},
};
use futures::stream::{self, BoxStream, SelectAll, Stream, StreamExt as _};
use serde::Serialize;

use assay_inference::llm::{Finish, Piece, Usage};

use super::{
    ask::Wanted,
    backend::{Chunk, TextModel, TextRequest},
    error::ApiError,
    metrics::Serving,
    wire::{PromptDetails, Usage as WireUsage},
};

/// The header that says where an answer's receipt is.
pub(crate) const RECEIPT: HeaderName = HeaderName::from_static("x-assay-receipt");
/// Most answers of one request: they have room in an idle engine's queue.
const MAX_ANSWERS: usize = 128;
/// How often a stream without news shows that it lives.
const ALIVE: Duration = Duration::from_secs(10);

/// An event on its way.
pub(super) type Told = Result<Sse, Infallible>;
/// A choice with what came of it.
pub(super) type Numbered = (u32, Chunk);

/// Asks for all choices of all prompts, numbered in the order of the prompts; each has a seed of its own. Gives the names of
/// their receipts too.
///
/// # Errors
/// [`ApiError`] if one of them is refused; the others are cancelled.
pub(super) async fn ask_all(
    serving: &Serving,
    model: &TextModel,
    wanted: &Wanted,
    prompts: &[Vec<u32>],
    mut request: impl FnMut(Vec<u32>) -> Result<TextRequest, ApiError>,
) -> Result<(SelectAll<BoxStream<'static, Numbered>>, Vec<String>), ApiError> {
    let answers = prompts.len() * wanted.choices as usize;
    if answers > MAX_ANSWERS {
        let words = format!(
            "{} prompts with {} answers each; at most {MAX_ANSWERS} answers are given at once",
            prompts.len(),
            wanted.choices
        );
        return Err(ApiError::invalid("n", words));
    }
    let (mut streams, mut receipts) = (SelectAll::new(), Vec::new());
    let mut begun = Vec::new();
    for prompt in prompts {
        for choice in 0..wanted.choices {
            let mut request = request(prompt.clone())?;
            request.sampling.seed = wanted.sampling.seed.wrapping_add(u64::from(choice));
            // All at once: none waits until another is under way.
            let prompt = request.prompt.len();
            let reservation = serving.caller.reserve((prompt + request.max_tokens) as u64)?;
            begun.push(async move {
                let answering = serving.backend.generate(model, request).await?;
                Ok::<_, ApiError>(serving.metrics.watch(&model.name, &serving.caller, reservation, prompt, answering))
            });
        }
    }
    for (number, answering) in (0..).zip(futures::future::try_join_all(begun).await?) {
        let (chunks, receipt) = answering;
        streams.push(told(chunks).map(move |chunk| (number, chunk)).boxed());
        receipts.extend(receipt);
    }
    Ok((streams, receipts))
}

/// Holds tokens back whose text is held back, so that those of a stop string go with it.
fn told(chunks: BoxStream<'static, Chunk>) -> impl Stream<Item = Chunk> + Send + 'static {
    let mut held = Vec::new();
    chunks.flat_map(move |chunk| {
        match &chunk {
            Chunk::Piece(piece) if piece.text.is_empty() => {
                held.push(chunk);
                return stream::iter(Vec::new());
            }
            Chunk::Done { finish: Finish::Stop(_), .. } => held.clear(),
            _ => {}
        }
        let mut all = std::mem::take(&mut held);
        all.push(chunk);
        stream::iter(all)
    })
}

/// The header that says where the receipts of an answer's choices are, in their order.
pub(super) fn receipts(ids: &[String]) -> HeaderMap {
    let paths: Vec<String> = ids.iter().map(|id| format!("/v1/receipts/{id}")).collect();
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&paths.join(", "))
        && !paths.is_empty()
    {
        headers.insert(RECEIPT, value);
    }
    headers
}

/// A choice when it is finished.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) text: String,
    pub(super) pieces: Vec<Piece>,
    pub(super) finish: Finish,
    pub(super) usage: Usage,
}

/// Waits for all choices.
///
/// # Errors
/// The first [`ApiError`] of any.
pub(super) async fn gather(
    mut streams: SelectAll<BoxStream<'static, Numbered>>,
    choices: usize,
) -> Result<Vec<Whole>, ApiError> {
    let mut texts = vec![(String::new(), Vec::new()); choices];
    let mut done: Vec<Option<Whole>> = vec![None; choices];
    while let Some((index, chunk)) = streams.next().await {
        let at = index as usize;
        match chunk {
            Chunk::Piece(piece) => {
                texts[at].0.push_str(&piece.text);
                texts[at].1.push(piece);
            }
            Chunk::Done { text, finish, usage, .. } => {
                let (mut whole, pieces) = std::mem::take(&mut texts[at]);
                whole.push_str(&text);
                done[at] = Some(Whole { text: whole, pieces, finish, usage });
            }
            Chunk::Failed(error) => return Err(error),
        }
    }
    let broken = || ApiError::unavailable("the answer broke off; try again");
    done.into_iter().map(|d| d.ok_or_else(broken)).collect()
}

/// An answer's end in the API's words.
pub(super) fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::End | Finish::Stop(_) => "stop",
        Finish::Length => "length",
    }
}

/// The sum of several choices' counts; a prompt that several answer counts once.
pub(super) fn total<'a>(usages: impl Iterator<Item = &'a Usage>, choices: u32) -> WireUsage {
    let mut sum = WireUsage::default();
    for (at, usage) in usages.enumerate() {
        let first = at % choices as usize == 0;
        let (prompt, cached) = if first { (usage.prompt, usage.cached) } else { (0, 0) };
        sum = sum.with(WireUsage {
            prompt_tokens: prompt,
            completion_tokens: usage.completion,
            total_tokens: prompt + usage.completion,
            prompt_tokens_details: PromptDetails { cached_tokens: cached },
        });
    }
    sum
}

/// A value as an event.
pub(super) fn event(value: &impl Serialize) -> Sse {
    Sse::default().data(serde_json::to_string(value).expect("answers hold only strings, numbers and lists"))
}

/// The end of a stream of several choices: after the last of them the usage, if it is wanted, and `[DONE]`; after an error
/// nothing more.
pub(super) struct Ending {
    left: usize,
    /// In the order of the choices, which end in any.
    usages: Vec<Usage>,
    failed: bool,
}

impl Ending {
    /// Of so many choices.
    pub(super) fn of(choices: usize) -> Self {
        Self { left: choices, usages: vec![Usage::default(); choices], failed: false }
    }

    /// Whether an error has ended it.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The last events, if the choice of this index is the last to end; `usage` makes the one that counts.
    pub(super) fn end(
        &mut self,
        wanted: &Wanted,
        (index, of): (u32, Usage),
        usage: impl FnOnce(WireUsage) -> Sse,
    ) -> Vec<Told> {
        self.usages[index as usize] = of;
        self.left = self.left.saturating_sub(1);
        if self.left > 0 {
            return Vec::new();
        }
        let counted = wanted.stream_usage.then(|| Ok(usage(total(self.usages.iter(), wanted.choices))));
        counted.into_iter().chain([done()]).collect()
    }

    /// The last events where a choice fails.
    pub(super) fn fail(&mut self, error: &ApiError) -> [Told; 2] {
        self.failed = true;
        [Ok(event(&error.body())), done()]
    }
}

/// The last event.
fn done() -> Told {
    Ok(Sse::default().data("[DONE]"))
}

/// Comments that show that a stream lives.
pub(super) fn keep_alive() -> KeepAlive {
    KeepAlive::new().interval(ALIVE)
}

/// The shortest name there is for this answer and no other.
pub(super) fn fresh_id(prefix: &str) -> String {
    format!("{prefix}-{:024x}", rand::random::<u128>() >> 32)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
