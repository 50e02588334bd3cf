//! `assay check`: whether this machine and home are ready, one line for each thing, with what to do where not.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use assay_chain_spec::GenesisModel;
use assay_circuits::{Binding, answer, model::Model};
use assay_ledger::query;
use assay_primitives::{AccountId, Hash32, ModelId, task, text::TextModel};
use clap::Args;
use serde_json::json;

use super::global::{Global, date, rpc_url, table};
use crate::{
    chain::{self, APP_VERSION},
    home::{BusyPort, Config, Home, HomeError, Role},
    judges,
    rpc::{RpcClient, Status},
    store::{OpenError, Store},
};

/// Free space under which a node should not start, in bytes.
const LEAST_FREE: u64 = 1 << 30;

/// How far ahead a chain's start may lie for a home to be ready, in milliseconds: a day.
const FAR_MS: u128 = 86_400_000;

#[derive(Args, Debug)]
pub(super) struct Preflight {
    /// Skip the prover's test, which takes some seconds.
    #[arg(long)]
    no_prover: bool,
}

struct Line {
    name: &'static str,
    /// What was found, or what is wrong and what to do.
    found: Result<String, String>,
}

pub(super) async fn run(global: &Global, command: &Preflight) -> eyre::Result<bool> {
    let dir = global.home_dir()?;
    let mut lines = vec![Line { name: "clock", found: clock() }];
    let opened = Home::open(&dir);
    let home_line = match &opened {
        Ok(home) => {
            Ok(format!("{} {} of {} ({})", home.config.role, home.config.moniker, home.spec.chain_id, home.genesis))
        }
        Err(error) => Err(error.to_string()),
    };
    lines.push(Line { name: "home, keys, chain spec", found: home_line });
    lines.push(Line { name: "disk", found: disk(&dir) });
    match opened {
        Ok(home) => {
            lines.push(Line { name: "owner key", found: owner(&home) });
            lines.push(Line { name: "genesis time", found: genesis_time(&home) });
            let status = running(&home).await;
            lines.push(Line { name: "ports", found: ports(&home, status.is_some()) });
            let (store, rules) = store(&home, status.as_ref());
            lines.push(Line { name: "store", found: store });
            lines.extend(rules.map(|found| Line { name: "rules", found }));
            let (model, prover) = models(&home, command.no_prover, global);
            lines.push(Line { name: "models", found: model });
            lines.extend(judges(&home).map(|found| Line { name: "judges", found }));
            lines.extend(prover.map(|found| Line { name: "prover", found }));
        }
        Err(_) => global.hint("ports, models and prover are checked once the home opens"),
    }
    let ready = lines.iter().all(|line| line.found.is_ok());
    let value = json!({
        "ready": ready,
        "checks": lines.iter().map(|line| match &line.found {
            Ok(detail) => json!({ "name": line.name, "ok": true, "detail": detail }),
            Err(detail) => json!({ "name": line.name, "ok": false, "detail": detail }),
        }).collect::<Vec<_>>(),
    });
    global.show(&value, || {
        let rows = lines.iter().map(|line| match &line.found {
            Ok(detail) => [line.name.to_owned(), "ok".to_owned(), detail.clone()],
            Err(detail) => [line.name.to_owned(), "FAILED".to_owned(), detail.clone()],
        });
        let verdict = if ready { "ready" } else { "not ready: mend what failed and check again" };
        format!("{}\n{verdict}", table(["check", "", "found"], rows))
    });
    Ok(ready)
}

/// A clock far from true time makes a validator propose blocks that others refuse.
fn clock() -> Result<String, String> {
    let wrong = |found: &str| format!("the clock says {found}; set it, for example with `timedatectl set-ntp true`");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| wrong("a time before 1970"))?.as_millis();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    // This program cannot be older than itself: 2025-01-01 and 2100-01-01.
    if !(1_735_689_600_000..4_102_444_800_000).contains(&now) {
        return Err(wrong(&format!("{} ({now} ms since 1970)", date(now))));
    }
    let synced = Path::new("/run/systemd/timesync/synchronized").exists();
    Ok(format!(
        "{} ({now} ms since 1970){}",
        date(now),
        if synced { ", synchronised" } else { "; whether a time server keeps it is not known" }
    ))
}

