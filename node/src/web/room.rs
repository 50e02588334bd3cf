//! What a server has room for: connections and bytes, in all and for one address.
//!
//! ```text
//! connection ── Door: a share of the connections, or 503 and closed ──> requests
//! request    ── bounded: a share of the bytes for every piece of its body, and for its answer until that is sent
//! ```

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use axum_server::accept::Accept;
use futures::{StreamExt as _, future::BoxFuture};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http_body::{Frame, SizeHint};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_io_timeout::TimeoutStream;
use tower_http::add_extension::AddExtension;

use super::shares::{Full, Share, Shares};

/// Most connections of one server, where the process may open many files.
pub(crate) const MOST_CONNECTIONS: usize = 4096;
/// Files that a process needs beside its HTTP connections: store, logs, the engine's and the data plane's connections.
const OWN_FILES: usize = 768;
/// Files for connections where what is left is less.
const LEAST_FILES: usize = 32;
/// Servers of a node: HTTP and RPC. A development network has many nodes in one process.
const SERVERS: usize = 2;
/// Bytes of request bodies and of answers not yet sent that one server keeps.
const MOST_BYTES: usize = 128 << 20;
/// What a piece of a body takes beside its bytes: a client may send them one by one.
const PIECE_COST: usize = 128;
/// Bytes of an answer that are handed to a connection at once.
const PIECE: usize = 32 * 1024;
/// How long a client may take nothing of what it asked for.
const WRITE_PAUSE: Duration = Duration::from_secs(60);
/// Refused connections that get to read why, and how long they have for it.
const FAREWELLS: usize = 64;
const FAREWELL: Duration = Duration::from_secs(1);

/// Raises the number of files that this process may open as far as it may itself: each connection is one.
pub fn raise_files() {
    // What cannot be raised stays, and servers keep within it.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
}

/// Files for the connections of all servers of this process.
static FILES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    // A system that does not say has no limit that we could keep within.
    let files = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(soft, _)| soft);
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    Arc::new(Semaphore::new(files.saturating_sub(OWN_FILES).clamp(LEAST_FILES, Semaphore::MAX_PERMITS)))
});

/// Connections of one of a node's servers: that each has its part leaves RPC to its operator when the other is flooded.
fn most_connections() -> usize {
    (FILES.available_permits() / SERVERS).min(MOST_CONNECTIONS)
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    server: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refusals {
    server: &'static str,
    lacks: &'static str,
}

/// What all HTTP servers of a process count.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    open: Family<Of, Gauge>,
    refused: Family<Refusals, Counter>,
}

impl Metrics {
    /// Adds them to a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("assay_http_connections", "Open connections, by server", Family::clone(&self.open));
        let help = "Connections and requests refused as there was no room for them, by server and what it lacked";
        registry.register("assay_http_refused", help, Family::clone(&self.refused));
    }
}

/// How much room there is.
pub(super) struct Bounds {
    /// Connections at once.
    pub(super) connections: usize,
    /// Bytes of bodies and answers.
    pub(super) bytes: usize,
    /// How long a client may take nothing of its answer.
    pub(super) write_pause: Duration,
}

/// One server's room.
#[derive(Debug)]
pub(super) struct Room {
    server: &'static str,
    connections: Arc<Shares>,
    bytes: Arc<Shares>,
    write_pause: Duration,
    farewells: Semaphore,
    metrics: Metrics,
    /// How often it is logged that something was refused.
    told: DefaultDirectRateLimiter,
}

impl Room {
    pub(super) fn new(server: &'static str, metrics: Metrics) -> Arc<Self> {
        Self::with(
            server,
            metrics,
            Bounds { connections: most_connections(), bytes: MOST_BYTES, write_pause: WRITE_PAUSE },
        )
    }

    pub(super) fn with(server: &'static str, metrics: Metrics, bounds: Bounds) -> Arc<Self> {
        let Bounds { connections, bytes, write_pause } = bounds;
        let minute = Quota::with_period(Duration::from_secs(60)).expect("not zero");
        Arc::new(Self {
            server,
            connections: Shares::of(connections),
            bytes: Shares::of(bytes),
            write_pause,
            farewells: Semaphore::new(FAREWELLS),
            metrics,
            told: RateLimiter::direct(minute),
        })
    }

    /// Counts a refusal and gives its words.
    fn refuse(&self, what: &'static str, shares: &Shares, full: Full, who: IpAddr) -> String {
        let words = match full {
            Full::Address => format!("{who} has {} {what} of this server, the most for one address", shares.each()),
            Full::Whole => format!("all {} {what} of this server are in use", shares.whole()),
        };
        self.counted(what, words)
    }

    fn counted(&self, lacks: &'static str, words: String) -> String {
        self.metrics.refused.get_or_create(&Refusals { server: self.server, lacks }).inc();
        if self.told.check().is_ok() {
            tracing::warn!("{}: a client was refused: {words}", self.server);
        }
        words + "; try again in a moment"
    }

