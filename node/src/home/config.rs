//! `config.toml`: what a home says about its node. Unknown and missing fields are errors that name the field.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::{Path, PathBuf},
    str::FromStr,
};

use assay_primitives::{Amount, Hash32};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::HomeError;

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Votes on blocks and scores miners.
    Validator,
    /// Serves models and proves its answers.
    Miner,
    /// Serves people over HTTP.
    Gateway,
    /// Follows the chain and answers RPC.
    Node,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 4] = [Role::Validator, Role::Miner, Role::Gateway, Role::Node];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Validator => "validator",
            Role::Miner => "miner",
            Role::Gateway => "gateway",
            Role::Node => "node",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Role::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| format!("there is no role {text:?}; expected validator, miner, gateway or node"))
    }
}

/// The ports of a node; all different, none zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ports {
    /// Consensus engine, TCP.
    pub consensus: u16,
    /// Data plane, TCP and QUIC (UDP) on the same number.
    pub data: u16,
    /// JSON-RPC.
    pub rpc: u16,
    /// Gateway API, health and metrics.
    pub http: u16,
}

impl Ports {
    /// `base` for consensus and the three after it for data plane, RPC and HTTP; `None` if they do not fit below 65536
    /// or `base` is zero.
    pub fn from_base(base: u16) -> Option<Self> {
        if base == 0 {
            return None;
        }
        let at = |offset| base.checked_add(offset);
        Some(Self { consensus: base, data: at(1)?, rpc: at(2)?, http: at(3)? })
    }

    /// Each port with its name.
    pub fn named(&self) -> [(&'static str, u16); 4] {
        [("consensus", self.consensus), ("data", self.data), ("rpc", self.rpc), ("http", self.http)]
    }

    /// Asks the system for each port, and gives it back: so that a busy one is found before anything is written.
    ///
    /// # Errors
    /// [`BusyPort`], the first that cannot be taken.
    pub fn check_free(&self, listen: IpAddr, rpc_listen: IpAddr) -> Result<(), BusyPort> {
        for (name, port) in self.named() {
            let outside = ["consensus", "data"].contains(&name);
            let address = SocketAddr::new(if outside { listen } else { rpc_listen }, port);
            let busy = |source| BusyPort { name, address, source };
            TcpListener::bind(address).map_err(busy)?;
            if name == "data" {
                UdpSocket::bind(address).map_err(busy)?;
            }
        }
        Ok(())
    }

    /// Says which field is wrong, if one is.
    fn fault(&self) -> Option<(String, String)> {
        let named = self.named();
        for (i, (name, port)) in named.iter().enumerate() {
            if *port == 0 {
                return Some((format!("ports.{name}"), "expected a port in 1..=65535, found 0".into()));
            }
            if let Some((other, _)) = named[..i].iter().find(|(_, earlier)| earlier == port) {
                return Some((format!("ports.{name}"), format!("port {port} is already that of ports.{other}")));
            }
        }
        None
    }
}

/// A port that another program has.
#[derive(Debug, thiserror::Error)]
#[error("{name} port {address} cannot be taken: {source}")]
pub struct BusyPort {
    /// As in `config.toml`.
    pub name: &'static str,
    /// Where it was asked for.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// Where another node is reached: a host (IP address or DNS name) and a port, as `127.0.0.1:27000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// IPv4 or IPv6 address (without brackets), or a DNS name.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl PeerAddress {
    fn host_part(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => format!("/ip4/{ip}"),
            Ok(IpAddr::V6(ip)) => format!("/ip6/{ip}"),
            Err(_) => format!("/dns/{}", self.host),
        }
    }

    /// As a multiaddress over TCP.
    pub fn tcp(&self) -> String {
        format!("{}/tcp/{}", self.host_part(), self.port)
    }

    /// As a multiaddress over QUIC.
    pub fn quic(&self) -> String {
        format!("{}/udp/{}/quic-v1", self.host_part(), self.port)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for PeerAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a peer; expected HOST:PORT, like 127.0.0.1:27000 or [::1]:27000");
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 {
                Err(wrong())
            } else {
                Ok(Self { host: address.ip().to_string(), port: address.port() })
            };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        // Only digits and dots would be an IP address, and a correct one was taken above.
        let named = host.chars().any(|c| c.is_ascii_alphabetic());
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) || !named {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl Serialize for PeerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The nodes to dial first; the others are learnt from them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peers {
    /// Consensus ports of others.
    pub consensus: Vec<PeerAddress>,
    /// Data-plane ports of others.
    pub data: Vec<PeerAddress>,
}

/// What a miner grants its customers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MinerSettings {
    /// The most that one requester may owe for texts, as `1` or `0.5 ASY`.
    #[serde(with = "money")]
    pub credit: Amount,
}

impl Default for MinerSettings {
    fn default() -> Self {
        Self { credit: Amount::asy(1) }
    }
}

/// What a validator judges texts by, beside what comes with the node. Paths are from the home's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidatorSettings {
    /// A folder with `all-MiniLM-L6-v2`, for relevance, nearness to known meanings and the reward head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedder: Option<PathBuf>,
    /// A language model, folder or GGUF file, for what an answer owes to its question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language_model: Option<PathBuf>,
    /// A folder with a DeBERTa reward model, such as OpenAssistant's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_model: Option<PathBuf>,
}

