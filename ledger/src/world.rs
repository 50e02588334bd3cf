//! A small network without a network: what the tests of this crate run their blocks on.
//!
//! Every block is executed twice and must come out the same, and after every block the books must add up.

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisModel, GenesisSubnet, GenesisValidator, Params};
use assay_circuits::{Binding, answer, graph::sample::perceptron, model::Model};
use assay_primitives::{
    AccountId, Amount, Hash32, Keypair, Score, Signature, Signed,
    receipt::Blob,
    task::{Input, Output, Request, Response, input_hash, output_hash},
    text::{Draw, Ending, ModelFile, TextInput, TextModel, TextOutput},
};

use crate::{
    BlockContext, BlockOutcome, MemoryState, SignedTransaction, execute,
    genesis::genesis,
    least_fee, query,
    records::{EpochReport, MinerRecord, ValidatorRecord},
    tree::{self, MemoryTree},
    tx::{Action, Consent, Endpoint, Mark, ScoreEntry, ScoreSheet, Transaction},
};

pub(crate) const FEE: Amount = Amount(1000);

/// What [`World::exchange`] asks about.
pub(crate) const INPUT: [i16; 2] = [5, -7];

pub(crate) struct World {
    pub(crate) genesis: Hash32,
    pub(crate) state: MemoryState,
    pub(crate) tree: MemoryTree,
    pub(crate) root: Hash32,
    /// Operators; owners hold the money.
    pub(crate) validators: Vec<Keypair>,
    pub(crate) owners: Vec<Keypair>,
    pub(crate) model: Model,
}

/// A key of its own for each name and number.
pub(crate) fn key(name: &str, number: u64) -> Keypair {
    Keypair::from_secret(Hash32::digest(format!("{name} {number}").as_bytes()).0)
}

/// Two inputs, two outputs: the smallest network that computes something.
pub(crate) fn tiny_model(bias: i64) -> Model {
    let sample = perceptron(&[&[3, 7], &[-5, 11]], &[bias, -bias]);
    Model::new(sample.graph, sample.weights, [0; 32]).unwrap()
}

/// Epochs of four blocks, cheap enough to run many. Scores are made up here, so none are audited.
pub(crate) fn quick_params() -> Params {
    Params {
        audit_samples: 0,
        tempo: 4,
        gov_voting_blocks: 4,
        gov_timelock_blocks: 2,
        challenge_window: 3,
        ..Params::dev()
    }
}

