//! JSON-RPC over HTTP, with its limits.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use jsonrpsee::{
    server::{BatchRequestConfig, Server, ServerConfig, ServerHandle, TowerService, stop_channel},
    types::error::{INVALID_REQUEST_CODE, OVERSIZED_REQUEST_CODE},
};
use serde_json::json;
use tower::{Service as _, layer::util::Identity};

use super::{INTERNAL, RpcBackend, methods};
use crate::web::{self, MOST_CONNECTIONS};

/// Largest request: a transaction of the largest allowed size in hexadecimal, and its frame.
pub(crate) const MAX_REQUEST_BYTES: u32 = 2 * 1024 * 1024 + 4096;
/// Largest response: a block of the largest allowed size in hexadecimal, and its frame.
const MAX_RESPONSE_BYTES: u32 = 20 * 1024 * 1024;
const MAX_BATCH: u32 = 32;
/// What clients call JSON.
const JSON: [&str; 2] = ["application/json", "application/json-rpc"];

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("{what} cannot listen on {address}: {source}; free the port or choose another")]
    Listen {
        /// `RPC` or `HTTP`.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// Answers bodies that are calls or batches of them. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Calls {
    service: TowerService<Identity, Identity>,
    /// While it lives, calls are answered.
    _going: Arc<ServerHandle>,
}

impl Calls {
    pub(crate) fn of(backend: Arc<dyn RpcBackend>) -> Self {
        let config = ServerConfig::builder()
            .http_only()
            .max_request_body_size(MAX_REQUEST_BYTES)
            .max_response_body_size(MAX_RESPONSE_BYTES)
            // Each connection has one call or batch under way, and connections are bounded by address.
            .max_connections(u32::try_from(2 * MOST_CONNECTIONS).unwrap_or(u32::MAX))
            .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
            .build();
        let (stop, going) = stop_channel();
        let service = Server::builder().set_config(config).to_service_builder().build(methods(backend), stop);
        Self { service, _going: Arc::new(going) }
    }

    /// The answer to a body.
    pub(crate) async fn answer(&self, body: Bytes) -> Response {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = Method::POST;
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        match self.service.clone().call(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => {
                tracing::error!(%error, "a call failed");
                failure(StatusCode::INTERNAL_SERVER_ERROR, INTERNAL, "the server failed; its log says why")
            }
        }
    }
}

fn failure(status: StatusCode, code: i32, message: &str) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } });
    (status, axum::Json(body)).into_response()
}

fn is_json(kind: &str) -> bool {
    JSON.iter().any(|json| kind.trim().eq_ignore_ascii_case(json))
}

/// A body that is JSON and says so: a page of any site may send others without asking first whether it may.
async fn call(
    State(calls): State<Calls>,
    method: Method,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if method != Method::POST {
        return failure(StatusCode::METHOD_NOT_ALLOWED, INVALID_REQUEST_CODE, "calls are made by POST");
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !kind.and_then(|kind| kind.split(';').next()).is_some_and(is_json) {
        let words = "a call is JSON: send it with `content-type: application/json`";
        return failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, INVALID_REQUEST_CODE, words);
    }
    match body {
        Ok(body) => calls.answer(body).await,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            let words = format!("a request has at most {MAX_REQUEST_BYTES} bytes");
            failure(rejection.status(), OVERSIZED_REQUEST_CODE, &words)
        }
        Err(rejection) => failure(rejection.status(), INVALID_REQUEST_CODE, &rejection.body_text()),
    }
}

/// Starts serving `backend`.
///
/// # Errors
/// [`ServeError::Listen`] if the address cannot be taken.
pub fn serve(
    listen: SocketAddr,
    backend: Arc<dyn RpcBackend>,
    metrics: &web::Metrics,
) -> Result<web::Server, ServeError> {
    let router = Router::new()
        .fallback(call)
        .layer(DefaultBodyLimit::max(MAX_REQUEST_BYTES as usize))
        .with_state(Calls::of(backend));
    web::Server::start("RPC", listen, None, router, metrics)
}
