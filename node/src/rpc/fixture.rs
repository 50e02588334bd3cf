//! Test code: a network of four validators and one miner in memory. The ledger, the tree, the signatures and the proofs
//! are the real ones; only disk, sockets and the block engine are missing.

use std::sync::{Arc, Mutex, OnceLock};

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisModel, GenesisSubnet, GenesisValidator, presets::Preset};
use assay_circuits::{
    Binding,
    answer::{self, argmax, compact},
    model::Model,
};
use assay_ledger::{
    BlockContext, MemoryState, execute, genesis, keys, query,
    tree::{self, MemoryTree},
    tx::{Action, Consent, Endpoint, SignedTransaction, Transaction},
};
use assay_primitives::{
    AccountId, Amount, Certificate, Hash32, Header, Keypair, Signed, SignedHeader, VoteContent, VoteKind,
    receipt::{Blob, RECEIPT_VERSION, Receipt, ReceiptProof, StateFact},
    task::{self, Request, Response},
};
use async_trait::async_trait;

use super::{Answer, BackendError, BlockBody, Identity, Proven, RpcBackend, Snapshot, TxStatus, Vitals};
use crate::{home::Role, roles::ReceiptSystem};

const DIGITS: &[u8] = include_bytes!("../../../assets/digits/digits.assay");

pub(crate) fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

/// Keys 1 to 4 validate for owners 11 to 14; 20 is the miner of 21; 30 asks and holds money.
pub(crate) const MINER: u8 = 20;
pub(crate) const MINER_OWNER: u8 = 21;
pub(crate) const PAYER: u8 = 30;

/// A scan of the digit 1.
pub(crate) fn scan() -> Vec<f32> {
    let text = include_str!("../../../assets/digits/samples/digit-1.json");
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    value["pixels"].as_array().unwrap().iter().map(|pixel| pixel.as_f64().unwrap() as f32).collect()
}

struct Chain {
    state: MemoryState,
    tree: MemoryTree,
    blocks: Vec<(BlockBody, Vec<TxStatus>)>,
}

pub(crate) struct TestNode {
    pub(crate) spec: ChainSpec,
    pub(crate) genesis: Hash32,
    identity: Identity,
    model: Model,
    chain: Mutex<Chain>,
}

/// The digit classifier.
pub(crate) fn digits() -> Model {
    Model::from_bytes(DIGITS).unwrap()
}

fn spec(model: &Model) -> ChainSpec {
    let account = |n: u8| GenesisAccount { account: key(n).account(), balance: Amount::asy(5000) };
    let validator = |n: u8| GenesisValidator {
        operator: key(n).account(),
        owner: key(10 + n).account(),
        stake: Amount::asy(1000),
        take: 1000,
    };
    let key = compact::dev_keys(model).unwrap().verifier_key().to_vec();
    let bytes = Blob(model.to_bytes());
    let digits = GenesisModel { name: "digits".into(), id: model.id(), bytes, groth16: Some(Blob(key)) };
    Preset::Dev.spec(
        "memory".into(),
        1_700_000_000_000,
        [11, 12, 13, 14, MINER_OWNER, PAYER].map(account).into(),
        [1, 2, 3, 4].map(validator).into(),
        vec![GenesisSubnet { id: 1, name: "digits".into(), models: vec![digits] }],
    )
}

impl TestNode {
    pub(crate) fn new() -> Self {
        let model = digits();
        let spec = spec(&model);
        let genesis = spec.genesis_hash();
        let changes = genesis::genesis(&spec).unwrap();
        let (mut state, mut tree) = (MemoryState::default(), MemoryTree::default());
        let (_, batch) = tree::apply(&tree, 0, &changes).unwrap();
        tree.write(batch);
        state.apply(&changes);
        let identity = Identity {
            genesis,
            chain_id: spec.chain_id.clone(),
            role: Role::Gateway,
            moniker: "memory".into(),
            account: key(1).account(),
            owner: None,
        };
        let chain = Mutex::new(Chain { state, tree, blocks: Vec::new() });
        let node = Self { spec, genesis, identity, model, chain };
        let register = Action::RegisterMiner {
            subnet: 1,
            most: Amount::asy(2),
            operator: key(MINER).account(),
            consent: Consent::sign(key(MINER_OWNER).account(), &key(MINER), &genesis),
            endpoint: Endpoint::default(),
        };
        assert_eq!(node.block_of(&node.transaction_of(MINER_OWNER, register)), None);
        node
    }

