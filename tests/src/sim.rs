//! The deterministic simulator: a network of real nodes in one thread, with faults drawn from a seed.
//!
//! ```text
//!                       virtual_machine: one clock, one source of randomness
//!   clients ──> mempool ──> chain ──> ledger            (all of it the node's own code)
//!                  ^          │ ^
//!   net: delay, loss, cuts    v │
//!                  ^        engine ──> votes, proposals ──> net
//!   faults: power, links      │
//!                             v
//!   disks: store, log, watermark — what is not brought to disk may be lost
//!                             │
//!   check: invariants at every message, commit and start; trace: a hash of all that happens
//! ```
//!
//! A run has two parts. *Safety*: machines fail at any step and links at any time, until the chain has most of its
//! heights; whatever happens, the invariants of `check` hold. *Liveness*: all is put right, and ten more heights must come
//! within [`HEALED_LIMIT`] of virtual time on every node.
//!
//! What is real: ledger, mempool, chain, store above its disk, the adapter to the engine, and the engine. What is not:
//! RocksDB, files, libp2p, threads. Those have tests of their own, with real processes.
//!
//! One run a process: the engine and its crates count and register things for the whole process, which a second run would
//! find as the first one left them.

mod byzantine;
mod check;
mod clients;
mod disk;
mod faults;
mod net;
mod node;
mod power;
mod trace;
pub mod virtual_machine;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisSubnet, GenesisValidator, Params, presets::Preset};
use assay_primitives::{AccountId, Amount, Keypair};
use eyre::{WrapErr as _, eyre};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::{
    byzantine::Evil,
    check::Checks,
    clients::Clients,
    faults::Faults,
    net::Net,
    node::{Machine, World},
    trace::Trace,
};

/// The most virtual time between healing and the tenth height after it.
pub const HEALED_LIMIT: Duration = Duration::from_secs(120);

/// Heights after healing.
const HEALED_HEIGHTS: u64 = 10;

/// The most virtual time that faults go on; a network that never has enough machines up for long gets no further.
const FAULTS_LIMIT: Duration = Duration::from_secs(300);

/// What a node says that stops rather than sign; the second while its engine applies its log.
const REFUSALS: [&str; 2] = ["refusing to sign", "the engine's log cannot be applied"];

/// How often the simulator looks around.
const LOOK: Duration = Duration::from_millis(50);

/// Clients with money.
const CLIENTS: u8 = 6;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What everything is drawn from.
    pub seed: u64,
    /// Validators, below 100.
    pub nodes: u8,
    /// Heights in all, at least eleven.
    pub heights: u64,
    /// Whether nobody lies, whatever the seed says.
    pub honest: bool,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Hash of everything that happened, in order.
    pub trace: String,
    /// What one of the validators did that none may, by its name in `byzantine`.
    pub evil: String,
    /// What was violated first, in words; nothing in a good run.
    pub violation: Option<String>,
    /// The last height that anybody committed.
    pub height: u64,
    /// Transactions in blocks.
    pub transactions: u64,
    /// The highest round that decided a height.
    pub highest_round: u32,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Virtual milliseconds from healing to the tenth height after it.
    pub healed_ms: u64,
    /// Machines that failed.
    pub failures: u64,
    /// Times that links were cut.
    pub partitions: u64,
    /// Times that an honest node stopped rather than sign what its watermark forbids.
    pub refusals: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages lost.
    pub lost: u64,
    /// How often each invariant was checked.
    pub checks: BTreeMap<String, u64>,
}

/// Runs a plan, once in a process: see above.
///
/// # Errors
/// If the simulator itself fails. A violation is in the report.
pub fn run(plan: Plan) -> eyre::Result<Report> {
    let play = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(play(plan));
        runtime.shutdown_background();
        report
    };
    virtual_machine::run(plan.seed, play).map_err(|_| eyre!("the simulation panicked; see above"))?
}

fn key(kind: u8, number: u8) -> Keypair {
    let mut secret = [kind; 32];
    secret[0] = number;
    Keypair::from_secret(secret)
}

/// A chain of `nodes` validators of about the same stake, so that any one may be missing.
fn spec(nodes: u8, random: &mut ChaCha8Rng) -> eyre::Result<ChainSpec> {
    let account = |key: Keypair| GenesisAccount { account: key.account(), balance: Amount::asy(10_000) };
    let owners = (0..nodes).map(|number| account(key(2, number)));
    let accounts = owners.chain((0..CLIENTS).map(|number| account(key(3, number)))).collect();
    let validators = (0..nodes).map(|number| GenesisValidator {
        operator: key(1, number).account(),
        owner: key(2, number).account(),
        stake: Amount::asy(10_000 + random.gen_range(0..1000)),
        take: 1000,
    });
    let subnet = GenesisSubnet { id: 1, name: "vision".into(), models: Vec::new() };
    let genesis_ms = virtual_machine::EPOCH_SECONDS * 1000;
    let mut spec = Preset::Dev.spec("simulated".into(), genesis_ms, accounts, validators.collect(), vec![subnet]);
    // Epochs end often, and nobody scores.
    spec.params = Params { tempo: 8, challenge_window: 7, jail_after_missed: 0, ..spec.params };
    spec.check()?;
    Ok(spec)
}

