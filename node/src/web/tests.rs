use axum::{body::Bytes, routing::post};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::*;

fn started() -> Server {
    let router = Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
    Server::start("a test", "127.0.0.1:0".parse().unwrap(), None, router).unwrap()
}

/// What a server says to bytes, until it closes; and after how long it does.
async fn said(server: &Server, bytes: &str) -> (String, Duration) {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let (mut answer, since) = (Vec::new(), Instant::now());
    // A connection that is reset says as much as one that is closed.
    let _ = timeout(Duration::from_secs(60), stream.read_to_end(&mut answer)).await.expect("the server closes it");
    (String::from_utf8_lossy(&answer).into_owned(), since.elapsed())
}

#[tokio::test]
async fn whole_requests_are_answered_and_slow_ones_are_let_go() {
    let server = started();
    let whole = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
    let (answer, _) = said(&server, whole).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with('3'), "{answer}");

    let short = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 9\r\n\r\nabc";
    let slow = ["", "POST / HT", "POST / HTTP/1.1\r\nhost: x\r\n", short];
    let asked = slow.map(|bytes| said(&server, bytes));
    for (bytes, (answer, took)) in slow.iter().zip(futures::future::join_all(asked).await) {
        assert!(!answer.contains("200 OK"), "{bytes:?}: {answer}");
        assert!(took < 2 * (HEADERS + BODY_PAUSE), "{bytes:?} after {took:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_was_stopped_or_dropped_takes_nothing_more() {
    for drops in [true, false] {
        let server = started();
        let address = server.local_addr();
        if drops {
            drop(server);
        } else {
            server.stop().await;
        }
        let gone = async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.expect("the port is free");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_and_files_that_are_none_are_told() {
    let server = started();
    let error = Server::start("a test", server.local_addr(), None, Router::new()).unwrap_err();
    assert!(error.to_string().contains("a test"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let missing = Tls::read(&certificate, &key).await.unwrap_err();
    assert!(missing.to_string().contains("cert.pem"), "{missing}");
    std::fs::write(&certificate, "nothing").unwrap();
    let nothing = Tls::read(&certificate, &key).await.unwrap_err();
    assert!(nothing.to_string().contains("has no \"-----BEGIN"), "{nothing}");
    std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\n").unwrap();
    std::fs::write(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let locked = Tls::read(&certificate, &key).await.unwrap_err();
    assert!(locked.to_string().contains("is encrypted"), "{locked}");
}
