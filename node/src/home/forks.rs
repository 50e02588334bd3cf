//! That the chain has forked, as the node of a home found out: `fork.json`, and what its operator makes of it.
//!
//! While `fork.json` is there the node does not start. Once operators have agreed which branch counts, they rename it to
//! `fork-settled.json`. Of a validator set of which more than a third has signed two ways nothing more can be learned: whoever keeps
//! its headers could bring up a fork of each height of the other branch, one after the other. A settled fork therefore stands for
//! all forks of its set.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use assay_primitives::{Hash32, SignedHeader, Validator, light::Fork};
use serde::{Deserialize, Serialize};

use super::{HomeError, files};

/// What was found.
const FOUND: &str = "fork.json";
/// What names of settled forks begin with.
const SETTLED: &str = "fork-settled";

/// One of the two headers of a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The first.
    First,
    /// The second.
    Second,
}

/// A fork of the chain that a node is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundFork {
    /// The proof: whoever has the validator set of its height can check it.
    pub fork: Fork,
    /// Which header is of the node's own chain.
    pub own: Side,
    /// Who signed both, with their voting power.
    pub signed_both: Vec<Validator>,
    /// The power of the whole set.
    pub total_power: u64,
}

fn read(path: &Path) -> Result<FoundFork, HomeError> {
    let bytes = fs::read(path).map_err(|source| HomeError::Io { doing: "read", path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|e| HomeError::Fork { path: path.to_owned(), reason: e.to_string() })
}

impl FoundFork {
    /// The fork that keeps a home's node from starting, if there is one.
    ///
    /// # Errors
    /// [`HomeError::Fork`] if the file is damaged, or the operating system's.
    pub fn read(home: &Path) -> Result<Option<Self>, HomeError> {
        match read(&home.join(FOUND)) {
            Err(HomeError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// The forks that a home's operator has settled, with their files, by name.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn settled(home: &Path) -> Result<Vec<(PathBuf, Self)>, HomeError> {
        let io = |source| HomeError::Io { doing: "read", path: home.to_owned(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(home).map_err(io)? {
            let entry = entry.map_err(io)?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(SETTLED) && name.ends_with(".json")) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        paths.into_iter().map(|path| read(&path).map(|found| (path, found))).collect()
    }

    /// Writes `fork.json`, and returns once it is on disk.
    ///
    /// # Errors
    /// The operating system's.
    pub fn keep(&self, home: &Path) -> Result<(), HomeError> {
        let path = home.join(FOUND);
        let mut text = serde_json::to_string_pretty(self).expect("a fork holds only strings, numbers and lists");
        text.push('\n');
        files::replace(&path, text.as_bytes()).map_err(|source| HomeError::Io { doing: "write", path, source })
    }

    /// The hash of the validator set that certified both headers.
    pub fn set(&self) -> Hash32 {
        self.fork.first.header.validators_hash
    }

    /// The header of the node's own chain, and the other one.
    pub fn sides(&self) -> (&SignedHeader, &SignedHeader) {
        let Fork { first, second } = &self.fork;
        match self.own {
            Side::First => (first, second),
            Side::Second => (second, first),
        }
    }

    /// What the operator of a home must know, and do.
    pub fn words(&self, home: &Path) -> String {
        let (own, other) = self.sides();
        let height = own.header.height;
        let (rounds, ids) =
            ((own.certificate.round, other.certificate.round), (own.certificate.block, other.certificate.block));
        let who: Vec<String> = self.signed_both.iter().map(|one| one.account.to_string()).collect();
        let power: u128 = self.signed_both.iter().map(|one| u128::from(one.power)).sum();
        let thousandths = power * 1000 / u128::from(self.total_power.max(1));
        let blame = match rounds {
            (one, same) if one == same => "in one round, as nobody does who keeps the rules".to_owned(),
            (one, other) => format!(
                "in rounds {one} and {other}: more than a third of the power broke the rules, not all of these need have"
            ),
        };
        format!(
            "two final blocks of height {height} exist: {}, which this node has, and {}. Both were signed by {}, who have {}.{} % of the \
             voting power, {blame}. The chain has forked, and no block from height {height} on can be relied on. The proof lies in {}. Agree \
             with the other operators which branch counts. To go on with this node's own, rename that file to {}; to go on with the other \
             one, move the folder data away too, so that the node begins with a snapshot of that branch",
            ids.0,
            ids.1,
            who.join(", "),
            thousandths / 10,
            thousandths % 10,
            home.join(FOUND).display(),
            free_name(home),
        )
    }
}

/// A name for the next fork that is settled.
fn free_name(home: &Path) -> String {
    let mut name = format!("{SETTLED}.json");
    let mut number = 1;
    while home.join(&name).exists() {
        number += 1;
        name = format!("{SETTLED}-{number}.json");
    }
    name
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::{AccountId, Certificate, Header, Signature};

    use super::*;

    /// What nobody certified: the files do not ask.
    fn found() -> FoundFork {
        let header = |state: u8| Header {
            chain_id: "forked".into(),
            height: 12,
            time_ms: 5,
            parent: Hash32([1; 32]),
            proposer: AccountId([2; 32]),
            tx_root: Hash32([3; 32]),
            state_root: Hash32([state; 32]),
            validators_hash: Hash32([4; 32]),
            next_validators_hash: Hash32([4; 32]),
            evidence_root: Hash32([5; 32]),
            app_version: 1,
        };
        let signed = |state: u8, round| {
            let signatures = vec![(AccountId([2; 32]), Signature([6; 64]))];
            let certificate = Certificate { height: 12, round, block: Hash32([state; 32]), signatures };
            SignedHeader { header: header(state), certificate }
        };
        let signed_both = vec![Validator { account: AccountId([2; 32]), power: u64::MAX / 3 }];
        let fork = Fork { first: signed(7, 0), second: signed(8, 0) };
        FoundFork { fork, own: Side::Second, signed_both, total_power: u64::MAX }
    }

    #[test]
    fn a_found_fork_is_read_as_it_was_kept_until_it_is_settled() {
        let home = tempfile::tempdir().unwrap();
        assert!(FoundFork::read(home.path()).unwrap().is_none());
        assert!(FoundFork::settled(home.path()).unwrap().is_empty());
        found().keep(home.path()).unwrap();
        assert_eq!(FoundFork::read(home.path()).unwrap(), Some(found()));
        let words = found().words(home.path());
        for part in
            ["height 12", "33.3 %", "in one round", "fork.json", " fork-settled.json;", &AccountId([2; 32]).to_string()]
        {
            assert!(words.contains(part), "{part}: {words}");
        }
        let (own, other) = (Hash32([8; 32]).to_string(), Hash32([7; 32]).to_string());
        assert!(words.find(&own).unwrap() < words.find(&other).unwrap(), "its own block first: {words}");

        fs::rename(home.path().join(FOUND), home.path().join("fork-settled.json")).unwrap();
        assert!(FoundFork::read(home.path()).unwrap().is_none());
        let settled = FoundFork::settled(home.path()).unwrap();
        assert_eq!((settled.len(), &settled[0].1), (1, &found()));
        // A second one takes no first one's place.
        assert!(found().words(home.path()).contains(" fork-settled-2.json;"));
    }

    #[test]
    fn over_two_rounds_nobody_is_blamed_by_name() {
        let mut found = found();
        found.fork.first.certificate.round = 3;
        let words = found.words(Path::new("home"));
        assert!(words.contains("in rounds 0 and 3") && words.contains("not all of these"), "{words}");
    }

    #[test]
    fn a_damaged_file_keeps_the_node_from_starting_and_says_why_it_is_there() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(FOUND), "{").unwrap();
        let error = FoundFork::read(home.path()).unwrap_err().to_string();
        assert!(error.contains("fork.json") && error.contains("the chain has forked"), "{error}");
        fs::write(home.path().join("fork-settled-old.json"), "[]").unwrap();
        assert!(FoundFork::settled(home.path()).is_err());
    }
}
