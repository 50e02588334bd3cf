//! The HTTP server of JSON-RPC, with its limits.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use jsonrpsee::server::{BatchRequestConfig, Server, ServerConfig, ServerHandle};

use super::{RpcBackend, methods};

/// Largest request: a transaction of the largest allowed size in hexadecimal, and its frame.
pub(crate) const MAX_REQUEST_BYTES: u32 = 2 * 1024 * 1024 + 4096;
/// Largest response: a block of the largest allowed size in hexadecimal, and its frame.
const MAX_RESPONSE_BYTES: u32 = 20 * 1024 * 1024;
const MAX_CONNECTIONS: u32 = 256;
const MAX_BATCH: u32 = 32;

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

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct RpcServer {
    address: SocketAddr,
    handle: ServerHandle,
}

impl RpcServer {
    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and waits for running calls.
    pub async fn stop(self) {
        // An error means that it has stopped already.
        let _ = self.handle.stop();
        self.handle.stopped().await;
    }
}

/// Starts serving `backend`.
///
/// # Errors
/// [`ServeError::Listen`] if the address cannot be taken.
pub async fn serve(listen: SocketAddr, backend: Arc<dyn RpcBackend>) -> Result<RpcServer, ServeError> {
    let failed = |source| ServeError::Listen { what: "RPC", address: listen, source };
    let config = ServerConfig::builder()
        .http_only()
        .max_request_body_size(MAX_REQUEST_BYTES)
        .max_response_body_size(MAX_RESPONSE_BYTES)
        .max_connections(MAX_CONNECTIONS)
        .set_batch_request_config(BatchRequestConfig::Limit(MAX_BATCH))
        .set_keep_alive_timeout(Duration::from_secs(60))
        .build();
    let server = Server::builder().set_config(config).build(listen).await.map_err(failed)?;
    let address = server.local_addr().map_err(failed)?;
    Ok(RpcServer { address, handle: server.start(methods(backend)) })
}
