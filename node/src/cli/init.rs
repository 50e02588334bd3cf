//! `assay init`: a home, in one step with a chain spec or in two when the spec needs its keys first.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::Args;
use eyre::{WrapErr as _, bail, eyre};
use serde_json::json;

use super::global::{Global, pairs};
use crate::home::{
    self, Config, GatewaySettings, MinerSettings, PeerAddress, Peers, Ports, Role, StorageSettings, ValidatorSettings,
};

#[derive(Args, Debug)]
pub(super) struct Init {
    /// What the node will do.
    #[arg(long)]
    role: Role,
    /// The chain. Without it only the keys are made, for whoever writes the chain spec; run init again with it.
    #[arg(long, value_name = "FILE")]
    chain_spec: Option<PathBuf>,
    /// Take operator and owner key from this folder, as `chain-spec new --validators` makes them.
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,
    /// A name for people [default: the folder's name].
    #[arg(long, value_name = "NAME")]
    moniker: Option<String>,
    /// First of four ports: consensus, data plane, RPC, HTTP.
    #[arg(long, value_name = "PORT", default_value_t = 27000)]
    base_port: u16,
    /// Consensus port, if not the first.
    #[arg(long, value_name = "PORT")]
    consensus_port: Option<u16>,
    /// Data-plane port (TCP and QUIC), if not the second.
    #[arg(long, value_name = "PORT")]
    data_port: Option<u16>,
    /// RPC port, if not the third.
    #[arg(long, value_name = "PORT")]
    rpc_port: Option<u16>,
    /// HTTP port, if not the fourth.
    #[arg(long, value_name = "PORT")]
    http_port: Option<u16>,
    /// Address on which consensus and data plane listen.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    listen: IpAddr,
    /// Address on which RPC and HTTP listen. There is no password: think before opening it.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    rpc_listen: IpAddr,
    /// Multiaddress of the data plane as others reach it, if not that of --listen. Repeatable.
    #[arg(long, value_name = "MULTIADDR")]
    external_address: Vec<String>,
    /// Another node by its first port; the data plane is taken to be the port after it. Repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    peer: Vec<PeerAddress>,
    /// Another node's consensus port alone. Repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    consensus_peer: Vec<PeerAddress>,
    /// Another node's data-plane port alone. Repeatable.
    #[arg(long, value_name = "HOST:PORT")]
    data_peer: Vec<PeerAddress>,
}

impl Init {
    fn ports(&self) -> eyre::Result<Ports> {
        let base = Ports::from_base(self.base_port).ok_or_else(|| {
            eyre!("--base-port {} leaves no room for four ports; take one in 1..=65532", self.base_port)
        })?;
        Ok(Ports {
            consensus: self.consensus_port.unwrap_or(base.consensus),
            data: self.data_port.unwrap_or(base.data),
            rpc: self.rpc_port.unwrap_or(base.rpc),
            http: self.http_port.unwrap_or(base.http),
        })
    }

    fn peers(&self) -> eyre::Result<Peers> {
        let mut peers = Peers { consensus: self.consensus_peer.clone(), data: self.data_peer.clone() };
        // So that one list of peers can be given to every node of a machine, a node's own address in it is passed over.
        let own = PeerAddress { host: self.listen.to_string(), port: self.ports()?.consensus };
        for peer in self.peer.iter().filter(|peer| **peer != own) {
            let port = peer.port.checked_add(1).ok_or_else(|| eyre!("--peer {peer}: there is no port after it"))?;
            peers.consensus.push(peer.clone());
            peers.data.push(PeerAddress { port, ..peer.clone() });
        }
        Ok(peers)
    }
}

pub(super) fn run(global: &Global, command: &Init) -> eyre::Result<()> {
    let Some(dir) = &global.home else { bail!("init makes a folder: say which with --home DIR") };
    // Everything that can be wrong with the arguments is found before anything is written.
    let spec = command.chain_spec.as_deref().map(home::read_spec).transpose()?;
    if let (Some(spec), Some(path)) = (&spec, &command.chain_spec) {
        // What no node could start from is found out now.
        assay_ledger::genesis::genesis(spec).wrap_err_with(|| format!("{}", path.display()))?;
    }
    let (ports, peers) = (command.ports()?, command.peers()?);
    let accounts = home::prepare_keys(dir, command.keys.as_deref())?;
    let Some(spec) = spec else {
        let value = json!({ "home": dir, "operator": accounts.operator, "owner": accounts.owner, "complete": false });
        global.show(&value, || {
            format!(
                "made the keys of {0}\noperator  {1}\nowner     {2}\n\
                 next: have them put into a chain spec (`assay chain-spec new … --validator {0}`),\n\
                 then finish with `assay init --role {3} --home {0} --chain-spec FILE`",
                dir.display(),
                accounts.operator,
                accounts.owner.map_or_else(|| "-".into(), |a| a.to_string()),
                command.role,
            )
        });
        return Ok(());
    };
    let named = dir.file_name().map(|name| name.to_string_lossy().into_owned());
    let fits = |name: &String| name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let moniker = command.moniker.clone().or(named.filter(fits)).unwrap_or_else(|| command.role.name().into());
    let config = Config {
        role: command.role,
        moniker,
        genesis_hash: spec.genesis_hash(),
        listen: command.listen,
        rpc_listen: command.rpc_listen,
        log: home::DEFAULT_LOG.into(),
        external_addresses: command.external_address.clone(),
        ports,
        peers,
        storage: StorageSettings::default(),
        miner: MinerSettings::default(),
        validator: ValidatorSettings::default(),
        gateway: GatewaySettings::default(),
    };
    let home = home::create(dir, &config, &spec)?;
    let in_genesis = spec.validators.iter().any(|v| v.operator == accounts.operator);
    let value = json!({
        "home": dir, "role": command.role, "chain_id": spec.chain_id, "genesis_hash": home.genesis,
        "operator": accounts.operator, "owner": accounts.owner, "in_genesis": in_genesis,
        "rpc": format!("http://{}", home.rpc_address()), "http": format!("http://{}", home.http_address()),
        "complete": true,
    });
    global.show(&value, || {
        let next = match command.role {
            Role::Miner => format!(
                "next: run it with `assay miner run --home {0}`, send its owner money for bond and fees, then `assay miner register --home {0}`",
                dir.display()
            ),
            Role::Validator if !in_genesis => format!(
                "this key is no genesis validator: run it with `assay validator run --home {0}`, send its owner money, then `assay validator register --home {0} --stake AMOUNT`",
                dir.display()
            ),
            role => format!("next: `assay check --home {0}`, then `assay {role} run --home {0}`", dir.display()),
        };
        let owner = accounts.owner.map_or_else(|| "-".into(), |a| a.to_string());
        let lines = pairs([
            ("home", format!("{} ({} of {})", dir.display(), command.role, spec.chain_id)),
            ("genesis", home.genesis.to_string()),
            ("operator", accounts.operator.to_string()),
            ("owner", owner),
            ("rpc", format!("http://{}", home.rpc_address())),
            ("http", format!("http://{}", home.http_address())),
        ]);
        format!("{lines}{next}")
    });
    Ok(())
}
