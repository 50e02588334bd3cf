//! The bodies of the OpenAI API, as the official clients send and read them.
//!
//! Requests are read leniently where the API is: unknown fields pass. What is known and not supported is refused by
//! name in [`super::ask`]. Replies carry exactly what the clients' strict validation wants.
#![allow(missing_docs, reason = "the fields are those of the API, whose reference tells what they mean")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing or a list of them.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// A list, perhaps empty.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// As a list.
    pub fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

/// What drawing, length and form have in common between the two ways to ask for text.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Shared {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    /// Beyond the API, as other servers have it.
    pub top_k: Option<i64>,
    /// Beyond the API, as other servers have it.
    pub min_p: Option<f32>,
    pub n: Option<u32>,
    pub stop: Option<OneOrMany<String>>,
    pub seed: Option<i64>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub logit_bias: Option<BTreeMap<String, f32>>,
    #[serde(default)]
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    pub max_tokens: Option<u64>,
    /// Beyond the API, as other servers have it: the model's own end is not one.
    pub ignore_eos: Option<bool>,
    pub user: Option<String>,
}

/// `stream_options`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct StreamOptions {
    #[serde(default)]
    pub include_usage: Option<bool>,
}

/// `POST /v1/chat/completions`
#[derive(Clone, Debug, Deserialize)]
pub struct ChatRequest {
    pub model: String,
    pub messages: Vec<Message>,
    pub max_completion_tokens: Option<u64>,
    pub logprobs: Option<bool>,
    pub top_logprobs: Option<u32>,
    pub tools: Option<Vec<Tool>>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    pub response_format: Option<ResponseFormat>,
    #[serde(flatten)]
    pub shared: Shared,
    /// The rest, to refuse what is known and not supported.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// `POST /v1/completions`
#[derive(Clone, Debug, Deserialize)]
pub struct CompletionRequest {
    pub model: String,
    pub prompt: Prompt,
    pub logprobs: Option<u32>,
    pub echo: Option<bool>,
    pub best_of: Option<u32>,
    pub suffix: Option<String>,
    #[serde(flatten)]
    pub shared: Shared,
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// What a completion or embedding is of.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged, expecting = "expected a text, texts, a list of tokens, or lists of tokens")]
pub enum Prompt {
    /// A text.
    Text(String),
    /// Tokens.
    Tokens(Vec<u32>),
    /// Texts.
    Texts(Vec<String>),
    /// Lists of tokens.
    TokenLists(Vec<Vec<u32>>),
}

/// A message of a conversation.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Message {
    pub role: String,
    #[serde(default)]
    pub content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A message's content.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(String),
    /// Parts; only those of text can be served.
    Parts(Vec<Part>),
}

/// Part of a content.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Part {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub text: Option<String>,
    /// What an assistant said instead of an answer, when its own words are sent back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// A tool that the model may call.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Tool {
    #[serde(rename = "type")]
    pub kind: String,
    pub function: Function,
}

/// A function.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Function {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// `tool_choice`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(
    untagged,
    expecting = "expected `none`, `auto`, `required` or {\"type\": \"function\", \"function\": {\"name\": its name}}"
)]
pub enum ToolChoice {
    /// `none`, `auto` or `required`.
    Mode(String),
    /// One function.
    Named {
        /// `function`.
        #[serde(rename = "type")]
        kind: String,
        /// Which.
        function: Named,
    },
}

/// A name.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Named {
    pub name: String,
}

/// `response_format`
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    /// Anything.
    Text,
    /// A JSON object.
    JsonObject,
    /// What a schema describes.
    JsonSchema {
        /// The schema, with a name.
        json_schema: NamedSchema,
    },
}

/// A JSON schema with a name.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct NamedSchema {
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub schema: Option<Value>,
    #[serde(default)]
    pub strict: Option<bool>,
}

/// `POST /v1/embeddings`
#[derive(Clone, Debug, Deserialize)]
pub struct EmbeddingsRequest {
    pub model: String,
    pub input: Prompt,
    pub encoding_format: Option<Encoding>,
    pub dimensions: Option<u32>,
    pub user: Option<String>,
}

/// How an embedding is written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// A list of numbers.
    #[default]
    Float,
    /// Little-endian single precision, in base 64.
    Base64,
}

/// A model's call of a function.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct ToolCall {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub function: Called,
}

/// The function and its arguments, which are JSON in a string.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub struct Called {
    pub name: String,
    pub arguments: String,
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub prompt_tokens: usize,
    pub completion_tokens: usize,
    pub total_tokens: usize,
    pub prompt_tokens_details: PromptDetails,
}

