//! `POST /v1/chat/completions`

use std::collections::BTreeMap;

use assay_inference::llm::{Constraint, Grammar, Grammars, Piece};
use axum::{
    Json,
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures::stream::{self, Stream, StreamExt};
use tokio::sync::Semaphore;

use super::{
    aside::aside,
    ask::{self, Tooling, Wanted},
    backend::{Chunk, TextModel, TextRequest},
    calls::{self, Said},
    error::ApiError,
    metrics::Serving,
    prompt, stream as out,
    wire::{
        AssistantMessage, ChatChoice, ChatChunk, ChatCompletion, ChatLogprob, ChatLogprobs, ChatRequest, ChunkChoice,
        Delta, Tool, ToolCall, TopLogprob,
    },
};

/// Serves one request.
///
/// # Errors
/// [`ApiError`] on what is refused before any text.
pub(super) async fn serve(serving: &Serving, request: ChatRequest) -> Result<Response, ApiError> {
    let (wanted, tooling, grammar) = aside(serving.bytes, || ask::chat(&request, rand::random())).await?;
    serving.caller.may_ask(&request.model)?;
    let model = serving.backend.text_model(&request.model).await?;
    wanted.fits(&model)?;
    let parallel = request.parallel_tool_calls.unwrap_or(true);
    let tools = request.tools.unwrap_or_default();
    let tokens = aside(serving.bytes, || prompt::chat(&model, &request.messages, &tools, &tooling)).await?;
    let max_tokens = prompt::room(&model, "messages", tokens.len(), wanted.max_tokens)?;
    let grammar = match &tooling {
        Tooling::Must(call) => Some((call.clone(), "tools")),
        _ => grammar.map(|g| (g, "response_format")),
    };
    let form = match grammar {
        None => None,
        Some((grammar, param)) => {
            let grammars = model.grammars.as_ref().ok_or_else(|| {
                ApiError::invalid(param, format!("the model `{}` cannot be held to a form", model.name))
            })?;
            Some(form(grammars, grammar, param).await?)
        }
    };
    let (streams, receipts) = out::ask_all(serving, &model, &wanted, &[tokens], |prompt| {
        Ok(TextRequest {
            prompt,
            sampling: wanted.sampling.clone(),
            max_tokens,
            stop: wanted.stop.clone(),
            ignore_end: wanted.ignore_end,
            logprobs: wanted.logprobs,
            form: form.clone(),
            priority: serving.caller.priority(),
            stream: wanted.stream,
            arrived: serving.arrived,
        })
    })
    .await?;
    let one = One {
        id: out::fresh_id("chatcmpl"),
        created: out::now(),
        tools: if tooling == Tooling::None { Vec::new() } else { tools },
        must_call: matches!(tooling, Tooling::Must(_)),
        parallel,
        wanted,
        model,
    };
    if one.wanted.stream {
        let events = Sse::new(one.events(streams)).keep_alive(out::keep_alive());
        return Ok((out::receipts(&receipts), events).into_response());
    }
    let wholes = out::gather(streams, one.wanted.choices as usize).await?;
    let usage = out::total(wholes.iter().map(|w| &w.usage), one.wanted.choices);
    let choices = wholes.into_iter().zip(0..).map(|(whole, index)| {
        let logprobs = one.logprobs(&whole.pieces);
        let said = one.find(&whole.text, false);
        let (content, tool_calls, finish_reason) = match said {
            Said::Text(text) if one.must_call => {
                (None, one.cut(&text).map(|call| vec![call]), out::finish_reason(&whole.finish))
            }
            Said::Text(text) => (Some(text), None, out::finish_reason(&whole.finish)),
            Said::Calls(before, calls) => (Some(before).filter(|b| !b.is_empty()), Some(calls), "tool_calls"),
        };
        let message = AssistantMessage { role: "assistant", content, refusal: None, tool_calls };
        ChatChoice { index, message, logprobs, finish_reason }
    });
    let body = Json(ChatCompletion {
        choices: choices.collect(),
        id: one.id.clone(),
        object: "chat.completion",
        created: one.created,
        model: one.model.name.clone(),
        usage,
        system_fingerprint: one.model.fingerprint.clone(),
    });
    Ok((out::receipts(&receipts), body).into_response())
}

/// Makes a constraint, on a thread where it may take long; few at once, so that large ones do not take all of the machine.
async fn form(grammars: &Grammars, grammar: Grammar, param: &str) -> Result<(Grammar, Constraint), ApiError> {
    static FORMS: Semaphore = Semaphore::const_new(2);
    let _turn = FORMS.acquire().await.map_err(ApiError::internal)?;
    let grammars = grammars.clone();
    let made = tokio::task::spawn_blocking(move || grammars.constraint(&grammar).map(|made| (grammar, made)));
    let made = made.await.map_err(ApiError::internal)?;
    made.map_err(|e| ApiError::invalid(param, format!("the form cannot be met: {e}")))
}

/// What all pieces of an answer share.
struct One {
    id: String,
    created: u64,
    tools: Vec<Tool>,
    /// Whether nothing but a call is an answer: a text is then one that was cut off.
    must_call: bool,
    /// Whether several may be called at once.
    parallel: bool,
    wanted: Wanted,
    model: TextModel,
}

/// What a choice's stream has come to.
#[derive(Default)]
struct Choice {
    /// Text that may turn out to be a call.
    held: String,
    /// Its log-probabilities.
    pieces: Vec<Piece>,
    /// Whether some text was sent on.
    begun: bool,
}

impl One {
    fn logprobs(&self, pieces: &[Piece]) -> Option<ChatLogprobs> {
        self.wanted.logprobs?;
        let token = |id: u32| {
            let bytes = self.model.codec.shown(id);
            (String::from_utf8_lossy(&bytes).into_owned(), Some(bytes))
        };
        let one = |piece: &Piece| {
            let known = piece.logprob.as_ref()?;
            let (text, bytes) = token(piece.token);
            let top = known.top.iter().map(|(id, logprob)| {
                let (token, bytes) = token(*id);
                TopLogprob { token, logprob: *logprob, bytes }
            });
            Some(ChatLogprob { token: text, logprob: known.logprob, bytes, top_logprobs: top.collect() })
        };
        Some(ChatLogprobs { content: pieces.iter().filter_map(one).collect(), refusal: None })
    }

    fn chunk(&self, choices: Vec<ChunkChoice>, usage: Option<super::wire::Usage>) -> Event {
        out::event(&ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.name.clone(),
            choices,
            system_fingerprint: self.model.fingerprint.clone(),
            usage: self.wanted.stream_usage.then_some(usage),
        })
    }

    fn delta(&self, index: u32, delta: Delta, logprobs: Option<ChatLogprobs>, finish: Option<&'static str>) -> Event {
        self.chunk(vec![ChunkChoice { index, delta, logprobs, finish_reason: finish }], None)
    }

    /// The answer as events: the role of each choice, its text, its end; the usage; `[DONE]`.
    fn events(
        self,
        streams: impl Stream<Item = out::Numbered> + Send + 'static,
    ) -> impl Stream<Item = out::Told> + Send + 'static {
        let role = Delta { role: Some("assistant"), content: Some(String::new()), tool_calls: None };
        let opening: Vec<_> = (0..self.wanted.choices).map(|i| Ok(self.delta(i, role.clone(), None, None))).collect();
        let mut choices: BTreeMap<u32, Choice> = (0..self.wanted.choices).map(|i| (i, Choice::default())).collect();
        let mut ending = out::Ending::of(self.wanted.choices as usize);
        let body = streams.flat_map(move |(index, chunk)| {
            let mut events = Vec::new();
            if ending.has_failed() {
                return stream::iter(events);
            }
            let choice = choices.entry(index).or_default();
            match chunk {
                Chunk::Piece(piece) => {
                    choice.held.push_str(&piece.text);
                    choice.pieces.push(piece);
                    let free =
                        if self.tools.is_empty() { choice.held.len() } else { calls::free(&choice.held, choice.begun) };
                    events.extend(self.flush(index, choice, free));
                }
                Chunk::Done { text, finish, usage, .. } => {
                    choice.held.push_str(&text);
                    let said = self.find(&choice.held, choice.begun);
                    let mut reason = out::finish_reason(&finish);
                    let calls = match said {
                        Said::Calls(before, calls) => {
                            reason = "tool_calls";
                            choice.held = before;
                            calls
                        }
                        Said::Text(text) if self.must_call => {
                            choice.held.clear();
                            self.cut(&text).into_iter().collect()
                        }
                        Said::Text(_) => Vec::new(),
                    };
                    let all = choice.held.len();
                    events.extend(self.flush(index, choice, all));
                    if !calls.is_empty() {
                        let numbered = calls.into_iter().zip(0..).map(|(mut call, at)| {
                            call.index = Some(at);
                            call
                        });
                        let delta = Delta { tool_calls: Some(numbered.collect()), ..Delta::default() };
                        events.push(Ok(self.delta(index, delta, None, None)));
                    }
                    events.push(Ok(self.delta(index, Delta::default(), None, Some(reason))));
                    let counted = |total| self.chunk(Vec::new(), Some(total));
                    events.extend(ending.end(&self.wanted, (index, usage), counted));
                }
                Chunk::Failed(error) => events.extend(ending.fail(&error)),
            }
            stream::iter(events)
        });
        stream::iter(opening).chain(body)
    }

    /// Calls in a text, if there are tools to call.
    fn find(&self, text: &str, begun: bool) -> Said {
        if self.tools.is_empty() {
            return Said::Text(text.to_owned());
        }
        match calls::find(text, &self.tools, begun, &mut || out::fresh_id("call")) {
            Said::Calls(before, mut calls) if !self.parallel => {
                calls.truncate(1);
                Said::Calls(before, calls)
            }
            said => said,
        }
    }

    fn cut(&self, text: &str) -> Option<ToolCall> {
        calls::cut(text, &self.tools, &mut || out::fresh_id("call"))
    }

    /// So much of what a choice holds, as an event, if that is anything.
    fn flush(&self, index: u32, choice: &mut Choice, free: usize) -> Option<out::Told> {
        if free == 0 && !choice.held.is_empty() {
            return None;
        }
        let text: String = choice.held.drain(..free).collect();
        choice.begun |= !text.trim().is_empty();
        let pieces = std::mem::take(&mut choice.pieces);
        let logprobs = self.logprobs(&pieces).filter(|l| !l.content.is_empty());
        if text.is_empty() && logprobs.is_none() {
            return None;
        }
        let delta = Delta { content: Some(text), ..Delta::default() };
        Some(Ok(self.delta(index, delta, logprobs, None)))
    }
}
