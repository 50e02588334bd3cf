//! The gateway before real miners of the genesis model, on a chain in memory.

use std::time::{Duration, Instant};

use assay_chain_spec::{GenesisSubnet, Params};
use assay_inference::llm::{Sampling, Usage};
use assay_ledger::{records::Tariff, tx::Action};
use assay_primitives::{
    AccountId, Amount, Signed,
    task::{Input, Request},
    text::TextInput,
};

use futures::stream::BoxStream;

use super::*;
use crate::{
    genesis_model::{GLOSS, genesis_text_model},
    net::{Frame, InboundText, RefusalCode, TextAsk},
    openai::backend::Chunk,
    roles::{
        Answerer, Miner, MinerConfig,
        tests::{Loopback, TestChain, key},
    },
};

const WORDS: u16 = 2;
/// Pays for the texts; has money on the test's chain.
const PAYER: u8 = 2;
const TARIFF: Tariff = Tariff { prompt: Amount::asy(1), completion: Amount::asy(20) };

struct Bed {
    chain: Arc<TestChain>,
    net: Arc<Loopback>,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let gloss = genesis_text_model("gloss", &GLOSS.committed());
        let words = GenesisSubnet { id: WORDS, name: "words".into(), models: vec![gloss] };
        let params = Params { min_reports: 1, ..Params::dev() };
        let folder = tempfile::tempdir().unwrap();
        texts::keep_bytes(&folder.path().join("models"), &GLOSS.committed(), &GLOSS.contents()).unwrap();
        Self { chain: TestChain::with(params, vec![words]), net: Arc::default(), folder }
    }

    fn texts(&self) -> Texts {
        Texts::at(self.folder.path().join("models"))
    }

    async fn miner(&self, n: u8, credit: Amount) -> Arc<Miner> {
        self.chain.register_in(WORDS, &key(n)).await;
        let dir = self.folder.path();
        let mut config = MinerConfig::new(key(n), dir.join(format!("miner-{n}")), dir.join("groth16"), self.texts());
        config.credit = credit;
        Miner::open(self.chain.clone(), config, RoleMetrics::default()).unwrap()
    }

    /// A miner that answers.
    async fn honest(&self, n: u8, credit: Amount) {
        let miner = self.miner(n, credit).await;
        self.net.add(&key(n), miner);
    }

    async fn asks(&self, n: u8, tariff: Tariff) {
        let operator = key(n).account();
        self.chain.submit(Action::SetTariff { operator, tariff }, &key(n)).await.unwrap();
        let epoch = query::chain(&*self.chain.view()).unwrap().epoch;
        while query::chain(&*self.chain.view()).unwrap().epoch == epoch {
            self.chain.block();
        }
    }

    fn network(&self) -> Network {
        let receipt: ReceiptMaker = Arc::new(|_, _, _, _| Err("no receipts here".into()));
        let config = NetworkConfig {
            key: key(PAYER),
            texts: self.texts(),
            bills: self.folder.path().join("gateway"),
            second: Amount(1_000_000),
        };
        Network::new(self.chain.clone(), self.net.clone(), config, receipt, RoleMetrics::default()).unwrap()
    }
}

/// A greedy answer to a fixed prompt: text, counts and cost.
async fn tell(network: &Network) -> Result<(String, Usage, Amount), ApiError> {
    let mut chunks = ask(network).await?;
    let mut whole = String::new();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Chunk::Piece(piece) => whole.push_str(&piece.text),
            Chunk::Done { text, usage, cost, .. } => return Ok((whole + &text, usage, cost)),
            Chunk::Failed(error) => return Err(error),
        }
    }
    panic!("the answer broke off");
}

async fn ask(network: &Network) -> Result<BoxStream<'static, Chunk>, ApiError> {
    let model = network.text_model("gloss").await?;
    let prompt = model.codec.encode_as_is("What does \"river\" mean?").unwrap();
    let request = TextRequest {
        prompt,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        max_tokens: 24,
        stop: Vec::new(),
        ignore_end: true,
        logprobs: None,
        form: None,
        priority: 0,
        stream: false,
        arrived: Instant::now(),
    };
    Ok(network.generate(&model, request).await?.chunks)
}

