//! The file of a scenario, as upstream's known answers are written.
//!
//! ```text
//! {"params": {...}, "steps": [{"block", "mutate", "set_weights", "set_weights_at"}, ...]}     each step is an epoch
//! {"params": {..., "validators", "miners"}, "weights_by_epoch": {"0": [row, ...], ...}}       an epoch each block
//! ```
//!
//! In the second form an epoch at block 0, which is not told of, grants permits; epoch `t` runs at block `t + 1`, and
//! weights stand until they are set again. What describes a scenario is skipped; a field of `params` or of a step that
//! is not known is an error, and so is any other that is more than a word or a number.

use std::collections::{BTreeMap, BTreeSet};

use assay_consensus::rewards::{
    Bonding, Layer, LiquidAlpha, Params,
    replay::{Setup, Subnet},
};
use eyre::{WrapErr as _, bail, ensure, eyre};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::{Map, Value};

use super::Epoch;

/// More uids than this are for `make bench-mechanism`.
const MAX_UIDS: usize = 4_096;
/// The most epochs of a scenario.
const MAX_EPOCHS: usize = 10_000;
/// The most bonds that all epochs write together.
const MAX_BONDS: usize = 1 << 26;
/// How many epochs upstream's runs have that are given by `weights_by_epoch`.
const USUAL_EPOCHS: usize = 41;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    params: Parameters,
    steps: Option<Vec<Step>>,
    /// Rows by validator, weights by miner.
    weights_by_epoch: Option<BTreeMap<usize, Vec<Vec<u16>>>>,
    /// How many epochs there are with `weights_by_epoch`.
    epochs: Option<usize>,
    bonds_reset: Option<BondsReset>,
}

/// Upstream's names, with its defaults.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    n: Option<usize>,
    stake: Vec<u64>,
    #[serde(default = "defaults::kappa")]
    kappa_u16: u16,
    #[serde(default = "defaults::bonds_moving_average")]
    bonds_moving_average: u32,
    #[serde(default = "defaults::bonds_penalty")]
    bonds_penalty_u16: u16,
    #[serde(default)]
    yuma3: bool,
    #[serde(default)]
    liquid_alpha: bool,
    #[serde(default = "defaults::alpha_low")]
    alpha_low: f64,
    #[serde(default = "defaults::alpha_high")]
    alpha_high: f64,
    #[serde(default = "defaults::steepness")]
    alpha_sigmoid_steepness_param: u16,
    #[serde(default = "defaults::max_validators")]
    max_validators: u16,
    #[serde(default = "defaults::tempo")]
    tempo: u64,
    #[serde(default = "defaults::activity_cutoff")]
    activity_cutoff: u64,
    #[serde(default = "defaults::emission")]
    emission: u64,
    block_at_registration: Option<Vec<u64>>,
    validators: Option<Vec<u16>>,
    miners: Option<Vec<u16>>,
    /// In millionths; ours, not upstream's.
    #[serde(default = "defaults::miner_share")]
    miner_share: u32,
    /// Ours, not upstream's.
    #[serde(default)]
    layer: Layer,
}

/// What upstream has where a scenario says nothing.
mod defaults {
    use assay_consensus::rewards::Params;

    pub(super) fn kappa() -> u16 {
        Params::default().kappa
    }
    pub(super) fn bonds_moving_average() -> u32 {
        Params::default().bonds_moving_average
    }
    pub(super) fn bonds_penalty() -> u16 {
        Params::default().bonds_penalty
    }
    pub(super) fn miner_share() -> u32 {
        Params::default().miner_share
    }
    pub(super) fn alpha_low() -> f64 {
        0.7
    }
    pub(super) fn alpha_high() -> f64 {
        0.9
    }
    pub(super) fn steepness() -> u16 {
        1_000
    }
    pub(super) fn max_validators() -> u16 {
        128
    }
    pub(super) fn tempo() -> u64 {
        360
    }
    pub(super) fn activity_cutoff() -> u64 {
        5_000
    }
    pub(super) fn emission() -> u64 {
        1_000_000_000
    }
}

