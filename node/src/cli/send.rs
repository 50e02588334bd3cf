//! Signing a transaction, handing it in and waiting for its block.

use std::time::{Duration, Instant};

use assay_ledger::tx::{Action, SignedTransaction, Transaction};
use assay_primitives::{Amount, Keypair, Signed, receipt::Blob};
use clap::Args;
use eyre::{bail, eyre};
use serde_json::{Value, json};

use super::global::Global;

/// Longest time to wait for a transaction's block.
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(250);

/// Flags of every verb that changes the chain's state.
#[derive(Args, Clone, Debug)]
pub(super) struct Sending {
    /// Who signs: a wallet's name, `owner` or `operator` of the home, or a key file's path
    /// [default: the owner of the home's node, else the wallet `default`].
    #[arg(long, value_name = "NAME")]
    pub(super) wallet: Option<String>,
    /// Fee to burn, as `0.001` (ASY) or `1000 grain` [default: the network's lowest].
    #[arg(long, value_name = "AMOUNT")]
    fee: Option<Amount>,
    /// Sign and try it on the node's state, but send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask. Without a terminal on stdin nothing is asked either.
    #[arg(long, short)]
    yes: bool,
    /// Do not wait for the block.
    #[arg(long)]
    no_wait: bool,
}

/// What became of a transaction, for programs and for people.
pub(super) struct Sent {
    pub(super) value: Value,
    pub(super) words: String,
}

impl Global {
    /// Signs `action` with the wallet of `sending` and sends it. `what` says it in words.
    pub(super) async fn send(&self, sending: &Sending, action: Action, what: &str) -> eyre::Result<()> {
        let key = self.wallet(sending.wallet.as_deref())?;
        self.send_as(sending, &key, action, what).await
    }

    /// Signs `action` with `key`, sends it and shows what became of it.
    pub(super) async fn send_as(
        &self,
        sending: &Sending,
        key: &Keypair,
        action: Action,
        what: &str,
    ) -> eyre::Result<()> {
        let Sent { value, words } = self.deliver(sending, key, action, what).await?;
        self.show(&value, || words);
        Ok(())
    }

    /// Signs `action` with `key` and sends it, or tries it with `--dry-run`.
    pub(super) async fn deliver(
        &self,
        sending: &Sending,
        key: &Keypair,
        action: Action,
        what: &str,
    ) -> eyre::Result<Sent> {
        let client = self.client()?;
        let status = client.status().await?;
        let genesis = status.genesis_hash;
        let fee = match sending.fee {
            Some(fee) => fee,
            None => lowest_fee(&client.call("assay_params", json!({})).await?)?,
        };
        let nonce = client.next_nonce(&key.account()).await?;
        let name = action.name();
        let body = Transaction { signer: key.account(), nonce, fee, action };
        let signed: SignedTransaction = Signed::new(body, &genesis, key);
        let id = signed.id(&genesis);
        let bytes = assay_primitives::encode(&signed);
        let question = format!("{what}\nsigned by {}, fee {fee}, on chain {}", key.account(), status.chain_id);

        if sending.dry_run {
            let mut outcome: Value =
                client.call("assay_simulate", json!({ "transaction": Blob(bytes.clone()) })).await?;
            if let Some(error) = outcome["error"].as_str() {
                bail!("{what}: would be executed without effect: {error}");
            }
            outcome["dry_run"] = json!(true);
            outcome["transaction"] = json!(Blob(bytes));
            let words = format!("{question}\ndry run: it would take effect; nothing was sent");
            return Ok(Sent { value: outcome, words });
        }

        self.confirm(&question, sending.yes)?;
        client.submit(bytes).await?;
        if sending.no_wait {
            let value = json!({ "id": id, "action": name, "ok": Value::Null });
            let words = format!("{what}: sent as {id}; `assay query tx {id}` says what became of it");
            return Ok(Sent { value, words });
        }
        let bar = self.progress("waiting for the block");
        let start = Instant::now();
        let found = loop {
            if let Some(found) = client.transaction(&id).await? {
                break found;
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "transaction {id} is in no block after {} s; `assay query tx {id}` may find it later",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        };
        bar.finish_and_clear();
        if let Some(error) = found.error {
            bail!("{what}: refused in block {}: {error}", found.height);
        }
        let value = json!({ "id": id, "action": name, "ok": true, "height": found.height, "fee": fee });
        let words = format!("{what}: done in block {} (transaction {id})", found.height);
        Ok(Sent { value, words })
    }
}

/// The parameter `min_fee` of `assay_params`.
fn lowest_fee(params: &Value) -> eyre::Result<Amount> {
    let fee = super::global::rows(params).iter().find(|p| p["name"] == "min_fee").and_then(|p| p["value"].as_u64());
    fee.map(Amount).ok_or_else(|| eyre!("the node names no parameter min_fee; give --fee"))
}
