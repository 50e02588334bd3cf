//! Who takes part: honest validators and miners of differing means, and the attacker with its keys.

use assay_chain_spec::{ChainSpec, GenesisAccount, GenesisModel, GenesisSubnet, GenesisValidator, Params};
use assay_circuits::model::Model;
use assay_primitives::{AccountId, Amount, Keypair, receipt::Blob, task::SubnetId};

use super::{
    Defence,
    draw::{Draw, bell, unit},
    setting::{Economy, Setting},
};

/// The one market.
pub(super) const SUBNET: SubnetId = 0;
/// All stake, honest and the attacker's.
pub(super) const STAKE: Amount = Amount::asy(100_000);
/// Least stake of a validator, in grain.
pub(super) const LEAST: u64 = Amount::asy(50).0;
/// Free money of each owner at genesis, beside what places in the market cost it.
pub(super) const FREE: Amount = Amount::asy(20_000);
/// Stake of the honest validators, in parts: as unequal as on public networks.
const HONEST_STAKES: [u64; 8] = [22, 18, 15, 13, 11, 9, 7, 5];
/// Honest miners.
pub(super) const HONEST_MINERS: usize = 8;

/// How fast and how reliable a miner is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quality {
    /// Usual latency of an answer, in milliseconds.
    latency_ms: f64,
    /// Chance that an outage falls into an epoch.
    outage: f64,
}

impl Quality {
    /// What the attacker's machine is worth where it mines: like the population's mean.
    const FAIR: Self = Self { latency_ms: 3_000.0, outage: 0.35 };
    /// The miners that a cabal lifts.
    const POOR: Self = Self { latency_ms: 6_000.0, outage: 0.7 };

    /// Any of the population.
    fn drawn(draw: Draw, number: u64) -> Self {
        let mut stream = draw.stream("quality", [number, 0, 0]);
        Self { latency_ms: 1_000.0 + 5_000.0 * unit(&mut stream), outage: 0.2 + 0.3 * unit(&mut stream) }
    }
}

/// How a miner fares in one epoch; the same for whoever asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// Start and end of the outage, as shares of the epoch.
    out: (f64, f64),
    latency_ms: f64,
}

impl Weather {
    pub(super) fn of(draw: Draw, miner: &Miner, epoch: u64) -> Self {
        let mut stream = draw.stream("weather", [miner.number, epoch, 0]);
        let load = (1.0 + 0.35 * bell(&mut stream)).clamp(0.3, 4.0);
        let (falls, length, start) = (unit(&mut stream), 0.3 + 0.7 * unit(&mut stream), unit(&mut stream));
        let from = (1.0 - length) * start;
        let out = if falls < miner.quality.outage { (from, from + length) } else { (0.0, 0.0) };
        Self { out, latency_ms: miner.quality.latency_ms * load }
    }

    /// Latency of an answer to a task that is sent at this share of the epoch; `None` in an outage.
    pub(super) fn latency_ms(&self, at: f64, noise: f64) -> Option<u64> {
        if (self.out.0..self.out.1).contains(&at) {
            return None;
        }
        Some((self.latency_ms * (1.0 + 0.1 * noise).max(0.5)) as u64)
    }
}

/// A miner of the simulation.
#[derive(Clone, Debug)]
pub(super) struct Miner {
    pub(super) operator: Keypair,
    pub(super) owner: Keypair,
    /// Its own among all miners; draws its weather.
    pub(super) number: u64,
    pub(super) quality: Quality,
    /// The attacker's.
    pub(super) ours: bool,
}

/// A validator of the simulation.
#[derive(Clone, Debug)]
pub(super) struct Validator {
    pub(super) operator: Keypair,
    pub(super) owner: Keypair,
    /// Its own among all validators.
    pub(super) number: u64,
    /// The attacker's.
    pub(super) ours: bool,
    pub(super) stake: Amount,
}

/// Everybody.
pub(super) struct Cast {
    pub(super) attacker: Keypair,
    /// The honest first.
    pub(super) validators: Vec<Validator>,
    /// The honest first.
    pub(super) miners: Vec<Miner>,
}

pub(super) fn key(draw: Draw, what: &str, number: u64) -> Keypair {
    Keypair::from_secret(draw.secret(what, [number, 0, 0]))
}

