//! Whether a node lives and is ready, as programs that run nodes ask by plain GET. All nodes tell it, on their RPC and their HTTP port.
//!
//! ```text
//! GET /livez    200 or 503, {"live", "reason", "height"}     503: end it and start it again
//! GET /readyz   200 or 503, {"ready", "reason", "height"}    503: send it no clients for now
//! ```
//!
//! They need no key, count against no rate, and wait for no other part of the node.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::rpc::{Life, RpcBackend};

/// What Prometheus' text is called.
pub(crate) const METRICS: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];

type Backend = State<Arc<dyn RpcBackend>>;

/// Both paths.
pub(crate) fn routes(backend: Arc<dyn RpcBackend>) -> Router {
    let live = |State(backend): Backend| async move {
        let life = backend.life();
        told("live", life.is_live(), &life.dead.clone().unwrap_or_default(), &life)
    };
    let ready = |State(backend): Backend| async move {
        let life = backend.life();
        told("ready", life.is_ready(), life.reason(), &life)
    };
    Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(backend)
}

/// An answer whose first field is `what`.
pub(crate) fn told(what: &'static str, holds: bool, reason: &str, life: &Life) -> Response {
    let status = if holds { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ what: holds, "reason": reason, "height": life.height }))).into_response()
}
