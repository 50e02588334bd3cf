//! The gateway's HTTP API, with health and metrics.
//!
//! ```text
//! GET  /health       200 or 503, {"healthy", "reason", "height"}
//! GET  /metrics      Prometheus text
//! /v1/...            the OpenAI API, where the node has an owner key: see crate::openai
//! POST /v1/classify  {"model": "digits", "input": [64 numbers]}
//!                    -> {"class", "output", "model_id", "miner", "receipt"}
//! POST /             JSON-RPC, the methods of crate::rpc: every command of the tool works against a gateway too
//! ```
//!
//! A request passes the rate limit of its client's address, the body's size limit and the deadline before anything is
//! parsed. Every error is `{"error": {"message", "type", "param", "code"}}` as the OpenAI API has it, with `type` one of
//! `invalid_request`, `not_found`, `too_large`, `rate_limited`, `unavailable`, `internal` and the rest null.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use assay_primitives::{AccountId, Amount, ModelId, receipt::Receipt};
use axum::{
    Router,
    body::Bytes,
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State, rejection::BytesRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use crate::{
    openai::{
        self,
        error::ApiError,
        keys::{Caller, Keys},
        server::{Part, ServerOptions, WriteMetrics},
        usage::Usage,
    },
    roles::ReceiptSystem,
    rpc::{self, BackendError, RpcBackend, ServeError},
    web::{self, Server},
};

/// Largest body of a classification.
const MAX_CLASSIFY_BYTES: usize = 256 * 1024;
/// Longest time for one request: an inference with its proof, and a retry with another miner.
const DEADLINE: Duration = Duration::from_secs(60);
/// Requests of one client address: this many at once, and as many again each second.
const BURST: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// Client addresses remembered before those at rest are forgotten.
const MAX_CLIENTS: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    path: String,
    status: u16,
}

struct Gateway {
    backend: Arc<dyn RpcBackend>,
    calls: rpc::Calls,
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    requests: Family<Labels, Counter>,
    registry: Registry,
    /// Writes those of the OpenAI API.
    api_metrics: Option<WriteMetrics>,
    /// Who may have miners work.
    keys: Keys,
}

/// Starts serving `backend`.
///
/// # Errors
/// [`ServeError::Listen`] if the address cannot be taken.
pub fn serve(
    listen: SocketAddr,
    backend: Arc<dyn RpcBackend>,
    api: Option<(Arc<dyn openai::backend::Backend>, ServerOptions)>,
    metrics: &web::Metrics,
) -> Result<Server, ServeError> {
    let Some((api, options)) = api else {
        return Server::start("HTTP", listen, None, router(backend, None, Keys::none()), metrics);
    };
    let Part { routes, metrics: write } = openai::server::part(api, &options);
    let router = router(backend, Some(write), options.keys.clone()).merge(routes);
    Server::start("HTTP", listen, options.tls.as_ref(), router, metrics)
}

fn router(backend: Arc<dyn RpcBackend>, api_metrics: Option<WriteMetrics>, keys: Keys) -> Router {
    let requests = Family::default();
    let mut registry = Registry::default();
    registry.register("assay_http_requests", "Requests to the HTTP API, by path and status", Family::clone(&requests));
    let state = Arc::new(Gateway {
        calls: rpc::Calls::of(Arc::clone(&backend)),
        backend,
        limiter: RateLimiter::keyed(Quota::per_second(BURST)),
        requests,
        registry,
        api_metrics,
        keys,
    });
    let limit = |bytes: usize| DefaultBodyLimit::max(bytes);
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/v1/classify", post(classify).layer(limit(MAX_CLASSIFY_BYTES)))
        .route("/", post(json_rpc).layer(limit(rpc::MAX_REQUEST_BYTES as usize)))
        .fallback(|| async { failure(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path") })
        .method_not_allowed_fallback(|| async {
            failure(StatusCode::METHOD_NOT_ALLOWED, "invalid_request", "this path takes another method")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&state), admit))
        .layer(middleware::from_fn(openai::server::identify))
        .with_state(state)
}

/// Rate limit, deadline and count: what every request passes.
async fn admit(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    if gateway.limiter.len() > MAX_CLIENTS {
        gateway.limiter.retain_recent();
    }
    let response = if gateway.limiter.check_key(&client.ip()).is_err() {
        let words = format!("more than {BURST} requests a second from {}; slow down", client.ip());
        ([(header::RETRY_AFTER, "1")], failure(StatusCode::TOO_MANY_REQUESTS, "rate_limited", &words)).into_response()
    } else {
        match tokio::time::timeout(DEADLINE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let words = format!("no answer within {} s; try again", DEADLINE.as_secs());
                failure(StatusCode::GATEWAY_TIMEOUT, "unavailable", &words)
            }
        }
    };
    // Unknown paths share one label, so that a caller cannot grow the metrics.
    let path = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    gateway.requests.get_or_create(&Labels { path, status: response.status().as_u16() }).inc();
    response
}

fn reply(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).expect("answers hold only strings, numbers and lists");
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn failure(status: StatusCode, kind: &str, message: &str) -> Response {
    reply(status, &json!({ "error": { "message": message, "type": kind, "param": null, "code": null } }))
}

impl IntoResponse for BackendError {
    fn into_response(self) -> Response {
        let (status, kind) = match &self {
            BackendError::Refused(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            BackendError::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            BackendError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            BackendError::Internal(reason) => {
                tracing::error!(%reason, "an HTTP request failed");
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        };
        failure(status, kind, &self.to_string())
    }
}

/// The body, or the response that refuses it.
// The refusal is the response to send, and it is sent at once: its size does not matter.
#[allow(clippy::result_large_err)]
fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Response> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            failure(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than this path takes")
        }
        status => failure(status, "invalid_request", &rejection.body_text()),
    })
}

