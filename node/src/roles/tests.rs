//! The roles against the real ledger, the real proofs and in-process peers.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisSubnet, GenesisValidator, Params};
use assay_circuits::model::Model;
use assay_ledger::{
    BlockContext, MemoryState, SignedTransaction, query,
    records::{ChallengeStatus, SlashReason},
    tx::{Ballot, Consent, ModelAction, ProposalKind, ScoreEntry, Transaction},
};
use assay_primitives::{
    AccountId, Amount, ModelId, Score, Signature, Signed,
    receipt::ReceiptProof,
    task::{Input, Output, Request, Response, SubnetId},
};
use assay_scoring::CanarySet;

use super::*;
use crate::{
    adversary::{Copy, Lazy, Tamper},
    genesis_model::{ReceiptKey, genesis_model},
    texts::Texts,
};

fn numbers(request: &mut Request) -> &mut Vec<i16> {
    let Input::Numbers(numbers) = &mut request.input else { panic!("a request for numbers") };
    numbers
}

pub(crate) const SUBNET: SubnetId = 1;
/// The chain's clock is the real one: validators hold still while the chain seems to be far behind.
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

const OWNER: u8 = 200;

pub(crate) fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

fn pixels(scan: usize) -> Vec<f32> {
    let text = include_str!("../../../assets/digits/heldout.json");
    let scans: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
    scans[scan]["pixels"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap() as f32).collect()
}

/// The real digit classifier.
pub(crate) fn digits() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::from_bytes(crate::devnet::DIGITS).unwrap())
}

/// A chain of one validator in memory, over the real ledger. Blocks are made when the test says so.
pub(crate) struct TestChain {
    genesis: Hash32,
    state: Mutex<MemoryState>,
    pool: Mutex<Vec<SignedTransaction>>,
    nonces: Mutex<BTreeMap<AccountId, u64>>,
    heights: watch::Sender<u64>,
}

impl TestChain {
    pub(crate) fn new(params: Params) -> Arc<Self> {
        Self::with(params, Vec::new())
    }

    /// One that has other subnets beside that of the digits.
    pub(crate) fn with(params: Params, others: Vec<GenesisSubnet>) -> Arc<Self> {
        let account = |n| GenesisAccount { account: key(n).account(), balance: Amount::asy(10_000) };
        let (validator, owner) = (key(1).account(), key(OWNER).account());
        let model = digits();
        let spec = ChainSpec {
            chain_id: "roles-test".into(),
            genesis_time_ms: now_ms(),
            params,
            accounts: vec![account(2), account(OWNER)],
            validators: vec![GenesisValidator { operator: validator, owner, stake: Amount::asy(1_000), take: 0 }],
            subnets: [GenesisSubnet {
                id: SUBNET,
                name: "digits".into(),
                models: vec![genesis_model("digits", model, ReceiptKey::Development).unwrap()],
            }]
            .into_iter()
            .chain(others)
            .collect(),
        };
        let mut state = MemoryState::default();
        state.apply(&assay_ledger::genesis::genesis(&spec).unwrap());
        Arc::new(Self {
            genesis: spec.genesis_hash(),
            state: Mutex::new(state),
            pool: Mutex::default(),
            nonces: Mutex::default(),
            heights: watch::channel(0).0,
        })
    }

    /// Makes a block of all that waits; what it did not do is an error of the test.
    pub(crate) fn block(&self) {
        let mut state = self.state.lock().unwrap();
        let chain = query::chain(&*state).unwrap();
        let context = BlockContext {
            genesis: self.genesis,
            height: chain.height + 1,
            time_ms: chain.time_ms + 500,
            proposer: key(1).account(),
            parent: chain.randomness,
        };
        let pool: Vec<_> = self.pool.lock().unwrap().drain(..).collect();
        let outcome = assay_ledger::execute(&*state, &context, &pool).unwrap();
        for (tx, result) in pool.iter().zip(&outcome.results) {
            assert_eq!(result.error, None, "{}", tx.body.action.name());
        }
        state.apply(&outcome.changes);
        drop(state);
        self.heights.send_replace(context.height);
    }

    pub(crate) async fn register(&self, operator: &Keypair) {
        self.register_in(SUBNET, operator).await;
    }