/// Of the prompt's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PromptDetails {
    pub cached_tokens: usize,
}

impl Usage {
    /// The sum over several answers to one prompt: the prompt counts once.
    pub fn with(self, other: Self) -> Self {
        let (prompt, completion) =
            (self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens);
        let cached_tokens = self.prompt_tokens_details.cached_tokens + other.prompt_tokens_details.cached_tokens;
        Self {
            prompt_tokens: prompt,
            completion_tokens: completion,
            total_tokens: prompt + completion,
            prompt_tokens_details: PromptDetails { cached_tokens },
        }
    }
}

/// `chat.completion`
#[derive(Clone, Debug, Serialize)]
pub struct ChatCompletion {
    pub id: String,
    pub object: &'static str,
    pub created: u64,
    pub model: String,
    pub choices: Vec<ChatChoice>,
    pub usage: Usage,
    pub system_fingerprint: String,
}

/// A choice of a whole answer.
#[derive(Clone, Debug, Serialize)]
pub struct ChatChoice {
    pub index: u32,
    pub message: AssistantMessage,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: &'static str,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct AssistantMessage {
    pub role: &'static str,
    pub content: Option<String>,
    pub refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
}

/// `chat.completion.chunk`
#[derive(Clone, Debug, Serialize)]
pub struct ChatChunk {
    pub id: String,
    pub object: &'static str,
    pub created: u64,
    pub model: String,
    pub choices: Vec<ChunkChoice>,
    pub system_fingerprint: String,
    /// There where usage is asked for: null until the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// A choice's next piece.
#[derive(Clone, Debug, Serialize)]
pub struct ChunkChoice {
    pub index: u32,
    pub delta: Delta,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: Option<&'static str>,
}

/// What is new.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
}

/// Log-probabilities of a chat's tokens.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChatLogprobs {
    pub content: Vec<ChatLogprob>,
    pub refusal: Option<Vec<ChatLogprob>>,
}

/// A token's, beside the likeliest ones'.
#[derive(Clone, Debug, Serialize)]
pub struct ChatLogprob {
    pub token: String,
    pub logprob: f32,
    pub bytes: Option<Vec<u8>>,
    pub top_logprobs: Vec<TopLogprob>,
}

/// One of the likeliest.
#[derive(Clone, Debug, Serialize)]
pub struct TopLogprob {
    pub token: String,
    pub logprob: f32,
    pub bytes: Option<Vec<u8>>,
}

/// `text_completion`, whole or in pieces.
#[derive(Clone, Debug, Serialize)]
pub struct TextCompletion {
    pub id: String,
    pub object: &'static str,
    pub created: u64,
    pub model: String,
    pub choices: Vec<TextChoice>,
    pub system_fingerprint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// A choice of a completion.
#[derive(Clone, Debug, Serialize)]
pub struct TextChoice {
    pub index: u32,
    pub text: String,
    pub logprobs: Option<TextLogprobs>,
    pub finish_reason: Option<&'static str>,
}

/// Log-probabilities of a completion's tokens.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TextLogprobs {
    pub tokens: Vec<String>,
    pub token_logprobs: Vec<f32>,
    pub top_logprobs: Vec<BTreeMap<String, f32>>,
    pub text_offset: Vec<usize>,
}

/// The list of embeddings.
#[derive(Clone, Debug, Serialize)]
pub struct EmbeddingList {
    pub object: &'static str,
    pub model: String,
    pub data: Vec<EmbeddingItem>,
    pub usage: EmbeddingUsage,
}

/// One embedding.
#[derive(Clone, Debug, Serialize)]
pub struct EmbeddingItem {
    pub object: &'static str,
    pub index: usize,
    pub embedding: EmbeddingValues,
}

/// An embedding's numbers.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum EmbeddingValues {
    /// As a list.
    Float(Vec<f32>),
    /// In base 64.
    Base64(String),
}

/// Tokens used by embeddings.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct EmbeddingUsage {
    pub prompt_tokens: usize,
    pub total_tokens: usize,
}

/// The list of models.
#[derive(Clone, Debug, Serialize)]
pub struct ModelList {
    pub object: &'static str,
    pub data: Vec<ModelCard>,
}

/// A model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelCard {
    pub id: String,
    pub object: &'static str,
    pub created: u64,
    pub owned_by: String,
    /// Beyond the API: positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<usize>,
    /// Beyond the API: the model that an adapter is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}
