//! What people would do on a fresh network: register miners, propose, vote, ask a question and check the answer.

use std::{path::PathBuf, sync::Arc, time::Duration};

use assay_ledger::{
    query,
    records::{ProposalStatus, Tariff},
    tx::{Action, Ballot, Consent, Endpoint, ProposalKind},
};
use assay_primitives::{Amount, Hash32, Keypair, task::SubnetId};
use axum::http::StatusCode;
use eyre::{WrapErr as _, bail, eyre};
use serde_json::{Value, json};

use super::{
    layout::{Behaviour, Layout, Plan, VISION, WORDS, owner, remember_played},
    progress::Progress,
};
use crate::{
    home::Role,
    node::Shared,
    openai::stream::RECEIPT,
    rpc::{BackendError, RpcBackend as _},
    verify, web,
};

/// A held-out scan of a handwritten digit, as the sample file for `assay infer` holds it.
const SAMPLE: &str = include_str!("../../../assets/digits/samples/digit-7.json");

/// A sample file.
#[derive(serde::Deserialize)]
struct Sample {
    pixels: Vec<f32>,
}

/// The parameter that the devnet's numeric vote settles, and what the validators' owners vote, in order.
const PARAMETER: &str = "challenge_rate";
const VALUES: [u64; 4] = [3_000, 3_000, 3_500, 10_000];

/// The most that a miner's registration may burn: the price rises with each, and a few are sent at once.
const MOST_PRICE: Amount = Amount::asy(100);

/// What the miners of texts ask for a million tokens.
const TARIFF: Tariff = Tariff { prompt: Amount(200_000_000), completion: Amount::asy(1) };

/// Longest wait for anything on chain.
const PATIENCE: Duration = Duration::from_secs(90);

/// One who acts: a node with the keys of its home.
struct Actor {
    plan: Plan,
    node: Arc<Shared>,
    operator: Keypair,
    owner: Keypair,
    endpoint: Endpoint,
    /// Where its OpenAI API is, if it has one.
    base_url: String,
}

/// Everybody who acts in the script.
pub(super) struct Cast {
    /// The devnet's manifest, where it is remembered that all was done; `None` where it is.
    unplayed: Option<PathBuf>,
    /// Whether an earlier start may have been interrupted amid the script.
    resumed: bool,
    genesis: Hash32,
    actors: Vec<Actor>,
    progress: Progress,
}

impl Cast {
    pub(super) fn new(layout: &Layout, nodes: Vec<(Plan, Arc<Shared>)>, progress: Progress) -> eyre::Result<Self> {
        let actor = |((plan, node), (_, home)): ((Plan, Arc<Shared>), &(Plan, crate::home::Home))| {
            let (operator, owner, endpoint) = (home.operator.clone(), owner(home)?, home.endpoint());
            let base_url = format!("http://{}/v1", home.http_address());
            Ok(Actor { plan, node, operator, owner, endpoint, base_url })
        };
        let actors = nodes.into_iter().zip(&layout.nodes).map(actor).collect::<eyre::Result<_>>()?;
        let unplayed = (!layout.played).then(|| layout.manifest());
        Ok(Self { unplayed, resumed: !layout.fresh, genesis: layout.spec.genesis_hash(), actors, progress })
    }

    fn of(&self, role: Role) -> impl Iterator<Item = &Actor> {
        self.actors.iter().filter(move |a| a.plan.role == role)
    }

    /// Whether a subnet has miners.
    fn serves(&self, subnet: SubnetId) -> bool {
        self.of(Role::Miner).any(|miner| miner.plan.subnet == Some(subnet))
    }

    fn first(&self, role: Role) -> eyre::Result<&Actor> {
        self.of(role).next().ok_or_else(|| eyre!("the devnet has no {role}"))
    }
}

/// Plays the script, once for a network: what a start that was interrupted has done already is not done again. Every start
/// tells where the API is, once it answers.
pub(super) async fn play(cast: Cast) -> eyre::Result<()> {
    let Some(manifest) = &cast.unplayed else { return chat(&cast).await.wrap_err("calling the OpenAI API") };
    register_miners(&cast).await.wrap_err("registering the miners")?;
    set_tariffs(&cast).await.wrap_err("setting tariffs")?;
    let choice = propose(&cast, "Keep the vision market open", ProposalKind::Choice).await?;
    let kind = ProposalKind::Parameter { name: PARAMETER.into(), subnet: None };
    let number = propose(&cast, "How often should validators challenge past answers?", kind).await?;
    let ballots: Vec<Ballot> = VALUES.iter().map(|v| Ballot::Value(*v)).collect();
    vote(&cast, choice, &[Ballot::Yes, Ballot::Yes, Ballot::Yes, Ballot::No]).await?;
    vote(&cast, number, &ballots).await?;
    ask(&cast).await.wrap_err("asking the gateway")?;
    chat(&cast).await.wrap_err("calling the OpenAI API")?;
    for id in [choice, number] {
        executed(&cast, id).await?;
    }
    remember_played(manifest)
}

