#![allow(clippy::unwrap_used)]

use clap::{CommandFactory as _, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_holds_together() {
    Cli::command().debug_assert();
}

#[test]
fn global_flags_are_accepted_before_and_after_the_verb() {
    for line in [
        "assay --home h --node http://x:1 --json --quiet status",
        "assay status --home h --node http://x:1 --json --quiet",
        "assay --home h gov --node http://x:1 show 1 --json --quiet",
        "assay wallet list --home h --node http://x:1 --json --quiet",
    ] {
        let global = parse(line).unwrap().global;
        assert_eq!(global.home.unwrap().to_str(), Some("h"), "{line}");
        assert_eq!(global.node.as_deref(), Some("http://x:1"), "{line}");
        assert!(global.json && global.quiet, "{line}");
    }
}

#[test]
fn the_documented_commands_are_taken() {
    let account = assay_primitives::AccountId([1; 32]).to_string();
    let hash = "0".repeat(64);
    for line in [
        "assay devnet --epochs 3 --json",
        "assay devnet --adversaries lazy,tamper,copy --base-port 30000 --home d",
        "assay devnet --adversaries=",
        "assay init --role validator --home v1 --chain-spec s.json --keys k --base-port 1 --peer 127.0.0.1:27000",
        "assay check --home v1",
        "assay miner run --home m1",
        "assay miner register --home m1 --node http://x:1 --yes",
        "assay miner register --most 2.5 --home m1",
        "assay miner retire --dry-run",
        "assay validator unjail --home v1",
        "assay validator unjail --validator ACCOUNT --wallet o.json",
        "assay validator register --stake 1000",
        "assay gateway run",
        "assay node run",
        "assay wallet create",
        "assay wallet import x --file f",
        "assay wallet transfer ACCOUNT 12.5 --wallet f.json --fee 0.001",
        "assay wallet sign hello",
        "assay stake add --validator ACCOUNT --amount 5",
        "assay stake move --from ACCOUNT --to ACCOUNT --amount 5",
        "assay stake list ACCOUNT",
        "assay subnet metagraph",
        "assay subnet params",
        "assay gov propose choice --title t",
        "assay gov propose parameter tempo --title t --text why --urgent",
        "assay gov propose text --title t",
        "assay gov propose model promote digits --title t",
        "assay gov propose model retire HASH --title t --urgent",
        "assay gov propose treasury ACCOUNT 12.5 --title t",
        "assay gov propose upgrade 2 500 --title t",
        "assay gov delegate ACCOUNT --wallet a",
        "assay gov delegate --none",
        "assay gov list",
        "assay gov show 1 --json",
        "assay query proof --vote 1:ACCOUNT --chain-spec s.json",
        "assay query proof --proposal 1",
        "assay gov vote 1 yes",
        "assay gov vote 1 30 --wallet a",
        "assay model add m f.onnx --calibration c.json",
        "assay infer --batch b.jsonl --out o.jsonl --workers 4 --node http://x:1",
        "assay infer --model digits --input f --receipt r.json --node http://x:1",
        "assay simulate --attack relay --stake 0.33 --keys 5 --epochs 100 --seed 7 --seeds 4 --without proof-binding",
        "assay simulate --all --quick --json",
        "assay verify r.json --genesis HASH",
        "assay explain ACCOUNT --epoch 3",
        "assay zk compile m.onnx --calibration c.json --out m --systems sumcheck,halo2 --secret",
        "assay zk prove m --input i.json --out p --system sumcheck-hiding",
        "assay zk bench m --input i.json --system sumcheck-hiding --runs 3",
        "assay consensus aggregate --method seed_weighted_median --input -",
        "assay consensus aggregate --input scores.json --json",
        "assay chain-spec new --preset dev --chain-id demo --validators 4 --out spec.json",
        "assay chain-spec new --chain-id demo --validator v1 --validator v2 --fund ACCOUNT=5 --model digits --out s",
        "assay query block",
        "assay query tx HASH",
        "assay query proof --miner ACCOUNT --chain-spec s.json",
        "assay status",
    ] {
        let line = line.replace("ACCOUNT", &account).replace("HASH", &hash);
        if let Err(error) = parse(&line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn wrong_usage_is_refused_by_the_parser_with_status_two() {
    let account = assay_primitives::AccountId([1; 32]).to_string();
    for line in [
        "assay",
        "assay dance",
        "assay stake move",
        "assay stake move --from ACCOUNT --amount 5",
        "assay zk bench",
        "assay subnet create",
        "assay consensus aggregate",
        "assay consensus aggregate --method mean --input x",
        "assay devnet --epochs 0",
        "assay devnet --adversaries lazy,lazy",
        "assay devnet --adversaries kind",
        "assay init --role king --home x",
        "assay init --role miner --home x --peer nowhere",
        "assay wallet transfer asy1x 5",
        "assay gov vote 1 maybe",
        "assay gov vote 1 -1",
        "assay gov delegate",
        "assay gov delegate ACCOUNT --none",
        "assay gov propose text",
        "assay gov propose model drop digits --title t",
        "assay gov propose treasury nobody 5 --title t",
        "assay gov propose upgrade two 500 --title t",
        "assay query proof --vote 1",
        "assay query proof --vote x:ACCOUNT",
        "assay query proof --vote 1:ACCOUNT --proposal 1",
        "assay verify r.json",
        "assay verify r.json --genesis 12",
        "assay query proof",
        "assay chain-spec new --chain-id demo --preset prod --out s",
    ] {
        let line = line.replace("ACCOUNT", &account);
        assert_eq!(parse(&line).unwrap_err().exit_code(), 2, "{line}");
    }
    assert_eq!(parse("assay --help").unwrap_err().kind(), ErrorKind::DisplayHelp);
}

#[test]
fn a_negative_number_is_refused_as_a_number_and_not_as_a_flag() {
    let account = assay_primitives::AccountId([1; 32]);
    for line in ["assay gov vote 4 -1".to_owned(), format!("assay wallet transfer {account} -5")] {
        let error = parse(&line).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation, "{line}: {error}");
    }
}

#[test]
fn a_devnet_settles_only_in_a_home_given_on_the_command_line() {
    let cli = parse("assay --json devnet --epochs 2").unwrap();
    let Command::Devnet(devnet) = &cli.command else { panic!("expected devnet") };
    let args = devnet.args(&cli.global);
    assert_eq!((args.epochs, args.validators, args.miners, args.json), (Some(2), 4, 2, true));
    assert_eq!(args.adversaries, [Adversary::Lazy, Adversary::Tamper]);
    assert_eq!(args.home, None);
}

/// Runs a command line that needs no node.
async fn done(line: &str) -> eyre::Result<bool> {
    run(&parse(line)?).await
}

#[tokio::test]
async fn a_newcomer_makes_a_spec_with_keys_and_homes_from_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().to_str().unwrap();
    done(&format!("assay chain-spec new --chain-id demo --validators 2 --out {d}/spec.json")).await.unwrap();
    done(&format!("assay chain-spec check {d}/spec.json")).await.unwrap();
    for n in 1..=2 {
        done(&format!(
            "assay init --role validator --home {d}/v{n} --chain-spec {d}/spec.json --keys {d}/spec.keys/validator-{n} --base-port 27{n}00 --peer 127.0.0.1:27100 --peer 127.0.0.1:27200"
        ))
        .await
        .unwrap();
        let home = crate::home::Home::open(&dir.path().join(format!("v{n}"))).unwrap();
        assert!(home.spec.validators.iter().any(|v| v.operator == home.operator.account()));
        // Its own address in the list of peers is passed over.
        let (other, peers) = (27000 + 100 * (3 - n), &home.config.peers);
        assert_eq!((peers.consensus.len(), peers.consensus[0].port, peers.data[0].port), (1, other, other + 1));
    }
    done(&format!("assay init --role miner --home {d}/m1 --chain-spec {d}/spec.json --base-port 27500")).await.unwrap();
    let again = done(&format!("assay chain-spec new --chain-id demo --validators 2 --out {d}/spec.json")).await;
    assert!(again.unwrap_err().to_string().contains("never overwritten"));
    let again = done(&format!("assay init --role miner --home {d}/m1 --chain-spec {d}/spec.json")).await;
    assert!(again.unwrap_err().to_string().contains("never overwritten"));
    let faucet = crate::keyfile::read(&dir.path().join("spec.keys/faucet.json")).unwrap().account();
    let spec = crate::home::read_spec(&dir.path().join("spec.json")).unwrap();
    assert!(spec.accounts.iter().any(|a| a.account == faucet));
}

#[tokio::test]
async fn a_spec_that_cannot_be_written_leaves_no_keys_behind() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("spec.json");
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &out).unwrap();
    let line = format!("assay chain-spec new --chain-id demo --validators 2 --out {}", out.display());
    assert!(done(&line).await.unwrap_err().to_string().contains("cannot write"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    std::fs::remove_file(&out).unwrap();
    done(&line).await.unwrap();
}

#[tokio::test]
async fn homes_may_come_before_the_spec_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().to_str().unwrap();
    done(&format!("assay init --role validator --home {d}/v1")).await.unwrap();
    done(&format!("assay chain-spec new --chain-id demo --validator {d}/v1 --out {d}/spec.json")).await.unwrap();
    done(&format!("assay init --role validator --home {d}/v1 --chain-spec {d}/spec.json")).await.unwrap();
    let home = crate::home::Home::open(&dir.path().join("v1")).unwrap();
    assert_eq!(home.spec.validators[0].operator, home.operator.account());
    assert_eq!(home.spec.validators[0].owner, home.owner().unwrap().account());
}

#[tokio::test]
async fn a_verb_in_the_home_of_another_role_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().to_str().unwrap();
    done(&format!("assay chain-spec new --chain-id demo --validators 1 --out {d}/spec.json")).await.unwrap();
    done(&format!("assay init --role miner --home {d}/m1 --chain-spec {d}/spec.json")).await.unwrap();
    let error = done(&format!("assay validator run --home {d}/m1")).await.unwrap_err().to_string();
    assert!(error.contains("home of a miner"), "{error}");
    let error = done(&format!("assay gateway run --home {d}/nowhere")).await.unwrap_err().to_string();
    assert!(error.contains("assay init"), "{error}");
}

