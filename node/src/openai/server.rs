//! The HTTP server of the API: routes, keys, rates, limits, metrics.
//!
//! A request passes, in this order: the limit of its body, its key, the key's rate and quota; then it is read. Whatever
//! it does, the client gets an answer or an error of the API; a client that goes away cancels what it asked for.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, FromRequestParts, Path, Request, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use serde_json::json;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{
    aside::aside,
    backend::Backend,
    chat, completions, embeddings,
    error::ApiError,
    keys::{Caller, Keys},
    metrics::{ApiMetrics, Serving},
    stream::{RECEIPT, fresh_id},
    wire::{ChatRequest, CompletionRequest, EmbeddingsRequest, ModelList},
};
use crate::{
    rpc::{self, ServeError},
    web::{self, Server, Tls},
};

/// Largest body: a context of the longest kind has fewer bytes.
const MAX_BODY: usize = 4 << 20;
/// The header of a request's identity, given back and logged.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How the API is served.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Origins of browsers that may call it; `*` is any.
    pub cors: Vec<String>,
    /// Who may ask.
    pub keys: Keys,
    /// The server's certificate; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self { cors: Vec::new(), keys: Keys::none(), tls: None }
    }
}

struct Api {
    backend: Arc<dyn Backend>,
    keys: Keys,
    metrics: ApiMetrics,
    registry: Registry,
}

impl Api {
    fn new(backend: Arc<dyn Backend>, options: &ServerOptions) -> Self {
        let (metrics, mut registry) = (ApiMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        Self { backend, keys: options.keys.clone(), metrics, registry }
    }

    fn serving(&self, caller: Caller, body: &Result<Bytes, BytesRejection>) -> Serving {
        let bytes = body.as_ref().map_or(0, Bytes::len);
        let (backend, metrics) = (Arc::clone(&self.backend), self.metrics.clone());
        Serving { backend, metrics, caller, arrived: Instant::now(), bytes }
    }

    fn encode(&self, text: &mut String) {
        self.backend.metrics(text);
        // Writing to a String fails only if an encoder does; what is missing then shows in the text itself.
        let _ = prometheus_client::encoding::text::encode_registry(text, &self.registry);
    }
}

/// Writes metrics to the end of a text.
pub type WriteMetrics = Arc<dyn Fn(&mut String) + Send + Sync>;

/// The API's part of a larger server.
pub struct Part {
    /// Its routes, all below `/v1/`.
    pub routes: Router,
    /// Writes its metrics, without the mark of the end, into a text in Prometheus' form.
    pub metrics: WriteMetrics,
}

/// Starts serving `backend`.
///
/// # Errors
/// [`ServeError::Listen`] if the address cannot be taken.
pub fn serve(listen: SocketAddr, backend: Arc<dyn Backend>, options: &ServerOptions) -> Result<Server, ServeError> {
    let connections = web::Metrics::default();
    let router = router(backend, options, &connections);
    Server::start("HTTP", listen, options.tls.as_ref(), router, &connections)
}

/// The API by itself, with health and metrics.
fn router(backend: Arc<dyn Backend>, options: &ServerOptions, connections: &web::Metrics) -> Router {
    let mut api = Api::new(backend, options);
    connections.register(&mut api.registry);
    let api = Arc::new(api);
    let own = Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(Arc::clone(&api));
    api_routes(api, options).merge(own).fallback(|| async { ApiError::no_path() }).layer(middleware::from_fn(identify))
}

/// The API without what a server has anyway.
pub fn part(backend: Arc<dyn Backend>, options: &ServerOptions) -> Part {
    let api = Arc::new(Api::new(backend, options));
    let counted = Arc::clone(&api);
    Part { routes: api_routes(api, options), metrics: Arc::new(move |text| counted.encode(text)) }
}

/// An origin as browsers name it, or `*` for any.
///
/// # Errors
/// In words, if no browser would ever send it.
pub fn origin(text: &str) -> Result<String, String> {
    let plain =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\\,*".contains(&b));
    let named = text.split_once("://").is_some_and(|(scheme, host)| plain(scheme) && plain(host));
    let wrong = || format!("{text:?} is no origin; expected `https://example.org`, with a port if it has one, or `*`");
    if named || text == "*" { Ok(text.to_owned()) } else { Err(wrong()) }
}

fn api_routes(api: Arc<Api>, options: &ServerOptions) -> Router {
    let origins = if options.cors.iter().any(|o| o == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(options.cors.iter().filter_map(|o| HeaderValue::from_str(o).ok()))
    };
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        // Clients send headers of their own, which nothing here depends on.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID, RECEIPT])
        .max_age(Duration::from_secs(3600));
    Router::new()
        .route("/v1/receipts/{id}", get(receipt))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(model))
        .route("/v1/chat/completions", post(chat_completions))
        .route("/v1/completions", post(text_completions))
        .route("/v1/embeddings", post(text_embeddings))
        .method_not_allowed_fallback(|| async {
            let mut error = ApiError::malformed("this path takes another method");
            error.status = StatusCode::METHOD_NOT_ALLOWED;
            error
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), admit))
        .layer(middleware::from_fn(identify))
        .layer(cors)
        .with_state(api)
}

