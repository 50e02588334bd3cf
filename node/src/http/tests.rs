#![allow(clippy::unwrap_used)]

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use serde_json::Value;

use super::*;
use crate::{
    openai::keys,
    rpc::{
        RpcClient,
        fixture::{TestNode, scan},
    },
};

async fn served() -> (Arc<TestNode>, Server) {
    let node = Arc::new(TestNode::new());
    let server = serve("127.0.0.1:0".parse().unwrap(), node.clone(), None, &web::Metrics::default()).unwrap();
    (node, server)
}

/// One request over a connection of its own: status and body.
async fn ask(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A refused large body may be answered before it is read whole, which resets the connection after the answer.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn kind(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap();
    assert!(value["error"]["message"].as_str().is_some_and(|message| !message.is_empty()));
    value["error"]["type"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_answer() {
    let (_node, server) = served().await;
    let (status, body) = ask(&server, "GET", "/health", "").await;
    assert_eq!(status, 503);
    assert!(body.contains("it has no engine"), "{body}");
    let (status, body) = ask(&server, "GET", "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(body.contains("assay_height 1") && body.contains("assay_http_requests_total"), "{body}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_classified_with_a_receipt_that_holds() {
    let (node, server) = served().await;
    let asked = json!({ "model": "digits", "input": scan() }).to_string();
    let (status, body) = ask(&server, "POST", "/v1/classify", &asked).await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["class"], json!(1));
    let receipt: assay_primitives::receipt::Receipt = serde_json::from_value(answer["receipt"].clone()).unwrap();
    crate::verify::verify_receipt(&receipt, &node.genesis, &crate::verify::Demands::default()).unwrap();
    // In the order that a kept receipt has, so that indenting is all a client must do.
    assert!(body.contains(r#""receipt":{"version":2,"genesis":""#), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_with_a_message_and_a_type() {
    let (_node, server) = served().await;
    let large = format!(r#"{{"model":"digits","input":[{}]}}"#, "0,".repeat(MAX_CLASSIFY_BYTES));
    for (method, path, body, status, expected) in [
        ("POST", "/v1/classify", "", 400, "invalid_request"),
        ("POST", "/v1/classify", r#"{"model":"digits"}"#, 400, "invalid_request"),
        ("POST", "/v1/classify", r#"{"model":"digits","input":[1]}"#, 400, "invalid_request"),
        ("POST", "/v1/classify", r#"{"model":"digits","input":[],"x":1}"#, 400, "invalid_request"),
        ("POST", "/v1/classify", r#"{"model":"digits","input":[]} x"#, 400, "invalid_request"),
        ("POST", "/v1/classify", r#"{"model":"cats","input":[]}"#, 404, "not_found"),
        ("POST", "/v1/classify", &large, 413, "too_large"),
        ("GET", "/v1/classify", "", 405, "invalid_request"),
        ("GET", "/nothing", "", 404, "not_found"),
    ] {
        let (found, answer) = ask(&server, method, path, body).await;
        assert_eq!((found, kind(&answer).as_str()), (status, expected), "{method} {path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_classification_is_explained_in_words_of_the_api() {
    let (_node, server) = served().await;
    for (body, expected) in [
        (r#"{"model":"digits"}"#, "missing field `input`"),
        (r#"["digits"]"#, "an object with `model`, `input` and"),
        (r#"{"model":"digits","input":["x"]}"#, "field `input[0]`"),
    ] {
        let (_, answer) = ask(&server, "POST", "/v1/classify", body).await;
        assert!(answer.contains(expected) && !answer.contains("struct"), "{answer}");
        assert!(!answer.contains("field `.`"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tools_client_works_against_a_gateway() {
    let (node, server) = served().await;
    let client = RpcClient::new(&format!("http://{}", server.local_addr())).unwrap();
    assert_eq!(client.status().await.unwrap().genesis_hash, node.genesis);
    // Parameters by position, as other JSON-RPC clients send them.
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "assay_miners", "params": [1] }).to_string();
    let (status, body) = ask(&server, "POST", "/", &call).await;
    assert_eq!(status, 200);
    assert!(body.contains("bond"), "{body}");
    let (status, body) = ask(&server, "POST", "/", &format!("[{call},{call}]")).await;
    assert_eq!((status, body.matches("bond").count() >= 2), (200, true), "{body}");
    let (_, body) = ask(&server, "POST", "/", "{}").await;
    assert!(body.contains("-32700"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_that_asks_without_end_is_slowed_down() {
    let (_node, server) = served().await;
    let mut refused = false;
    for _ in 0..BURST.get() * 4 {
        let (status, body) = ask(&server, "GET", "/health", "").await;
        if status == 429 {
            assert_eq!(kind(&body), "rate_limited");
            refused = true;
            break;
        }
    }
    assert!(refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn miners_work_for_those_with_a_key_where_there_are_keys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.json");
    let named = |name: &str| keys::Key { name: name.into(), ..keys::Key::default() };
    let key = keys::add(&path, named("ana")).unwrap();
    let other = keys::add(&path, keys::Key { models: Some(vec!["gloss".into()]), ..named("bo") }).unwrap();
    let node = Arc::new(TestNode::new());
    let router = router(node.clone(), None, Keys::open(path).unwrap());
    let listen = "127.0.0.1:0".parse().unwrap();
    let server = Server::start("a test", listen, None, router, &web::Metrics::default()).unwrap();
    let asked = json!({ "model": "digits", "input": scan() }).to_string();
    let (status, body) = ask(&server, "POST", "/v1/classify", &asked).await;
    assert_eq!((status, body.contains("invalid_api_key")), (401, true), "{body}");
    let url = format!("http://{}", server.local_addr());
    for (key, works) in [(None, false), (Some("x"), false), (Some(other.as_str()), false), (Some(key.as_str()), true)] {
        let client = RpcClient::with_key(&url, key).unwrap();
        assert_eq!(client.infer("digits", &scan(), None).await.is_ok(), works, "{key:?}");
        // What only reads needs none.
        client.status().await.unwrap();
    }
    assert!(RpcClient::with_key(&url, Some("a\nb")).is_err());
    // Nor does a batch get by, whatever stands beside the call in it.
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "assay_infer", "params": ["digits", scan()] });
    let (status, body) = ask(&server, "POST", "/", &json!([{ "method": 7 }, call]).to_string()).await;
    assert_eq!((status, body.contains("invalid_api_key")), (401, true), "{body}");
    let unreadable =
        r#"{"jsonrpc":"2.0","id":1,"method":"assay_infer","params":{"model":"digits","input":[],"x":1e400}}"#;
    assert_eq!(ask(&server, "POST", "/", unreadable).await.0, 401);
    server.stop().await;
}