#[tokio::test]
async fn a_signed_message_verifies_and_a_changed_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path().to_str().unwrap();
    done(&format!("assay wallet create alice --home {d}")).await.unwrap();
    let key = crate::keyfile::read(&dir.path().join("wallets/alice.json")).unwrap();
    done(&format!("assay wallet sign hello --wallet alice --home {d}")).await.unwrap();
    let preimage =
        assay_primitives::domain::preimage(assay_primitives::domain::MESSAGE, &assay_primitives::Hash32::ZERO, "hello");
    let (account, signature) = (key.account(), key.sign(&preimage));
    assert!(done(&format!("assay wallet verify hello --account {account} --signature {signature}")).await.unwrap());
    assert!(!done(&format!("assay wallet verify hallo --account {account} --signature {signature}")).await.unwrap());
}

#[tokio::test]
async fn a_receipt_verifies_from_its_file_and_a_broken_one_fails() {
    let (receipt, genesis) = crate::rpc::fixture::receipt();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("r.json");
    let line = format!("assay verify {} --genesis {genesis}", path.display());
    assert!(done(&line).await.is_err());
    std::fs::write(&path, receipt.to_json()).unwrap();
    assert!(done(&line).await.unwrap());
    let mut bytes = receipt.to_json().into_bytes();
    bytes[9] = 0xff;
    std::fs::write(&path, bytes).unwrap();
    assert!(!done(&line).await.unwrap());
}

