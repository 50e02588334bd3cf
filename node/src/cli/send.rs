//! Signing a transaction, handing it in and waiting for its block.

use std::time::{Duration, Instant};

use assay_chain_spec::Params;
use assay_ledger::tx::{Action, SignedTransaction, Transaction};
use assay_primitives::{Amount, Hash32, Keypair, Signed, receipt::Blob};
use clap::Args;
use eyre::{WrapErr as _, bail, ensure, eyre};
use serde_json::{Value, json};

use super::global::Global;
use crate::rpc::{RpcClient, TxStatus};

/// Longest time to wait for a transaction's block.
const PATIENCE: Duration = Duration::from_secs(120);
/// Silence after which a person is told that the transaction waits.
const FIRST_HINT: Duration = Duration::from_secs(5);
/// Time from one word about the node's health to the next.
const NEXT_HINT: Duration = Duration::from_secs(15);
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
            None => assay_ledger::least_fee(&params_in_force(&client.call("assay_params", json!({})).await?)?, &action),
        };
        let nonce = client.next_nonce(&key.account()).await?;
        let name = action.name();
        let body = Transaction { signer: key.account(), nonce, fee, action };
        let signed: SignedTransaction = Signed::new(body, &genesis, key);
        let id = signed.id(&genesis);
        let bytes = assay_primitives::encode(&signed);
        let question = format!("{what}\nsigned by {}, fee {fee}, on chain {}", key.account(), status.chain_id);

        // What would fail is not sent, since it would cost its fee. Behind others that wait it may come to hold.
        let account: Value = client.call("assay_account", json!({ "account": key.account() })).await?;
        let waits = account["nonce"].as_u64() != Some(nonce);
        let mut outcome = Value::Null;
        if sending.dry_run || !waits {
            outcome = client.call("assay_simulate", json!({ "transaction": Blob(bytes.clone()) })).await?;
            if let Some(error) = outcome["error"].as_str() {
                bail!("{what}: {error}; nothing was sent");
            }
        }
        if sending.dry_run {
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
        let found = self.wait(&client, &id).await?;
        if let Some(error) = found.error {
            bail!("{what}: refused in block {}: {error}", found.height);
        }
        let value = json!({ "id": id, "action": name, "ok": true, "height": found.height, "fee": fee });
        let words = format!("{what}: done in block {} (transaction {id})", found.height);
        Ok(Sent { value, words })
    }

    /// Waits for the block of a transaction that was handed in, and says why it takes long.
    async fn wait(&self, client: &RpcClient, id: &Hash32) -> eyre::Result<TxStatus> {
        let bar = self.progress("waiting for the block");
        let start = Instant::now();
        let mut next = FIRST_HINT;
        loop {
            let asked = client.transaction(id).await;
            let asked = asked.wrap_err_with(|| {
                format!("transaction {id} was handed in; `assay query tx {id}` says what became of it")
            });
            if let Some(found) = asked? {
                bar.finish_and_clear();
                return Ok(found);
            }
            let waited = start.elapsed();
            ensure!(
                waited <= PATIENCE,
                "transaction {id} is in no block after {} s; `assay query tx {id}` may find it later",
                PATIENCE.as_secs()
            );
            if waited >= next {
                if next == FIRST_HINT {
                    bar.suspend(|| self.hint(format!("transaction {id} is handed in and waits for a block")));
                }
                next = waited + NEXT_HINT;
                // A node that does not answer this one question is asked for the transaction again.
                if let Ok(status) = client.status().await
                    && !status.healthy
                {
                    bar.suspend(|| self.hint(format!("the node at {} says: {}", client.url(), status.reason)));
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// The parameters that `assay_params` lists.
fn params_in_force(listed: &Value) -> eyre::Result<Params> {
    let mut params = Params::dev();
    for name in Params::NAMES {
        let row = super::global::rows(listed).iter().find(|row| row["name"] == *name);
        let value = row.and_then(|row| row["value"].as_u64());
        params.set(name, value.ok_or_else(|| eyre!("the node names no parameter {name}; give --fee"))?)?;
    }
    Ok(params)
}
