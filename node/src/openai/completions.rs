//! `POST /v1/completions`

use std::collections::BTreeMap;

use assay_inference::llm::{self, Finish, Piece};
use assay_primitives::Amount;
use axum::{
    Json,
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures::stream::{self, Stream, StreamExt};

use super::{
    aside::aside,
    ask::{self, Wanted},
    backend::{Chunk, TextModel, TextRequest},
    error::ApiError,
    metrics::Serving,
    prompt, stream as out,
    wire::{CompletionRequest, Prompt, TextChoice, TextCompletion, TextLogprobs, Usage},
};

/// The most prompts of one request.
const MAX_PROMPTS: usize = 128;

/// Serves one request.
///
/// # Errors
/// [`ApiError`] on what is refused before any text.
pub(super) async fn serve(serving: &Serving, request: CompletionRequest) -> Result<Response, ApiError> {
    let wanted = ask::completion(&request, rand::random())?;
    serving.caller.may_ask(&request.model)?;
    let model = serving.backend.text_model(&request.model).await?;
    wanted.fits(&model)?;
    let encode = |text: &String| model.codec.encode(text).map_err(|e| ApiError::invalid("prompt", e));
    let tokens = || match &request.prompt {
        Prompt::Text(text) => Ok(vec![encode(text)?]),
        Prompt::Tokens(tokens) => Ok(vec![tokens.clone()]),
        Prompt::Texts(texts) => texts.iter().map(encode).collect(),
        Prompt::TokenLists(lists) => Ok(lists.clone()),
    };
    let prompts: Vec<Vec<u32>> = aside(serving.bytes, tokens).await?;
    if prompts.is_empty() || prompts.len() > MAX_PROMPTS || prompts.iter().any(Vec::is_empty) {
        let words = format!("1 to {MAX_PROMPTS} prompts of at least one token are taken");
        return Err(ApiError::invalid("prompt", words));
    }
    if let Some(token) = prompts.iter().flatten().find(|t| **t as usize >= model.vocabulary) {
        let words = format!("the token {token} is not in the vocabulary of {}", model.vocabulary);
        return Err(ApiError::invalid("prompt", words));
    }
    let spelled = |p: &Vec<u32>| model.codec.decode(p).map_err(|e| ApiError::invalid("prompt", e));
    let echoes = match (request.echo, request.prompt) {
        (Some(true), Prompt::Text(text)) => vec![text],
        (Some(true), Prompt::Texts(texts)) => texts,
        (Some(true), _) => aside(serving.bytes, || prompts.iter().map(spelled).collect::<Result<_, _>>()).await?,
        _ => vec![String::new(); prompts.len()],
    };
    if wanted.max_tokens == Some(0) {
        return Ok(echo(echoes, &prompts, wanted, model));
    }
    let (streams, receipts) = out::ask_all(serving, &model, &wanted, &prompts, |prompt| {
        Ok(TextRequest {
            max_tokens: prompt::room(&model, "prompt", prompt.len(), wanted.max_tokens)?,
            prompt,
            sampling: wanted.sampling.clone(),
            stop: wanted.stop.clone(),
            ignore_end: wanted.ignore_end,
            logprobs: wanted.logprobs,
            form: None,
            priority: serving.caller.priority(),
            stream: wanted.stream,
            arrived: serving.arrived,
        })
    })
    .await?;
    let one = One { id: out::fresh_id("cmpl"), created: out::now(), echoes, wanted, model };
    if one.wanted.stream {
        let events = Sse::new(one.events(streams)).keep_alive(out::keep_alive());
        return Ok((out::receipts(&receipts), events).into_response());
    }
    let wholes = out::gather(streams, one.count()).await?;
    let usage = out::total(wholes.iter().map(|w| &w.usage), one.wanted.choices);
    let choices = wholes.into_iter().zip(0..).map(|(whole, index)| {
        let echo = one.echo(index);
        let logprobs = one.logprobs(&whole.pieces, &mut echo.chars().count());
        TextChoice {
            index,
            text: format!("{echo}{}", whole.text),
            logprobs,
            finish_reason: Some(out::finish_reason(&whole.finish)),
        }
    });
    let choices = choices.collect();
    Ok((out::receipts(&receipts), Json(one.body(choices, Some(Some(usage))))).into_response())
}

/// Nothing but the prompts.
fn echo(echoes: Vec<String>, prompts: &[Vec<u32>], wanted: Wanted, model: TextModel) -> Response {
    let usages: Vec<_> = prompts
        .iter()
        .flat_map(|p| std::iter::repeat_n(p.len(), wanted.choices as usize))
        .map(|prompt| llm::Usage { prompt, ..llm::Usage::default() })
        .collect();
    let one = One { id: out::fresh_id("cmpl"), created: out::now(), echoes, wanted, model };
    if one.wanted.stream {
        let done = |usage| Chunk::Done { text: String::new(), finish: Finish::Length, usage, cost: Amount::ZERO };
        let ended = stream::iter((0..).zip(usages).map(move |(index, usage)| (index, done(usage))));
        return Sse::new(one.events(ended)).into_response();
    }
    let choice = |index| TextChoice {
        index,
        text: one.echo(index).to_owned(),
        logprobs: None,
        finish_reason: Some(out::finish_reason(&Finish::Length)),
    };
    let choices = (0..one.count() as u32).map(choice).collect();
    Json(one.body(choices, Some(Some(out::total(usages.iter(), one.wanted.choices))))).into_response()
}

/// What all pieces of an answer share.
struct One {
    id: String,
    created: u64,
    /// What each prompt's answers begin with.
    echoes: Vec<String>,
    wanted: Wanted,
    model: TextModel,
}

impl One {
    fn count(&self) -> usize {
        self.echoes.len() * self.wanted.choices as usize
    }

    fn echo(&self, index: u32) -> &str {
        &self.echoes[(index / self.wanted.choices) as usize]
    }

    /// The tokens of some pieces, the first of them at the character `offset`, which is moved on.
    fn logprobs(&self, pieces: &[Piece], offset: &mut usize) -> Option<TextLogprobs> {
        self.wanted.logprobs?;
        let mut all = TextLogprobs::default();
        for piece in pieces {
            let Some(known) = &piece.logprob else { continue };
            let text = |id: u32| String::from_utf8_lossy(&self.model.codec.shown(id)).into_owned();
            all.tokens.push(text(piece.token));
            all.token_logprobs.push(known.logprob);
            let drawn = (piece.token, known.logprob);
            let listed = known.top.iter().chain(std::iter::once(&drawn));
            all.top_logprobs.push(listed.map(|(id, logprob)| (text(*id), *logprob)).collect());
            all.text_offset.push(*offset);
            // By its own text: what it let go may be that of others too.
            *offset += self.model.codec.characters(piece.token);
        }
        Some(all)
    }

    fn body(&self, choices: Vec<TextChoice>, usage: Option<Option<Usage>>) -> TextCompletion {
        TextCompletion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.name.clone(),
            choices,
            system_fingerprint: self.model.fingerprint.clone(),
            usage,
        }
    }

    fn chunk(&self, choices: Vec<TextChoice>, usage: Option<Usage>) -> Event {
        out::event(&self.body(choices, self.wanted.stream_usage.then_some(usage)))
    }

    fn events(
        self,
        streams: impl Stream<Item = out::Numbered> + Send + 'static,
    ) -> impl Stream<Item = out::Told> + Send + 'static {
        let opening: Vec<_> = (0..self.count() as u32)
            .filter(|i| !self.echo(*i).is_empty())
            .map(|index| {
                let text = self.echo(index).to_owned();
                Ok(self.chunk(vec![TextChoice { index, text, logprobs: None, finish_reason: None }], None))
            })
            .collect();
        let mut offsets: BTreeMap<u32, usize> =
            (0..self.count() as u32).map(|i| (i, self.echo(i).chars().count())).collect();
        let mut ending = out::Ending::of(self.count());
        let body = streams.flat_map(move |(index, chunk)| {
            let mut events = Vec::new();
            if ending.has_failed() {
                return stream::iter(events);
            }
            match chunk {
                Chunk::Piece(piece) => {
                    let offset = offsets.entry(index).or_default();
                    let logprobs = self.logprobs(std::slice::from_ref(&piece), offset);
                    if !piece.text.is_empty() || logprobs.is_some() {
                        let choice = TextChoice { index, text: piece.text, logprobs, finish_reason: None };
                        events.push(Ok(self.chunk(vec![choice], None)));
                    }
                }
                Chunk::Done { text, finish, usage, .. } => {
                    let reason = Some(out::finish_reason(&finish));
                    let choice = TextChoice { index, text, logprobs: None, finish_reason: reason };
                    events.push(Ok(self.chunk(vec![choice], None)));
                    let counted = |total| self.chunk(Vec::new(), Some(total));
                    events.extend(ending.end(&self.wanted, (index, usage), counted));
                }
                Chunk::Failed(error) => events.extend(ending.fail(&error)),
            }
            stream::iter(events)
        });
        stream::iter(opening).chain(body)
    }
}
