//! A home: the folder in which one node keeps its keys, its chain spec, its settings and its data.
//!
//! ```text
//! DIR/config.toml       role, ports, peers; the genesis hash of the chain it belongs to
//! DIR/chain-spec.json   the chain
//! DIR/keys/operator.json  signs blocks, scores, requests, responses
//! DIR/keys/owner.json     holds the money; a node runs without it
//! DIR/keys/network.json   names the node among its data plane's peers
//! DIR/data/             blocks and state
//! DIR/models/ID/        files of a language model
//! DIR/wallets/          further keys of `assay wallet`
//! ```
//!
//! [`prepare_keys`] and [`create`] make it, [`Home::open`] reads it and refuses one that does not hold together. Nothing is ever
//! overwritten.

mod config;
mod files;
pub(crate) mod kept;

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use assay_chain_spec::{ChainSpec, SpecError};
use assay_ledger::tx::Endpoint;
use assay_primitives::{AccountId, Hash32, Keypair};

pub use config::{
    BusyPort, Config, DEFAULT_LOG, GatewaySettings, MinerSettings, PeerAddress, Peers, Ports, Role, StorageSettings,
    ValidatorSettings,
};
pub(crate) use files::{replace, replace_secret, write_new};
pub use kept::KeptError;

use crate::{
    keyfile::{self, KeyFileError},
    texts::Texts,
};

/// Why a home was not made or opened.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The folder has no `config.toml`.
    #[error("{} is not a home: it has no config.toml; make one with `assay init --home {} --role … --chain-spec …`", dir.display(), dir.display())]
    NotAHome {
        /// The folder.
        dir: PathBuf,
    },
    /// There is a home already.
    #[error("{} is a home already and is never overwritten; choose another folder", dir.display())]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// `config.toml` is malformed.
    #[error("{}, field `{field}`: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The field, like `ports.rpc`.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The chain spec is malformed.
    #[error("{}: {source}", path.display())]
    Spec {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SpecError,
    },
    /// The chain spec is another than the one the home was made for.
    #[error(
        "{} belongs to the chain with genesis hash {recorded}, but its chain-spec.json has {found}; put the right chain spec back, or make another home for the other chain",
        dir.display()
    )]
    OtherChain {
        /// The folder.
        dir: PathBuf,
        /// In `config.toml`.
        recorded: Hash32,
        /// Of `chain-spec.json`.
        found: Hash32,
    },
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The operating system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An opened home.
#[derive(Debug)]
pub struct Home {
    /// The folder.
    pub dir: PathBuf,
    /// Its settings.
    pub config: Config,
    /// The chain.
    pub spec: ChainSpec,
    /// The chain's genesis hash.
    pub genesis: Hash32,
    /// Signs for the role.
    pub operator: Keypair,
    /// The libp2p identity.
    pub network: Keypair,
}

/// The three accounts of a home, which can be shown to anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accounts {
    /// Signs for the role.
    pub operator: AccountId,
    /// Holds the money; `None` if the owner's key lies elsewhere.
    pub owner: Option<AccountId>,
}

fn key_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("keys").join(format!("{name}.json"))
}

fn read_text(path: &Path) -> Result<String, HomeError> {
    fs::read_to_string(path).map_err(|source| HomeError::Io { doing: "read", path: path.to_owned(), source })
}

fn write_text(path: &Path, text: &str) -> Result<(), HomeError> {
    let io = |source| HomeError::Io { doing: "write", path: path.to_owned(), source };
    write_new(path, text.as_bytes(), 0o644).map_err(io)
}

/// Reads a chain spec from a file.
///
/// # Errors
/// [`HomeError::Io`] or [`HomeError::Spec`], with the file's path.
pub fn read_spec(path: &Path) -> Result<ChainSpec, HomeError> {
    ChainSpec::from_json(&read_text(path)?).map_err(|source| HomeError::Spec { path: path.to_owned(), source })
}