    pub(crate) fn transaction_of(&self, signer: u8, action: Action) -> SignedTransaction {
        let account = key(signer).account();
        let nonce = self.next_nonce(&account).unwrap();
        let body = Transaction { signer: account, nonce, fee: Amount(1000), action };
        Signed::new(body, &self.genesis, &key(signer))
    }

    /// Executes and certifies a block of one transaction; gives that transaction's error.
    fn block_of(&self, tx: &SignedTransaction) -> Option<String> {
        let mut chain = self.chain.lock().unwrap();
        let height = chain.blocks.len() as u64 + 1;
        let time_ms = self.spec.genesis_time_ms + height;
        let parent = chain.blocks.last().map_or(Hash32::ZERO, |(b, _)| b.signed.header.id(&self.genesis));
        let proposer = key(1).account();
        let context = BlockContext { genesis: self.genesis, height, time_ms, proposer, parent };
        let set = query::next_validator_set(&chain.state).unwrap();
        let outcome = execute(&chain.state, &context, std::slice::from_ref(tx)).unwrap();
        let (state_root, batch) = tree::apply(&chain.tree, height, &outcome.changes).unwrap();
        chain.tree.write(batch);
        chain.state.apply(&outcome.changes);
        let header = Header {
            chain_id: self.spec.chain_id.clone(),
            height,
            time_ms,
            parent,
            proposer,
            tx_root: Hash32::digest(&assay_primitives::encode(tx)),
            state_root,
            validators_hash: set.hash(&self.genesis),
            next_validators_hash: outcome.next_validators.hash(&self.genesis),
            evidence_root: Hash32::ZERO,
            app_version: 1,
        };
        let block = header.id(&self.genesis);
        let sign = |validator: &assay_primitives::Validator| {
            let key = (1..5).map(key).find(|key| key.account() == validator.account).unwrap();
            let vote = VoteContent {
                kind: VoteKind::Precommit,
                height,
                round: 0,
                block: Some(block),
                validator: key.account(),
            };
            (key.account(), Signed::new(vote, &self.genesis, &key).signature)
        };
        let signatures = set.iter().map(sign).collect();
        let signed = SignedHeader { header, certificate: Certificate { height, round: 0, block, signatures } };
        let error = outcome.results[0].error.clone();
        let status = TxStatus { id: tx.id(&self.genesis), height, index: 0, error: error.clone() };
        let body = BlockBody { signed, transactions: vec![assay_primitives::encode(tx)], results: vec![error.clone()] };
        chain.blocks.push((body, vec![status]));
        error
    }

    fn receipt(&self, input: &[f32], system: ReceiptSystem) -> Result<Receipt, BackendError> {
        let input = self.model.quantise_flat(input).map_err(|e| BackendError::Refused(e.to_string()))?;
        let output = self.model.run_flat(&input).unwrap();
        let request = Request {
            requester: key(PAYER).account(),
            miner: key(MINER).account(),
            subnet: 1,
            model: self.model.id(),
            epoch: 0,
            nonce: [7; 16],
            input: task::Input::Numbers(input.clone()),
        };
        let request = Signed::new(request, &self.genesis, &key(PAYER));
        let binding = Binding {
            genesis: self.genesis,
            model: self.model.id(),
            request: request.id(&self.genesis),
            miner: key(MINER).account(),
            epoch: 0,
            input: task::input_hash(&input),
            output: task::output_hash(&output),
        };
        let sumcheck = answer::prove(&self.model, &binding, &input, &output).unwrap();
        let named = Hash32::digest(&sumcheck);
        let proof = match system {
            ReceiptSystem::Sumcheck => ReceiptProof::Sumcheck { proof: Blob(sumcheck) },
            ReceiptSystem::Groth16 => {
                let keys = compact::dev_keys(&self.model).unwrap();
                let proof = compact::prove(&keys, &self.model, &binding, &input, &output).unwrap();
                ReceiptProof::Groth16 { key: Blob(keys.verifier_key().to_vec()), proof: Blob(proof) }
            }
        };
        let response = Response {
            miner: key(MINER).account(),
            request: binding.request,
            model: self.model.id(),
            input: binding.input,
            output: task::Output::Numbers(output),
            proof: Some(named),
        };
        let model_fact = self.prove(&keys::model(&self.model.id()))?.unwrap();
        let miner_fact = self.prove(&keys::miner(&key(MINER).account()))?.unwrap();
        Ok(Receipt {
            version: RECEIPT_VERSION,
            genesis: Blob(self.spec.to_canonical()),
            request,
            response: Signed::new(response, &self.genesis, &key(MINER)),
            proof,
            outline: Blob(self.model.outline().to_bytes()),
            changes: model_fact.changes,
            header: model_fact.header,
            model_fact: model_fact.fact,
            miner_fact: miner_fact.fact,
        })
    }
}

