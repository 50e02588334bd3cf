//! Errors in the API's form: `{"error": {"message", "type", "param", "code"}}`.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;

/// Longest message, in characters: what was sent is repeated in part only.
const MAX_WORDS: usize = 600;

/// Why a request is refused or fails.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Of the reply.
    pub status: StatusCode,
    /// The error's class, as clients know it.
    pub kind: &'static str,
    /// In words: what was expected, what was found.
    pub message: String,
    /// The parameter at fault.
    pub param: Option<String>,
    /// For programs.
    pub code: Option<&'static str>,
    /// When to try again.
    pub retry_after: Option<Duration>,
}

/// Most characters of an error's words.
const MOST_WORDS: usize = 1000;

fn in_short(words: &str) -> String {
    words.chars().take(MOST_WORDS).collect()
}

impl ApiError {
    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_WORDS) {
            message.truncate(end);
            message.push('…');
        }
        Self { status, kind, message, param: None, code: None, retry_after: None }
    }

    /// A parameter that makes no sense, or is not supported.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        // Both may be the client's own words, of any length.
        let (param, message) = (in_short(param), in_short(&message.into()));
        Self { param: Some(param), ..Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message) }
    }

    /// A body that does not parse.
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// More tokens than the context has.
    pub fn too_long(param: &str, message: impl Into<String>) -> Self {
        Self { code: Some("context_length_exceeded"), ..Self::invalid(param, message) }
    }

    /// A body beyond the limit.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    }

    /// A body of another type than JSON.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request_error", message)
    }

    /// No key, or one that is not known.
    pub fn unauthorised(message: impl Into<String>) -> Self {
        let code = Some("invalid_api_key");
        Self { code, ..Self::new(StatusCode::UNAUTHORIZED, "authentication_error", message) }
    }

    /// A key that may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    /// A model that is not served.
    pub fn no_model(model: &str) -> Self {
        let name: String = model.chars().take(80).collect();
        let message = format!("the model `{name}` is not served here; GET /v1/models lists those that are");
        let param = Some("model".to_owned());
        Self { param, code: Some("model_not_found"), ..Self::new(StatusCode::NOT_FOUND, "not_found_error", message) }
    }

    /// A receipt that is not there.
    pub fn no_receipt(message: impl Into<String>) -> Self {
        Self { code: Some("receipt_not_found"), ..Self::new(StatusCode::NOT_FOUND, "not_found_error", message) }
    }

    /// A path that is none.
    pub fn no_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found_error", "there is nothing at this path")
    }

    /// Too many requests, or too many that wait.
    pub fn busy(message: impl Into<String>, retry_after: Duration) -> Self {
        let base = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { code: Some("rate_limit_exceeded"), retry_after: Some(retry_after), ..base }
    }

    /// A quota that is used up, and when it is renewed.
    pub fn quota(message: impl Into<String>, retry_after: Duration) -> Self {
        let base = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", message);
        Self { code: Some("insufficient_quota"), retry_after: Some(retry_after), ..base }
    }

    /// Nobody can serve this now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_error", message)
    }

    /// No answer in time.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "server_error", message)
    }

    /// This server's own trouble, which it has logged.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the server failed; its log says why")
    }

    /// The body.
    pub fn body(&self) -> impl Serialize {
        json!({ "error": { "message": self.message, "type": self.kind, "param": self.param, "code": self.code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let text = serde_json::to_string(&self.body()).expect("strings and nulls");
        let mut response = (self.status, [(header::CONTENT_TYPE, "application/json")], text).into_response();
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: sooner would be in vain.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}
