//! An upgrade of the rules, from its proposal to the block it comes into force with.

use assay_chain_spec::{GenesisAccount, GenesisSubnet, GenesisValidator, Params, presets::Preset};
use assay_ledger::tx::{Action, Ballot, ProposalKind, Transaction};
use assay_primitives::{Amount, Keypair, Signed, VoteContent, VoteKind, encode};

use super::*;

/// The first block under version 2.
const UPGRADE: u64 = 9;

pub(crate) fn key(n: u8) -> Keypair {
    Keypair::from_secret([n; 32])
}

pub(crate) fn spec() -> ChainSpec {
    let owner = key(2).account();
    let validator = GenesisValidator { operator: key(1).account(), owner, stake: Amount::asy(1000), take: 0 };
    let accounts = vec![GenesisAccount { account: owner, balance: Amount::asy(1000) }];
    let subnet = GenesisSubnet { id: 1, name: "vision".into(), models: Vec::new() };
    let spec = Preset::Dev.spec("rules".into(), 1_700_000_000_000, accounts, vec![validator], vec![subnet]);
    let params =
        Params { gov_voting_blocks: 2, gov_timelock_blocks: 1, gov_urgent_timelock_blocks: 1, ..spec.params.clone() };
    ChainSpec { params, ..spec }
}

/// A chain of one validator.
pub(crate) struct Bench {
    pub(crate) store: Arc<Store>,
    mempool: Arc<Mempool>,
    chain: Chain,
}

impl Bench {
    pub(crate) fn open(dir: &std::path::Path) -> Self {
        let spec = Arc::new(spec());
        let store = Arc::new(Store::open(dir, &spec).unwrap());
        let mempool = Arc::new(Mempool::new(spec.genesis_hash()));
        let (chain, _) = Chain::new(store.clone(), mempool.clone(), spec).unwrap();
        Self { store, mempool, chain }
    }

    pub(crate) fn send(&self, action: Action) {
        let (signer, fee) = (key(2).account(), Amount(1000));
        let nonce = query::account(&self.store.snapshot(), &signer).unwrap().nonce;
        let tx = Signed::new(Transaction { signer, nonce, fee, action }, &self.store.genesis(), &key(2));
        self.mempool.submit(|| self.store.snapshot(), &encode(&tx)).unwrap();
    }

    pub(crate) fn prepared(&mut self) -> Vec<u8> {
        let (height, now) = (self.chain.tip.height + 1, self.chain.tip.time_ms + 500);
        self.chain.prepare(height, 0, key(1).account(), now).unwrap()
    }

    fn verdict(&mut self, bytes: &[u8]) -> Verdict {
        let height = self.chain.tip.height + 1;
        self.chain.process(height, key(1).account(), bytes, None).unwrap()
    }

    /// Judges and commits a block with its validator's certificate.
    pub(crate) fn commit(&mut self, bytes: &[u8]) {
        let Verdict::Valid(block) = self.verdict(bytes) else { panic!("an own block is valid") };
        let height = self.chain.tip.height + 1;
        let vote = VoteContent {
            kind: VoteKind::Precommit,
            height,
            round: 0,
            block: Some(block),
            validator: key(1).account(),
        };
        let signatures = vec![(key(1).account(), Signed::new(vote, &self.store.genesis(), &key(1)).signature)];
        self.chain.commit(bytes, &Certificate { height, round: 0, block, signatures }).unwrap();
    }

    /// Builds and commits a block; its version.
    pub(crate) fn block(&mut self) -> u32 {
        let bytes = self.prepared();
        self.commit(&bytes);
        Block::decode(&bytes).unwrap().header.app_version
    }

    /// The verdict on a block like the next one that claims another version.
    fn claiming(&mut self, version: u32) -> Verdict {
        let mut block = Block::decode(&self.prepared()).unwrap();
        block.header.app_version = version;
        self.verdict(&block.encode())
    }