/// The accounts whose keys lie in a home, finished or not.
///
/// # Errors
/// [`HomeError::Key`] if the operator's key is missing or refused.
pub fn accounts(dir: &Path) -> Result<Accounts, HomeError> {
    let operator = keyfile::read(&key_path(dir, "operator"))?.account();
    let owner = match keyfile::read(&key_path(dir, "owner")) {
        Ok(key) => Some(key.account()),
        Err(KeyFileError::Missing { .. }) => None,
        Err(e) => return Err(e.into()),
    };
    Ok(Accounts { operator, owner })
}

/// Makes the keys that `dir` lacks: copies of `operator.json` and `owner.json` in `from`, or fresh ones.
/// Keys already there stay; a key in `from` that differs from one already there is an error. All keys are read before
/// any is written, so that one that is refused leaves `dir` as it was.
///
/// # Errors
/// [`HomeError::Exists`] if `dir` is a finished home, or a key file's error.
pub fn prepare_keys(dir: &Path, from: Option<&Path>) -> Result<Accounts, HomeError> {
    if dir.join("config.toml").exists() {
        return Err(HomeError::Exists { dir: dir.to_owned() });
    }
    let mut lacking = Vec::new();
    for name in ["operator", "owner", "network"] {
        let path = key_path(dir, name);
        let adopted = from.filter(|_| name != "network").map(|from| from.join(format!("{name}.json")));
        let key = match adopted {
            Some(source) => keyfile::read(&source)?,
            None if path.exists() => continue,
            None => keyfile::generate(),
        };
        match keyfile::read(&path) {
            Ok(present) if present.account() == key.account() => {}
            Ok(_) => return Err(KeyFileError::Exists { path }.into()),
            Err(KeyFileError::Missing { .. }) => lacking.push((path, key)),
            Err(e) => return Err(e.into()),
        }
    }
    for (path, key) in lacking {
        keyfile::create(&path, &key)?;
    }
    accounts(dir)
}

/// Finishes a home whose keys [`prepare_keys`] made: writes the chain spec, then the config.
///
/// # Errors
/// [`HomeError::Exists`] for a finished home, [`HomeError::Config`] for impossible settings, or the operating system's.
pub fn create(dir: &Path, config: &Config, spec: &ChainSpec) -> Result<Home, HomeError> {
    let path = dir.join("config.toml");
    if path.exists() {
        return Err(HomeError::Exists { dir: dir.to_owned() });
    }
    config.check().map_err(|(field, reason)| HomeError::Config { path: path.clone(), field, reason })?;
    let spec_path = dir.join("chain-spec.json");
    let found = spec.genesis_hash();
    if spec_path.exists() {
        let present = read_spec(&spec_path)?.genesis_hash();
        if present != found {
            return Err(HomeError::OtherChain { dir: dir.to_owned(), recorded: found, found: present });
        }
    } else {
        write_text(&spec_path, &spec.to_json())?;
    }
    // The config comes last: without it the folder is no home, so a half-made one is never opened.
    write_text(&path, &config.to_toml())?;
    Home::open(dir)
}

impl Home {
    /// Opens a home and checks that its parts belong together.
    ///
    /// # Errors
    /// [`HomeError`], naming the file and field.
    pub fn open(dir: &Path) -> Result<Self, HomeError> {
        let path = dir.join("config.toml");
        if !path.exists() {
            return Err(HomeError::NotAHome { dir: dir.to_owned() });
        }
        let config = Config::from_toml(&read_text(&path)?, &path)?;
        let spec = read_spec(&dir.join("chain-spec.json"))?;
        let genesis = spec.genesis_hash();
        if genesis != config.genesis_hash {
            return Err(HomeError::OtherChain { dir: dir.to_owned(), recorded: config.genesis_hash, found: genesis });
        }
        let operator = keyfile::read(&key_path(dir, "operator"))?;
        let network = keyfile::read(&key_path(dir, "network"))?;
        Ok(Self { dir: dir.to_owned(), config, spec, genesis, operator, network })
    }