    pub(crate) async fn register_in(&self, subnet: SubnetId, operator: &Keypair) {
        let endpoint = Endpoint { peer_id: operator.account().short(), addresses: Vec::new() };
        let consent = Consent::sign(key(OWNER).account(), operator, &self.genesis);
        let action =
            Action::RegisterMiner { subnet, most: Amount::asy(100), operator: operator.account(), consent, endpoint };
        self.submit(action, &key(OWNER)).await.unwrap();
        self.block();
    }

    pub(crate) fn view(&self) -> Snapshot {
        self.snapshot().unwrap()
    }

    fn epoch(&self) -> u64 {
        query::chain(&*self.view()).unwrap().epoch
    }
}

#[async_trait]
impl ChainView for TestChain {
    fn genesis(&self) -> Hash32 {
        self.genesis
    }
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(Arc::new(self.state.lock().unwrap().clone()))
    }
    fn heights(&self) -> watch::Receiver<u64> {
        self.heights.subscribe()
    }
    async fn submit(&self, action: Action, key: &Keypair) -> Result<Hash32, SubmitError> {
        let signer = key.account();
        let mut nonces = self.nonces.lock().unwrap();
        let nonce = nonces.entry(signer).or_insert(0);
        let fee = assay_ledger::least_fee(&query::params(&*self.view()).unwrap(), &action);
        let tx = Signed::new(Transaction { signer, nonce: *nonce, fee, action }, &self.genesis, key);
        *nonce += 1;
        self.pool.lock().unwrap().push(tx.clone());
        Ok(tx.id(&self.genesis))
    }
}

/// Answerers by the peer id of their endpoint.
#[derive(Default)]
pub(crate) struct Loopback(Mutex<BTreeMap<String, Arc<dyn Answerer>>>);

impl Loopback {
    pub(crate) fn add(&self, operator: &Keypair, answerer: Arc<dyn Answerer>) {
        self.0.lock().unwrap().insert(operator.account().short(), answerer);
    }
}

#[async_trait]
impl Asker for Loopback {
    async fn ask(&self, to: &Endpoint, ask: Ask, deadline: Duration) -> Result<Reply, AskError> {
        let answerer = self.0.lock().unwrap().get(&to.peer_id).cloned();
        let answerer = answerer.ok_or(AskError::Unreachable("nobody there".into()))?;
        tokio::time::timeout(deadline, answerer.answer(ask)).await.map_err(|_| AskError::Timeout { ms: 0 })
    }

    async fn tell(&self, to: &Endpoint, ask: TextAsk) -> Result<Telling, AskError> {
        let answerer = self.0.lock().unwrap().get(&to.peer_id).cloned();
        let answerer = answerer.ok_or(AskError::Unreachable("nobody there".into()))?;
        let (inbound, mut said) = InboundText::loopback(ask);
        let (heard, telling) = mpsc::channel(64);
        tokio::spawn(async move { answerer.tell(inbound).await });
        tokio::spawn(async move {
            while let Some(frame) = said.recv().await {
                if heard.send(Ok(frame)).await.is_err() {
                    return;
                }
            }
        });
        Ok(telling)
    }
}

fn params() -> Params {
    Params { challenge_rate: 0, tasks_per_epoch: 2, min_reports: 1, ..Params::dev() }
}

struct Bed {
    chain: Arc<TestChain>,
    net: Arc<Loopback>,
    dir: tempfile::TempDir,
}

impl Bed {
    fn new(params: Params) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { chain: TestChain::new(params), net: Arc::default(), dir }
    }

    fn config(&self, n: u8) -> MinerConfig {
        let dir = self.dir.path();
        MinerConfig::new(key(n), dir.join(format!("miner-{n}")), dir.join("groth16"), Texts::at(dir.join("models")))
    }

    async fn honest(&self, n: u8) -> Arc<Miner> {
        self.chain.register(&key(n)).await;
        let miner = Miner::open(self.chain.clone(), self.config(n), RoleMetrics::default()).unwrap();
        self.net.add(&key(n), miner.clone());
        miner
    }

    fn ask(&self, by: &Keypair, miner: u8, nonce: u8) -> Ask {
        let body = Request {
            requester: by.account(),
            miner: key(miner).account(),
            subnet: SUBNET,
            model: digits().id(),
            epoch: self.chain.epoch(),
            nonce: [nonce; 16],
            input: Input::Numbers(digits().quantise_flat(&pixels(0)).unwrap()),
        };
        Ask { request: Signed::new(body, &self.chain.genesis, by), want_proof: true, want_compact: false }
    }

    fn validator(
        &self,
        metrics: &RoleMetrics,
        stop: &CancellationToken,
    ) -> tokio::task::JoinHandle<Result<(), RoleError>> {
        let canaries = CanarySet::from_json(include_str!("../../../assets/digits/heldout.json")).unwrap();
        let texts = Texts::at(self.dir.path().join("models"));
        let config = ValidatorConfig::new(key(1), self.dir.path().join("validator"), texts);
        let (chain, net) = (self.chain.clone(), self.net.clone());
        tokio::spawn(run_validator(chain, net, canaries, config, metrics.clone(), stop.clone()))
    }

    /// Moves to the next epoch: a miner is scored from the first whole epoch after its registration.
    fn next_epoch(&self) -> u64 {
        let before = self.chain.epoch();
        while self.chain.epoch() == before {
            self.chain.block();
        }
        before + 1
    }

    /// Blocks at a steady pace until the condition holds.
    async fn blocks_until(&self, mut met: impl FnMut(&dyn StateRead) -> bool) {
        for _ in 0..80 {
            if met(&*self.chain.view()) {
                return;
            }
            self.chain.block();
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        panic!("80 blocks went by");
    }
}

