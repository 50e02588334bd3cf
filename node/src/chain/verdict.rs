//! Whether a proposed block is valid on top of the tip.

use assay_consensus::bft::{Executor as _, Fault};
use assay_ledger::query;
use assay_primitives::{AccountId, Hash32};

use super::{Block, CLOCK_DRIFT_MS, Chain, Executed};

/// `Err` holds the reason, in words, why the block is invalid.
type Judged<T> = Result<T, String>;

fn equal<T: PartialEq + std::fmt::Display>(what: &str, expected: T, found: T) -> Judged<()> {
    if expected == found { Ok(()) } else { Err(format!("{what}: expected {expected}, found {found}")) }
}

impl Chain {
    /// Checks, executes and remembers a block. Returns its id.
    pub(super) fn judge(
        &mut self,
        height: u64,
        proposer: AccountId,
        bytes: &[u8],
        now_ms: Option<u64>,
    ) -> Result<Judged<Hash32>, Fault> {
        let block = match Block::decode(bytes) {
            Ok(block) => block,
            Err(e) => return Ok(Err(e.to_string())),
        };
        let id = block.header.id(&self.genesis);
        // Not by rules that this program does not have. The engine does not come here then: it never begins such a height.
        self.may_go_on()?;
        if let Err(reason) = self.fits(&block, height, proposer, now_ms) {
            return Ok(Err(reason));
        }
        if self.executed.iter().any(|(kept, _)| *kept == id) {
            return Ok(Ok(id));
        }
        let limit = query::params(&self.store.snapshot()).map_err(|e| Fault(e.to_string()))?.max_block_bytes;
        if bytes.len() as u64 > limit {
            return Ok(Err(format!("block size: expected at most {limit} bytes, found {}", bytes.len())));
        }
        match self.execute(&block)? {
            Ok(executed) => {
                self.remember(id, executed);
                Ok(Ok(id))
            }
            Err(reason) => Ok(Err(reason)),
        }
    }

    /// What can be checked without executing.
    fn fits(&self, block: &Block, height: u64, proposer: AccountId, now_ms: Option<u64>) -> Judged<()> {
        let header = &block.header;
        equal("height to decide", self.tip.height + 1, height)?;
        equal("height", height, header.height)?;
        equal("proposer", proposer, header.proposer)?;
        equal("parent", self.tip.id, header.parent)?;
        equal("chain id", self.spec.chain_id.as_str(), header.chain_id.as_str())?;
        equal("version of the rules", self.next.version, header.app_version)?;
        if header.time_ms <= self.tip.time_ms {
            return Err(format!("time: expected above the parent's {}, found {}", self.tip.time_ms, header.time_ms));
        }
        if let Some(now_ms) = now_ms.filter(|now| header.time_ms > now + CLOCK_DRIFT_MS) {
            return Err(format!("time: {} ms ahead of this node's clock", header.time_ms - now_ms));
        }
        equal("transaction root", Block::tx_root(&self.genesis, &block.transactions), header.tx_root)?;
        equal("evidence root", Block::evidence_root(&self.genesis, &block.transactions), header.evidence_root)
    }

    /// Executes a block on the tip and compares every root its header claims.
    pub(super) fn execute(&self, block: &Block) -> Result<Judged<Executed>, Fault> {
        let header = &block.header;
        let context = self.context(header.time_ms, header.proposer);
        let outcome = match assay_ledger::execute(&self.store.snapshot(), &context, &block.transactions) {
            Ok(outcome) => outcome,
            Err(e) if e.is_store() => return Err(Fault(e.to_string())),
            Err(e) => return Ok(Err(e.to_string())),
        };
        let executed = self.apply(outcome)?;
        let voting = self.store.validators(header.height)?.hash(&self.genesis);
        let next = executed.outcome.next_validators.hash(&self.genesis);
        let compared = equal("state root", executed.state_root, header.state_root)
            .and_then(|()| equal("validator set", voting, header.validators_hash))
            .and_then(|()| equal("next validator set", next, header.next_validators_hash));
        Ok(compared.map(|()| executed))
    }
}
