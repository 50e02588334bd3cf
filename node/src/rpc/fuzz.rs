//! For the fuzzer: calls of strangers, on a node in memory that has executed a block. The ledger and the tree are the real ones.

use std::sync::{Arc, LazyLock};

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisModel, GenesisSubnet, GenesisValidator, presets::Preset};
use assay_circuits::model::Model;
use assay_ledger::{
    BlockContext, MemoryState, admit, execute, genesis, query,
    tree::{self, MemoryTree},
    tx::{Action, SignedTransaction, Transaction},
};
use assay_primitives::{
    AccountId, Amount, Certificate, Hash32, Header, Keypair, Signed, SignedHeader, decode, encode,
    receipt::{Blob, StateFact},
};
use async_trait::async_trait;
use jsonrpsee::RpcModule;
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::{
    Answer, BackendError, BlockBody, INTERNAL, Identity, Life, Proven, RpcBackend, Snapshot, TxStatus, Vitals, methods,
};
use crate::{home::Role, roles::ReceiptSystem};

const DIGITS: &[u8] = include_bytes!("../../../assets/digits/digits.assay");

/// A node after one block.
struct Memory {
    genesis: Hash32,
    identity: Identity,
    model: Model,
    state: Arc<MemoryState>,
    tree: MemoryTree,
    body: BlockBody,
    transaction: TxStatus,
}

/// The methods, and what they run on.
struct Server {
    runtime: Runtime,
    methods: RpcModule<Arc<dyn RpcBackend>>,
    /// Their names, in an order that does not change.
    names: Vec<&'static str>,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let methods = methods(Arc::new(Memory::new()));
    let mut names: Vec<&'static str> = methods.method_names().collect();
    names.sort_unstable();
    Server { runtime, methods, names }
});

/// Calls the node: with the bytes as they are if they begin with a brace, else the first chooses a method and the others are its
/// parameters. Whether the call did what it asks.
///
/// # Panics
/// If the answer is not JSON, or says that the node failed.
pub fn call(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Server { runtime, methods, names } = &*SERVER;
    let asked = match text.chars().next() {
        None => return false,
        Some('{') => text.to_owned(),
        Some(first) => {
            let (method, params) = (names[first as usize % names.len()], &text[first.len_utf8()..]);
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
        }
    };
    let Ok((answer, _)) = runtime.block_on(methods.raw_json_request(&asked, 1)) else { return false };
    let answer: Value = serde_json::from_str(answer.get()).expect("an answer is JSON");
    let code = answer["error"]["code"].as_i64();
    assert_ne!(code, Some(i64::from(INTERNAL)), "{asked}: {answer}");
    code.is_none()
}

fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

/// Four validators, with their owners, and a model.
fn spec(model: &Model) -> ChainSpec {
    let account = |n: u8| GenesisAccount { account: key(n).account(), balance: Amount::asy(5000) };
    let validator = |n: u8| GenesisValidator {
        operator: key(n).account(),
        owner: key(10 + n).account(),
        stake: Amount::asy(1000),
        take: 1000,
    };
    let digits = GenesisModel { name: "digits".into(), id: model.id(), bytes: Blob(model.to_bytes()), groth16: None };
    Preset::Dev.spec(
        "fuzz".into(),
        1_700_000_000_000,
        [11, 12, 13, 14].map(account).into(),
        [1, 2, 3, 4].map(validator).into(),
        vec![GenesisSubnet { id: 1, name: "digits".into(), models: vec![digits] }],
    )
}