/// How a home serves the OpenAI API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewaySettings {
    /// Origins of browsers that may call it; `*` is any.
    pub cors: Vec<String>,
    /// A chain of certificates in PEM, the server's own first; with it and its key the HTTP port speaks TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// What a second of waiting is worth: a miner that is so much sooner may cost so much more.
    #[serde(with = "money")]
    pub second: Amount,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self { cors: Vec::new(), tls_certificate: None, tls_key: None, second: Amount(1_000_000) }
    }
}

/// Amounts as people write them.
mod money {
    use super::{Amount, Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a node keeps of the chain, and how it begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageSettings {
    /// Blocks between two snapshots of the state, which nodes that join begin with; 0 makes none.
    pub snapshot_every: u64,
    /// Blocks that are kept, the newest; 0 keeps all. Headers, certificates and the state stay.
    pub keep_blocks: u64,
    /// Whether a node without blocks begins with a peer's snapshot, verified from genesis, or executes all blocks.
    pub join_by_snapshot: bool,
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self { snapshot_every: 1000, keep_blocks: 0, join_by_snapshot: true }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The whole of `config.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the node does.
    pub role: Role,
    /// A name for people: 1 to 32 of `a-z A-Z 0-9 - _`.
    pub moniker: String,
    /// The chain this home belongs to.
    pub genesis_hash: Hash32,
    /// Address on which consensus and data plane listen.
    #[serde(default = "loopback")]
    pub listen: IpAddr,
    /// Address on which RPC and HTTP listen.
    #[serde(default = "loopback")]
    pub rpc_listen: IpAddr,
    /// Log filter, as `info` or `assay=debug,info`.
    #[serde(default = "default_log")]
    pub log: String,
    /// Data-plane multiaddresses to publish on chain; empty: those of `listen`. At most 4.
    #[serde(default)]
    pub external_addresses: Vec<String>,
    /// Ports.
    pub ports: Ports,
    /// First contacts.
    #[serde(default)]
    pub peers: Peers,
    /// What is kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub storage: StorageSettings,
    /// Of a miner.
    #[serde(default, skip_serializing_if = "is_default")]
    pub miner: MinerSettings,
    /// Of a validator.
    #[serde(default, skip_serializing_if = "is_default")]
    pub validator: ValidatorSettings,
    /// Of a gateway.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gateway: GatewaySettings,
}

fn loopback() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// Our own words, and only the warnings of libraries: the block engine tells each vote at `info`. What it says of peers
/// that are not up yet, at `error`, and of its actors' ends on stop is left out: health says whether peers are missing.
pub const DEFAULT_LOG: &str = "warn,assay=info,assay_consensus=info,arc_malachitebft_network=off,\
    arc_malachitebft_discovery=off,arc_malachitebft_app_channel=off,arc_malachitebft_engine::node=off,\
    arc_malachitebft_engine::network=off";

fn default_log() -> String {
    DEFAULT_LOG.into()
}

impl Config {
    /// Reads the TOML text of the file at `path`, which only errors name.
    ///
    /// # Errors
    /// [`HomeError::Config`] with the field that is missing, unknown or wrong.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, HomeError> {
        let wrong = |field: String, reason: String| HomeError::Config { path: path.to_owned(), field, reason };
        let syntax = |e: toml::de::Error| wrong(".".into(), e.to_string().trim().to_owned());
        let source = toml::Deserializer::parse(text).map_err(syntax)?;
        let config: Config = serde_path_to_error::deserialize(source)
            .map_err(|e| wrong(e.path().to_string(), e.inner().message().to_owned()))?;
        config.check().map_err(|(field, reason)| wrong(field, reason))?;
        Ok(config)
    }

    /// The TOML text.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("strings, numbers and lists are TOML")
    }

    /// The field that is wrong and why, for what one field's type cannot say.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.moniker.is_empty() || self.moniker.len() > 32 || !self.moniker.chars().all(plain) {
            let found: String = self.moniker.chars().take(60).collect();
            let reason = format!("expected 1 to 32 characters of a-z, A-Z, 0-9, - and _, found {found:?}");
            return Err(("moniker".into(), reason));
        }
        if self.external_addresses.len() > 4 {
            let reason = format!("expected at most 4 addresses, found {}", self.external_addresses.len());
            return Err(("external_addresses".into(), reason));
        }
        for (i, address) in self.external_addresses.iter().enumerate() {
            if let Err(e) = address.parse::<libp2p::Multiaddr>() {
                let reason = format!("{address:?} is no multiaddress ({e}); write /ip4/203.0.113.7/udp/27001/quic-v1");
                return Err((format!("external_addresses[{i}]"), reason));
            }
        }
        for (i, origin) in self.gateway.cors.iter().enumerate() {
            crate::openai::server::origin(origin).map_err(|reason| (format!("gateway.cors[{i}]"), reason))?;
        }
        let StorageSettings { snapshot_every, keep_blocks, .. } = self.storage;
        // Whoever begins with the older of the two snapshots that are kept needs the blocks from there on.
        let least = snapshot_every.saturating_mul(2).max(100);
        if keep_blocks != 0 && keep_blocks < least {
            let reason =
                format!("expected 0 (all) or at least {least}, twice snapshot_every or 100, found {keep_blocks}");
            return Err(("storage.keep_blocks".into(), reason));
        }
        let GatewaySettings { tls_certificate, tls_key, .. } = &self.gateway;
        let (missing, given) = match (tls_certificate, tls_key) {
            (Some(_), None) => ("gateway.tls_key", "tls_certificate"),
            (None, Some(_)) => ("gateway.tls_certificate", "tls_key"),
            _ => return self.ports.fault().map_or(Ok(()), Err),
        };
        Err((missing.into(), format!("missing: a certificate and its key go together, and {given} is given")))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Config {
        Config {
            role: Role::Miner,
            moniker: "m1".into(),
            genesis_hash: Hash32([7; 32]),
            listen: loopback(),
            rpc_listen: loopback(),
            log: default_log(),
            external_addresses: vec!["/ip4/203.0.113.7/udp/27001/quic-v1".into()],
            ports: Ports::from_base(27000).unwrap(),
            peers: Peers { consensus: vec!["[::1]:27000".parse().unwrap()], data: vec![] },
            storage: StorageSettings { snapshot_every: 10, keep_blocks: 100, join_by_snapshot: false },
            miner: MinerSettings { credit: Amount(5) },
            validator: ValidatorSettings { embedder: Some("minilm".into()), ..Default::default() },
            gateway: GatewaySettings {
                tls_certificate: Some("a.pem".into()),
                tls_key: Some("b.pem".into()),
                ..Default::default()
            },
        }
    }

    fn refusal(text: &str) -> String {
        Config::from_toml(text, Path::new("config.toml")).unwrap_err().to_string()
    }

    #[test]
    fn a_config_comes_back_from_its_toml() {
        assert_eq!(Config::from_toml(&sample().to_toml(), Path::new("x")).unwrap(), sample());
    }

    #[test]
    fn a_missing_unknown_or_impossible_field_is_named() {
        let text = sample().to_toml();
        for (from, to, named) in [
            ("rpc = 27002", "", "ports"),
            ("rpc = 27002", "rpc = 27001", "ports.rpc"),
            ("rpc = 27002", "rpc = 0", "ports.rpc"),
            ("rpc = 27002", "rpc = 70000", "ports.rpc"),
            ("moniker = \"m1\"", "moniker = \"a b\"", "moniker"),
            ("role = \"miner\"", "role = \"king\"", "role"),
            ("moniker = \"m1\"", "monicker = \"m1\"", "monicker"),
            ("[::1]:27000", "[::1]", "peers.consensus[0]"),
            ("/ip4/203.0.113.7/udp", "/ip4/203.0.113/udp", "external_addresses[0]"),
            ("role = ", "role ", "config.toml"),
            ("tls_key = \"b.pem\"", "", "gateway.tls_key"),
            ("tls_certificate = \"a.pem\"", "", "gateway.tls_certificate"),
            ("0.000000005 ASY", "much", "miner.credit"),
            ("credit = ", "credits = ", "miner.credits"),
        ] {
            assert!(text.contains(from), "{from}");
            let error = refusal(&text.replace(from, to));
            assert!(error.contains(named), "{named}: {error}");
        }
    }

    #[test]
    fn peers_are_read_with_their_port_and_given_as_multiaddresses() {
        let v4: PeerAddress = "127.0.0.1:27000".parse().unwrap();
        assert_eq!((v4.tcp().as_str(), v4.to_string().as_str()), ("/ip4/127.0.0.1/tcp/27000", "127.0.0.1:27000"));
        assert_eq!("[::1]:9".parse::<PeerAddress>().unwrap().quic(), "/ip6/::1/udp/9/quic-v1");
        assert_eq!("a.example:9".parse::<PeerAddress>().unwrap().tcp(), "/dns/a.example/tcp/9");
        for wrong in ["", "127.0.0.1", "127.0.0.1:0", ":9", "127.0.0:9", "a b:9", "host:99999", "http://x:9"] {
            assert!(wrong.parse::<PeerAddress>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_follow_their_base_and_never_run_over_the_end() {
        assert_eq!(Ports::from_base(27000).unwrap().http, 27003);
        assert!(Ports::from_base(0).is_none());
        assert!(Ports::from_base(65533).is_none());
    }
}
