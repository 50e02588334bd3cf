//! A devnet's folder: one chain spec, one home for each node, and what each node is for.
//!
//! The folder can be started again: keys, chain and stores are kept, only ports may move.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisSubnet, GenesisValidator, presets::Preset};
use assay_circuits::model::Model;
use assay_primitives::{Amount, Keypair, task::SubnetId};
use eyre::{WrapErr as _, bail, eyre};
use serde::{Deserialize, Serialize};

use crate::{
    cli::{Adversary, DevnetArgs},
    genesis_model::{GLOSS, ReceiptKey, genesis_model, genesis_text_model},
    home::{
        self, Accounts, Config, GatewaySettings, Home, MinerSettings, PeerAddress, Peers, Ports, Role, StorageSettings,
        ValidatorSettings,
    },
    texts,
};

/// The digit classifier that every devnet's first subnet serves; see `assets/digits/README.md`.
pub const DIGITS: &[u8] = include_bytes!("../../../assets/digits/digits.assay");

/// The market of classifiers.
pub(super) const VISION: SubnetId = 1;
/// The market of language models.
pub(super) const WORDS: SubnetId = 2;

/// Ports that one node takes.
const PORTS_PER_NODE: u16 = 4;

/// Where every node of a devnet listens.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Stake of each genesis validator.
const STAKE: Amount = Amount::asy(10_000);
/// Balance of each owner and of the gateway at genesis.
const BALANCE: Amount = Amount::asy(1_000);

/// What a miner of the devnet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Behaviour {
    /// Runs the model and proves it.
    Honest,
    /// Serves a language model, and tells what it gives.
    Teller,
    /// Answers a constant.
    Lazy,
    /// Alters the output after proving, or replays another task's proof.
    Tamper,
    /// Relays another miner's answer.
    Copy,
}

impl Behaviour {
    /// Its name in tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Behaviour::Honest => "honest",
            Behaviour::Teller => "teller",
            Behaviour::Lazy => "lazy",
            Behaviour::Tamper => "tamper",
            Behaviour::Copy => "copy",
        }
    }

    /// The adversary to run, if it is one.
    pub fn adversary(self) -> Option<Adversary> {
        match self {
            Behaviour::Honest | Behaviour::Teller => None,
            Behaviour::Lazy => Some(Adversary::Lazy),
            Behaviour::Tamper => Some(Adversary::Tamper),
            Behaviour::Copy => Some(Adversary::Copy),
        }
    }
}

impl From<Adversary> for Behaviour {
    fn from(adversary: Adversary) -> Self {
        match adversary {
            Adversary::Lazy => Behaviour::Lazy,
            Adversary::Tamper => Behaviour::Tamper,
            Adversary::Copy => Behaviour::Copy,
        }
    }
}

/// One node of the devnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name and the name of its folder.
    pub name: String,
    /// What it runs.
    pub role: Role,
    /// How it behaves, if it is a miner.
    pub behaviour: Option<Behaviour>,
    /// Its market, if it is a miner.
    pub subnet: Option<SubnetId>,
}

/// What `devnet.json` remembers between starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    nodes: Vec<Plan>,
    /// Whether the script was played to its end.
    #[serde(default)]
    played: bool,
}

/// A devnet's folder, ready to start.
pub(super) struct Layout {
    /// The folder.
    pub(super) dir: PathBuf,
    /// The chain.
    pub(super) spec: ChainSpec,
    /// The nodes, with their homes.
    pub(super) nodes: Vec<(Plan, Home)>,
    /// Whether the folder was made by this start.
    pub(super) fresh: bool,
    /// Whether an earlier start played the script to its end.
    pub(super) played: bool,
    /// What was asked for now and differs from what the folder was made with, in words.
    pub(super) ignored: Vec<String>,
    /// Removes the folder on drop, when nobody asked to keep it.
    _temporary: Option<tempfile::TempDir>,
}