fn code(reply: &Reply) -> Option<RefusalCode> {
    match reply {
        Reply::Refused { code, .. } => Some(*code),
        Reply::Answer { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_answer_holds_and_everything_that_may_not_be_answered_is_refused() {
    let bed = Bed::new(params());
    let miner = bed.honest(10).await;
    let genesis = bed.chain.genesis;
    let good = bed.ask(&key(1), 10, 1);
    let engine = assay_inference::ExactEngine::from(digits().clone());
    let reply = miner.answer(good.clone()).await;
    let checked = check::check(&genesis, &engine, &good.request, reply.clone()).unwrap();
    assert_eq!(checked.finding, check::Finding::Verified);

    // Replayed, also after a restart.
    assert_eq!(code(&miner.answer(good.clone()).await), Some(RefusalCode::Replay));
    drop(miner);
    let miner = Miner::open(bed.chain.clone(), bed.config(10), RoleMetrics::default()).unwrap();
    assert_eq!(code(&miner.answer(good.clone()).await), Some(RefusalCode::Replay));

    let altered = |change: fn(&mut Request)| {
        let mut ask = bed.ask(&key(1), 10, 2);
        change(&mut ask.request.body);
        ask.request = Signed::new(ask.request.body, &genesis, &key(1));
        ask
    };
    let unsigned = Ask {
        request: Signed { signature: Signature::EMPTY, ..good.request.clone() },
        want_proof: true,
        want_compact: false,
    };
    let foreign = Ask {
        request: Signed::new(good.request.body.clone(), &Hash32([7; 32]), &key(1)),
        want_proof: true,
        want_compact: false,
    };
    let mut edited = bed.ask(&key(1), 10, 2);
    numbers(&mut edited.request.body)[0] ^= 1;
    let cases = [
        (unsigned, RefusalCode::Unsigned),
        (foreign, RefusalCode::BadSignature),
        (edited, RefusalCode::BadSignature),
        (bed.ask(&key(1), 11, 2), RefusalCode::NotForMe),
        (altered(|r| r.subnet = 2), RefusalCode::NotForMe),
        (altered(|r| r.epoch = 5), RefusalCode::Epoch),
        (altered(|r| r.model = ModelId([1; 32])), RefusalCode::UnknownModel),
        (altered(|r| numbers(r).truncate(63)), RefusalCode::Malformed),
        (altered(|r| numbers(r)[3] = 500), RefusalCode::Malformed),
        (bed.ask(&key(77), 10, 2), RefusalCode::NotAllowed),
    ];
    for (ask, expected) in cases {
        let reply = miner.answer(ask).await;
        assert_eq!(code(&reply), Some(expected), "{reply:?}");
    }
    // None of them used up the nonce, and an account with money may ask too.
    assert_eq!(code(&miner.answer(bed.ask(&key(1), 10, 2)).await), None);
    assert_eq!(code(&miner.answer(bed.ask(&key(2), 10, 2)).await), None);

    // What a requester makes of replies that are not for it.
    let other = bed.ask(&key(1), 10, 3);
    let error = check::check(&genesis, &engine, &other.request, reply).unwrap_err();
    assert!(matches!(error, check::Unusable::NotAnAnswer(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requester_that_asks_too_often_is_held_back() {
    let bed = Bed::new(params());
    bed.chain.register(&key(10)).await;
    let config = MinerConfig { asks_per_minute: 1, ..bed.config(10) };
    let miner = Miner::open(bed.chain.clone(), config, RoleMetrics::default()).unwrap();
    assert!(miner.admit(&bed.ask(&key(1), 10, 1)).is_ok());
    let refusal = miner.admit(&bed.ask(&key(1), 10, 2)).unwrap_err();
    assert_eq!(code(&refusal), Some(RefusalCode::RateLimited));
    assert!(miner.admit(&bed.ask(&key(2), 10, 2)).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn adversaries_score_nothing_and_are_slashed_while_the_honest_miner_is_not() {
    let bed = Bed::new(params());
    bed.honest(10).await;
    for n in [11, 12, 13, 14] {
        bed.chain.register(&key(n)).await;
    }
    let chain = bed.chain.clone();
    bed.net.add(&key(11), Arc::new(Lazy::new(chain.genesis, chain.clone(), key(11))));
    bed.net.add(&key(12), Arc::new(Tamper::new(chain.clone(), bed.config(12), RoleMetrics::default()).unwrap()));
    bed.net.add(&key(13), Arc::new(Copy::new(chain.clone(), bed.net.clone(), key(13), key(2))));
    // 14 is registered and never there.
    let epoch = bed.next_epoch();
    let (metrics, stop) = (RoleMetrics::default(), CancellationToken::new());
    let running = bed.validator(&metrics, &stop);
    let me = key(1).account();
    let mut scores = None;
    bed.blocks_until(|view| {
        // A revealed sheet stays until it is settled; a refutation may come a block after it.
        scores = scores.take().or(query::reveal(view, epoch, SUBNET, &me).unwrap().map(|reveal| reveal.scores));
        scores.is_some() && query::slashes(view).unwrap().len() >= 3
    })
    .await;

    let view = bed.chain.view();
    let scores = scores.unwrap();
    let of = |n: u8| -> ScoreEntry { scores.iter().find(|e| e.miner == key(n).account()).unwrap().clone() };
    let honest = of(10);
    assert!(honest.score >= Score::ratio(85, 100), "{honest:?}");
    assert_eq!((honest.responses, honest.proofs_verified, honest.proofs_rejected), (2, 2, 0));
    for n in [11, 12, 13] {
        let entry = of(n);
        assert_eq!((entry.score, entry.proofs_verified), (Score::ZERO, 0), "{n}");
        assert!(entry.proofs_rejected > 0 && entry.responses > 0, "{n}: {entry:?}");
    }
    assert_eq!((of(14).score, of(14).responses), (Score::ZERO, 0));

    let slashes = query::slashes(&*view).unwrap();
    let reason = |n: u8| slashes.iter().find(|s| s.account == key(n).account()).map(|s| s.reason);
    assert_eq!(reason(10), None);
    assert_eq!(reason(11), Some(SlashReason::WrongOutput));
    assert!(reason(12).is_some());
    // What it copied may have been a lie already.
    assert!(reason(13).is_some());
    assert_eq!(reason(14), None);
    assert_eq!(metrics.validator_commits.get(), 1);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copied_honest_answer_fails_by_its_proof_and_copiers_do_not_copy_each_other() {
    let bed = Bed::new(params());
    bed.honest(10).await;
    bed.chain.register(&key(13)).await;
    let copy = Copy::new(bed.chain.clone(), bed.net.clone(), key(13), key(2));
    let ask = bed.ask(&key(1), 13, 1);
    let reply = copy.answer(ask.clone()).await;
    let engine = assay_inference::ExactEngine::from(digits().clone());
    let checked = check::check(&bed.chain.genesis, &engine, &ask.request, reply).unwrap();
    assert_eq!(checked.response.body.output, Output::Numbers(checked.expected));
    assert!(matches!(checked.finding, check::Finding::InvalidProof(_)));
    let refused = copy.answer(bed.ask(&key(2), 13, 1)).await;
    assert_eq!(code(&refused), Some(RefusalCode::NotAllowed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tampering_miner_alters_and_replays_in_turn() {
    let bed = Bed::new(params());
    bed.chain.register(&key(12)).await;
    let tamper = Tamper::new(bed.chain.clone(), bed.config(12), RoleMetrics::default()).unwrap();
    let engine = assay_inference::ExactEngine::from(digits().clone());
    for nonce in 1..=4 {
        let ask = bed.ask(&key(1), 12, nonce);
        let reply = tamper.answer(ask.clone()).await;
        let checked = check::check(&bed.chain.genesis, &engine, &ask.request, reply).unwrap();
        match nonce % 2 {
            1 => assert_eq!(checked.finding, check::Finding::WrongOutput),
            _ => assert!(matches!(checked.finding, check::Finding::InvalidProof(_))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_restarted_after_its_commitment_reveals_the_same_sheet() {
    let bed = Bed::new(params());
    bed.honest(10).await;
    let epoch = bed.next_epoch();
    let me = key(1).account();
    let (metrics, stop) = (RoleMetrics::default(), CancellationToken::new());
    let running = bed.validator(&metrics, &stop);
    bed.blocks_until(|view| query::commitment(view, epoch, SUBNET, &me).unwrap().is_some()).await;
    stop.cancel();
    running.await.unwrap().unwrap();
    let committed = query::commitment(&*bed.chain.view(), epoch, SUBNET, &me).unwrap().unwrap();

    let (metrics, stop) = (RoleMetrics::default(), CancellationToken::new());
    let running = bed.validator(&metrics, &stop);
    // A second commitment, or a reveal of anything else, would fail in its block.
    bed.blocks_until(|view| query::reveal(view, epoch, SUBNET, &me).unwrap().is_some()).await;
    assert_eq!(query::commitment(&*bed.chain.view(), epoch, SUBNET, &me).unwrap().unwrap(), committed);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenged_answer_is_proved_on_chain_also_after_a_restart() {
    let bed = Bed::new(params());
    let miner = bed.honest(10).await;
    let ask = bed.ask(&key(1), 10, 1);
    let Reply::Answer { response, .. } = miner.answer(ask.clone()).await else { panic!("refused") };
    let id = response.id(&bed.chain.genesis);
    drop(miner);
    let miner = Miner::open(bed.chain.clone(), bed.config(10), RoleMetrics::default()).unwrap();
    let stop = CancellationToken::new();
    let watching = stop.clone();
    let watcher = tokio::spawn(async move { miner.watch_challenges(watching).await });
    let action = Action::Challenge { request: ask.request, response: *response };
    bed.chain.submit(action, &key(1)).await.unwrap();
    let answered = |view: &dyn StateRead| {
        let challenge = query::challenge(view, &id).unwrap();
        challenge.is_some_and(|c| matches!(c.status, ChallengeStatus::Answered { .. }))
    };
    bed.blocks_until(answered).await;
    stop.cancel();
    watcher.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_hands_out_verified_answers_only_and_falls_back_to_an_honest_miner() {
    let bed = Bed::new(params());
    let gateway = Gateway::new(bed.chain.clone(), bed.net.clone(), key(2), RoleMetrics::default());
    assert!(matches!(gateway.infer("digits", &pixels(0), None).await, Err(InferError::NoMiner { .. })));
    bed.chain.register(&key(11)).await;
    bed.net.add(&key(11), Arc::new(Lazy::new(bed.chain.genesis, bed.chain.clone(), key(11))));
    bed.chain.register(&key(12)).await;
    let tamper = Tamper::new(bed.chain.clone(), bed.config(12), RoleMetrics::default()).unwrap();
    bed.net.add(&key(12), Arc::new(tamper));
    match gateway.infer("digits", &pixels(0), None).await {
        Err(InferError::AllFailed { tried }) => assert_eq!(tried.len(), 2),
        other => panic!("{other:?}"),
    }
    bed.honest(10).await;
    let inference = gateway.infer("digits", &pixels(0), None).await.unwrap();
    assert_eq!(inference.response.body.miner, key(10).account());
    let input = digits().quantise_flat(&pixels(0)).unwrap();
    assert_eq!(inference.outputs, digits().run_flat(&input).unwrap());
    let by_id = gateway.infer_quantised(&digits().id().to_string(), input).await.unwrap();
    assert_eq!((by_id.class, by_id.outline), (inference.class, digits().outline().to_bytes()));
    assert!(matches!(inference.proof, ReceiptProof::Groth16 { .. }));
    let plain = gateway.infer("digits", &pixels(0), Some(ReceiptSystem::Sumcheck)).await.unwrap();
    assert!(matches!(plain.proof, ReceiptProof::Sumcheck { .. }));
    assert!(gateway.infer("digitz", &pixels(0), None).await.unwrap_err().is_callers_fault());
    assert!(gateway.infer("digits", &[1.0], None).await.unwrap_err().is_callers_fault());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_model_is_asked_for_no_more_and_what_was_on_its_way_is_answered() {
    let (gov_voting_blocks, gov_timelock_blocks, gov_urgent_timelock_blocks) = (2, 0, 0);
    let params = Params {
        tempo: 8,
        challenge_window: 3,
        gov_voting_blocks,
        gov_timelock_blocks,
        gov_urgent_timelock_blocks,
        ..params()
    };
    let bed = Bed::new(params);
    let miner = bed.honest(10).await;
    let kind = ProposalKind::Model { action: ModelAction::Retire, model: digits().id() };
    let propose = Action::Propose { title: "Retire it".into(), text: String::new(), kind, urgent: false };
    bed.chain.submit(propose, &key(OWNER)).await.unwrap();
    bed.chain.block();
    bed.chain.submit(Action::Vote { proposal: 1, ballot: Ballot::Yes }, &key(OWNER)).await.unwrap();
    (0..3).for_each(|_| bed.chain.block());
    assert!(query::subnet(&*bed.chain.view(), SUBNET).unwrap().unwrap().models.is_empty());

    let gateway = Gateway::new(bed.chain.clone(), bed.net.clone(), key(2), RoleMetrics::default());
    let error = gateway.infer("digits", &pixels(0), None).await.unwrap_err();
    assert!(matches!(error, InferError::Retired { since: 5, .. }) && error.is_callers_fault(), "{error}");
    assert_eq!(code(&miner.answer(bed.ask(&key(1), 10, 1)).await), None);
    let epoch = bed.next_epoch();
    assert_eq!(code(&miner.answer(bed.ask(&key(1), 10, 2)).await), Some(RefusalCode::UnknownModel));

    // A validator with nothing to ask for lets the epochs go by.
    let (metrics, stop) = (RoleMetrics::default(), CancellationToken::new());
    let running = bed.validator(&metrics, &stop);
    bed.blocks_until(|view| query::chain(view).unwrap().epoch > epoch + 1).await;
    assert_eq!((metrics.validator_tasks.get(), metrics.validator_commits.get()), (0, 0));
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[test]
fn a_response_that_is_not_what_it_seems_is_found_out() {
    let genesis = Hash32([1; 32]);
    let engine = assay_inference::ExactEngine::from(digits().clone());
    let input = digits().quantise_flat(&pixels(1)).unwrap();
    let output = digits().run_flat(&input).unwrap();
    let body = Request {
        requester: key(1).account(),
        miner: key(10).account(),
        subnet: SUBNET,
        model: digits().id(),
        epoch: 0,
        nonce: [1; 16],
        input: Input::Numbers(input.clone()),
    };
    let request = Signed::new(body, &genesis, &key(1));
    let honest = Response {
        miner: key(10).account(),
        request: request.id(&genesis),
        model: digits().id(),
        input: assay_primitives::task::input_hash(&input),
        output: Output::Numbers(output),
        proof: Some(Hash32::digest(b"proof")),
    };
    let finding = |change: fn(&mut Response), proof: Option<&[u8]>| {
        let mut body = honest.clone();
        change(&mut body);
        let reply = Reply::Answer {
            response: Box::new(Signed::new(body, &genesis, &key(10))),
            proof: proof.map(<[u8]>::to_vec),
            compact: None,
        };
        check::check(&genesis, &engine, &request, reply).map(|c| c.finding)
    };
    use check::Finding::*;
    assert!(matches!(finding(|_| (), Some(b"proof")), Ok(InvalidProof(_))));
    assert_eq!(finding(|_| (), None), Ok(MissingProof));
    assert_eq!(finding(|_| (), Some(b"another")), Ok(MissingProof));
    assert_eq!(finding(|r| r.proof = None, Some(b"proof")), Ok(MissingProof));
    assert_eq!(finding(|r| r.output = Output::Numbers(vec![1; 10]), None), Ok(WrongOutput));
    assert_eq!(finding(|r| r.input = Hash32::ZERO, None), Ok(WrongOutput));
    assert_eq!(finding(|r| r.model = ModelId([9; 32]), None), Ok(WrongOutput));
    assert!(finding(|r| r.request = Hash32::ZERO, None).is_err());
    let unsigned = Reply::Answer {
        response: Box::new(Signed { body: honest, signature: Signature::EMPTY }),
        proof: None,
        compact: None,
    };
    assert!(check::check(&genesis, &engine, &request, unsigned).is_err());
}