fn balance(chain: &TestChain, of: &AccountId) -> u64 {
    query::account(&*chain.view(), of).unwrap().balance.0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_billed_alike_by_both_sides_and_paid_on_chain() {
    let bed = Bed::new();
    bed.honest(10, Amount::asy(1)).await;
    bed.asks(10, TARIFF).await;
    let (network, miner) = (bed.network(), key(10).account());
    let (_, usage, cost) = tell(&network).await.unwrap();
    assert_eq!(cost, TARIFF.of(usage.prompt as u64, usage.completion as u64));
    assert!(cost > Amount::ZERO);

    let stop = CancellationToken::new();
    let (paying, other) = (network.clone(), stop.clone());
    let task = tokio::spawn(async move { paying.settle(other).await });
    let payer = key(PAYER).account();
    let owner = query::miner(&*bed.chain.view(), &miner).unwrap().unwrap().owner;
    let before = balance(&bed.chain, &owner);
    for _ in 0..100 {
        if query::paid(&*bed.chain.view(), &payer, &miner).unwrap() == cost {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        bed.chain.block();
    }
    assert_eq!(query::paid(&*bed.chain.view(), &payer, &miner).unwrap(), cost);
    assert_eq!(balance(&bed.chain, &owner), before + cost.0);
    // What was billed is written down; another start pays nothing twice.
    stop.cancel();
    task.await.unwrap();
    let account = Account { billed: cost, ..Account::default() };
    assert_eq!(accounts(&bed.folder.path().join("gateway")).unwrap(), BTreeMap::from([(miner, account)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miner_that_is_not_paid_serves_no_more_until_it_is() {
    let bed = Bed::new();
    bed.honest(10, Amount::asy(1)).await;
    // Two answers are more than what a stranger may owe.
    bed.asks(10, Tariff { prompt: Amount::ZERO, completion: Amount::asy(300) }).await;
    let network = bed.network();
    for _ in 0..2 {
        tell(&network).await.unwrap();
    }
    // Nobody pays: the third is refused, in words.
    let error = tell(&network).await.unwrap_err();
    assert!(error.message.contains("has not paid its miners"), "{}", error.message);
    // The gateway pays, and is served again.
    while_paying(&bed, &network, tell(&network)).await.unwrap();
}

/// Pays, and makes blocks, while `work` goes on.
async fn while_paying<T>(bed: &Bed, network: &Network, work: impl Future<Output = T>) -> T {
    let (stop, paying, chain) = (CancellationToken::new(), network.clone(), bed.chain.clone());
    let other = stop.clone();
    let task = tokio::spawn(async move { paying.settle(other).await });
    let blocks = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            chain.block();
        }
    });
    let done = work.await;
    blocks.abort();
    stop.cancel();
    task.await.unwrap();
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_hang_up_shut_no_gateway_out() {
    let bed = Bed::new();
    bed.honest(10, Amount::asy(1)).await;
    // Two whole answers are more than what a stranger may owe.
    let tariff = Tariff { prompt: Amount::ZERO, completion: Amount::asy(300) };
    bed.asks(10, tariff).await;
    let network = bed.network();
    while_paying(&bed, &network, async {
        for _ in 0..6 {
            // It is told to its end while nobody reads, and then nobody wants it.
            let mut chunks = ask(&network).await.unwrap();
            assert!(matches!(chunks.next().await, Some(Chunk::Piece(_))));
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(chunks);
        }
        tell(&network).await.unwrap();
    })
    .await;
    let account = accounts(&bed.folder.path().join("gateway")).unwrap()[&key(10).account()];
    assert_eq!(account.unexplained, Amount::ZERO, "{account:?}");
    assert!(account.billed <= Amount(7 * tariff.of(0, 24).0), "{account:?}");
}

/// What a miner does that goes wrong in the middle of its answer.
#[derive(Clone, Copy)]
enum Fault {
    /// Says nothing more.
    Silent,
    /// Is gone.
    Gone,
    /// Goes on with another token.
    Lies,
}

struct Faulty(Arc<Miner>, Fault);

#[async_trait]
impl Answerer for Faulty {
    async fn answer(&self, ask: crate::net::Ask) -> crate::net::Reply {
        self.0.answer(ask).await
    }

    async fn tell(&self, inbound: InboundText) {
        let (inner, mut said) = InboundText::loopback(inbound.ask.clone());
        let miner = Arc::clone(&self.0);
        tokio::spawn(async move { miner.tell(inner).await });
        let mut told = 0;
        while let Some(frame) = said.recv().await {
            let frame = match (frame, self.1) {
                (Frame::Tokens(tokens), fault) => {
                    told += tokens.len();
                    match fault {
                        Fault::Lies => Frame::Tokens(tokens.into_iter().map(|(t, l)| (t ^ 1, l)).collect()),
                        _ => Frame::Tokens(tokens.into_iter().take(1).collect()),
                    }
                }
                (other, _) => other,
            };
            if !inbound.say(frame).await {
                return;
            }
            if told > 0 && matches!(self.1, Fault::Silent) {
                return inbound.closed().await;
            }
            if told > 0 && matches!(self.1, Fault::Gone) {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_does_not_notice_a_miner_that_falls_silent_or_goes_away() {
    let alone = Bed::new();
    alone.honest(10, Amount::asy(1)).await;
    let (expected, ..) = tell(&alone.network()).await.unwrap();
    for fault in [Fault::Silent, Fault::Gone] {
        let bed = Bed::new();
        for n in [10, 11] {
            let miner = bed.miner(n, Amount::asy(1)).await;
            bed.net.add(&key(n), Arc::new(Faulty(miner, fault)));
        }
        bed.honest(12, Amount::asy(1)).await;
        let network = bed.network();
        let began = Instant::now();
        for _ in 0..3 {
            assert_eq!(tell(&network).await.unwrap().0, expected);
        }
        assert!(began.elapsed() < Duration::from_secs(20), "a silent miner holds nobody up for long");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_may_wait_come_together_and_are_the_same() {
    const TOGETHER_MS: u16 = 400;
    let bed = Bed::new();
    let miner = bed.miner(10, Amount::asy(1)).await;
    let model = bed.network().text_model("gloss").await.unwrap();
    let input = TextInput {
        prompt: model.codec.encode_as_is("What does \"river\" mean?").unwrap(),
        max_tokens: 60,
        draw: texts::draw(&Sampling { temperature: 0.0, ..Sampling::default() }).unwrap(),
        stop: Vec::new(),
        ignore_end: true,
        form: None,
    };
    let mut told = Vec::new();
    for (nonce, together_ms) in [(0, 0), (1, TOGETHER_MS)] {
        let body = Request {
            requester: key(PAYER).account(),
            miner: key(10).account(),
            subnet: WORDS,
            model: GLOSS.committed().id(),
            epoch: query::chain(&*bed.chain.view()).unwrap().epoch,
            nonce: [nonce; 16],
            input: Input::Text(input.clone()),
        };
        let request = Signed::new(body, &bed.chain.genesis(), &key(PAYER));
        let ask = TextAsk { request, resume: Vec::new(), logprobs: None, together_ms };
        let (inbound, mut said) = InboundText::loopback(ask);
        let (miner, began) = (Arc::clone(&miner), Instant::now());
        tokio::spawn(async move { miner.tell(inbound).await });
        let (mut frames, mut tokens) = (0, Vec::new());
        let response = loop {
            match said.recv().await.expect("a text ends in its answer") {
                Frame::Tokens(next) => tokens.extend(next.into_iter().map(|(token, _)| token)),
                Frame::Done { response, .. } => break response,
                Frame::Refused { reason, .. } | Frame::Unpaid { reason, .. } => panic!("{reason}"),
            }
            frames += 1;
        };
        assert_eq!(response.body.output.text().unwrap().tokens, tokens);
        assert_eq!(tokens.len(), 60);
        // The first, those at each end of a wait, the last.
        let waits = began.elapsed().as_millis() / u128::from(TOGETHER_MS);
        assert!(together_ms == 0 || frames <= waits + 2, "{frames} frames in {waits} waits");
        told.push(tokens);
    }
    assert_eq!(told[0], told[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lie_is_never_handed_out_as_the_end_of_an_answer() {
    let bed = Bed::new();
    let miner = bed.miner(10, Amount::asy(1)).await;
    bed.net.add(&key(10), Arc::new(Faulty(miner, Fault::Lies)));
    let error = tell(&bed.network()).await.unwrap_err();
    assert!(error.message.contains("none of 1 miners answered"), "{}", error.message);
}

struct Busy;

#[async_trait]
impl Answerer for Busy {
    async fn answer(&self, _: crate::net::Ask) -> crate::net::Reply {
        crate::net::Reply::refused(RefusalCode::Busy, "busy")
    }

    async fn tell(&self, inbound: InboundText) {
        inbound.say(Frame::refused(RefusalCode::Busy, "busy")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_while_every_miner_is_busy() {
    let bed = Bed::new();
    let miner = bed.miner(10, Amount::asy(1)).await;
    bed.net.add(&key(10), Arc::new(Busy));
    let network = bed.network();
    let waiting = network.clone();
    let told = tokio::spawn(async move { tell(&waiting).await });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let mut text = String::new();
    network.metrics(&mut text);
    assert!(text.contains("assay_gateway_queue 1"), "{text}");
    bed.net.add(&key(10), miner);
    told.await.unwrap().unwrap();
    let mut text = String::new();
    network.metrics(&mut text);
    assert!(text.contains("assay_gateway_queue 0"), "{text}");
}