impl Memory {
    fn new() -> Self {
        let model = Model::from_bytes(DIGITS).expect("the model that the program carries");
        let spec = spec(&model);
        let genesis = spec.genesis_hash();
        let changes = genesis::genesis(&spec).expect("a spec as above");
        let (mut state, mut tree) = (MemoryState::default(), MemoryTree::default());
        let (_, batch) = tree::apply(&tree, 0, &changes).expect("a tree in memory");
        tree.write(batch);
        state.apply(&changes);

        let (payer, proposer) = (key(11), key(1).account());
        let action = Action::Transfer { to: key(12).account(), amount: Amount::asy(1) };
        let tx = Transaction { signer: payer.account(), nonce: 0, fee: Amount(1000), action };
        let tx = Signed::new(tx, &genesis, &payer);
        let time_ms = spec.genesis_time_ms + 1000;
        let context = BlockContext { genesis, height: 1, time_ms, proposer, parent: Hash32::ZERO };
        let outcome = execute(&state, &context, std::slice::from_ref(&tx)).expect("it may stand in a block");
        let (state_root, batch) = tree::apply(&tree, 1, &outcome.changes).expect("a tree in memory");
        tree.write(batch);
        state.apply(&outcome.changes);

        let set = outcome.next_validators.hash(&genesis);
        let header = Header {
            chain_id: spec.chain_id.clone(),
            height: 1,
            time_ms,
            parent: Hash32::ZERO,
            proposer,
            tx_root: Hash32::ZERO,
            state_root,
            validators_hash: set,
            next_validators_hash: set,
            evidence_root: Hash32::ZERO,
            app_version: 1,
        };
        let certificate = Certificate { height: 1, round: 0, block: header.id(&genesis), signatures: Vec::new() };
        Self {
            identity: Identity {
                genesis,
                chain_id: spec.chain_id,
                role: Role::Gateway,
                moniker: "fuzz".into(),
                account: proposer,
                owner: None,
            },
            transaction: TxStatus { id: tx.id(&genesis), height: 1, index: 0, error: None },
            body: BlockBody {
                signed: SignedHeader { header, certificate },
                transactions: vec![encode(&tx)],
                results: vec![None],
            },
            genesis,
            model,
            state: Arc::new(state),
            tree,
        }
    }
}

#[async_trait]
impl RpcBackend for Memory {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn vitals(&self) -> Vitals {
        let header = &self.body.signed.header;
        Vitals {
            height: header.height,
            state_root: header.state_root,
            block_time_ms: header.time_ms,
            healthy: true,
            ..Vitals::default()
        }
    }

    fn life(&self) -> Life {
        Life { height: self.body.signed.header.height, ..Life::default() }
    }

    fn snapshot(&self) -> Result<Snapshot, BackendError> {
        let state: Snapshot = self.state.clone();
        Ok(state)
    }

    /// Looks at it as a node does, and forgets it: each call finds the same state.
    async fn submit(&self, bytes: Vec<u8>) -> Result<Hash32, BackendError> {
        let refused = |e: &dyn std::fmt::Display| BackendError::Refused(e.to_string());
        let tx: SignedTransaction = decode("transaction", &bytes).map_err(|e| refused(&e))?;
        admit(&*self.state, &self.genesis, &tx, bytes.len(), 0).map_err(|e| refused(&e))?;
        Ok(tx.id(&self.genesis))
    }

    fn next_nonce(&self, account: &AccountId) -> Result<u64, BackendError> {
        Ok(query::account(&*self.state, account)?.nonce)
    }

    fn transaction(&self, id: &Hash32) -> Result<Option<TxStatus>, BackendError> {
        Ok((*id == self.transaction.id).then(|| self.transaction.clone()))
    }

    fn earliest(&self) -> Result<u64, BackendError> {
        Ok(1)
    }

    fn block(&self, height: u64) -> Result<Option<BlockBody>, BackendError> {
        Ok((height == self.body.signed.header.height).then(|| self.body.clone()))
    }

    fn prove(&self, key: &[u8]) -> Result<Option<Proven>, BackendError> {
        let header = self.body.signed.clone();
        let (value, proof) = tree::prove(&self.tree, header.header.height, key)?;
        Ok(value.map(|value| {
            let fact = StateFact { key: Blob(key.to_vec()), value: Blob(value), proof: Blob(proof) };
            Proven { fact, header, changes: Vec::new() }
        }))
    }

    /// As far as it goes without a miner.
    async fn infer(&self, model: &str, input: Vec<f32>, _: Option<ReceiptSystem>) -> Result<Answer, BackendError> {
        if model != "digits" {
            return Err(BackendError::NotFound(format!("there is no model {model:?}")));
        }
        let input = self.model.quantise_flat(&input).map_err(|e| BackendError::Refused(e.to_string()))?;
        let output = self.model.run_flat(&input).map_err(|e| BackendError::Internal(e.to_string()))?;
        Err(BackendError::Unavailable(format!("nobody answers; it would be {output:?}")))
    }

    fn metrics(&self, _: &mut String) {}
}
