#![allow(clippy::unwrap_used)]

use assay_ledger::{
    keys,
    records::VoteRecord,
    tree,
    tx::{Action, Ballot, ProposalKind},
};
use assay_primitives::{Amount, light};
use serde_json::{Value, json};

use super::{fixture::*, *};
use crate::web;

async fn served() -> (Arc<TestNode>, web::Server, RpcClient) {
    let node = Arc::new(TestNode::new());
    let server = serve("127.0.0.1:0".parse().unwrap(), node.clone(), &web::Metrics::default()).unwrap();
    let client = RpcClient::new(&format!("http://{}", server.local_addr())).unwrap();
    (node, server, client)
}

fn code(error: &ClientError) -> i32 {
    match error {
        ClientError::Refused { code, .. } => *code,
        other => panic!("expected the node's refusal, found {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_names_chain_height_role_and_what_is_amiss() {
    let (node, _server, client) = served().await;
    let status: Value = client.call("assay_status", json!({})).await.unwrap();
    for field in ["chain_id", "genesis_hash", "height", "epoch", "peers", "role", "healthy", "reason"] {
        assert!(!status[field].is_null(), "{field} is missing in {status}");
    }
    assert_eq!(status["genesis_hash"], json!(node.genesis));
    assert_eq!((status["height"].as_u64(), status["healthy"].as_bool()), (Some(1), Some(false)));
    assert_eq!((&status["app_version"], &status["upgrade"]), (&json!(1), &Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_transfer_stands_in_a_block_and_moves_the_money() {
    let (node, _server, client) = served().await;
    let to = key(99).account();
    let pay = || node.transaction_of(PAYER, Action::Transfer { to, amount: Amount::asy(3) });
    let tx = assay_primitives::encode(&pay());
    let tried: Value = client.call("assay_simulate", json!({ "transaction": hex::encode(&tx) })).await.unwrap();
    assert_eq!(tried["ok"], json!(true));
    let id = client.submit(tx.clone()).await.unwrap();
    let found = client.transaction(&id).await.unwrap().unwrap();
    assert_eq!((found.height, found.error), (2, None));
    let account: Value = client.call("assay_account", json!({ "account": to })).await.unwrap();
    assert_eq!(account["balance"], json!(Amount::asy(3)));
    let block: Value = client.call("assay_block", json!({})).await.unwrap();
    assert_eq!(block["transactions"][0]["id"], json!(id));
    // The same transaction again has a used nonce, and with a changed byte no signature.
    assert_eq!(code(&client.submit(tx.clone()).await.unwrap_err()), REFUSED);
    let mut forged = assay_primitives::encode(&pay());
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(code(&client.submit(forged.clone()).await.unwrap_err()), REFUSED);
    assert_eq!(code(&client.submit(forged[1..].to_vec()).await.unwrap_err()), REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_can_be_checked_from_the_genesis_validators_on() {
    let (node, _server, client) = served().await;
    let key = keys::miner(&key(MINER).account());
    let proven = client.proof(key.clone()).await.unwrap();
    let root = proven.header.header.state_root;
    tree::verify_fact(&root, &key, &proven.fact.value.0, &proven.fact.proof.0).unwrap();
    let set = node.spec.validator_set().unwrap();
    light::verify_path(&node.genesis, &set, &proven.changes, &proven.header).unwrap();
    assert_eq!(code(&client.proof(b"nothing".to_vec()).await.unwrap_err()), NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_is_shown_as_it_stands_with_whom_stake_follows_and_proves_its_receipt() {
    let (node, _server, client) = served().await;
    let send = async |signer: u8, action: Action| {
        let id = client.submit(assay_primitives::encode(&node.transaction_of(signer, action))).await.unwrap();
        assert_eq!(client.transaction(&id).await.unwrap().unwrap().error, None);
    };
    let kind = ProposalKind::Parameter { name: "min_fee".into(), subnet: None };
    send(11, Action::DelegateVote { to: Some(key(12).account()) }).await;
    send(12, Action::Propose { title: "Fees".into(), text: String::new(), kind, urgent: true }).await;
    let before: Value = client.call("assay_proposal", json!({ "id": 1 })).await.unwrap();
    assert_eq!((&before["now"]["quorum_reached"], &before["now"]["status"]), (&json!(false), &json!("no_quorum")));
    for (voter, value) in [(12, 3000), (13, 3000), (14, 900_000_000)] {
        send(voter, Action::Vote { proposal: 1, ballot: Ballot::Value(value) }).await;
    }
    let found: Value = client.call("assay_proposal", json!({ "id": 1 })).await.unwrap();
    assert_eq!(found["proposal"]["urgent"], json!(true));
    let now = &found["now"];
    assert_eq!((&now["status"], &now["quorum_reached"]), (&json!("passed"), &json!(true)), "{now}");
    assert_eq!(now["voted"], json!(Amount::asy(4000)));
    let settled = &now["outcome"]["parameter"];
    assert_eq!((&settled["value"], &settled["outliers"][0][0]), (&json!(3000), &json!(key(14).account())), "{now}");
    let followed = found["votes"].as_array().unwrap().iter().find(|v| v["account"] == json!(key(11).account()));
    assert_eq!(followed.unwrap()["via"], json!(key(12).account()));
    let account: Value = client.call("assay_account", json!({ "account": key(12).account() })).await.unwrap();
    assert_eq!(account["votes_followed_by"], json!(1));
    let account: Value = client.call("assay_account", json!({ "account": key(11).account() })).await.unwrap();
    assert_eq!(account["votes_follow"]["to"], json!(key(12).account()));

    let receipt = keys::vote(1, &key(12).account());
    let proven = client.proof(receipt.clone()).await.unwrap();
    let (root, value) = (proven.header.header.state_root, proven.fact.value.0);
    tree::verify_fact(&root, &receipt, &value, &proven.fact.proof.0).unwrap();
    let vote: VoteRecord = assay_primitives::decode("vote", &value).unwrap();
    assert_eq!((vote.ballot, vote.stake, vote.via), (Ballot::Value(3000), Amount::asy(1000).0, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reading_method_answers() {
    let (_node, _server, client) = served().await;
    let account = key(PAYER).account();
    for (method, params) in [
        ("assay_validators", json!({})),
        ("assay_subnets", json!({})),
        ("assay_miners", json!({ "subnet": 1 })),
        ("assay_params", json!({})),
        ("assay_proposals", json!({})),
        ("assay_delegations", json!({ "account": account })),
        ("assay_losses", json!({ "account": account })),
        ("assay_nonce", json!({ "account": account })),
        ("assay_epochs", json!({ "subnet": 1 })),
        ("assay_slashes", json!({})),
        ("assay_models", json!({})),
        ("assay_model", json!({ "model": "digits" })),
        ("assay_model_bytes", json!({ "model": "digits" })),
    ] {
        client.call::<Value>(method, params).await.unwrap_or_else(|e| panic!("{method}: {e}"));
    }
    let supply: Value = client.call("assay_supply", json!({})).await.unwrap();
    assert_eq!(supply["conserved"], json!(true), "{supply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_and_absent_things_say_so_with_their_codes() {
    let (_node, _server, client) = served().await;
    for (method, params, expected, word) in [
        ("assay_account", json!({}), INVALID_PARAMS, "account"),
        ("assay_account", json!({ "account": "asy1x" }), INVALID_PARAMS, "account"),
        ("assay_slashes", json!({ "limit": "x" }), INVALID_PARAMS, "limit"),
        ("assay_account", json!({ "acount": 1 }), INVALID_PARAMS, "acount"),
        ("assay_status", json!({ "x": 1 }), INVALID_PARAMS, "x"),
        ("assay_block", json!({ "height": 7 }), NOT_FOUND, "1 to 1"),
        ("assay_miners", json!({ "subnet": 9 }), NOT_FOUND, "subnet 9"),
        ("assay_epoch_report", json!({ "epoch": 0, "subnet": 1 }), NOT_FOUND, "not settled"),
        ("assay_proposal", json!({ "id": 5 }), NOT_FOUND, "proposal 5"),
        ("assay_model", json!({ "model": "cats" }), NOT_FOUND, "cats"),
        ("assay_infer", json!({ "model": "digits", "input": [1.0] }), REFUSED, "64"),
        ("assay_nothing", json!({}), -32601, ""),
    ] {
        let error = client.call::<Value>(method, params).await.unwrap_err();
        assert_eq!(code(&error), expected, "{method}: {error}");
        assert!(error.to_string().contains(word), "{method}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inference_comes_with_a_receipt_that_holds() {
    let (node, _server, client) = served().await;
    let answer = client.infer("digits", &scan(), None).await.unwrap();
    assert_eq!(answer.class, 1);
    assert_eq!(answer.receipt.proof.system(), "groth16");
    let demands = crate::verify::Demands::default();
    crate::verify::verify_text(&answer.receipt.to_json(), &node.genesis, &demands).unwrap();
    let asked = client.infer("digits", &scan(), Some(crate::roles::ReceiptSystem::Sumcheck)).await.unwrap();
    assert_eq!(asked.receipt.proof.system(), "sumcheck");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_dead_node_are_named() {
    let (node, server, _client) = served().await;
    let error = serve(server.local_addr(), node, &web::Metrics::default()).unwrap_err().to_string();
    assert!(error.contains(&server.local_addr().to_string()), "{error}");
    let address = server.local_addr();
    server.stop().await;
    let error = RpcClient::new(&format!("http://{address}")).unwrap().status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(matches!(RpcClient::new("localhost:1"), Err(ClientError::Url { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_call_is_refused_and_batches_are_answered() {
    let (_node, server, _client) = served().await;
    let (url, http) =
        (format!("http://{}", server.local_addr()), web::client(std::time::Duration::from_secs(30)).unwrap());
    let post = |kind: &'static str, body: String| {
        let asked = http.post(&url).header("content-type", kind).body(body).send();
        async move {
            let answer = asked.await.unwrap();
            let status = answer.status().as_u16();
            (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
        }
    };
    let json = "application/json; charset=utf-8";
    let status = json!({ "jsonrpc": "2.0", "id": 1, "method": "assay_status", "params": [] });
    let (code, answer) = post(json, status.to_string()).await;
    assert_eq!((code, &answer["result"]["height"]), (200, &json!(1)), "{answer}");
    let (code, answer) = post(json, json!([status, 7, status]).to_string()).await;
    let oks = answer.as_array().unwrap().iter().filter(|one| !one["result"].is_null()).count();
    assert_eq!((code, oks, answer.as_array().unwrap().len()), (200, 2, 3), "{answer}");
    for (kind, body, expected, number) in [
        ("text/plain", status.to_string(), 415, -32600),
        (json, "x".repeat(MAX_REQUEST_BYTES as usize + 1), 413, -32007),
        (json, json!(vec![status.clone(); 33]).to_string(), 200, -32010),
        (json, "{".to_owned(), 200, -32700),
        (json, "{}".to_owned(), 200, -32700),
        (json, String::new(), 400, -32700),
    ] {
        let (code, answer) = post(kind, body).await;
        assert_eq!((code, &answer["error"]["code"]), (expected, &json!(number)), "{answer}");
    }
    assert_eq!(http.get(&url).send().await.unwrap().status().as_u16(), 405);
}