#[tokio::test]
async fn scores_are_settled_from_a_file_without_a_node() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("scores.json");
    let line = format!("assay consensus aggregate --method trimmed_mean --input {} --json", path.display());
    assert!(done(&line).await.unwrap_err().to_string().contains("cannot read"));
    let entry = r#"{"score": 0.5, "confidence": 1, "stake": 3}"#;
    std::fs::write(&path, format!(r#"{{"input": [{entry}, {entry}]}}"#)).unwrap();
    let error = format!("{:#}", done(&line).await.unwrap_err());
    assert!(error.contains("scores.json") && error.contains("at least 3 valid reports"), "{error}");
    std::fs::write(&path, format!(r#"{{"input": [{entry}, {entry}, {entry}]}}"#)).unwrap();
    assert!(done(&line).await.unwrap());
}

#[test]
fn a_simulation_out_of_range_or_of_no_known_attack_is_wrong_usage() {
    let refused = |line: &str| parse(line).unwrap_err().to_string();
    let unknown = refused("assay simulate --attack no-such");
    assert!(unknown.contains("weight-copying") && unknown.contains("withheld-proof"), "{unknown}");
    assert!(refused("assay simulate --attack relay --without x").contains("commit-reveal"));
    for stake in ["0", "0.5", "0.9", "x"] {
        assert!(refused(&format!("assay simulate --attack relay --stake {stake}")).contains("--stake"), "{stake}");
    }
    assert!(refused("assay simulate --attack relay --keys -1").contains("unexpected argument"));
    assert!(refused("assay simulate").contains("--attack"));
    assert!(refused("assay simulate --all --stake 0.2").contains("cannot be used"));
    assert!(refused("assay simulate --attack relay --quick").contains("cannot be used"));
}
