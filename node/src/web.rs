//! What all HTTP servers of a node have in common: how they listen, speak TLS, wait for slow clients and stop.
//!
//! A client that says nothing, or a byte at a time, holds one connection for a few seconds and nothing else. An answer may
//! take as long as it takes: text is told as it is made.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use tokio::task::JoinHandle;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::rpc::ServeError;

/// How long a request's headers, or a TLS handshake, may take.
const HEADERS: Duration = Duration::from_secs(15);
/// How long a body may pause.
const BODY_PAUSE: Duration = Duration::from_secs(15);
/// How long answers may go on when the server stops.
const GRACE: Duration = Duration::from_secs(10);

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
        let read = RustlsConfig::from_pem_file(certificate, key).await;
        read.map(Self).map_err(|source| TlsError { certificate: certificate.into(), key: key.into(), source })
    }
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
    /// Starts one; `what` names it in errors.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if the address cannot be taken.
    pub fn start(
        what: &'static str,
        listen: SocketAddr,
        tls: Option<&Tls>,
        router: Router,
    ) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { what, address: listen, source };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let router = router.layer(RequestBodyTimeoutLayer::new(BODY_PAUSE));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener).map_err(failed)?.handle(handle.clone());
        let mut server = server.first_request_timeout(HEADERS);
        server.http_builder().http1().header_read_timeout(HEADERS);
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

    /// Stops it and waits for running requests, for ten seconds at most.
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

fn ended(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "{what}: the server ended");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