/// A row of weights: `[uid, weight]`.
type Weights = Vec<(u16, u16)>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    block: u64,
    /// What changes before weights are set, by name and uid: `stake_3`.
    #[serde(default)]
    mutate: Map<String, Value>,
    /// Set at the step's block.
    #[serde(default)]
    set_weights: BTreeMap<String, Weights>,
    /// Set at a block of their own.
    #[serde(default)]
    set_weights_at: BTreeMap<String, WeightsAt>,
    #[serde(default, rename = "expect")]
    _expect: IgnoredAny,
    #[serde(default, rename = "note")]
    _note: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightsAt {
    block: u64,
    weights: Weights,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BondsReset {
    before_epoch: usize,
    clear_all_bonds_to_uid: u16,
}

/// Whether a field beside the known ones says what a scenario is, and nothing that it does.
fn describes(name: &str, value: &Value) -> bool {
    const KNOWN: [&str; 5] = ["params", "steps", "weights_by_epoch", "epochs", "bonds_reset"];
    let told = ["expect", "verified", "tolerance"].iter().any(|prefix| name.starts_with(prefix));
    told || !KNOWN.contains(&name) && !value.is_object() && !value.is_array()
}

impl Scenario {
    /// Reads a scenario; an error names the field.
    pub(super) fn read(bytes: &[u8]) -> eyre::Result<Self> {
        let mut value: Value = serde_json::from_slice(bytes)?;
        if let Value::Object(fields) = &mut value {
            fields.retain(|name, value| !describes(name, value));
        }
        // The path says which field, the cause what is wrong with it.
        serde_path_to_error::deserialize(value).map_err(|error| eyre!("{}: {}", error.path(), error.inner()))
    }

    /// Runs every epoch.
    pub(super) fn run(self) -> eyre::Result<Vec<Epoch>> {
        let Self { params, steps, weights_by_epoch, epochs, bonds_reset } = self;
        let mut subnet = params.subnet()?;
        match (steps, weights_by_epoch) {
            (Some(steps), None) => {
                ensure!(epochs.is_none(), "epochs: goes with weights_by_epoch; each of steps is an epoch");
                ensure!(
                    bonds_reset.is_none(),
                    "bonds_reset: goes with weights_by_epoch; use clear_all_bonds_to_uid in mutate"
                );
                run_steps(&mut subnet, &steps)
            }
            (None, Some(weights)) => run_epochs(&mut subnet, &params, &weights, epochs, bonds_reset.as_ref()),
            _ => bail!("expected `steps` or `weights_by_epoch`, one of the two"),
        }
    }
}

impl Parameters {
    fn subnet(&self) -> eyre::Result<Subnet> {
        let uids = self.stake.len();
        ensure!(uids <= MAX_UIDS, "params.stake: has {uids} uids, at most {MAX_UIDS} are run");
        ensure!(self.n.is_none_or(|n| n == uids), "params.n: differs from the {uids} entries of params.stake");
        let registered = self.block_at_registration.clone().unwrap_or_else(|| vec![0; uids]);
        ensure!(registered.len() == uids, "params.block_at_registration: expected {uids} entries, as in params.stake");
        for (name, listed) in [("validators", &self.validators), ("miners", &self.miners)] {
            let mut seen = BTreeSet::new();
            for uid in listed.iter().flatten() {
                ensure!(usize::from(*uid) < uids, "params.{name}: names uid {uid}, there are {uids}");
                ensure!(seen.insert(*uid), "params.{name}: names uid {uid} twice");
            }
        }
        let liquid = LiquidAlpha {
            low: proportion("alpha_low", self.alpha_low)?,
            high: proportion("alpha_high", self.alpha_high)?,
            steepness: self.alpha_sigmoid_steepness_param,
        };
        let bonding = if self.yuma3 {
            Bonding::Yuma3 { liquid_alpha: self.liquid_alpha.then_some(liquid) }
        } else {
            ensure!(!self.liquid_alpha, "params.liquid_alpha: goes with yuma3");
            Bonding::Classic
        };
        Ok(Subnet::new(Setup {
            params: Params {
                kappa: self.kappa_u16,
                bonds_moving_average: self.bonds_moving_average,
                bonds_penalty: self.bonds_penalty_u16,
                bonding,
                miner_share: self.miner_share,
                layer: self.layer,
            },
            stake: self.stake.clone(),
            registered,
            emission: self.emission,
            tempo: self.tempo,
            activity_cutoff: self.activity_cutoff,
            max_validators: self.max_validators,
        }))
    }
}

/// In 65535ths, rounded down as upstream does.
fn proportion(name: &str, x: f64) -> eyre::Result<u16> {
    ensure!((0.0..=1.0).contains(&x), "params.{name}: expected 0 to 1, found {x}");
    Ok((x * f64::from(u16::MAX)) as u16)
}

fn check_size(subnet: &Subnet, epochs: usize) -> eyre::Result<()> {
    ensure!(epochs <= MAX_EPOCHS, "{epochs} epochs, at most {MAX_EPOCHS} are run");
    let bonds = subnet.uids() * subnet.uids() * epochs;
    ensure!(bonds <= MAX_BONDS, "{epochs} epochs of {} uids have {bonds} bonds, at most {MAX_BONDS}", subnet.uids());
    Ok(())
}

fn run_steps(subnet: &mut Subnet, steps: &[Step]) -> eyre::Result<Vec<Epoch>> {
    check_size(subnet, steps.len()).wrap_err("steps")?;
    let mut last = 0;
    let mut settled = Vec::with_capacity(steps.len());
    for (k, step) in steps.iter().enumerate() {
        ensure!(step.block >= last, "steps[{k}].block: {} is before {last}, the step's before it", step.block);
        last = step.block;
        mutate(subnet, &step.mutate).wrap_err_with(|| format!("steps[{k}].mutate"))?;
        for (uid, row) in &step.set_weights {
            set(subnet, named(uid), step.block, row).wrap_err_with(|| format!("steps[{k}].set_weights.{uid}"))?;
        }
        for (uid, WeightsAt { block, weights }) in &step.set_weights_at {
            let place = || format!("steps[{k}].set_weights_at.{uid}");
            set(subnet, named(uid), *block, weights).wrap_err_with(place)?;
        }
        settled.push(settle(subnet, step.block).wrap_err_with(|| format!("steps[{k}]"))?);
    }
    Ok(settled)
}

fn run_epochs(
    subnet: &mut Subnet,
    params: &Parameters,
    weights: &BTreeMap<usize, Vec<Vec<u16>>>,
    epochs: Option<usize>,
    reset: Option<&BondsReset>,
) -> eyre::Result<Vec<Epoch>> {
    let listed = |list: &Option<Vec<u16>>, name: &str| {
        list.clone().ok_or_else(|| eyre!("params.{name}: missing; weights_by_epoch needs it to name its uids"))
    };
    let (validators, miners) = (listed(&params.validators, "validators")?, listed(&params.miners, "miners")?);
    let last = weights.keys().next_back().copied().max(reset.map(|reset| reset.before_epoch));
    let epochs = epochs.unwrap_or_else(|| last.map_or(0, |last| last.saturating_add(1)).max(USUAL_EPOCHS));
    check_size(subnet, epochs).wrap_err("epochs")?;
    ensure!(last.is_none_or(|last| last < epochs), "epochs: {epochs} end before the last one that is named");
    settle(subnet, 0)?;
    let mut settled = Vec::with_capacity(epochs);
    for (t, block) in (1..).enumerate().take(epochs) {
        if let Some(rows) = weights.get(&t) {
            ensure!(
                rows.len() == validators.len(),
                "weights_by_epoch.{t}: expected a row for each of params.validators"
            );
            for (validator, row) in validators.iter().zip(rows) {
                let place = || format!("weights_by_epoch.{t}, row of uid {validator}");
                ensure!(row.len() == miners.len(), "{}: expected a weight for each of params.miners", place());
                let row: Weights = miners.iter().copied().zip(row.iter().copied()).collect();
                set(subnet, Some(*validator), block, &row).wrap_err_with(place)?;
            }
        }
        if let Some(reset) = reset.filter(|reset| reset.before_epoch == t) {
            let uid = known(subnet, reset.clear_all_bonds_to_uid).wrap_err("bonds_reset.clear_all_bonds_to_uid")?;
            subnet.clear_bonds_to(uid);
        }
        settled.push(settle(subnet, block).wrap_err_with(|| format!("epoch {t}"))?);
    }
    Ok(settled)
}

fn settle(subnet: &mut Subnet, block: u64) -> eyre::Result<Epoch> {
    let output = subnet.run(block)?;
    let uids = u16::try_from(subnet.uids()).unwrap_or(u16::MAX); // fits: see MAX_UIDS
    Ok(Epoch { block, weights: (0..uids).map(|uid| subnet.weights(uid)).collect(), output })
}

fn known(subnet: &Subnet, uid: u16) -> eyre::Result<u16> {
    ensure!(usize::from(uid) < subnet.uids(), "names uid {uid}, there are {}", subnet.uids());
    Ok(uid)
}

/// The uid that is the name of a field.
fn named(name: &str) -> Option<u16> {
    name.parse().ok().filter(|uid: &u16| uid.to_string() == name)
}

fn set(subnet: &mut Subnet, uid: Option<u16>, block: u64, row: &Weights) -> eyre::Result<()> {
    let uid = known(subnet, uid.ok_or_else(|| eyre!("its name is no uid"))?)?;
    let mut row = row.clone();
    row.sort_unstable();
    for (j, _) in &row {
        known(subnet, *j)?;
    }
    if let Some(pair) = row.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        bail!("weighs uid {} twice", pair[0].0);
    }
    subnet.set_weights(uid, block, &row);
    Ok(())
}

