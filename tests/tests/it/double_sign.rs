//! One operator key in two processes: it signs conflicting votes, and pays for it once.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use assay_ledger::tx::{Action, Transaction};
use assay_primitives::{Amount, Keypair, Signed};
use assay_tests::{Network, Setup, binary};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

/// Asks until the answer is as wanted.
async fn until(network: &Network, method: &str, params: Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let (client, start) = (network.client(0).unwrap(), Instant::now());
    loop {
        let found: Value = client.call(method, params.clone()).await.unwrap();
        if wanted(&found) {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{method}: nothing after {LIMIT:?}, last {found}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_two_processes_is_slashed_and_jailed_once_and_its_delegators_see_their_share() {
    let delegator = Keypair::from_secret([77; 32]);
    let mut network = Network::new(Setup { funded: vec![delegator.clone()], ..Setup::dev() }).unwrap();
    network.start_all().unwrap();
    network.reach(0, 2, LIMIT).await.unwrap();

    let culprit = network.homes[3].operator.account();
    let action = Action::Stake { validator: culprit, amount: Amount::asy(100) };
    let body = Transaction { signer: delegator.account(), nonce: 0, fee: Amount(1000), action };
    let stake = Signed::new(body, &network.spec.genesis_hash(), &delegator);
    network.client(0).unwrap().submit(assay_primitives::encode(&stake)).await.unwrap();
    let account = json!({ "account": delegator.account() });
    until(&network, "assay_delegations", account.clone(), |list| list[0]["amount"] == json!(Amount::asy(100))).await;

    let twin = network.start_twin(3).unwrap();
    let slashes =
        until(&network, "assay_slashes", json!({}), |list| list.as_array().is_some_and(|l| !l.is_empty())).await;
    assert_eq!((&slashes[0]["account"], &slashes[0]["reason"]), (&json!(culprit), &json!("double_sign")));
    assert_eq!(slashes[0]["amount"], json!(Amount(Amount::asy(1100).0 / 20)), "5 % of the owner's and the delegator's");

    // Both go on signing until the seat is gone; that costs nothing more.
    let out = |list: &Value| {
        let record = list.as_array().unwrap().iter().find(|v| v["operator"] == json!(culprit)).unwrap();
        record["tombstoned"] == json!(true) && record["power"].is_null()
    };
    until(&network, "assay_validators", json!({}), out).await;
    let height = network.client(0).unwrap().status().await.unwrap().height;
    network.reach(0, height + 6, LIMIT).await.unwrap();
    let slashes: Value = network.client(0).unwrap().call("assay_slashes", json!({})).await.unwrap();
    assert_eq!(slashes.as_array().unwrap().len(), 1, "{slashes}");

    let url = format!("http://{}", network.homes[0].rpc_address());
    let list = |flags: &[&str]| {
        let of = delegator.account().to_string();
        let output = Command::new(binary().unwrap()).args(["stake", "list", &of, "--node", &url]).args(flags).output();
        String::from_utf8(output.unwrap().stdout).unwrap()
    };
    let shown: Value = serde_json::from_str(&list(&["--json"])).unwrap();
    let lost = &shown["slashed"][0];
    assert_eq!((&lost["validator"], &lost["amount"]), (&json!(culprit), &json!(Amount::asy(5))));
    assert_eq!(shown["stakes"][0]["amount"], json!(Amount::asy(95)));
    let words = list(&[]);
    assert!(words.contains("slashed: double sign") && words.contains("5 ASY"), "{words}");
    twin.kill().unwrap();
}
