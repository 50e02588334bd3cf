//! For the fuzzer: bodies of strangers, and texts that models make of tools.

use std::sync::LazyLock;

use axum::body::Bytes;
use serde::de::DeserializeOwned;

use super::{
    ask, calls,
    error::ApiError,
    prompt, server,
    wire::{ChatRequest, CompletionRequest, EmbeddingsRequest, Tool},
};

/// Tools that a model is given; the second one's arguments have to fit.
static TOOLS: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    let tools = r#"[
        {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},
        {"type": "function", "function": {"name": "ask", "strict": true, "parameters": {"type": "object",
            "properties": {"word": {"type": "string", "pattern": "^[a-z]+$"}}, "required": ["word"]}}}
    ]"#;
    serde_json::from_str(tools).expect("two tools")
});

/// Reads and checks what the first byte chooses: the body of a chat, of a completion or of embeddings, or a model's text. Whether
/// it is one that is served, or calls a tool.
///
/// # Panics
/// If a refusal is no error of the API, or a text is cut within a character.
pub fn request(bytes: &[u8]) -> bool {
    let Some((&kind, bytes)) = bytes.split_first() else { return false };
    match kind % 4 {
        0 => held(chat(bytes)),
        1 => held(read::<CompletionRequest>(bytes).and_then(|request| ask::completion(&request, 7).map(drop))),
        2 => held(read::<EmbeddingsRequest>(bytes).map(|request| drop(request.input))),
        _ => std::str::from_utf8(bytes).is_ok_and(said),
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    server::read(Ok(Bytes::copy_from_slice(bytes)))
}

fn chat(bytes: &[u8]) -> Result<(), ApiError> {
    let request: ChatRequest = read(bytes)?;
    ask::chat(&request, 7)?;
    prompt::results_follow_calls(&request.messages)?;
    // Of a template that knows tools, and of one that does not.
    for knows_tools in [false, true] {
        request.messages.iter().try_for_each(|message| prompt::message(message, knows_tools).map(drop))?;
    }
    Ok(())
}

fn held(checked: Result<(), ApiError>) -> bool {
    if let Err(error) = &checked {
        assert!(error.status.is_client_error(), "{error}");
        assert!(!error.message.is_empty());
        serde_json::to_string(&error.body()).expect("an error has a body");
    }
    checked.is_ok()
}

fn said(text: &str) -> bool {
    let mut number = 0;
    let mut fresh = || {
        number += 1;
        format!("call_{number}")
    };
    for begun in [false, true] {
        assert!(text.is_char_boundary(calls::free(text, begun)), "a text is cut within a character");
    }
    let cut = calls::cut(text, &TOOLS, &mut fresh).is_some();
    matches!(calls::find(text, &TOOLS, false, &mut fresh), calls::Said::Calls(..)) || cut
}