/// Waits until `found` sees what it looks for in the first validator's state.
async fn wait_for<T>(
    cast: &Cast,
    what: &str,
    mut found: impl FnMut(&dyn assay_ledger::StateRead) -> eyre::Result<Option<T>>,
) -> eyre::Result<T> {
    let node = &cast.first(Role::Validator)?.node;
    let mut heights = node.chain().heights();
    let seen = async {
        loop {
            if let Some(value) = found(&node.store().snapshot())? {
                return Ok(value);
            }
            if heights.changed().await.is_err() {
                // The node is ending, and says why itself.
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.map_err(|_| eyre!("{what}: nothing after {} s", PATIENCE.as_secs()))?
}

/// Sends an owner's transaction through its own node, once that one has come as far as the first validator, whose state says
/// what is still to be done: a node that lags would give the transaction a number that is taken.
async fn send(cast: &Cast, actor: &Actor, action: Action) -> eyre::Result<Hash32> {
    let height = *cast.first(Role::Validator)?.node.chain().heights().borrow();
    let mut heights = actor.node.chain().heights();
    let reached = async {
        if heights.wait_for(|own| *own >= height).await.is_err() {
            // The node is ending, and says why itself.
            std::future::pending::<()>().await;
        }
    };
    let late = |_| eyre!("{} did not come to block {height} in {} s", actor.plan.name, PATIENCE.as_secs());
    tokio::time::timeout(PATIENCE, reached).await.map_err(late)?;
    Ok(actor.node.chain().submit(action, &actor.owner).await?)
}

/// Waits until a transaction stands in a block, and fails if it failed there.
async fn confirmed(cast: &Cast, what: &str, id: Hash32) -> eyre::Result<()> {
    let store = cast.first(Role::Validator)?.node.store().clone();
    let record = wait_for(cast, what, |_| Ok(store.transaction(&id)?)).await?;
    record.error.map_or(Ok(()), |e| Err(eyre!("{what}: {e}")))
}

async fn register_miners(cast: &Cast) -> eyre::Result<()> {
    let mut sent = Vec::new();
    let view = cast.first(Role::Validator)?.node.store().snapshot();
    for miner in cast.of(Role::Miner) {
        if query::miner(&view, &miner.operator.account())?.is_some() {
            continue;
        }
        let Some(subnet) = miner.plan.subnet else { continue };
        let action = Action::RegisterMiner {
            subnet,
            most: MOST_PRICE,
            operator: miner.operator.account(),
            consent: Consent::sign(miner.owner.account(), &miner.operator, &cast.genesis),
            endpoint: miner.endpoint.clone(),
        };
        sent.push((&miner.plan, send(cast, miner, action).await?));
    }
    for (plan, id) in sent {
        confirmed(cast, &format!("registration of {}", plan.name), id).await?;
        let behaviour = plan.behaviour.map_or("", Behaviour::name);
        cast.progress.say(&format!("{} is registered ({behaviour})", plan.name));
    }
    Ok(())
}

/// The miners of texts say what they cost.
async fn set_tariffs(cast: &Cast) -> eyre::Result<()> {
    let mut sent = Vec::new();
    let view = cast.first(Role::Validator)?.node.store().snapshot();
    for miner in cast.of(Role::Miner).filter(|miner| miner.plan.subnet == Some(WORDS)) {
        let operator = miner.operator.account();
        if query::asking(&view, &operator)?.tariff == Tariff::FREE {
            let action = Action::SetTariff { operator, tariff: TARIFF };
            sent.push((&miner.plan, send(cast, miner, action).await?));
        }
    }
    for (plan, id) in sent {
        confirmed(cast, &format!("the tariff of {}", plan.name), id).await?;
        let Tariff { prompt, completion } = TARIFF;
        let words = format!("asks {prompt} and {completion} for a million tokens, of requests and of answers");
        cast.progress.say(&format!("{} {words}", plan.name));
    }
    Ok(())
}

async fn propose(cast: &Cast, title: &str, kind: ProposalKind) -> eyre::Result<u64> {
    let proposer = cast.first(Role::Validator)?;
    let found = |view: &dyn assay_ledger::StateRead| -> eyre::Result<Option<u64>> {
        Ok(query::proposals(view)?.into_iter().find(|p| p.title == title).map(|p| p.id))
    };
    if let Some(number) = found(&proposer.node.store().snapshot())? {
        return Ok(number);
    }
    let action =
        Action::Propose { title: title.into(), text: "Opened by the devnet's script.".into(), kind, urgent: false };
    let id = send(cast, proposer, action).await?;
    confirmed(cast, "a proposal", id).await?;
    let number = wait_for(cast, "a proposal", found).await?;
    cast.progress.say(&format!("proposal {number} is open: {title}"));
    Ok(number)
}

/// The validators' owners vote, the last ballot standing for any beyond the list; a second vote replaces the first.
async fn vote(cast: &Cast, proposal: u64, ballots: &[Ballot]) -> eyre::Result<()> {
    let found = query::proposal(&cast.first(Role::Validator)?.node.store().snapshot(), proposal)?;
    if found.is_none_or(|p| p.status != ProposalStatus::Voting) {
        return Ok(());
    }
    let mut sent = Vec::new();
    for (i, voter) in cast.of(Role::Validator).enumerate() {
        let ballot = ballots[i.min(ballots.len() - 1)];
        sent.push(send(cast, voter, Action::Vote { proposal, ballot }).await?);
    }
    for id in sent {
        confirmed(cast, "a vote", id).await?;
    }
    Ok(())
}

async fn executed(cast: &Cast, id: u64) -> eyre::Result<()> {
    let status = wait_for(cast, "a proposal's execution", |view| {
        let status = query::proposal(view, id)?.map(|p| p.status);
        Ok(status.filter(|s| !matches!(s, ProposalStatus::Voting | ProposalStatus::Passed)))
    })
    .await?;
    match status {
        ProposalStatus::Executed => cast.progress.say(&format!("proposal {id} is in force")),
        // The network may have been down while votes were due.
        ProposalStatus::NoQuorum if cast.resumed => cast.progress.say(&format!("proposal {id} missed its quorum")),
        other => bail!("proposal {id} ended as {other:?}"),
    }
    Ok(())
}

/// A client's question: the answer comes with a receipt, and the receipt is checked as a stranger would.
async fn ask(cast: &Cast) -> eyre::Result<()> {
    if !cast.serves(VISION) {
        return Ok(());
    }
    let gateway = cast.first(Role::Gateway)?;
    let Sample { pixels } = serde_json::from_str(SAMPLE).wrap_err("the sample scan is damaged")?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let answer = loop {
        match gateway.node.infer("digits", pixels.clone(), None).await {
            Ok(answer) => break answer,
            // The gateway's node may not have the block that registers the miners yet.
            Err(BackendError::Unavailable(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(e) => bail!("{e}"),
        }
    };
    let genesis = cast.genesis;
    let class = answer.class;
    let checks = tokio::task::spawn_blocking(move || {
        verify::verify_receipt(&answer.receipt, &genesis, &verify::Demands::default())
    })
    .await?;
    match checks {
        Ok(checks) => {
            cast.progress.say(&format!("a client's scan is a {class}; its receipt holds in {} checks", checks.len()));
            Ok(())
        }
        Err(failure) => bail!("the receipt of an answer does not hold: {}: {}", failure.name, failure.reason),
    }
}

/// Asks the language model as a client of the OpenAI API does, checks the receipt and tells where the API is. Nothing is
/// asked where nobody serves it.
async fn chat(cast: &Cast) -> eyre::Result<()> {
    if !cast.serves(WORDS) {
        return Ok(());
    }
    let base = &cast.first(Role::Gateway)?.base_url;
    let http = web::client(PATIENCE)?;
    let question = "What does \"river\" mean?";
    let body = json!({
        "model": "gloss",
        "messages": [{ "role": "user", "content": question }],
        "max_tokens": 48,
        "temperature": 0,
    });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let answer = loop {
        let answer = http.post(format!("{base}/chat/completions")).json(&body).send().await?;
        match answer.status() {
            StatusCode::OK => break answer,
            // The gateway's node may not have the block that registers the miners yet.
            StatusCode::SERVICE_UNAVAILABLE if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            status => bail!("{status}: {}", answer.text().await?),
        }
    };
    let receipt =
        answer.headers().get(RECEIPT).ok_or_else(|| eyre!("the answer names no receipt"))?.to_str()?.to_owned();
    let answer: Value = answer.json().await?;
    let said = answer["choices"][0]["message"]["content"].as_str().ok_or_else(|| eyre!("no text in {answer}"))?.trim();
    let receipt =
        http.get(format!("{}{receipt}", base.trim_end_matches("/v1"))).send().await?.error_for_status()?.text().await?;
    let genesis = cast.genesis;
    let checks =
        tokio::task::spawn_blocking(move || verify::verify_text(&receipt, &genesis, &verify::Demands::default()))
            .await?
            .map_err(|failure| eyre!("the receipt of an answer does not hold: {}: {}", failure.name, failure.reason))?;
    cast.progress.say(&format!("OpenAI API  {base}  (model gloss)"));
    cast.progress.say(&format!("{question} {said:?}; its receipt holds in {} checks", checks.len()));
    Ok(())
}