/// Applies what changes between epochs: each name ends in the uid it is about, but two that have it as their value.
fn mutate(subnet: &mut Subnet, changes: &Map<String, Value>) -> eyre::Result<()> {
    for (name, value) in changes {
        let number = || value.as_u64().ok_or_else(|| eyre!("{name}: expected a number of at least 0, found {value}"));
        let uid_in = || u16::try_from(number()?).map_err(|_| eyre!("{name}: names uid {value}"));
        match name.as_str() {
            // Says in words what the change of its block, stake and permit are; without the first it would do nothing.
            "reregister_uid" => {
                let registered =
                    format!("block_at_registration_{}", known(subnet, uid_in()?).wrap_err("reregister_uid")?);
                ensure!(changes.contains_key(&registered), "reregister_uid: expected {registered} beside it");
                continue;
            }
            "clear_all_bonds_to_uid" => {
                let uid = known(subnet, uid_in()?).wrap_err("clear_all_bonds_to_uid")?;
                subnet.clear_bonds_to(uid);
                continue;
            }
            _ => {}
        }
        let unknown = || {
            eyre!(
                "unknown field `{name}`, expected reregister_uid, clear_all_bonds_to_uid, or block_at_registration_N, stake_N, validator_permit_N with a uid for N"
            )
        };
        let (what, uid) = name.rsplit_once('_').ok_or_else(unknown)?;
        let uid = named(uid).ok_or_else(unknown)?;
        let known = || known(subnet, uid).wrap_err_with(|| name.clone());
        match what {
            "block_at_registration" => subnet.set_registered(known()?, number()?),
            "stake" => subnet.set_stake(known()?, number()?),
            "validator_permit" => {
                let permit = value.as_bool().ok_or_else(|| eyre!("{name}: expected true or false, found {value}"))?;
                subnet.set_permit(known()?, permit);
            }
            _ => return Err(unknown()),
        }
    }
    Ok(())
}