pub(crate) fn spec(params: Params) -> ChainSpec {
    let model = tiny_model(10);
    let bytes = model.to_bytes();
    let account = |i| GenesisAccount { account: key("owner", i).account(), balance: Amount::asy(10_000) };
    let validator = |i| GenesisValidator {
        operator: key("validator", i).account(),
        owner: key("owner", i).account(),
        stake: Amount::asy(1000),
        take: 1000,
    };
    ChainSpec {
        chain_id: "ledger-test".into(),
        genesis_time_ms: 1_700_000_000_000,
        params,
        accounts: (0..8).map(account).collect(),
        validators: (0..4).map(validator).collect(),
        subnets: vec![GenesisSubnet {
            id: 0,
            name: "digits".into(),
            models: vec![GenesisModel { name: "tiny".into(), id: model.id(), bytes: Blob(bytes), groth16: None }],
        }],
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(quick_params())
    }

    pub(crate) fn with(params: Params) -> Self {
        let spec = spec(params);
        let changes = genesis(&spec).unwrap();
        let (mut state, mut tree) = (MemoryState::default(), MemoryTree::default());
        state.apply(&changes);
        let (root, batch) = tree::apply(&tree, 0, &changes).unwrap();
        tree.write(batch);
        let world = Self {
            genesis: spec.genesis_hash(),
            state,
            tree,
            root,
            validators: (0..4).map(|i| key("validator", i)).collect(),
            owners: (0..8).map(|i| key("owner", i)).collect(),
            model: tiny_model(10),
        };
        world.check_books();
        world
    }

    pub(crate) fn height(&self) -> u64 {
        query::chain(&self.state).unwrap().height
    }

    pub(crate) fn epoch(&self) -> u64 {
        query::chain(&self.state).unwrap().epoch
    }

    pub(crate) fn balance(&self, id: &AccountId) -> u64 {
        query::account(&self.state, id).unwrap().balance.0
    }

    pub(crate) fn miner(&self, id: &AccountId) -> MinerRecord {
        query::miner(&self.state, id).unwrap().unwrap()
    }

    pub(crate) fn context(&self) -> BlockContext {
        let height = self.height() + 1;
        BlockContext {
            genesis: self.genesis,
            height,
            time_ms: 1_700_000_000_000 + height * 500,
            proposer: self.validators[(height % 4) as usize].account(),
            parent: Hash32::digest(&height.to_le_bytes()),
        }
    }

    /// Signed with the signer's next nonce, at the least fee.
    pub(crate) fn sign(&self, key: &Keypair, action: Action) -> SignedTransaction {
        let nonce = query::account(&self.state, &key.account()).unwrap().nonce;
        let fee = least_fee(&query::params(&self.state).unwrap(), &action);
        self.sign_with(key, action, nonce, fee)
    }

    pub(crate) fn sign_with(&self, key: &Keypair, action: Action, nonce: u64, fee: Amount) -> SignedTransaction {
        Signed::new(Transaction { signer: key.account(), nonce, fee, action }, &self.genesis, key)
    }

    /// Executes a block, twice, and keeps it.
    pub(crate) fn block(&mut self, txs: &[SignedTransaction]) -> BlockOutcome {
        let context = self.context();
        let outcome = execute(&self.state, &context, txs).unwrap();
        assert_eq!(outcome, execute(&self.state, &context, txs).unwrap());
        self.keep(&outcome);
        outcome
    }

    pub(crate) fn keep(&mut self, outcome: &BlockOutcome) {
        let height = self.height() + 1;
        let (root, batch) = tree::apply(&self.tree, height, &outcome.changes).unwrap();
        self.tree.write(batch);
        self.root = root;
        self.state.apply(&outcome.changes);
        assert_eq!(query::next_validator_set(&self.state).unwrap(), outcome.next_validators);
        self.check_books();
    }

    /// `genesis + minted - burned` is what everybody holds, and the sums kept agree with their parts.
    pub(crate) fn check_books(&self) {
        let supply = query::supply(&self.state).unwrap();
        let held = query::holdings(&self.state).unwrap();
        let total = held.balances + held.stakes + held.bonds + held.unbonding + held.deposits;
        assert_eq!(supply.genesis + supply.minted - supply.burned, total, "{supply:?} {held:?}");
        let by_validator: u64 = query::validators(&self.state).unwrap().iter().map(|v| v.stake.0).sum();
        assert_eq!(by_validator, held.stakes);
        assert_eq!(query::chain(&self.state).unwrap().total_stake, held.stakes);
    }

    /// One block with one transaction; its error, if any.
    pub(crate) fn run(&mut self, key: &Keypair, action: Action) -> Result<(), String> {
        let tx = self.sign(key, action);
        let outcome = self.block(&[tx]);
        let result = &outcome.results[0];
        assert_eq!(result.ok, result.error.is_none());
        result.error.clone().map_or(Ok(()), Err)
    }

    /// Whether the ledger waits for this action of a signer.
    pub(crate) fn awaits(&self, key: &Keypair, action: &Action) -> bool {
        let until = crate::awaited_until(&self.state, &self.genesis, &self.sign(key, action.clone()).body).unwrap();
        assert!(until.is_none_or(|height| height > self.height()));
        until.is_some()
    }

    /// Empty blocks up to, and without, this height's block.
    pub(crate) fn advance_to(&mut self, height: u64) {
        while self.height() + 1 < height {
            self.block(&[]);
        }
    }

    /// Empty blocks until the next block is the first of `epoch`.
    pub(crate) fn advance_to_epoch(&mut self, epoch: u64) {
        while self.epoch() < epoch {
            self.block(&[]);
        }
    }

    pub(crate) fn register_miner(&mut self, owner: usize, operator: &Keypair) -> Result<(), String> {
        let owner = self.owners[owner].clone();
        let consent = Consent::sign(owner.account(), operator, &self.genesis);
        let operator = operator.account();
        let (most, endpoint) = (Amount(u64::MAX), Endpoint::default());
        self.run(&owner, Action::RegisterMiner { subnet: 0, most, operator, consent, endpoint })
    }

    /// A transaction for each validator that commits its scores of this epoch; the sheets to reveal them.
    pub(crate) fn commits(&self, scores: &[Vec<(AccountId, Score)>]) -> (Vec<SignedTransaction>, Vec<ScoreSheet>) {
        let epoch = self.epoch();
        let sheets: Vec<_> = self.validators.iter().zip(scores).map(|(v, s)| sheet(v, epoch, s)).collect();
        let commit =
            |sheet: &ScoreSheet| Action::CommitScores { subnet: 0, epoch, commitment: sheet.commitment(&self.genesis) };
        let txs = self.validators.iter().zip(&sheets).map(|(v, sheet)| self.sign(v, commit(sheet))).collect();
        (txs, sheets)
    }

    pub(crate) fn validator(&self, id: &AccountId) -> ValidatorRecord {
        query::validator(&self.state, id).unwrap().unwrap()
    }

    /// Commits now, reveals in the next epoch, and runs until the report is there.
    pub(crate) fn settle(&mut self, scores: &[Vec<(AccountId, Score)>]) -> EpochReport {
        let epoch = self.epoch();
        let (txs, sheets) = self.commits(scores);
        assert!(self.block(&txs).results.iter().all(|r| r.ok));
        self.advance_to_epoch(epoch + 1);
        let reveal = |(v, sheet): (&Keypair, &ScoreSheet)| self.sign(v, unaudited(sheet.clone()));
        let txs: Vec<_> = self.validators.iter().zip(&sheets).map(reveal).collect();
        assert!(self.block(&txs).results.iter().all(|r| r.ok));
        self.advance_to_epoch(epoch + 2);
        query::epoch_report(&self.state, epoch, 0).unwrap().unwrap()
    }

    /// A signed request, and the miner's signed response with this output and proof hash.
    pub(crate) fn exchange(
        &self,
        miner: &Keypair,
        nonce: u8,
        output: Option<Vec<i32>>,
        proof: Option<Hash32>,
    ) -> (Signed<Request>, Signed<Response>) {
        let requester = &self.validators[0];
        let request = Request {
            requester: requester.account(),
            miner: miner.account(),
            subnet: 0,
            model: self.model.id(),
            epoch: self.epoch(),
            nonce: [nonce; 16],
            input: Input::Numbers(INPUT.to_vec()),
        };
        let request = Signed::new(request, &self.genesis, requester);
        let response = Response {
            miner: miner.account(),
            request: request.id(&self.genesis),
            model: self.model.id(),
            input: input_hash(&INPUT),
            output: Output::Numbers(output.unwrap_or_else(|| self.model.run_flat(&INPUT).unwrap())),
            proof,
        };
        (request, Signed::new(response, &self.genesis, miner))
    }

    /// The proof of an honest response.
    pub(crate) fn prove(&self, request: &Signed<Request>) -> Vec<u8> {
        let input = request.body.input.numbers().unwrap();
        let output = self.model.run_flat(input).unwrap();
        let binding = Binding {
            genesis: self.genesis,
            model: request.body.model,
            request: request.id(&self.genesis),
            miner: request.body.miner,
            epoch: request.body.epoch,
            input: input_hash(input),
            output: output_hash(&output),
        };
        answer::prove(&self.model, &binding, input, &output).unwrap()
    }

    /// Registers a language model in the miners' subnet.
    pub(crate) fn register_text_model(&mut self) -> TextModel {
        let file = ModelFile { name: "model.gguf".into(), bytes: 1 << 40, hash: Hash32([5; 32]) };
        let model = TextModel { files: vec![file], context: 64, vocabulary: 300, arithmetic: 1 };
        let owner = self.owners[5].clone();
        self.run(&owner, Action::RegisterModel { subnet: 0, name: "poet".into(), bytes: model.to_bytes() }).unwrap();
        model
    }

    /// A signed request for text, and the miner's signed response with these tokens.
    pub(crate) fn telling(
        &self,
        model: &TextModel,
        miner: &Keypair,
        nonce: u8,
        tokens: &[u32],
    ) -> (Signed<Request>, Signed<Response>) {
        let (mut request, mut response) = self.exchange(miner, nonce, None, None);
        request.body.model = model.id();
        request.body.input = Input::Text(TextInput {
            prompt: vec![1, 2, 3],
            max_tokens: 4,
            draw: Draw::greedy(),
            stop: Vec::new(),
            ignore_end: false,
            form: None,
        });
        let request = Signed::new(request.body, &self.genesis, &self.validators[0]);
        response.body.model = model.id();
        response.body.request = request.id(&self.genesis);
        response.body.input = request.body.input.hash();
        let told = TextOutput { tokens: tokens.to_vec(), ending: Ending::Length, activations: Hash32([6; 32]) };
        response.body.output = Output::Text(told);
        (request, Signed::new(response.body, &self.genesis, miner))
    }
}

pub(crate) fn sheet(validator: &Keypair, epoch: u64, scores: &[(AccountId, Score)]) -> ScoreSheet {
    let entry = |(miner, score): &(AccountId, Score)| ScoreEntry {
        miner: *miner,
        score: *score,
        confidence: Score::ONE,
        tasks: 2,
        responses: 2,
        refuted: 0,
        proofs_verified: 2,
        proofs_rejected: 0,
        evidence: Hash32::ZERO,
        marks: vec![Mark { criterion: "exact".into(), mark: *score, tasks: 2 }],
    };
    let mut scores: Vec<_> = scores.iter().map(entry).collect();
    scores.sort_by_key(|entry| entry.miner);
    ScoreSheet { validator: validator.account(), subnet: 0, epoch, salt: [7; 32], scores }
}

/// The reveal of a sheet where nothing is audited.
pub(crate) fn unaudited(sheet: ScoreSheet) -> Action {
    Action::RevealScores { sheet, exhibits: Vec::new() }
}

/// `n / d` as a score.
pub(crate) fn ratio(n: u64, d: u64) -> Score {
    Score::ratio(n, d)
}

/// A registration of the signer itself needs no consent.
pub(crate) const NO_CONSENT: Signature = Signature::EMPTY;