/// A receipt by `groth16` with its genesis hash, and one by `sumcheck`; made once.
fn receipts() -> &'static (Receipt, Hash32, Receipt) {
    static RECEIPTS: OnceLock<(Receipt, Hash32, Receipt)> = OnceLock::new();
    RECEIPTS.get_or_init(|| {
        let node = TestNode::new();
        let make = |system| node.receipt(&scan(), system).unwrap();
        (make(ReceiptSystem::Groth16), node.genesis, make(ReceiptSystem::Sumcheck))
    })
}

/// A receipt by `groth16`, and its genesis hash.
pub(crate) fn receipt() -> (&'static Receipt, &'static Hash32) {
    let (receipt, genesis, _) = receipts();
    (receipt, genesis)
}

/// A receipt by `sumcheck` of the same chain.
pub(crate) fn sumcheck_receipt() -> &'static Receipt {
    &receipts().2
}

#[async_trait]
impl RpcBackend for TestNode {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn vitals(&self) -> Vitals {
        let chain = self.chain.lock().unwrap();
        let header = &chain.blocks.last().unwrap().0.signed.header;
        Vitals {
            height: header.height,
            state_root: header.state_root,
            block_time_ms: header.time_ms,
            healthy: false,
            reason: "it has no engine".into(),
            ..Vitals::default()
        }
    }

    fn snapshot(&self) -> Result<Snapshot, BackendError> {
        Ok(Arc::new(self.chain.lock().unwrap().state.clone()))
    }

    async fn submit(&self, bytes: Vec<u8>) -> Result<Hash32, BackendError> {
        let refused = |e: &dyn std::fmt::Display| BackendError::Refused(e.to_string());
        let tx: SignedTransaction = assay_primitives::decode("transaction", &bytes).map_err(|e| refused(&e))?;
        let view = self.snapshot()?;
        assay_ledger::admit(&*view, &self.genesis, &tx, bytes.len(), 0).map_err(|e| refused(&e))?;
        self.block_of(&tx);
        Ok(tx.id(&self.genesis))
    }

    fn next_nonce(&self, account: &AccountId) -> Result<u64, BackendError> {
        Ok(query::account(&*self.snapshot()?, account)?.nonce)
    }

    fn transaction(&self, id: &Hash32) -> Result<Option<TxStatus>, BackendError> {
        let chain = self.chain.lock().unwrap();
        Ok(chain.blocks.iter().flat_map(|(_, txs)| txs).find(|tx| tx.id == *id).cloned())
    }

    fn block(&self, height: u64) -> Result<Option<BlockBody>, BackendError> {
        let chain = self.chain.lock().unwrap();
        Ok(chain.blocks.iter().find(|(b, _)| b.signed.header.height == height).map(|(b, _)| b.clone()))
    }

    fn prove(&self, key: &[u8]) -> Result<Option<Proven>, BackendError> {
        let chain = self.chain.lock().unwrap();
        let header = chain.blocks.last().unwrap().0.signed.clone();
        let (value, proof) = tree::prove(&chain.tree, header.header.height, key)?;
        Ok(value.map(|value| {
            let fact = StateFact { key: Blob(key.to_vec()), value: Blob(value), proof: Blob(proof) };
            Proven { fact, header, changes: Vec::new() }
        }))
    }

    async fn infer(&self, model: &str, input: Vec<f32>, system: Option<ReceiptSystem>) -> Result<Answer, BackendError> {
        if model != "digits" {
            return Err(BackendError::NotFound(format!("there is no model {model:?}")));
        }
        let receipt = self.receipt(&input, system.unwrap_or(ReceiptSystem::Groth16))?;
        let class = u32::try_from(argmax(receipt.response.body.output.numbers().unwrap())).unwrap();
        Ok(Answer { class, receipt })
    }

    fn metrics(&self, out: &mut String) {
        out.push_str("# TYPE assay_height gauge\nassay_height 1\n");
    }
}
