//! A long chain without the time that it takes: real blocks, executed and certified by all of its validators, one after the other.

use std::{sync::Arc, time::Duration};

use assay::{chain::Chain, home::Home, mempool::Mempool, store::Store};
use assay_consensus::bft::{Executor as _, Verdict, proposer_index};
use assay_ledger::tx::{Action, Transaction};
use assay_primitives::{
    AccountId, Amount, Certificate, Hash32, Keypair, Signed, ValidatorSet, VoteContent, VoteKind, encode,
};
use eyre::{bail, ensure};

/// A chain that grows in the store of one home.
pub struct Growth {
    store: Arc<Store>,
    mempool: Arc<Mempool>,
    chain: Chain,
    genesis: Hash32,
    /// The validators' keys.
    keys: Vec<Keypair>,
    payer: Keypair,
    interval: Duration,
}

impl Growth {
    /// Opens the store of the first home. Blocks are certified by the operators of all; `payer` pays for what is in them. Between
    /// two lies so much time.
    ///
    /// # Errors
    /// The disk's.
    pub fn new(homes: &[Home], payer: Keypair, interval: Duration) -> eyre::Result<Self> {
        let Some(first) = homes.first() else { bail!("no homes") };
        let spec = Arc::new(first.spec.clone());
        let genesis = spec.genesis_hash();
        let store = Arc::new(Store::open(&first.store_dir(), &spec)?);
        let mempool = Arc::new(Mempool::new(genesis));
        let (chain, _) = Chain::new(store.clone(), mempool.clone(), spec)?;
        let mut keys: Vec<Keypair> = homes.iter().map(|home| home.operator.clone()).collect();
        keys.sort_by_key(Keypair::account);
        Ok(Self { store, mempool, chain, genesis, keys, payer, interval })
    }

    /// Adds one block, with a transfer to an account that nobody had before.
    ///
    /// # Errors
    /// If the block is not valid, or the disk fails.
    pub fn block(&mut self) -> eyre::Result<()> {
        let tip = self.chain.tip();
        let height = tip.height + 1;
        self.transfer(height)?;
        let set = self.chain.validators(height)?;
        let proposer = self.proposer(height, &set);
        let time = tip.time_ms + u64::try_from(self.interval.as_millis())?;
        let bytes = self.chain.prepare(height, 0, proposer, time)?;
        let block = match self.chain.process(height, proposer, &bytes, None)? {
            Verdict::Valid(id) => id,
            Verdict::Invalid { reason } => bail!("block {height} is invalid: {reason}"),
        };
        let precommit = |key: &Keypair| {
            let (kind, validator) = (VoteKind::Precommit, key.account());
            let vote = VoteContent { kind, height, round: 0, block: Some(block), validator };
            (validator, Signed::new(vote, &self.genesis, key).signature)
        };
        let signatures = self.keys.iter().filter(|key| set.power_of(&key.account()).is_some()).map(precommit).collect();
        let certificate = Certificate { height, round: 0, block, signatures };
        certificate.verify(&self.genesis, &set)?;
        self.chain.commit(&bytes, &certificate)?;
        Ok(())
    }

    fn proposer(&self, height: u64, set: &ValidatorSet) -> AccountId {
        let powers: Vec<u64> = set.iter().map(|v| v.power).collect();
        set.as_slice()[proposer_index(&self.genesis, height, 0, &powers)].account
    }

    fn transfer(&self, height: u64) -> eyre::Result<()> {
        let to = AccountId(Hash32::digest(&height.to_be_bytes()).0);
        let body = Transaction {
            signer: self.payer.account(),
            nonce: height - 1,
            fee: Amount(10_000),
            action: Action::Transfer { to, amount: Amount(1_000_000) },
        };
        let bytes = encode(&Signed::new(body, &self.genesis, &self.payer));
        self.mempool.submit(|| self.store.snapshot(), &bytes)?;
        Ok(())
    }

    /// Closes the store.
    ///
    /// # Errors
    /// If something else still has it open.
    pub fn finish(self) -> eyre::Result<()> {
        let Self { store, chain, mempool, .. } = self;
        drop((chain, mempool));
        store.rest();
        ensure!(Arc::into_inner(store).is_some(), "the store is still open");
        Ok(())
    }
}