impl Layout {
    /// Makes the folder, or opens it where an earlier start left it.
    pub(super) fn open(args: &DevnetArgs) -> eyre::Result<Self> {
        let (dir, temporary) = match &args.home {
            Some(dir) => (dir.clone(), None),
            None => {
                let temporary = tempfile::Builder::new().prefix("assay-devnet-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let manifest = dir.join("devnet.json");
        let fresh = !manifest.exists();
        let (plans, played) = if fresh {
            (plan(args), false)
        } else {
            let Manifest { nodes, played } = read_manifest(&manifest)?;
            (nodes, played)
        };
        let ports = ports(plans.len(), args.base_port)?;
        let spec = if fresh { make(&dir, &plans)? } else { home::read_spec(&dir.join("chain-spec.json"))? };
        let ignored = differences(&plan(args), &plans);
        let nodes = open_homes(&dir, &plans, &spec, &ports)?;
        if fresh {
            // Written last: a start that died half-way left no manifest, and is made anew in a clean folder.
            write_manifest(&manifest, &Manifest { nodes: plans, played })?;
        }
        Ok(Self { dir, spec, nodes, fresh, played, ignored, _temporary: temporary })
    }

    /// Where the folder remembers what it holds.
    pub(super) fn manifest(&self) -> PathBuf {
        self.dir.join("devnet.json")
    }

    /// The first node of a role.
    pub(super) fn first(&self, role: Role) -> Option<&Home> {
        self.nodes.iter().find(|(plan, _)| plan.role == role).map(|(_, home)| home)
    }
}

/// Remembers that the script was played to its end.
pub(super) fn remember_played(manifest: &Path) -> eyre::Result<()> {
    write_manifest(manifest, &Manifest { played: true, ..read_manifest(manifest)? })
}

fn write_manifest(path: &Path, manifest: &Manifest) -> eyre::Result<()> {
    let text = serde_json::to_string_pretty(manifest)? + "\n";
    home::replace(path, text.as_bytes()).wrap_err_with(|| format!("cannot write {}", path.display()))
}

fn read_manifest(path: &Path) -> eyre::Result<Manifest> {
    let text = fs::read_to_string(path).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .wrap_err_with(|| format!("{} is damaged; remove the folder to start a new devnet", path.display()))
}

fn plan(args: &DevnetArgs) -> Vec<Plan> {
    let node = |name: String, role, behaviour, subnet| Plan { name, role, behaviour, subnet };
    let validators = (1..=args.validators).map(|i| node(format!("validator-{i}"), Role::Validator, None, None));
    let honest = (0..args.miners).map(|_| Behaviour::Honest);
    let behaviours = honest.chain(args.adversaries.iter().copied().map(Behaviour::from));
    let miner = |name: String, behaviour, subnet| node(name, Role::Miner, Some(behaviour), Some(subnet));
    let miners = behaviours.enumerate().map(|(i, b)| miner(format!("miner-{}", i + 1), b, VISION));
    let tellers = (1..=args.text_miners).map(|i| miner(format!("teller-{i}"), Behaviour::Teller, WORDS));
    let gateway = node("gateway".into(), Role::Gateway, None, None);
    validators.chain(miners).chain(tellers).chain([gateway]).collect()
}

/// What a continued devnet keeps although other numbers were asked for.
fn differences(asked: &[Plan], kept: &[Plan]) -> Vec<String> {
    let count = |plans: &[Plan], role, behaviour: Option<Behaviour>| {
        plans.iter().filter(|p| p.role == role && p.behaviour == behaviour).count()
    };
    let behaviours = [Behaviour::Honest, Behaviour::Teller, Behaviour::Lazy, Behaviour::Tamper, Behaviour::Copy];
    let miners = behaviours.map(|b| (Role::Miner, Some(b), format!("{} miners", b.name())));
    let kinds = [(Role::Validator, None, "validators".to_owned())].into_iter().chain(miners);
    let differs = |(role, behaviour, name): (Role, Option<Behaviour>, String)| {
        let (asked, kept) = (count(asked, role, behaviour), count(kept, role, behaviour));
        (asked != kept).then(|| format!("{kept} {name}"))
    };
    kinds.filter_map(differs).collect()
}

/// Makes every node's keys and the chain spec that names them.
fn make(dir: &Path, plans: &[Plan]) -> eyre::Result<ChainSpec> {
    let cannot_look = || format!("cannot look into {}", dir.display());
    if dir.exists() && fs::read_dir(dir).wrap_err_with(cannot_look)?.next().is_some() {
        bail!("{} is not empty and holds no finished devnet; give an empty or new folder with --home", dir.display());
    }
    let mut validators = Vec::new();
    let mut accounts = Vec::new();
    for plan in plans {
        let Accounts { operator, owner } = home::prepare_keys(&dir.join(&plan.name), None)?;
        let owner = owner.ok_or_else(|| eyre!("{} was made without an owner key", plan.name))?;
        accounts.push(GenesisAccount { account: owner, balance: BALANCE });
        if plan.role == Role::Validator {
            validators.push(GenesisValidator { operator, owner, stake: STAKE, take: 1_000 });
        }
    }
    let model = Model::from_bytes(DIGITS).wrap_err("the digit model shipped with this program is damaged")?;
    let digits = genesis_model("digits", &model, ReceiptKey::Development)?;
    let vision = GenesisSubnet { id: VISION, name: "vision".into(), models: vec![digits] };
    let gloss = genesis_text_model("gloss", &GLOSS.committed());
    let words = GenesisSubnet { id: WORDS, name: "words".into(), models: vec![gloss] };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let now = u64::try_from(now)?;
    let spec = Preset::Dev.spec("assay-devnet".into(), now, accounts, validators, vec![vision, words]);
    spec.check()?;
    fs::write(dir.join("chain-spec.json"), spec.to_json())?;
    Ok(spec)
}

/// The ports of so many nodes, all of them free.
fn ports(nodes: usize, base: u16) -> eyre::Result<Vec<Ports>> {
    let ports: Vec<Ports> = (0..u16::try_from(nodes)?)
        .map(|i| base.checked_add(i * PORTS_PER_NODE).and_then(Ports::from_base))
        .collect::<Option<_>>()
        .ok_or_else(|| eyre!("{nodes} nodes from --base-port {base} need ports above 65535; choose a lower one"))?;
    for (at, ports) in ports.iter().enumerate() {
        ports
            .check_free(LOOPBACK, LOOPBACK)
            .map_err(|e| eyre!("node {}: {e}; stop what uses it, or choose another --base-port", at + 1))?;
    }
    Ok(ports)
}

/// Opens every home with the ports of this start.
fn open_homes(dir: &Path, plans: &[Plan], spec: &ChainSpec, ports: &[Ports]) -> eyre::Result<Vec<(Plan, Home)>> {
    let address = |port| PeerAddress { host: LOOPBACK.to_string(), port };
    let mut nodes = Vec::new();
    for (i, plan) in plans.iter().enumerate() {
        let home = dir.join(&plan.name);
        let others = || ports.iter().enumerate().filter(move |(j, _)| *j != i).map(|(_, p)| p);
        let config = Config {
            role: plan.role,
            moniker: plan.name.clone(),
            genesis_hash: spec.genesis_hash(),
            listen: LOOPBACK,
            rpc_listen: LOOPBACK,
            log: home::DEFAULT_LOG.into(),
            external_addresses: Vec::new(),
            ports: ports[i],
            peers: Peers {
                consensus: others().map(|p| address(p.consensus)).collect(),
                data: others().map(|p| address(p.data)).collect(),
            },
            storage: StorageSettings::default(),
            miner: MinerSettings::default(),
            validator: ValidatorSettings::default(),
            gateway: GatewaySettings::default(),
        };
        // The settings belong to the devnet, which may have moved to other ports since the last start.
        match fs::remove_file(home.join("config.toml")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {
                texts::keep_bytes(&home.join("models"), &GLOSS.committed(), &GLOSS.contents())?;
                nodes.push((plan.clone(), home::create(&home, &config, spec)?));
            }
        }
    }
    Ok(nodes)
}

/// The owner's key of a home.
pub(super) fn owner(home: &Home) -> eyre::Result<Keypair> {
    home.owner().wrap_err_with(|| format!("the devnet node in {} has no owner key", home.dir.display()))
}
