use axum::{
    body::Bytes,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use prometheus_client::registry::Registry;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{room::Bounds, *};

fn started() -> Server {
    let router = Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
    Server::start("a test", "127.0.0.1:0".parse().unwrap(), None, router, &Metrics::default()).unwrap()
}

/// One with room for so many connections and bytes, which answers a body, `GET /large` with 600 kB and `GET /metrics`.
fn with_room(connections: usize, bytes: usize) -> Server {
    let (metrics, mut registry) = (Metrics::default(), Registry::default());
    metrics.register(&mut registry);
    let registry = Arc::new(registry);
    let counted = move || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        std::future::ready(text)
    };
    let router = Router::new()
        .route("/", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/large", get(|| async { "x".repeat(600_000) }))
        .route("/metrics", get(counted))
        .layer(DefaultBodyLimit::disable());
    let room = Room::with("a test", metrics, Bounds { connections, bytes, write_pause: Duration::from_secs(1) });
    Server::with_room("a test", "127.0.0.1:0".parse().unwrap(), None, router, room).unwrap()
}

async fn connected(server: &Server) -> TcpStream {
    TcpStream::connect(server.local_addr()).await.unwrap()
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

const METRICS: &str = "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn an_address_gets_its_connections_and_is_told_that_it_gets_no_more() {
    let server = with_room(8, 1000);
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(connected(&server).await);
    }
    // Some of a thousand more are told why, and none of them keeps anything.
    let more = futures::future::join_all((0..1000).map(|_| said(&server, METRICS))).await;
    let told = more
        .iter()
        .filter(|(answer, _)| answer.starts_with("HTTP/1.1 503") && answer.contains("\"overloaded\""))
        .count();
    assert!(told > 0 && more.iter().all(|(answer, _)| !answer.contains("200 OK")), "{told} told");
    assert!(more.iter().all(|(_, took)| *took < HEADERS));
    assert!(more.iter().any(|(answer, _)| answer.contains("127.0.0.1 has 4 connections")));
    drop(idle);
    let served = async {
        loop {
            let (answer, _) = said(&server, METRICS).await;
            if answer.contains("200 OK") {
                break answer;
            }
        }
    };
    let counted = timeout(Duration::from_secs(10), served).await.expect("those who left make room");
    assert!(counted.contains("assay_http_refused_total{server=\"a test\",lacks=\"connections\"} 10"), "{counted}");
    assert!(counted.contains("assay_http_connections{server=\"a test\"} 1"), "{counted}");
    server.stop().await;
}

#[tokio::test]
async fn unfinished_bodies_are_kept_only_while_there_is_room() {
    let server = with_room(100, 1_000_000);
    let part = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 190000\r\n\r\n{}", "x".repeat(150_000));
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = connected(&server).await;
        stream.write_all(part.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    // Three parts of a body are 450 kB of this address's 500.
    let refused = async {
        loop {
            let (answer, _) = said(&server, &format!("{part}{}", "x".repeat(40_000))).await;
            if answer.starts_with("HTTP/1.1 503") {
                break answer;
            }
        }
    };
    let words = timeout(Duration::from_secs(10), refused).await.expect("the parts have come");
    assert!(words.contains("127.0.0.1 has 500000 bytes of this server"), "{words}");
    // Those that were there first are finished, and what they held is free again.
    for mut stream in waiting {
        stream.write_all("x".repeat(40_000).as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    let (answer, _) =
        said(&server, &format!("{}{}", part.replace("host: x", "connection: close"), "x".repeat(40_000))).await;
    assert!(answer.ends_with("190000"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_body_in_tiny_pieces_is_charged_what_it_takes() {
    let server = with_room(100, 1_000_000);
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    // Ten thousand bytes, each in a piece of its own.
    let (answer, _) = said(&server, &format!("{head}{}", "1\r\nx\r\n".repeat(10_000))).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let whole = format!("{}2710\r\n{}\r\n0\r\n\r\n", head.replace("host: x", "connection: close"), "x".repeat(10_000));
    let (answer, _) = said(&server, &whole).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("10000"), "{answer}");
    server.stop().await;
}

/// What a server makes of a body's pieces: they share no memory with what they were read with.
#[tokio::test]
async fn a_byte_that_comes_alone_is_kept_alone() {
    let body = axum::body::Bytes::from(vec![7; 8192]);
    let pieces = futures::stream::iter((0..100).map(move |at| Ok::<_, axum::Error>(body.slice(at..=at))));
    let room =
        Room::with("a test", Metrics::default(), Bounds { connections: 2, bytes: 1 << 20, write_pause: HEADERS });
    let seen: Arc<std::sync::Mutex<Vec<Bytes>>> = Arc::default();
    let kept = Arc::clone(&seen);
    let handler = post(move |body: Body| async move {
        let pieces: Vec<Bytes> = body.into_data_stream().map(Result::unwrap).collect().await;
        kept.lock().unwrap().extend(pieces);
    });
    let service = Router::new().route("/", handler).layer(middleware::from_fn_with_state(room, room::bounded));
    let mut request = Request::new(Body::from_stream(pieces));
    *request.method_mut() = axum::http::Method::POST;
    let from: SocketAddr = "10.0.0.1:1".parse().unwrap();
    request.extensions_mut().insert(axum::extract::ConnectInfo(from));
    let answer = tower::ServiceExt::oneshot(service, request).await.unwrap();
    assert!(answer.status().is_success());
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(seen.len(), 100);
    // Whoever holds the only handle of its memory may change it.
    assert!(seen.into_iter().all(|piece| piece.try_into_mut().is_ok_and(|own| own.capacity() < 64)));
}

#[tokio::test]
async fn answers_that_nobody_reads_are_kept_only_while_there_is_room() {
    let server = with_room(100, 2_000_000);
    let ask = "GET /large HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut deaf = Vec::new();
    // What the system keeps for a connection is not counted: more answers than one are asked for on each.
    for _ in 0..10 {
        let mut stream = connected(&server).await;
        stream.write_all(ask.repeat(60).as_bytes()).await.unwrap();
        deaf.push(stream);
    }
    let refused = async { while !said(&server, METRICS).await.0.contains("lacks=\"bytes\"") {} };
    timeout(Duration::from_secs(30), refused).await.expect("answers that are not read are counted");
    // Who takes nothing for too long is let go, and leaves nothing behind.
    let served = async {
        while !said(&server, &ask.replace("host: x", "connection: close")).await.0.starts_with("HTTP/1.1 200") {}
    };
    timeout(Duration::from_secs(10), served).await.expect("those who take nothing make room");
    drop(deaf);
    server.stop().await;
}

#[tokio::test]
async fn a_head_without_end_is_refused_and_an_idle_connection_is_closed() {
    let server = started();
    let (answer, _) = said(&server, &format!("GET / HTTP/1.1\r\nx: {}", "x".repeat(2 * MAX_HEAD))).await;
    assert!(answer.starts_with("HTTP/1.1 431") || answer.is_empty(), "{answer}");
    let whole = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc";
    let (answer, took) = said(&server, whole).await;
    assert!(answer.starts_with("HTTP/1.1 200") && took < 2 * HEADERS, "{answer} {took:?}");
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
    let error = Server::start("a test", server.local_addr(), None, Router::new(), &Metrics::default()).unwrap_err();
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
