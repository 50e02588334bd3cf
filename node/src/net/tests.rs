use assay_primitives::{
    AccountId, Hash32, ModelId, Signature, Signed,
    task::{Input, Output, Request, Response},
};

use super::*;

const GENESIS: Hash32 = Hash32([9; 32]);

fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

fn config(n: u8, genesis: Hash32) -> NetConfig {
    let listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"];
    NetConfig { listen: listen.iter().map(|a| a.parse().unwrap()).collect(), ..NetConfig::new(key(n), genesis) }
}

async fn node(n: u8) -> (NetHandle, NetEvents) {
    start(config(n, GENESIS)).await.unwrap()
}

fn ask(values: usize) -> Ask {
    let body = Request {
        requester: key(1).account(),
        miner: AccountId([2; 32]),
        subnet: 1,
        model: ModelId([3; 32]),
        epoch: 4,
        nonce: [5; 16],
        input: Input::Numbers(vec![1; values]),
    };
    Ask { request: Signed::new(body, &GENESIS, &key(1)), want_proof: true, want_compact: false }
}

fn answer() -> Reply {
    let body = Response {
        miner: AccountId([2; 32]),
        request: Hash32([1; 32]),
        model: ModelId([3; 32]),
        input: Hash32([4; 32]),
        output: Output::Numbers(vec![1, -2]),
        proof: None,
    };
    Reply::Answer {
        response: Box::new(Signed { body, signature: Signature([5; 64]) }),
        proof: Some(vec![7; 10_000]),
        compact: None,
    }
}

const SOON: Duration = Duration::from_secs(20);

async fn connected(nodes: &[&NetHandle]) {
    tokio::time::timeout(SOON, async {
        while nodes.iter().any(|n| n.peers() == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_travels_over_quic_and_over_tcp_and_its_reply_comes_back() {
    let (a, _events) = node(1).await;
    let (b, mut events) = node(2).await;
    let addresses = b.listen_addresses().await;
    assert_eq!(addresses.len(), 2);
    tokio::spawn(async move {
        while let Some(inbound) = events.asks.recv().await {
            assert_eq!(inbound.ask, ask(64));
            inbound.answer(answer());
        }
    });
    for address in addresses {
        let reply = a.ask(b.local_peer_id(), std::slice::from_ref(&address), ask(64), SOON).await.unwrap();
        assert_eq!(reply, answer(), "over {address}");
    }
    assert_eq!((a.peers(), b.peers()), (1, 1));
    a.stop().await;
    assert_eq!(a.publish_tx(vec![1]).await, Err(PublishError::Stopped));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_ask_is_refused_by_the_sender_and_by_the_receiver() {
    let (a, _events) = node(3).await;
    let (b, mut events) = node(4).await;
    let addresses = b.listen_addresses().await;
    let too_large = a.ask(b.local_peer_id(), &addresses, ask(MAX_ASK_BYTES), SOON).await;
    assert!(matches!(too_large, Err(AskError::TooLarge { .. })));
    // A sender without manners: straight to the swarm, past the check.
    let (reply, replied) = tokio::sync::oneshot::channel();
    let command = Command::Ask { peer: b.local_peer_id(), addresses, ask: Box::new(ask(MAX_ASK_BYTES)), reply };
    a.commands.send(command).await.unwrap();
    assert!(replied.await.unwrap().is_err());
    assert!(events.asks.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_of_another_chain_finds_nothing_to_talk_about() {
    let (a, _events) = node(5).await;
    let (b, mut events) = start(config(6, Hash32([8; 32]))).await.unwrap();
    let addresses = b.listen_addresses().await;
    let error = a.ask(b.local_peer_id(), &addresses, ask(1), SOON).await.unwrap_err();
    assert!(matches!(&error, AskError::Protocol(_)) && error.is_bad_peer(), "{error}");
    assert!(events.asks.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_peer_and_a_silent_one_are_told_apart() {
    let (a, _events) = node(7).await;
    let nowhere: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let error = a.ask(peer_id(&key(99)), &[nowhere], ask(1), SOON).await.unwrap_err();
    assert!(matches!(error, AskError::Unreachable(_)));
    let (b, _silent) = node(8).await;
    let deadline = Duration::from_millis(600);
    let error = a.ask(b.local_peer_id(), &b.listen_addresses().await, ask(1), deadline).await.unwrap_err();
    assert_eq!(error, AskError::Timeout { ms: 600 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_takes_no_asks_says_so_and_one_that_asks_too_often_is_held_back() {
    let (a, _events) = node(9).await;
    let limits = Limits { asks_per_minute: 1, ..Limits::default() };
    let (b, events) = start(NetConfig { limits, ..config(10, GENESIS) }).await.unwrap();
    drop(events.asks);
    let addresses = b.listen_addresses().await;
    for expected in [RefusalCode::Unavailable, RefusalCode::RateLimited] {
        let reply = a.ask(b.local_peer_id(), &addresses, ask(1), SOON).await.unwrap();
        assert!(matches!(&reply, Reply::Refused { code, .. } if *code == expected), "{reply:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = vec![format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()];
    let error = start(NetConfig { listen, ..NetConfig::new(key(11), GENESIS) }).await.unwrap_err();
    assert!(error.to_string().contains(&port.to_string()) && error.to_string().contains("in use"), "{error}");
    // A running node's port is just as busy, though libp2p could share it.
    let (b, _events) = node(12).await;
    for address in b.listen_addresses().await {
        let listen = vec![address.clone()];
        let second = start(NetConfig { listen, ..NetConfig::new(key(13), GENESIS) }).await;
        assert!(matches!(second, Err(NetError::Listen { port: Some(_), .. })), "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_forwarded_only_after_it_was_accepted() {
    // a - b - c: what c hears of a came through b.
    let (a, _events_a) = node(14).await;
    let (b, mut events_b) = node(15).await;
    let (c, mut events_c) = node(16).await;
    let address = b.listen_addresses().await[0].clone();
    a.connect(address.clone());
    c.connect(address);
    connected(&[&a, &c]).await;
    let publish = |bytes: Vec<u8>| {
        let a = a.clone();
        async move {
            // Until subscriptions have gone round nobody is known to listen.
            while a.publish_tx(bytes.clone()).await == Err(PublishError::NoPeers) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    publish(b"junk".to_vec()).await;
    let junk = tokio::time::timeout(SOON, events_b.transactions.recv()).await.unwrap().unwrap();
    assert_eq!(junk.bytes, b"junk");
    assert_eq!(junk.from, a.local_peer_id());
    junk.report(TxVerdict::Ignore);
    publish(b"good".to_vec()).await;
    let good = tokio::time::timeout(SOON, events_b.transactions.recv()).await.unwrap().unwrap();
    assert_eq!(good.bytes, b"good");
    good.report(TxVerdict::Accept);
    // c may hear "good" from b, or from a once kad has brought them together; "junk" only b could have passed on.
    let heard = tokio::time::timeout(SOON, events_c.transactions.recv()).await.unwrap().unwrap();
    assert!(heard.bytes == b"good" || heard.from == a.local_peer_id());
    assert_eq!(a.publish_tx(b"good".to_vec()).await, Err(PublishError::Known));
}