    /// Where blocks and state lie; not created here.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Where a gateway keeps what it owes miners.
    pub fn gateway_dir(&self) -> PathBuf {
        self.data_dir().join("gateway")
    }

    /// Where blocks and state lie.
    pub fn store_dir(&self) -> PathBuf {
        self.data_dir().join("store")
    }

    /// Where snapshots of the state lie, for nodes that join.
    pub fn snapshots_dir(&self) -> PathBuf {
        self.data_dir().join("snapshots")
    }

    /// The key that names this node to the block engines of others. It is made at the first start and lies with the data, not
    /// with the keys: a home copied without its data is another peer. With one name for both, neither would reach the
    /// network, and a validator that runs twice would not be found out.
    ///
    /// # Errors
    /// A key file's.
    pub fn engine_identity(&self) -> Result<Keypair, HomeError> {
        let path = self.data_dir().join("engine-identity.json");
        match keyfile::read(&path) {
            Err(KeyFileError::Missing { .. }) => {
                let key = keyfile::generate();
                keyfile::create(&path, &key)?;
                Ok(key)
            }
            found => Ok(found?),
        }
    }

    /// The language models whose files are here.
    pub fn texts(&self) -> Texts {
        Texts::at(self.dir.join("models"))
    }

    /// Where a miner keeps the `groth16` keys that ceremonies gave: `MODEL_ID.key`.
    pub fn groth16_dir(&self) -> PathBuf {
        self.dir.join("groth16")
    }

    /// The owner's key.
    ///
    /// # Errors
    /// [`KeyFileError::Missing`] if it is kept elsewhere.
    pub fn owner(&self) -> Result<Keypair, HomeError> {
        Ok(keyfile::read(&key_path(&self.dir, "owner"))?)
    }

    /// Where RPC listens.
    pub fn rpc_address(&self) -> SocketAddr {
        SocketAddr::new(self.config.rpc_listen, self.config.ports.rpc)
    }

    /// Where the gateway API, health and metrics listen.
    pub fn http_address(&self) -> SocketAddr {
        SocketAddr::new(self.config.rpc_listen, self.config.ports.http)
    }

    /// The network key as libp2p holds it.
    pub fn network_identity(&self) -> libp2p::identity::Keypair {
        let mut secret = self.network.secret();
        libp2p::identity::Keypair::ed25519_from_bytes(secret.as_mut()).expect("every 32 bytes are an ed25519 secret")
    }

