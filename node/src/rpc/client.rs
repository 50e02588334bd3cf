//! The client: typed calls over HTTP, with errors that say what to do.

use std::time::Duration;

use assay_primitives::{AccountId, Hash32, receipt::Blob};
use jsonrpsee::{
    core::{
        client::{ClientT as _, Error},
        params::ObjectParams,
    },
    http_client::{HeaderMap, HeaderValue, HttpClient, HttpClientBuilder, transport},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Answer, NOT_FOUND, Proven, Status, TxStatus};
use crate::roles::ReceiptSystem;

/// An inference with its proof takes seconds; everything else is far faster.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why a call brought nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not a URL the client can use.
    #[error("{url:?} is not a node's URL: {reason}; expected http://HOST:PORT")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Not a key.
    #[error("the API key has characters that no key has")]
    Key,
    /// The gateway does not know the key.
    #[error("the gateway at {url} wants a key that it knows: give one by --api-key or $ASSAY_API_KEY")]
    Unknown {
        /// The gateway.
        url: String,
    },
    /// Nobody answered.
    #[error("no node answers at {url} ({reason}); start one, or give another with --node URL")]
    Unreachable {
        /// The node.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The node takes no more requests for now.
    #[error("the node at {url} takes no more requests for now; try again in a moment")]
    Busy {
        /// The node.
        url: String,
    },
    /// The node said no.
    #[error("{message}")]
    Refused {
        /// One of the codes of [`crate::rpc`], or of JSON-RPC.
        code: i32,
        /// The node's words.
        message: String,
    },
    /// Something answered, but not as a node does.
    #[error("{url} does not answer like an Assay node of this version: {reason}")]
    Foreign {
        /// The node.
        url: String,
        /// What was wrong.
        reason: String,
    },
}

impl ClientError {
    /// True if the node has no such thing, so that asking again later may help.
    pub fn is_not_found(&self) -> bool {
        matches!(self, ClientError::Refused { code: NOT_FOUND, .. })
    }
}

/// A client of one node. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RpcClient {
    url: String,
    http: HttpClient,
}

impl RpcClient {
    /// A client for `http://HOST:PORT`, the node's RPC or a gateway's HTTP address. Does not connect yet.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Self::with_key(url, None)
    }

    /// A client that shows a gateway its key.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Key`].
    pub fn with_key(url: &str, key: Option<&str>) -> Result<Self, ClientError> {
        let wrong = |reason: String| ClientError::Url { url: url.to_owned(), reason };
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(wrong("it does not start with http://".into()));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let value = HeaderValue::from_str(&format!("Bearer {key}")).map_err(|_| ClientError::Key)?;
            headers.insert("authorization", value);
        }
        let http = HttpClientBuilder::default()
            .set_headers(headers)
            .request_timeout(TIMEOUT)
            .max_request_size(super::MAX_REQUEST_BYTES)
            .max_response_size(32 * 1024 * 1024)
            .build(url)
            .map_err(|e| wrong(e.to_string()))?;
        Ok(Self { url: url.to_owned(), http })
    }

    /// The node's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls `method` with named parameters (a JSON object).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call<T: DeserializeOwned>(&self, method: &str, params: Value) -> Result<T, ClientError> {
        let mut named = ObjectParams::new();
        for (name, value) in params.as_object().into_iter().flatten() {
            named.insert(name, value).expect("a JSON value is JSON");
        }
        self.http.request(method, named).await.map_err(|e| self.error(e))
    }

    fn error(&self, error: Error) -> ClientError {
        let url = self.url.clone();
        match error {
            Error::Call(refused) => {
                ClientError::Refused { code: refused.code(), message: refused.message().to_owned() }
            }
            Error::RequestTimeout => {
                ClientError::Unreachable { url, reason: format!("no answer within {} s", TIMEOUT.as_secs()) }
            }
            Error::ParseError(e) => ClientError::Foreign { url, reason: e.to_string() },
            Error::Transport(e) => {
                match e.downcast_ref() {
                    Some(transport::Error::Rejected { status_code: 429 | 503 }) => return ClientError::Busy { url },
                    Some(transport::Error::Rejected { status_code: 401 | 403 }) => return ClientError::Unknown { url },
                    _ => {}
                }
                // The innermost cause is the one that helps: "connection refused".
                let mut cause: &dyn std::error::Error = e.as_ref();
                while let Some(source) = cause.source() {
                    cause = source;
                }
                ClientError::Unreachable { url, reason: cause.to_string() }
            }
            other => ClientError::Foreign { url, reason: other.to_string() },
        }
    }

    /// `assay_status`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.call("assay_status", json!({})).await
    }

    /// `assay_nonce`: the nonce of the account's next transaction.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn next_nonce(&self, account: &AccountId) -> Result<u64, ClientError> {
        self.call("assay_nonce", json!({ "account": account })).await
    }

    /// `assay_submit`: hands in an encoded signed transaction and gives its id.
    ///
    /// # Errors
    /// [`ClientError`]; `Refused` says which rule.
    pub async fn submit(&self, transaction: Vec<u8>) -> Result<Hash32, ClientError> {
        self.call("assay_submit", json!({ "transaction": Blob(transaction) })).await
    }

    /// `assay_tx`: where a transaction stands; `None` while it stands in no block.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn transaction(&self, id: &Hash32) -> Result<Option<TxStatus>, ClientError> {
        match self.call("assay_tx", json!({ "id": id })).await {
            Ok(status) => Ok(Some(status)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// `assay_proof`: an entry of the state with its proof. Check it before believing it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn proof(&self, key: Vec<u8>) -> Result<Proven, ClientError> {
        self.call("assay_proof", json!({ "key": Blob(key) })).await
    }

    /// `assay_infer`: asks for an inference. Check the receipt before believing it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn infer(
        &self,
        model: &str,
        input: &[f32],
        system: Option<ReceiptSystem>,
    ) -> Result<Answer, ClientError> {
        self.call("assay_infer", json!({ "model": model, "input": input, "proof": system })).await
    }
}
