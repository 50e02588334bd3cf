//! What all HTTP servers of a node have in common: how they listen, speak TLS, wait for slow clients and stop.
//!
//! A client that says nothing, or a byte at a time, holds one connection for a few seconds and nothing else; one that takes
//! nothing of its answer, for a minute. An answer may take as long as it takes: text is told as it is made. Connections, and
//! bytes of bodies and answers, are bounded in all and for each address: what the node does beside serving has its files and
//! its memory whatever clients do.

mod room;
mod shares;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, middleware};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use futures::StreamExt as _;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
    time::{Instant, timeout_at},
};
use tower_http::timeout::RequestBodyTimeoutLayer;

pub(crate) use self::room::MOST_CONNECTIONS;
use self::room::{Door, Room};
pub use self::room::{Metrics, raise_files};
use crate::rpc::ServeError;

/// How long a request's headers, or a TLS handshake, may take.
const HEADERS: Duration = Duration::from_secs(15);
/// How long a body may pause.
const BODY_PAUSE: Duration = Duration::from_secs(15);
/// How long a body may take.
const BODY_WHOLE: Duration = Duration::from_secs(120);
/// How long answers may go on when the server stops.
const GRACE: Duration = Duration::from_secs(4);
/// Connections that may wait to be accepted.
const WAITING: u32 = 1024;
/// Bytes that the system may keep of an answer, for each connection; by itself it keeps up to four megabytes.
const SEND_BUFFER: u32 = 128 * 1024;
/// Largest line and headers of a request.
const MAX_HEAD: usize = 32 * 1024;

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Tls(RustlsConfig);

/// Certificate or key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("TLS with certificate {} and key {}: {source}", certificate.display(), key.display())]
pub struct TlsError {
    certificate: PathBuf,
    key: PathBuf,
    source: std::io::Error,
}

impl Tls {
    /// Reads two PEM files: the chain of certificates, the server's own first, and its private key.
    ///
    /// # Errors
    /// [`TlsError`] if one cannot be read or the key is not the certificate's.
    pub async fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        // Another library of this process may have set the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let wrong = |source| TlsError { certificate: certificate.into(), key: key.into(), source };
        for (path, what) in [(certificate, "CERTIFICATE"), (key, "PRIVATE KEY")] {
            let text = std::fs::read(path).map_err(wrong)?;
            pem(&String::from_utf8_lossy(&text), what).map_err(|words| wrong(std::io::Error::other(words)))?;
        }
        let config = RustlsConfig::from_pem_file(certificate, key).await.map_err(wrong)?;
        let mut inner = ServerConfig::clone(&config.get_inner());
        inner.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(RustlsConfig::from_config(Arc::new(inner))))
    }
}

/// Whether a PEM file has what it is for, in words for who wrote it.
fn pem(text: &str, what: &str) -> Result<(), String> {
    let name = what.to_lowercase();
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{what}-----"));
    if !text.lines().any(begins) {
        return Err(format!("the file of the {name} has no \"-----BEGIN ... {what}-----\""));
    }
    if text.contains("BEGIN ENCRYPTED") || text.contains("Proc-Type: 4,ENCRYPTED") {
        return Err(format!("the {name} is encrypted; `openssl pkey -in OLD -out NEW` takes its password off"));
    }
    Ok(())
}

/// A client of such servers, whose requests end after `patience`. It goes through no proxy.
///
/// # Errors
/// If the operating system's certificates cannot be read.
pub fn client(patience: Duration) -> reqwest::Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(patience).no_proxy().build()
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    handle: Handle<SocketAddr>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts one; `what` names it in errors and metrics. It speaks HTTP/1.1: what one connection may hold is bounded, which
    /// the many streams of an HTTP/2 connection are not.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if the address cannot be taken.
    pub fn start(
        what: &'static str,
        listen: SocketAddr,
        tls: Option<&Tls>,
        router: Router,
        metrics: &Metrics,
    ) -> Result<Self, ServeError> {
        Self::with_room(what, listen, tls, router, Room::new(what, metrics.clone()))
    }

    fn with_room(
        what: &'static str,
        listen: SocketAddr,
        tls: Option<&Tls>,
        router: Router,
        room: Arc<Room>,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { what, address: listen, source };
        let listener = bound(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = router
            .layer(middleware::from_fn_with_state(Arc::clone(&room), room::bounded))
            .layer(middleware::map_request(in_time))
            .layer(RequestBodyTimeoutLayer::new(BODY_PAUSE));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        let door = Door { room, plain: tls.is_none() };
        let server = axum_server::Server::<SocketAddr>::from_listener(listener).handle(handle.clone()).acceptor(door);
        let mut server = server.http1_only().first_request_timeout(HEADERS);
        server.http_builder().http1().header_read_timeout(HEADERS).max_buf_size(MAX_HEAD);
        let task = match tls.cloned() {
            Some(Tls(config)) => {
                let secured = |inner| {
                    axum_server::tls_rustls::RustlsAcceptor::new(config).handshake_timeout(HEADERS).acceptor(inner)
                };
                let server = server.map(secured);
                tokio::spawn(async move { ended(what, server.serve(service).await) })
            }
            None => tokio::spawn(async move { ended(what, server.serve(service).await) }),
        };
        Ok(Self { address, handle, task })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for running requests, for four seconds at most.
    pub async fn stop(mut self) {
        self.handle.graceful_shutdown(Some(GRACE));
        // An error means that it has stopped already.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

/// A listener at whose door many may wait at once.
fn bound(listen: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(listen)?;
    socket.listen(WAITING)
}

/// A request whose body ends in time: a byte now and then keeps no connection.
async fn in_time(request: Request) -> Request {
    let deadline = Instant::now() + BODY_WHOLE;
    request.map(|body| {
        let pieces = futures::stream::unfold(body.into_data_stream(), move |mut pieces| async move {
            let piece = match timeout_at(deadline, pieces.next()).await {
                Ok(piece) => piece?.map_err(axum::BoxError::from),
                Err(_) => Err(format!("the body took longer than {} s", BODY_WHOLE.as_secs()).into()),
            };
            Some((piece, pieces))
        });
        Body::from_stream(pieces)
    })
}

fn ended(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "{what}: the server ended");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
