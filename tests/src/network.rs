//! A chain of several validator processes.

use std::{
    net::IpAddr,
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use assay::{
    devnet::DIGITS,
    genesis_model::{ReceiptKey, genesis_model},
    home::{
        self, Config, GatewaySettings, Home, MinerSettings, PeerAddress, Peers, Ports, Role, StorageSettings,
        ValidatorSettings,
    },
    rpc::RpcClient,
};
use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisSubnet, GenesisValidator, Params, presets::Preset};
use assay_circuits::model::Model;
use assay_primitives::{Amount, Keypair};
use eyre::{bail, eyre};

use crate::{Process, faults::Namespaces};

/// Ports handed out so far, so that networks in one process never meet. Different test processes start apart.
static NEXT_PORT: AtomicU16 = AtomicU16::new(0);

fn ports() -> eyre::Result<Ports> {
    // Below the range the system gives to outgoing connections.
    let start = 12_000 + u16::try_from(std::process::id() % 190)? * 100;
    let offset = NEXT_PORT.fetch_add(4, Ordering::Relaxed);
    Ports::from_base(start + offset).ok_or_else(|| eyre!("out of ports"))
}

/// What a network consists of.
pub struct Setup {
    /// How many validators.
    pub validators: usize,
    /// How many nodes beside them that follow the chain only; they come after the validators.
    pub followers: usize,
    /// How long ago genesis was.
    pub age: Duration,
    /// Parameters at genesis.
    pub params: Params,
    /// Accounts with money, beside the validators' owners.
    pub funded: Vec<Keypair>,
    /// What nodes log.
    pub log: String,
    /// A machine for each; without, all are on this one.
    pub machines: Option<Namespaces>,
}

impl Setup {
    /// Four validators with the parameters of `dev`.
    pub fn dev() -> Self {
        Self {
            validators: 4,
            followers: 0,
            age: Duration::ZERO,
            params: Params::dev(),
            funded: Vec::new(),
            log: "info".into(),
            machines: None,
        }
    }
}

/// A network's homes and its running processes.
pub struct Network {
    /// The chain.
    pub spec: ChainSpec,
    /// A home for each validator.
    pub homes: Vec<Home>,
    /// The running process of each validator.
    pub running: Vec<Option<Process>>,
    machines: Option<Namespaces>,
    dir: tempfile::TempDir,
}

impl Network {
    /// Makes the homes; starts nothing.
    ///
    /// # Errors
    /// The disk's, or an impossible setup.
    pub fn new(setup: Setup) -> eyre::Result<Self> {
        let dir = tempfile::tempdir()?;
        let nodes = 1..=setup.validators + setup.followers;
        let folders: Vec<PathBuf> = nodes.map(|i| dir.path().join(format!("v{i}"))).collect();
        let mut validators = Vec::new();
        let fund = |account| GenesisAccount { account, balance: Amount::asy(10_000) };
        let mut accounts: Vec<GenesisAccount> = setup.funded.iter().map(|key| fund(key.account())).collect();
        for (i, folder) in folders.iter().enumerate() {
            let keys = home::prepare_keys(folder, None)?;
            let owner = keys.owner.ok_or_else(|| eyre!("a fresh home has an owner"))?;
            if i >= setup.validators {
                continue;
            }
            accounts.push(fund(owner));
            validators.push(GenesisValidator { operator: keys.operator, owner, stake: Amount::asy(1000), take: 1000 });
        }
        let model = genesis_model("digits", &Model::from_bytes(DIGITS)?, ReceiptKey::Development)?;
        let subnet = GenesisSubnet { id: 1, name: "vision".into(), models: vec![model] };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let now = now.saturating_sub(setup.age).as_millis();
        let mut spec = Preset::Dev.spec("assay-test".into(), u64::try_from(now)?, accounts, validators, vec![subnet]);
        spec.params = setup.params;
        spec.check()?;
        let ports = folders.iter().map(|_| ports()).collect::<eyre::Result<Vec<_>>>()?;
        let mut homes = Vec::new();
        for (i, folder) in folders.iter().enumerate() {
            let role = if i < setup.validators { Role::Validator } else { Role::Node };
            homes.push(home::create(
                folder,
                &config(role, &spec, i, &ports, (&setup.log, setup.machines.as_ref())),
                &spec,
            )?);
        }
        let running = homes.iter().map(|_| None).collect();
        Ok(Self { spec, homes, running, machines: setup.machines, dir })
    }

    /// Where validator `i`'s log is.
    pub fn log(&self, i: usize) -> PathBuf {
        self.dir.path().join(format!("v{}.log", i + 1))
    }