fn disk(dir: &Path) -> Result<String, String> {
    // The nearest folder that exists says which disk it will be.
    let here = dir.ancestors().find(|d| d.is_dir()).unwrap_or(Path::new("."));
    let probe = here.join(format!(".assay-check-{}", std::process::id()));
    let written = fs::write(&probe, b"assay").and_then(|()| fs::remove_file(&probe));
    written.map_err(|e| format!("cannot write in {} ({e}); free it or choose another --home", here.display()))?;
    let free =
        fs4::available_space(here).map_err(|e| format!("cannot ask for free space in {}: {e}", here.display()))?;
    if free < LEAST_FREE {
        return Err(format!(
            "{} MiB free in {}, at least {} MiB are needed",
            free >> 20,
            here.display(),
            LEAST_FREE >> 20
        ));
    }
    Ok(format!("writable, {} MiB free", free >> 20))
}

fn owner(home: &Home) -> Result<String, String> {
    match home.owner() {
        Ok(key) => Ok(key.account().to_string()),
        Err(HomeError::Key(crate::keyfile::KeyFileError::Missing { .. })) => Ok("kept elsewhere".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Until a chain's genesis time its validators wait.
fn genesis_time(home: &Home) -> Result<String, String> {
    let starts = home.spec.genesis_time_ms;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    if u128::from(starts) > now + FAR_MS {
        return Err(format!("the chain spec has it start at {}; set genesis_time_ms in a new one", date(starts)));
    }
    Ok(date(starts))
}

fn ports(home: &Home, running: bool) -> Result<String, String> {
    match free_ports(home) {
        Err(_) if running => Ok("a node with this home's key is running".into()),
        found => found,
    }
}

/// Opens the store as a node does, if there is one and no node has it; and whether this program knows the rules that the chain
/// goes by from there.
fn store(home: &Home, running: Option<&Status>) -> (Found, Option<Found>) {
    let path = home.store_dir();
    let opened = path.exists().then(|| Store::open(&path, &home.spec));
    match (opened, running) {
        (Some(Err(OpenError::InUse { .. })), Some(status)) => {
            let ahead = status.upgrade.as_ref().map(|upgrade| Ok(upgrade.detail.clone()));
            let rules = ahead.unwrap_or_else(|| Ok(format!("version {}, no upgrade ahead", status.app_version)));
            (Ok("in use by this home's node".into()), Some(rules))
        }
        (Some(Err(error)), _) => (Err(error.to_string()), None),
        (_, Some(_)) => {
            let elsewhere = "the node that answers on this home's ports keeps its store elsewhere: another home has the \
                             same key. Run one of them only: who signs twice is slashed";
            (Err(elsewhere.into()), None)
        }
        (Some(Ok(store)), None) => match store.tip() {
            Ok(tip) => (Ok(format!("height {}", tip.height)), Some(rules(&store, tip.height))),
            Err(e) => (Err(e.to_string()), None),
        },
        (None, None) => (Ok("none yet".into()), None),
    }
}

/// Whether this program knows the rules of the block after the tip, and of an upgrade ahead.
fn rules(store: &Store, tip: u64) -> Found {
    let version = query::app_version(&store.snapshot()).map_err(|e| e.to_string())?;
    chain::knows_rules(&version, tip, APP_VERSION)?;
    let ahead = chain::upgrade_ahead(&version, tip, APP_VERSION);
    Ok(ahead.unwrap_or_else(|| format!("version {}, no upgrade ahead", version.at(tip.saturating_add(1)))))
}

/// The status of the node that answers on the home's RPC port, if it is the home's own.
async fn running(home: &Home) -> Option<Status> {
    let client = RpcClient::new(&rpc_url(&home.config)).ok()?;
    let status = tokio::time::timeout(Duration::from_secs(5), client.status()).await.ok()?.ok()?;
    (status.account == home.operator.account() && status.genesis_hash == home.genesis).then_some(status)
}

fn free_ports(home: &Home) -> Result<String, String> {
    let Config { listen, rpc_listen, ports, .. } = &home.config;
    let busy = |e: BusyPort| format!("{e}; stop what uses it or change ports.{} in config.toml", e.name);
    ports.check_free(*listen, *rpc_listen).map_err(busy)?;
    Ok(ports.named().map(|(name, port)| format!("{name} {port}")).join(", "))
}

type Found = Result<String, String>;

fn other_bytes(model: &GenesisModel, found: ModelId) -> String {
    let GenesisModel { name, id, .. } = model;
    format!("model {name}: the chain spec names {id}, its bytes are {found}; get the right spec")
}

/// Loads what a validator judges texts by.
fn judges(home: &Home) -> Option<Found> {
    let settings = &home.config.validator;
    if home.config.role != Role::Validator {
        return None;
    }
    let found = judges::load(settings, &home.dir).map_err(|e| e.to_string()).map(|_| {
        let named = [
            ("embedder", &settings.embedder),
            ("language_model", &settings.language_model),
            ("reward_model", &settings.reward_model),
        ];
        let of = |there: bool| {
            let some: Vec<&str> =
                named.iter().filter(|(_, path)| path.is_some() == there).map(|(name, _)| *name).collect();
            if some.is_empty() { "none".to_owned() } else { some.join(", ") }
        };
        format!("{}; without: {} (`[validator]` in config.toml)", of(true), of(false))
    });
    Some(found)
}

/// Reads the genesis models, then proves and verifies one run of the first.
fn models(home: &Home, skip_prover: bool, global: &Global) -> (Found, Option<Found>) {
    let mut first = None;
    let mut names = Vec::new();
    for model in home.spec.subnets.iter().flat_map(|subnet| &subnet.models) {
        if TextModel::is_magic(&model.bytes.0) {
            match TextModel::from_bytes(&model.bytes.0) {
                Ok(text) if text.id() == model.id && home.texts().has(&model.id) => {
                    names.push(format!("{} (its files are here)", model.name));
                }
                Ok(text) if text.id() == model.id => {
                    names.push(format!("{} (to serve it, `assay model keep` its files)", model.name));
                }
                Ok(text) => return (Err(other_bytes(model, text.id())), None),
                Err(e) => return (Err(format!("model {}: {e}", model.name)), None),
            }
            continue;
        }
        match Model::from_bytes(&model.bytes.0) {
            Ok(compiled) if compiled.id() == model.id => {
                names.push(model.name.clone());
                first.get_or_insert(compiled);
            }
            Ok(compiled) => return (Err(other_bytes(model, compiled.id())), None),
            Err(e) => return (Err(format!("model {}: {e}", model.name)), None),
        }
    }
    let found = Ok(if names.is_empty() { "none at genesis".into() } else { names.join(", ") });
    let needed = matches!(home.config.role, Role::Miner | Role::Validator | Role::Gateway) && !skip_prover;
    let prover = first.filter(|_| needed).map(|model| {
        let bar = global.progress("proving one run");
        let found = prove(&model);
        bar.finish_and_clear();
        found
    });
    (found, prover)
}

fn prove(model: &Model) -> Result<String, String> {
    let start = std::time::Instant::now();
    let input = vec![1i16; model.input_len()];
    let output = model.run_flat(&input).map_err(|e| e.to_string())?;
    let binding = Binding {
        genesis: Hash32::ZERO,
        model: model.id(),
        request: Hash32::ZERO,
        miner: AccountId([0; 32]),
        epoch: 0,
        input: task::input_hash(&input),
        output: task::output_hash(&output),
    };
    let proof = answer::prove(model, &binding, &input, &output).map_err(|e| e.to_string())?;
    let proved = start.elapsed();
    answer::verify(&model.outline(), &binding, &input, &output, &proof).map_err(|e| e.to_string())?;
    Ok(format!("keys and one proof in {} ms, verified", proved.as_millis()))
}