    /// Votes for version 2 and runs to the last block before it.
    fn run_to_upgrade(&mut self) {
        let kind = ProposalKind::Upgrade { version: 2, height: UPGRADE };
        self.send(Action::Propose { title: "New rules".into(), text: String::new(), kind, urgent: false });
        self.block();
        self.send(Action::Vote { proposal: 1, ballot: Ballot::Yes });
        while self.chain.tip.height + 1 < UPGRADE {
            self.chain.may_go_on().unwrap();
            assert_eq!(self.block(), 1);
        }
    }
}

#[test]
fn a_store_at_rest_is_read_and_what_it_holds_is_there_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path());
    bench.block();
    bench.store.rest();
    bench.store.rest();
    let tip = bench.store.tip().unwrap();
    assert_eq!(tip.height, 1);
    drop(bench);
    assert_eq!(Bench::open(dir.path()).store.tip().unwrap(), tip);
}

#[test]
fn a_program_that_does_not_know_the_rules_of_a_block_takes_no_part_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path());
    bench.run_to_upgrade();
    let Fault(words) = bench.chain.may_go_on().unwrap_err();
    assert!(words.contains("from block 9 on") && words.contains("version 2 of its rules"), "{words}");
    let (proposer, now) = (key(1).account(), bench.chain.tip.time_ms + 500);
    assert_eq!(bench.chain.prepare(UPGRADE, 0, proposer, now), Err(Fault(words.clone())));
    let root = bench.chain.tip.state_root;
    bench.chain.known = 2;
    let block = bench.prepared();
    bench.chain.known = APP_VERSION;
    assert_eq!(bench.chain.process(UPGRADE, proposer, &block, None), Err(Fault(words.clone())));
    drop(bench);
    // Started again it says the same, and nothing is lost.
    let again = Bench::open(dir.path());
    assert_eq!(again.chain.may_go_on(), Err(Fault(words)));
    assert_eq!((again.chain.tip.height, again.chain.tip.state_root), (UPGRADE - 1, root));
}

#[test]
fn headers_carry_the_version_in_force_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(dir.path());
    bench.run_to_upgrade();
    drop(bench);
    // A program that knows version 2 goes on on the same store.
    let mut bench = Bench::open(dir.path());
    bench.chain.known = 2;
    bench.chain.may_go_on().unwrap();
    let refused = |verdict| match verdict {
        Verdict::Invalid { reason } => reason,
        Verdict::Valid(_) => panic!("another version was taken"),
    };
    assert_eq!(refused(bench.claiming(1)), "version of the rules: expected 2, found 1");
    assert_eq!(refused(bench.claiming(3)), "version of the rules: expected 2, found 3");
    assert_eq!((bench.block(), bench.block()), (2, 2));
    let version = query::app_version(&bench.store.snapshot()).unwrap();
    assert_eq!((version.version, version.since, version.planned), (2, UPGRADE, None));
}

#[test]
fn an_upgrade_ahead_is_told_in_words() {
    let planned = Some(Upgrade { version: 2, height: 50, proposal: 7 });
    let version = AppVersion { planned, ..AppVersion::default() };
    let ahead = upgrade_ahead(&version, 10, 1).unwrap();
    assert!(ahead.contains("from block 50 on (proposal 7)") && ahead.contains("stops before that block"), "{ahead}");
    assert!(upgrade_ahead(&version, 10, 2).unwrap().contains("this program knows it"));
    assert_eq!(upgrade_ahead(&version, 50, 1), None);
    assert_eq!(knows_rules(&version, 48, 1), Ok(()));
    assert!(knows_rules(&version, 49, 1).unwrap_err().contains("nothing is lost"));
    // Long after it came into force an old program says since when.
    let version = AppVersion { version: 2, since: 50, planned: None };
    assert!(knows_rules(&version, 99, 1).unwrap_err().contains("from block 50 on"));
}
