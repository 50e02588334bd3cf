//! `POST /v1/embeddings`

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    backend::{EmbedInput, Embedding},
    error::ApiError,
    metrics::Serving,
    usage::Usage,
    wire::{EmbeddingItem, EmbeddingList, EmbeddingUsage, EmbeddingValues, EmbeddingsRequest, Encoding, Prompt},
};

/// The most inputs of one request, as the API has it.
const MAX_INPUTS: usize = 2048;

/// Serves one request.
///
/// # Errors
/// [`ApiError`].
pub(super) async fn serve(serving: &Serving, request: EmbeddingsRequest) -> Result<Response, ApiError> {
    serving.caller.may_ask(&request.model)?;
    let inputs: Vec<EmbedInput> = match request.input {
        Prompt::Text(text) => vec![EmbedInput::Text(text)],
        // Whatever it is a list of.
        Prompt::Tokens(tokens) if tokens.is_empty() => Vec::new(),
        Prompt::Tokens(tokens) => vec![EmbedInput::Tokens(tokens)],
        Prompt::Texts(texts) => texts.into_iter().map(EmbedInput::Text).collect(),
        Prompt::TokenLists(lists) => lists.into_iter().map(EmbedInput::Tokens).collect(),
    };
    if inputs.is_empty() || inputs.len() > MAX_INPUTS {
        let words = format!("1 to {MAX_INPUTS} inputs are taken, found {}", inputs.len());
        return Err(ApiError::invalid("input", words));
    }
    let is_empty = |i: &EmbedInput| match i {
        EmbedInput::Text(text) => text.is_empty(),
        EmbedInput::Tokens(tokens) => tokens.is_empty(),
    };
    if let Some(at) = inputs.iter().position(is_empty) {
        return Err(ApiError::invalid("input", format!("input {at} is empty")));
    }
    let Embedding { tokens, dimensions, vectors } = serving.backend.embed(&request.model, inputs).await?;
    if request.dimensions.is_some_and(|asked| asked as usize != dimensions) {
        let words = format!(
            "embeddings of the model `{}` have {dimensions} numbers: ask for as many, or leave `dimensions` out",
            request.model
        );
        return Err(ApiError::invalid("dimensions", words));
    }
    let reservation = serving.caller.reserve(tokens as u64)?;
    let vectors = vectors.await?;
    serving.caller.used(&Usage { answers: 1, prompt: tokens as u64, ..Usage::default() });
    drop(reservation);
    let write = |vector: Vec<f32>| match request.encoding_format.unwrap_or_default() {
        Encoding::Float => EmbeddingValues::Float(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
            EmbeddingValues::Base64(BASE64_STANDARD.encode(bytes))
        }
    };
    let item =
        |(index, vector): (usize, Vec<f32>)| EmbeddingItem { object: "embedding", index, embedding: write(vector) };
    Ok(Json(EmbeddingList {
        object: "list",
        model: request.model.clone(),
        data: vectors.into_iter().enumerate().map(item).collect(),
        usage: EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens },
    })
    .into_response())
}