    /// A place for a connection, with its file.
    fn place(&self, who: IpAddr) -> Result<Place, String> {
        let mut share = self.connections.share(who);
        share.grow(1).map_err(|full| self.refuse("connections", &self.connections, full, who))?;
        let Ok(file) = Arc::clone(&FILES).try_acquire_owned() else {
            return Err(self.counted("files", "all files of this process for connections are in use".to_owned()));
        };
        let open = self.metrics.open.get_or_create(&Of { server: self.server }).clone();
        open.inc();
        Ok(Place { _share: share, _file: file, open })
    }
}

/// What a client is told for whom there is no room.
fn busy(words: &str) -> (StatusCode, String) {
    let error = json!({ "message": words, "type": "server_error", "param": null, "code": "overloaded" });
    (StatusCode::SERVICE_UNAVAILABLE, json!({ "error": error }).to_string())
}

/// Lets connections in, as many as there is room for.
#[derive(Clone, Debug)]
pub(super) struct Door {
    pub(super) room: Arc<Room>,
    /// Whether connections begin with HTTP: who is refused can be told so.
    pub(super) plain: bool,
}

/// A place among the connections, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _share: Share,
    _file: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

impl<S: Send + 'static> Accept<TcpStream, S> for Door {
    type Stream = Pin<Box<TimeoutStream<TcpStream>>>;
    /// The service holds the place: it lives as long as its connection.
    type Service = AddExtension<S, Arc<Place>>;
    type Future = BoxFuture<'static, std::io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let Self { room, plain } = self.clone();
        Box::pin(async move {
            let who = stream.peer_addr()?.ip();
            let place = match room.place(who) {
                Ok(place) => place,
                Err(words) => {
                    if let (true, Ok(_permit)) = (plain, room.farewells.try_acquire()) {
                        // A client that does not take it is as well off without.
                        let _ = timeout(FAREWELL, farewell(stream, &words)).await;
                    }
                    return Err(std::io::Error::other(words));
                }
            };
            // Tokens are small and leave one by one.
            stream.set_nodelay(true)?;
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(room.write_pause));
            Ok((Box::pin(stream), AddExtension::new(service, Arc::new(place))))
        })
    }
}

/// Says why a connection is not served, and waits until that is read: closing one with unread bytes takes back what was said.
async fn farewell(mut stream: TcpStream, words: &str) -> std::io::Result<()> {
    let (status, body) = busy(words);
    let mut text =
        format!("HTTP/1.1 {status}\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: application/json\r\n");
    let _ = write!(text, "content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// Bytes of a body or an answer, charged to whose they are.
type Charge = Arc<Mutex<Share>>;

fn charge(to: &Charge, bytes: usize) -> Result<(), Full> {
    to.lock().unwrap_or_else(PoisonError::into_inner).grow(bytes)
}

/// Passes a request on whose body, as far as it has come, and whose answer there is room for.
pub(super) async fn bounded(
    State(room): State<Arc<Room>>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let refusal = |full| {
        let (status, body) = busy(&room.refuse("bytes", &room.bytes, full, client.ip()));
        (status, [(header::RETRY_AFTER, "1"), (header::CONTENT_TYPE, "application/json")], body).into_response()
    };
    let full: Arc<OnceLock<Full>> = Arc::default();
    // Held until there is an answer: the body is in memory in one form or another until then.
    let asked: Charge = Arc::new(Mutex::new(room.bytes.share(client.ip())));
    let request = request.map(|body| {
        let (asked, full) = (Arc::clone(&asked), Arc::clone(&full));
        Body::from_stream(body.into_data_stream().map(move |piece| {
            let piece = piece?;
            charge(&asked, piece.len() + PIECE_COST).map_err(|what| {
                full.get_or_init(|| what);
                axum::Error::new(std::io::Error::other("there is no room for the body"))
            })?;
            // A copy: a part of what was read at once would keep the whole of it.
            Ok::<_, axum::Error>(Bytes::copy_from_slice(&piece))
        }))
    });
    let response = next.run(request).await;
    if let Some(full) = full.get() {
        return refusal(*full);
    }
    drop(asked);
    // A stream has no size: it is told as it is made, and what makes it waits for the client.
    let Some(size) = response.body().size_hint().exact() else { return response };
    let mut share = room.bytes.share(client.ip());
    match share.grow(usize::try_from(size).unwrap_or(usize::MAX)) {
        Ok(()) => response.map(|body| Body::new(Charged { body, rest: Bytes::new(), _share: share })),
        Err(full) => refusal(full),
    }
}

/// An answer with its share of the room. It is handed out in small pieces: the share is held until the client has taken all but
/// the last, where one piece would wait for it elsewhere.
struct Charged {
    body: Body,
    rest: Bytes,
    _share: Share,
}

impl http_body::Body for Charged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let size = self.rest.len().min(PIECE);
        // A copy: a part of the whole would keep the whole, wherever it waits.
        let piece = Bytes::copy_from_slice(&self.rest.split_to(size));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        body.exact().map_or_else(SizeHint::default, |body| SizeHint::with_exact(body.saturating_add(rest)))
    }
}