    /// What the chain publishes about where this node's data plane is reached.
    pub fn endpoint(&self) -> Endpoint {
        let peer_id = self.network_identity().public().to_peer_id().to_string();
        let addresses = if self.config.external_addresses.is_empty() {
            let here = PeerAddress { host: self.config.listen.to_string(), port: self.config.ports.data };
            vec![here.quic(), here.tcp()]
        } else {
            self.config.external_addresses.clone()
        };
        Endpoint { peer_id, addresses }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use assay_chain_spec::{GenesisAccount, GenesisValidator, presets::Preset};
    use assay_primitives::Amount;

    use super::*;

    pub(crate) fn spec_of(validators: &[Accounts]) -> ChainSpec {
        let validator = |a: &Accounts| GenesisValidator {
            operator: a.operator,
            owner: a.owner.unwrap(),
            stake: Amount::asy(1000),
            take: 1000,
        };
        let accounts = vec![GenesisAccount { account: AccountId([1; 32]), balance: Amount::asy(5) }];
        let spec =
            Preset::Dev.spec("home-test".into(), 1, accounts, validators.iter().map(validator).collect(), vec![]);
        spec.check().unwrap();
        spec
    }

    fn config(genesis_hash: Hash32) -> Config {
        Config::from_toml(
            &format!(
                "role = 'validator'\nmoniker = 'v'\ngenesis_hash = '{genesis_hash}'\n[ports]\nconsensus = 1\ndata = 2\nrpc = 3\nhttp = 4\n"
            ),
            Path::new("x"),
        )
        .unwrap()
    }

    fn made() -> (tempfile::TempDir, Home) {
        let dir = tempfile::tempdir().unwrap();
        let accounts = prepare_keys(dir.path(), None).unwrap();
        let spec = spec_of(&[accounts]);
        let home = create(dir.path(), &config(spec.genesis_hash()), &spec).unwrap();
        (dir, home)
    }

    #[test]
    fn a_home_copied_without_its_data_is_another_peer_and_a_restart_is_none() {
        let (dir, home) = made();
        let identity = home.engine_identity().unwrap();
        assert_eq!(Home::open(dir.path()).unwrap().engine_identity().unwrap().account(), identity.account());
        std::fs::remove_dir_all(home.data_dir()).unwrap();
        assert_ne!(home.engine_identity().unwrap().account(), identity.account());
    }

    #[test]
    fn a_made_home_opens_with_the_same_keys_and_chain() {
        let (dir, home) = made();
        let again = Home::open(dir.path()).unwrap();
        assert_eq!((again.genesis, again.operator.account()), (home.genesis, home.operator.account()));
        assert_eq!(again.owner().unwrap().account(), accounts(dir.path()).unwrap().owner.unwrap());
        assert_eq!(again.endpoint().addresses, ["/ip4/127.0.0.1/udp/2/quic-v1", "/ip4/127.0.0.1/tcp/2"]);
    }

    #[test]
    fn a_home_is_never_overwritten() {
        let (dir, home) = made();
        assert!(matches!(prepare_keys(dir.path(), None), Err(HomeError::Exists { .. })));
        assert!(matches!(create(dir.path(), &home.config, &home.spec), Err(HomeError::Exists { .. })));
    }

    #[test]
    fn a_folder_without_config_is_no_home() {
        let dir = tempfile::tempdir().unwrap();
        let error = Home::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("assay init"), "{error}");
    }

    #[test]
    fn a_home_of_another_chain_is_refused() {
        let (dir, home) = made();
        let mut spec = home.spec.clone();
        spec.chain_id = "another".into();
        fs::write(dir.path().join("chain-spec.json"), spec.to_json()).unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::OtherChain { .. })));
    }

    #[test]
    fn an_exposed_operator_key_keeps_the_home_closed() {
        use std::os::unix::fs::PermissionsExt as _;
        let (dir, _) = made();
        fs::set_permissions(key_path(dir.path(), "operator"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Home::open(dir.path()), Err(HomeError::Key(KeyFileError::Exposed { .. }))));
    }

    #[test]
    fn keys_from_a_bundle_are_adopted_and_never_replace_others() {
        let bundle = tempfile::tempdir().unwrap();
        let key = keyfile::generate();
        keyfile::create(&bundle.path().join("operator.json"), &key).unwrap();
        keyfile::create(&bundle.path().join("owner.json"), &keyfile::generate()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let adopted = prepare_keys(dir.path(), Some(bundle.path())).unwrap();
        assert_eq!(adopted.operator, key.account());
        assert_eq!(prepare_keys(dir.path(), Some(bundle.path())).unwrap(), adopted);
        let other = tempfile::tempdir().unwrap();
        prepare_keys(other.path(), None).unwrap();
        assert!(matches!(prepare_keys(other.path(), Some(bundle.path())), Err(HomeError::Key(_))));
    }

    #[test]
    fn a_key_that_is_refused_leaves_the_home_as_it_was() {
        let bundle = tempfile::tempdir().unwrap();
        keyfile::create(&bundle.path().join("operator.json"), &keyfile::generate()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        assert!(matches!(prepare_keys(&home, Some(bundle.path())), Err(HomeError::Key(_))));
        assert!(!home.exists());
    }
}