/// Lets in who may ask. A body that says that it is too large is refused before it is read.
async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    match admitted(&api, request.method(), request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn admitted(api: &Api, method: &Method, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let header = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let announced = header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(ApiError::too_large(format!("a body has at most {} MiB", MAX_BODY >> 20)));
    }
    let caller = api.keys.admit(header(header::AUTHORIZATION))?;
    // A page of any site may send other types without asking first whether it may.
    let essence = header(header::CONTENT_TYPE).and_then(|text| text.split(';').next()).map(str::trim);
    if method == Method::POST && !essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(ApiError::unsupported("a body is JSON: send it with `content-type: application/json`"));
    }
    Ok(caller)
}

/// A request's identity: the client's own, if it is one, or a fresh one.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self(fresh_id("req"))))
    }
}

pub(crate) async fn identify(mut request: Request, next: Next) -> Response {
    if request.extensions().get::<RequestId>().is_some() {
        return next.run(request).await;
    }
    let own = request.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let own = own.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()));
    let id = own.unwrap_or_else(|| fresh_id("req"));
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Fields of a body that are looked through for the one at fault, and the largest body in which they are: it is read once for
/// each.
const MOST_FIELDS: usize = 256;
const MOST_BYTES: usize = 64 * 1024;

/// Reads a body of JSON, naming the field at fault.
fn read<T: DeserializeOwned>(body: Result<Bytes, BytesRejection>) -> Result<T, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(format!("a body has at most {} MiB", MAX_BODY >> 20)),
        _ => ApiError::malformed(rejection.body_text()),
    })?;
    let mut json = serde_json::Deserializer::from_slice(&body);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        let words = rpc::fault("field", &e);
        let field = if path == "." { at_fault::<T>(&body, &e.inner().to_string()) } else { Some(path) };
        match field {
            Some(field) => ApiError::invalid(&field, words),
            None => ApiError::malformed(words),
        }
    })?;
    json.end().map_err(|e| ApiError::malformed(e.to_string()))?;
    Ok(value)
}

/// The field of a body that its type does not take, where the reader does not say: the one that is missing, or the one
/// without which nothing is wrong.
fn at_fault<T: DeserializeOwned>(body: &[u8], words: &str) -> Option<String> {
    if let Some(field) = words.strip_prefix("missing field `") {
        return field.split('`').next().map(str::to_owned);
    }
    if body.len() > MOST_BYTES {
        return None;
    }
    let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
    let fields: Vec<String> = whole.keys().take(MOST_FIELDS).cloned().collect();
    let mut rest = serde_json::Value::Object(whole);
    // A field that must be there is missing without it, which is an error of its own.
    fields.into_iter().find(|field| {
        let Some(taken) = rest.as_object_mut().and_then(|rest| rest.remove(field)) else { return false };
        let reads = T::deserialize(&rest).is_ok();
        rest[field.as_str()] = taken;
        reads
    })
}

async fn chat_completions(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let serving = api.serving(caller, &body);
    let answer = async { chat::serve(&serving, aside(serving.bytes, || read::<ChatRequest>(body)).await?).await };
    answer.await.unwrap_or_else(ApiError::into_response)
}

async fn text_completions(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let serving = api.serving(caller, &body);
    let answer =
        async { completions::serve(&serving, aside(serving.bytes, || read::<CompletionRequest>(body)).await?).await };
    answer.await.unwrap_or_else(ApiError::into_response)
}

async fn text_embeddings(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let serving = api.serving(caller, &body);
    let answer =
        async { embeddings::serve(&serving, aside(serving.bytes, || read::<EmbeddingsRequest>(body)).await?).await };
    answer.await.unwrap_or_else(ApiError::into_response)
}

async fn models(State(api): State<Arc<Api>>) -> Response {
    match api.backend.models().await {
        Ok(data) => axum::Json(ModelList { object: "list", data }).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn model(State(api): State<Arc<Api>>, id: Result<Path<String>, PathRejection>) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(rejection) => return ApiError::malformed(rejection.body_text()).into_response(),
    };
    match api.backend.models().await {
        Ok(all) => match all.into_iter().find(|m| m.id == id) {
            Some(card) => axum::Json(card).into_response(),
            None => ApiError::no_model(&id).into_response(),
        },
        Err(error) => error.into_response(),
    }
}

async fn receipt(State(api): State<Arc<Api>>, id: Result<Path<String>, PathRejection>) -> Response {
    let id = match id {
        Ok(Path(id)) => id,
        Err(rejection) => return ApiError::malformed(rejection.body_text()).into_response(),
    };
    match api.backend.receipt(&id).await {
        // As it is: a receipt's form is canonical to the byte.
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn health(State(api): State<Arc<Api>>) -> Response {
    let (status, healthy, reason) = match api.backend.health().await {
        Ok(()) => (StatusCode::OK, true, String::new()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, false, reason),
    };
    (status, axum::Json(json!({ "healthy": healthy, "reason": reason }))).into_response()
}

async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let mut text = String::new();
    api.encode(&mut text);
    text.push_str("# EOF\n");
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