impl Cast {
    pub(super) fn new(setting: &Setting, draw: Draw) -> Self {
        let attacker = key(draw, "attacker", 0);
        let stakes = setting.stakes();
        let honest = (0u64..).zip(HONEST_STAKES).map(|(number, parts)| Validator {
            operator: key(draw, "validator", number),
            owner: key(draw, "validator owner", number),
            number,
            ours: false,
            stake: Amount(stakes.honest.0 / HONEST_STAKES.iter().sum::<u64>() * parts),
        });
        let ours = (0..setting.validators as u64).map(|number| Validator {
            operator: key(draw, "attacking validator", number),
            owner: attacker.clone(),
            number: 1_000 + number,
            ours: true,
            stake: Amount(stakes.attacker.0 / setting.validators.max(1) as u64),
        });
        let validators = honest.chain(ours).collect();
        let honest = (0..HONEST_MINERS as u64).map(|number| Miner {
            operator: key(draw, "miner", number),
            owner: key(draw, "miner owner", number),
            number,
            quality: Quality::drawn(draw, number),
            ours: false,
        });
        let ours = (0..setting.miners as u64).map(|number| Miner {
            operator: key(draw, "attacking miner", number),
            owner: attacker.clone(),
            number: 1_000 + number,
            quality: if setting.poor_miners { Quality::POOR } else { Quality::FAIR },
            ours: true,
        });
        let miners = honest.chain(ours).collect();
        Self { attacker, validators, miners }
    }

    /// The chain they live on.
    pub(super) fn spec(&self, setting: &Setting, model: &Model) -> ChainSpec {
        let owners = self.validators.iter().map(|v| &v.owner).chain(self.miners.iter().map(|m| &m.owner));
        let mut accounts: Vec<AccountId> = owners.chain([&self.attacker]).map(Keypair::account).collect();
        accounts.sort();
        accounts.dedup();
        let params = params(setting);
        // Places may cost more than anyone has for fees.
        let place = params.miner_bond + params.registration_fee;
        let balance = Amount(FREE.0 + place * (setting.miners as u64 + 1));
        let validator = |v: &Validator| GenesisValidator {
            operator: v.operator.account(),
            owner: v.owner.account(),
            stake: v.stake,
            take: 0,
        };
        ChainSpec {
            chain_id: format!("simulation-{}", setting.seed),
            genesis_time_ms: 1_700_000_000_000,
            params,
            accounts: accounts.into_iter().map(|account| GenesisAccount { account, balance }).collect(),
            validators: self.validators.iter().filter(|v| v.stake > Amount::ZERO).map(validator).collect(),
            subnets: vec![GenesisSubnet {
                id: SUBNET,
                name: "simulation".into(),
                models: vec![GenesisModel {
                    name: "tiny".into(),
                    id: model.id(),
                    bytes: Blob(model.to_bytes()),
                    groth16: None,
                }],
            }],
        }
    }
}

/// Chance of a random challenge by a validator in an epoch, in basis points. Who gives no proof is challenged by all anyway.
const CHALLENGE_RATE: u64 = 500;

/// Epochs of four blocks, and prices of the setting. Tasks and the latency curve are a public network's, all else a
/// development network's.
pub(super) fn params(setting: &Setting) -> Params {
    let dev = Params::dev();
    let (bond, price) = match setting.economy {
        Economy::Usual => (dev.miner_bond, dev.registration_fee),
        Economy::Priced if setting.is_without(Defence::BurnPrice) => (1, 0),
        Economy::Priced => (dev.miner_bond, clearing_price(setting.epochs, dev.epoch_emission)),
    };
    Params {
        tempo: 4,
        challenge_window: 3,
        max_validators: 64,
        min_validator_stake: LEAST,
        miner_bond: bond,
        registration_fee: price,
        audit_samples: if setting.is_without(Defence::Audit) { 0 } else { dev.audit_samples },
        // At the price that free entry leads to demand is in the price; else it rises as on a development network.
        registration_rise: if setting.economy == Economy::Priced { 10_000 } else { dev.registration_rise },
        challenge_rate: if setting.challenges { CHALLENGE_RATE } else { 0 },
        latency_full_ms: 2_000,
        latency_zero_ms: 20_000,
        tasks_per_epoch: 8,
        gov_voting_blocks: 4,
        gov_timelock_blocks: 2,
        ..dev
    }
}

/// The price at which one more miner like the others breaks even over the run: it earns its part of the miners' half and
/// pays for its work. Demand drives a burn price there: below it one more key pays, above it none does.
fn clearing_price(epochs: u64, emission: u64) -> u64 {
    let each = emission as f64 / 2.0 / (HONEST_MINERS as f64 + 1.0);
    (each * epochs as f64 * (1.0 - super::MINING_WORK)) as u64
}