async fn health(State(gateway): State<Arc<Gateway>>) -> Response {
    let vitals = gateway.backend.vitals();
    let status = if vitals.healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    reply(status, &json!({ "healthy": vitals.healthy, "reason": vitals.reason, "height": vitals.height }))
}

async fn metrics(State(gateway): State<Arc<Gateway>>) -> Response {
    let mut text = String::new();
    gateway.backend.metrics(&mut text);
    if let Some(api) = &gateway.api_metrics {
        api(&mut text);
    }
    if prometheus_client::encoding::text::encode(&mut text, &gateway.registry).is_err() {
        return BackendError::Internal("the metrics could not be encoded".into()).into_response();
    }
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `model`, `input` and, if you like, `proof`")]
struct Classify {
    model: String,
    input: Vec<f32>,
    #[serde(default)]
    proof: Option<ReceiptSystem>,
}

/// The answer; a type of its own, as a receipt's fields have an order.
#[derive(Serialize)]
struct Classified<'a> {
    class: u32,
    output: &'a [i32],
    model_id: ModelId,
    miner: AccountId,
    receipt: &'a Receipt,
}

/// Who has a miner work, by its key where one is needed.
fn caller(gateway: &Gateway, headers: &HeaderMap) -> Result<Caller, ApiError> {
    gateway.keys.admit(headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()))
}

/// What an answer of numbers costs a key: it has no tokens.
const ONE: Usage = Usage { answers: 1, prompt: 0, completion: 0, cost: Amount::ZERO };

async fn classify(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let caller = match caller(&gateway, &headers) {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    let body = match read(body) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let mut json = serde_json::Deserializer::from_slice(&body);
    let parsed = serde_path_to_error::deserialize::<_, Classify>(&mut json)
        .map_err(|e| rpc::fault("field", &e))
        .and_then(|asked| json.end().map(|()| asked).map_err(|e| e.to_string()));
    let asked = match parsed {
        Ok(asked) => asked,
        Err(reason) => {
            let words = format!(
                r#"{reason}; expected {{"model": "digits", "input": [numbers], "proof": "sumcheck" or "groth16" or left out}}"#
            );
            return failure(StatusCode::BAD_REQUEST, "invalid_request", &words);
        }
    };
    if let Err(refusal) = caller.may_ask(&asked.model) {
        return refusal.into_response();
    }
    match gateway.backend.infer(&asked.model, asked.input, asked.proof).await {
        Ok(answer) => {
            caller.used(&ONE);
            let response = &answer.receipt.response.body;
            let value = Classified {
                class: answer.class,
                output: response.output.numbers().unwrap_or_default(),
                model_id: response.model,
                miner: response.miner,
                receipt: &answer.receipt,
            };
            reply(StatusCode::OK, &value)
        }
        Err(error) => error.into_response(),
    }
}

/// What of a call tells whether a miner works for it.
#[derive(Deserialize)]
struct Called<'a> {
    method: String,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// The model that it asks, by name or by position.
#[derive(Deserialize)]
#[serde(untagged)]
enum Parameters {
    Named { model: String },
    Listed(Vec<serde_json::Value>),
}

impl Called<'_> {
    /// The model; of parameters that cannot be read, none, which only those may ask who may ask all.
    fn model(&self) -> String {
        match self.params.map(|params| serde_json::from_str(params.get())) {
            Some(Ok(Parameters::Named { model })) => model,
            Some(Ok(Parameters::Listed(all))) => {
                all.first().and_then(|first| first.as_str()).unwrap_or_default().to_owned()
            }
            Some(Err(_)) | None => String::new(),
        }
    }
}

/// The calls of a body, one or a batch; those that cannot be read are none.
fn called(body: &[u8]) -> Vec<Called<'_>> {
    match serde_json::from_slice::<Vec<&RawValue>>(body) {
        Ok(batch) => batch.into_iter().filter_map(|text| serde_json::from_str(text.get()).ok()).collect(),
        Err(_) => serde_json::from_slice(body).into_iter().collect(),
    }
}

async fn json_rpc(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match read(body) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let asks = called(&body).into_iter().filter(|call| call.method == "assay_infer");
    for call in asks {
        let allowed = caller(&gateway, &headers).and_then(|caller| {
            caller.may_ask(&call.model())?;
            Ok(caller)
        });
        match allowed {
            Ok(caller) => caller.used(&ONE),
            Err(refusal) => return refusal.into_response(),
        }
    }
    gateway.calls.answer(body).await
}

#[cfg(test)]
mod tests;