async fn play(plan: Plan) -> eyre::Result<Report> {
    let Plan { seed, nodes, heights, honest } = plan;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let spec = Arc::new(spec(nodes, &mut random)?);
    let validators: Vec<_> = (0..nodes).map(|number| key(1, number).account()).collect();
    let genesis = spec.genesis_hash();
    let crook = key(1, nodes - 1);
    let drawn = Evil::draw(random.r#gen(), crook.clone(), validators[0], genesis);
    let evil = if honest { Evil::None } else { drawn };
    let name = evil.name().to_string();
    let faulty = if matches!(evil, Evil::None) { BTreeSet::new() } else { BTreeSet::from([crook.account()]) };
    let mut keys: Vec<Keypair> = (0..nodes).map(|number| key(1, number)).collect();
    keys.extend(matches!(evil, Evil::Twins).then(|| crook.clone()));
    let accounts = keys.iter().map(Keypair::account).collect();
    let checks = Arc::new(Mutex::new(Checks::new(&spec, faulty.clone())?));
    let trace = Arc::new(Mutex::new(Trace::default()));
    let net = Net::new(random.r#gen(), accounts, trace.clone(), checks.clone());
    let world = World { spec, genesis, net: net.clone(), trace: trace.clone(), checks };
    let machine = |(number, key)| Machine::new(number, key, world.clone());
    let mut machines: Vec<Machine> = (0..).zip(keys).map(machine).collect();
    if let Evil::Vice(vice) = evil {
        machines[usize::from(nodes) - 1].corrupt(vice);
    }
    for machine in &mut machines {
        machine.start().await.wrap_err("a machine with empty disks does not start")?;
    }
    let clients = Clients::new(random.r#gen(), (0..CLIENTS).map(|number| key(3, number)).collect(), validators);
    let faults = Faults::new(random.r#gen(), machines.len());
    let mut game =
        Game { world: world.clone(), machines, faulty, clients, payer: key(2, nodes - 1), faults, random, refusals: 0 };

    let target = heights.saturating_sub(HEALED_HEIGHTS);
    game.until(FAULTS_LIMIT, true, |game| game.world.checks().height() >= target).await?;
    game.faults.end(&mut game.machines, &net).await?;
    let healed = virtual_machine::elapsed();
    let target = world.checks().height() + HEALED_HEIGHTS;
    let all = |game: &Game| game.honest().all(|machine| machine.height().is_some_and(|height| height >= target));
    let reached = game.until(healed + HEALED_LIMIT, false, all).await?;
    let healed_ms = milliseconds(virtual_machine::elapsed() - healed);
    let at: Vec<_> = game.machines.iter().map(Machine::height).collect();
    let violated = world.checks().violation.is_some();
    if !violated {
        let held = match reached {
            true => Ok(()),
            false => {
                Err(format!("height {target} was not reached {HEALED_LIMIT:?} after healing; nodes are at {at:?}"))
            }
        };
        world.checks().check("progress", held);
        game.check_stores();
    }
    let checks = world.checks();
    let (sent, lost) = net.counts();
    let trace = trace.lock().unwrap_or_else(PoisonError::into_inner).show();
    Ok(Report {
        seed,
        trace,
        evil: name,
        violation: checks.violation.clone(),
        height: checks.height(),
        transactions: checks.executed() as u64,
        highest_round: checks.highest_round,
        virtual_ms: milliseconds(virtual_machine::elapsed()),
        healed_ms,
        failures: game.faults.failures,
        partitions: game.faults.partitions,
        refusals: game.refusals,
        sent,
        lost,
        checks: checks.counts.iter().map(|(name, count)| ((*name).to_string(), *count)).collect(),
    })
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A run that goes on.
struct Game {
    world: World,
    machines: Vec<Machine>,
    faulty: BTreeSet<AccountId>,
    clients: Clients,
    /// Who pays for what a dishonest validator sends.
    payer: Keypair,
    faults: Faults,
    random: ChaCha8Rng,
    /// Times that an honest node refused to sign.
    refusals: u64,
}

impl Game {
    /// Goes on until all is as wanted, or the time is up, or something is violated. Whether it is as wanted.
    async fn until(&mut self, limit: Duration, faulty: bool, wanted: impl Fn(&Game) -> bool) -> eyre::Result<bool> {
        let mut act = virtual_machine::elapsed();
        while virtual_machine::elapsed() < limit && self.world.checks().violation.is_none() {
            if wanted(self) {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
            let now = virtual_machine::elapsed();
            self.faults.mend(now, &mut self.machines, &self.world.net).await?;
            if faulty {
                self.faults.pass(now, &self.machines, &self.world.net);
            }
            self.look();
            if act <= now {
                act = now + Duration::from_millis(self.random.gen_range(100..1200));
                let up: Vec<_> = self.machines.iter().filter_map(Machine::sender).collect();
                self.clients.act(&up)?;
                for machine in &self.machines {
                    machine.submit_evil(&self.payer)?;
                }
            }
        }
        Ok(false)
    }

    /// Machines that run honest nodes.
    fn honest(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| !self.faulty.contains(&machine.account()))
    }

    /// A node that stops with its power on has given up. An honest one may for one reason: its watermark knows of a signature
    /// that its log does not, because the failure cost the log its last entries. Then its operator does what it is told: lets it
    /// follow without its key until the network has passed that height.
    fn look(&mut self) {
        for machine in &mut self.machines {
            machine.sign_again();
            let Some(reason) = machine.stopped() else { continue };
            let reason = reason.to_string();
            if self.faulty.contains(&machine.account()) {
                machine.fail(None);
            } else if REFUSALS.iter().any(|words| reason.contains(words)) {
                self.refusals += 1;
                machine.follow();
            } else {
                let held = Err(format!("node {} stopped: {reason}", machine.number));
                self.world.checks().check("nobody gives up", held);
            }
        }
    }

    /// At the end, every store is whole.
    fn check_stores(&self) {
        for machine in self.honest() {
            if let Some(store) = machine.store() {
                self.world.checks().recovered(machine.number, store);
            }
        }
    }
}
