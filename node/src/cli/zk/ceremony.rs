//! `assay zk ceremony`: groth16 keys that are sound as long as one contributor forgot his secret.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use assay_circuits::{
    model::Model,
    proof::{
        ProofSystem,
        groth16::{Groth16, Provenance, ceremony},
    },
    relation::Relations,
};
use assay_primitives::Hash32;
use clap::{Args, Subcommand};
use eyre::{WrapErr as _, bail, ensure};
use serde_json::json;

use super::{
    super::global::{Global, pairs},
    files::{self, Folder, System},
    prove::{SECRET_CONSTANTS, key_hash},
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Ceremony {
    /// Begin the transcript of a model's ceremony.
    Start(Start),
    /// Add one's own secret to a transcript.
    Contribute(Contribute),
    /// Turn a transcript of general contributions into one for this model's circuit; takes no secret. More contributions
    /// follow before the keys.
    Specialise(Specialise),
    /// Check every contribution of a transcript.
    Verify(Check),
    /// Check a transcript and write the model's keys.
    Finish(Check),
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Start {
    /// A folder that `assay zk compile` made.
    folder: PathBuf,
    /// The transcript to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Contribute {
    /// The transcript so far.
    #[arg(long, value_name = "FILE")]
    transcript: PathBuf,
    /// Who contributes, for the record.
    #[arg(long)]
    name: String,
    /// More to mix into the system's randomness.
    #[arg(long, value_name = "TEXT", default_value = "")]
    entropy: String,
    /// The transcript to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Specialise {
    /// A folder that `assay zk compile` made.
    folder: PathBuf,
    /// The transcript so far.
    #[arg(long, value_name = "FILE")]
    transcript: PathBuf,
    /// The transcript to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Check {
    /// A folder that `assay zk compile` made.
    folder: PathBuf,
    /// The transcript.
    #[arg(long, value_name = "FILE")]
    transcript: PathBuf,
}

fn circuit(folder: &Folder) -> eyre::Result<(Arc<Relations>, Model)> {
    let model = folder.model()?;
    let relations = Arc::new(Relations::of(model.graph())?);
    Groth16::supports(&relations)?;
    Ok((relations, model))
}

pub(super) fn run(global: &Global, command: &Ceremony) -> eyre::Result<bool> {
    match command {
        Ceremony::Start(c) => start(global, c)?,
        Ceremony::Contribute(c) => contribute(global, c)?,
        Ceremony::Specialise(c) => specialise(global, c)?,
        Ceremony::Verify(c) => return verify(global, c),
        Ceremony::Finish(c) => finish(global, c)?,
    }
    Ok(true)
}

fn start(global: &Global, command: &Start) -> eyre::Result<()> {
    ensure!(!command.out.exists(), "{} exists already and is never overwritten", command.out.display());
    let bar = global.progress("starting");
    let (relations, model) = circuit(&Folder::new(&command.folder))?;
    let transcript = ceremony::start(&relations, model.weights())?;
    files::write_secret(&command.out, &transcript)?;
    bar.finish_and_clear();
    global.show(&json!({ "transcript": command.out, "model_id": model.id(), "bytes": transcript.len() }), || {
        pairs([("transcript", command.out.display().to_string()), ("model", model.id().to_string())])
    });
    if model.outline().commitments().systems().secret {
        global.warn(SECRET_CONSTANTS);
    }
    global.hint(
        "each party in turn: assay zk ceremony contribute --transcript FILE --name WHO --out NEXT; then specialise, each party \
         again, then finish",
    );
    Ok(())
}

fn contribute(global: &Global, command: &Contribute) -> eyre::Result<()> {
    ensure!(!command.out.exists(), "{} exists already and is never overwritten", command.out.display());
    let bar = global.progress("contributing");
    let before = files::read(&command.transcript)?;
    let after = ceremony::contribute(&before, &command.name, command.entropy.as_bytes());
    let after = match after {
        Err(error @ ceremony::CeremonyError::Name { .. }) => return Err(error).wrap_err("--name"),
        after => after.wrap_err_with(|| format!("{}", command.transcript.display()))?,
    };
    files::write_secret(&command.out, &after)?;
    bar.finish_and_clear();
    global.show(&json!({ "transcript": command.out, "name": command.name, "bytes": after.len() }), || {
        format!("{} contributed; the transcript is {}", command.name, command.out.display())
    });
    Ok(())
}

fn specialise(global: &Global, command: &Specialise) -> eyre::Result<()> {
    ensure!(!command.out.exists(), "{} exists already and is never overwritten", command.out.display());
    let bar = global.progress("specialising");
    let (relations, model) = circuit(&Folder::new(&command.folder))?;
    let after = ceremony::specialise(&relations, model.weights(), &files::read(&command.transcript)?)
        .wrap_err_with(|| format!("{}", command.transcript.display()))?;
    files::write_secret(&command.out, &after)?;
    bar.finish_and_clear();
    global.show(&json!({ "transcript": command.out, "model_id": model.id(), "bytes": after.len() }), || {
        format!("the transcript is now for model {}: {}", model.id(), command.out.display())
    });
    Ok(())
}

fn verify(global: &Global, command: &Check) -> eyre::Result<bool> {
    let bar = global.progress("checking");
    let (relations, model) = circuit(&Folder::new(&command.folder))?;
    let found = ceremony::verify(&relations, model.weights(), &files::read(&command.transcript)?);
    bar.finish_and_clear();
    let nobody = found.as_ref().is_ok_and(|s| s.first.is_empty());
    let nobody = nobody.then(|| "nobody has contributed yet".to_owned());
    let reason = found.as_ref().err().map(ToString::to_string).or(nobody);
    let key = found.as_ref().ok().and_then(|s| s.verifier_key).map(Hash32);
    let (first, second) = found.map(|s| (s.first, s.second)).unwrap_or_default();
    let value = json!({
        "verified": reason.is_none(), "first_phase": first, "second_phase": second, "reason": reason,
        "model_id": model.id(), "key": key,
    });
    global.show(&value, || match &reason {
        None => {
            let second = second.as_deref().map_or_else(|| "not begun: specialise the transcript".into(), phase);
            let least = ceremony::LEAST_PARTIES;
            let none = || format!("none yet: each phase needs {least} parties, or one could forge proofs");
            pairs([
                ("the transcript", "holds".into()),
                ("first phase", phase(&first)),
                ("second phase", second),
                ("the verifier's key that it gives", key.map_or_else(none, |key| key.to_string())),
            ])
        }
        Some(reason) => format!("REFUSED: {reason}"),
    });
    Ok(reason.is_none())
}

/// Who contributed to a phase, in words.
fn phase(names: &[String]) -> String {
    let parties = names.iter().collect::<BTreeSet<_>>().len();
    let quoted: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let by_name = if parties < names.len() { format!(" by {parties} names") } else { String::new() };
    format!("{} contributions{by_name}: {}", names.len(), quoted.join(", "))
}

/// The hash of the key at a path that another ceremony gave for this circuit, if such a one lies there.
fn another_ceremonys(relations: Arc<Relations>, path: &Path, key: &[u8]) -> Option<Hash32> {
    let kept = files::read(path).ok().filter(|kept| kept != key)?;
    let other = Groth16::verifier_key_from_bytes(relations, &kept).ok()?;
    (other.provenance() != Provenance::Dev).then(|| key_hash(&kept))
}

fn finish(global: &Global, command: &Check) -> eyre::Result<()> {
    let bar = global.progress("finishing");
    let folder = Folder::new(&command.folder);
    let (relations, model) = circuit(&folder)?;
    let (prover, verifier) = ceremony::finish(&relations, model.weights(), &files::read(&command.transcript)?)
        .wrap_err_with(|| format!("{}", command.transcript.display()))?;
    let (private, public) =
        (folder.key_path(System::Groth16), files::verifier_key_path(&folder.verifier(), System::Groth16));
    let key = Groth16::verifier_key_to_bytes(&verifier);
    let lock = folder.lock()?;
    if let Some(other) = another_ceremonys(relations, &public, &key) {
        bail!(
            "{} is the key of another ceremony, {other}, which verifiers may trust; remove it first if this one is to take its place",
            public.display()
        );
    }
    files::write_secret(&private, &prover.to_bytes())?;
    files::write(&public, &key)?;
    drop(lock);
    bar.finish_and_clear();
    let hash = key_hash(&key);
    let value = json!({ "prover_key": private, "verifier_key": public, "model_id": model.id(), "key": hash });
    global.show(&value, || {
        pairs([
            ("prover's key", private.display().to_string()),
            ("verifier's key", public.display().to_string()),
            ("its hash", hash.to_string()),
        ])
    });
    Ok(())
}