    /// Starts validator `i`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(&mut self, i: usize) -> eyre::Result<()> {
        let home = self.homes[i].dir.display().to_string();
        let log = self.log(i);
        let arguments = [self.homes[i].config.role.name(), "run", "--home", &home];
        let machine = self.machines.as_ref().map(|m| m.name(i));
        self.running[i] = Some(match machine {
            Some(name) => Process::start_on(&name, &arguments, &log)?,
            None => Process::start(&arguments, &log)?,
        });
        Ok(())
    }

    /// The machines.
    ///
    /// # Panics
    /// If the network was set up without.
    pub fn machines(&self) -> &Namespaces {
        self.machines.as_ref().expect("a network on machines of its own")
    }

    /// Whether no process has ended by itself.
    ///
    /// # Errors
    /// With the end of the log of one that has.
    pub fn all_run(&mut self) -> eyre::Result<()> {
        for (i, process) in self.running.iter_mut().enumerate() {
            let Some(process) = process else { continue };
            if let Some(status) = process.ended()? {
                bail!("validator {} ended by itself with {status}; its log ends:\n{}", i + 1, process.tail());
            }
        }
        Ok(())
    }

    /// Starts every validator.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start_all(&mut self) -> eyre::Result<()> {
        (0..self.homes.len()).try_for_each(|i| self.start(i))
    }

    /// Starts a second process on a copy of validator `i`'s home with other ports and without its data, and so without
    /// what stops it from signing twice: what nobody should do.
    ///
    /// # Errors
    /// The disk's, or the operating system's.
    pub fn start_twin(&self, i: usize) -> eyre::Result<Process> {
        let folder = self.dir.path().join(format!("v{}-twin", i + 1));
        std::fs::create_dir_all(folder.join("keys"))?;
        let keys = self.homes[i].dir.join("keys");
        std::fs::copy(keys.join("network.json"), folder.join("keys/network.json"))?;
        home::prepare_keys(&folder, Some(&keys))?;
        let mut all: Vec<Ports> = self.homes.iter().map(|home| home.config.ports).collect();
        all[i] = ports()?;
        let home = home::create(
            &folder,
            &config(Role::Validator, &self.spec, i, &all, (&self.homes[i].config.log, None)),
            &self.spec,
        )?;
        let log = self.dir.path().join(format!("v{}-twin.log", i + 1));
        Process::start(&["validator", "run", "--home", &home.dir.display().to_string()], &log)
    }

    /// A client of validator `i`'s RPC.
    ///
    /// # Errors
    /// None in practice: the address is well formed.
    pub fn client(&self, i: usize) -> eyre::Result<RpcClient> {
        Ok(RpcClient::new(&format!("http://{}", self.homes[i].rpc_address()))?)
    }

    /// Waits until validator `i` has reached `height`.
    ///
    /// # Errors
    /// If it takes longer than `limit`; the end of the node's log is in the error.
    pub async fn reach(&self, i: usize, height: u64, limit: Duration) -> eyre::Result<()> {
        let client = self.client(i)?;
        let start = Instant::now();
        let mut last = "never answered".to_owned();
        while start.elapsed() < limit {
            match client.status().await {
                Ok(status) if status.height >= height => return Ok(()),
                Ok(status) => last = format!("at height {}", status.height),
                Err(e) => last = e.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let tail = self.running[i].as_ref().map(Process::tail).unwrap_or_default();
        bail!("validator {} did not reach height {height} within {limit:?}: {last}; its log ends:\n{tail}", i + 1)
    }

    /// The state root that validator `i` reports for a height, from its block's header.
    ///
    /// # Errors
    /// If it does not have the block.
    pub async fn state_root(&self, i: usize, height: u64) -> eyre::Result<String> {
        let block: serde_json::Value =
            self.client(i)?.call("assay_block", serde_json::json!({ "height": height })).await?;
        let root = block["header"]["state_root"].as_str();
        root.map(str::to_owned).ok_or_else(|| eyre!("block {height} has no state root: {block}"))
    }
}

fn config(
    role: Role,
    spec: &ChainSpec,
    own: usize,
    ports: &[Ports],
    (log, machines): (&str, Option<&Namespaces>),
) -> Config {
    let here = IpAddr::from([127, 0, 0, 1]);
    let host = |i| machines.map_or(here, |m| m.address(i));
    let address = |i, port| PeerAddress { host: host(i).to_string(), port };
    let others = || ports.iter().enumerate().filter(move |(j, _)| *j != own);
    Config {
        role,
        moniker: format!("v{}", own + 1),
        genesis_hash: spec.genesis_hash(),
        listen: host(own),
        rpc_listen: machines.map_or(here, |m| m.managed(own)),
        log: log.into(),
        external_addresses: Vec::new(),
        ports: ports[own],
        peers: Peers {
            consensus: others().map(|(i, p)| address(i, p.consensus)).collect(),
            data: others().map(|(i, p)| address(i, p.data)).collect(),
        },
        storage: StorageSettings::default(),
        miner: MinerSettings::default(),
        validator: ValidatorSettings::default(),
        gateway: GatewaySettings::default(),
    }
}
