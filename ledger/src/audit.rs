//! The audit of a score sheet: who reveals scores shows, for entries that nobody knew before the commitment, the signed
//! exchange that the score was made from.
//!
//! ```text
//! epoch e       a sheet's entry binds the responses it judged:  evidence = H(ids of the responses, ascending)
//! end of e      commitments are closed; the id of e's last block becomes the seed of the audit of e
//! epoch e + 1   the reveal comes with `audit_samples` exhibits: for each drawn entry the list of ids, and the request and
//!               response at a drawn place of it, with both signatures
//! ```
//!
//! A validator that copied its scores, or made them up, has no responses that the miner signed for *its* requests: its
//! reveal fails, its scores do not count and earn nothing. It would have to ask every miner that it claims to have heard
//! from, which is the work. Exhibits are public, so that anyone may refute a response in them that is false.
//!
//! What the audit cannot show: that the validator looked at the response. Nor does it bind a miner that signs for a
//! validator of its own whatever that asks. The proposer of an epoch's last block can draw anew by
//! proposing another block: a second draw of a few among many entries, for one validator.

use assay_primitives::{
    AccountId, Hash32, Signed, domain,
    task::{Request, Response},
};
use borsh::{BorshDeserialize, BorshSerialize};

use crate::{
    ActionError, BlockContext, keys,
    overlay::Overlay,
    records::Chain,
    tx::{ScoreEntry, ScoreSheet},
};

/// Domain of [`evidence`].
const EVIDENCE: &str = "assay/score-evidence/1";
/// Domain of the seed of an epoch's audit.
const SEED: &str = "assay/audit-seed/1";
/// Domain of the numbers that draw entries and places.
const DRAW: &str = "assay/audit-draw/1";

/// One exchange behind a score, shown to the chain.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Exhibit {
    /// Ids of all responses of the entry's miner that the score was made from, strictly ascending.
    pub responses: Vec<Hash32>,
    /// What was asked, as the validator signed it.
    pub request: Signed<Request>,
    /// What the miner signed.
    pub response: Signed<Response>,
}

/// What an entry binds itself to: the hash over the ids of the responses it was made from, strictly ascending.
pub fn evidence(responses: &[Hash32]) -> Hash32 {
    domain::hash(EVIDENCE, &Hash32::ZERO, responses)
}

/// One drawn entry of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its index among the sheet's entries.
    pub entry: usize,
    /// The place of the response to show among the entry's.
    pub response: usize,
}

/// Draws at most `samples` of the sheet's entries that claim responses, each once, and a response of each. In the order
/// in which exhibits are given.
pub fn draw(seed: &Hash32, sheet: &ScoreSheet, samples: u64) -> Vec<Drawn> {
    let claims = sheet.scores.iter().enumerate().filter(|(_, entry)| entry.responses > 0);
    let mut left: Vec<(usize, u32)> = claims.map(|(at, entry)| (at, entry.responses)).collect();
    let mut drawn = Vec::new();
    for turn in 0..samples {
        if left.is_empty() {
            break;
        }
        let number = |what: u8, below: usize| {
            let hash = domain::hash(DRAW, seed, &(sheet.validator, sheet.subnet, sheet.epoch, turn, what));
            let wide = hash.0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            // The bias of a remainder of 64 bits is below 2^-32 for any list that fits a transaction.
            (wide % (below as u64).max(1)) as usize
        };
        let (entry, responses) = left.swap_remove(number(0, left.len()));
        drawn.push(Drawn { entry, response: number(1, responses as usize) });
    }
    drawn
}

/// In the first block of an epoch: the seed of the last epoch's audit is fixed, by a block that nobody knew while
/// commitments were made.
pub(crate) fn open(state: &mut Overlay<'_>, block: &BlockContext, chain: &Chain) {
    if block.height == chain.epoch_start
        && let Some(epoch) = chain.epoch.checked_sub(1)
    {
        state.write(keys::audit(epoch), &domain::hash(SEED, &block.genesis, &(block.parent, chain.randomness, epoch)));
    }
}

/// Checks the exhibits of a sheet against what was drawn.
pub(crate) fn check(
    genesis: &Hash32,
    sheet: &ScoreSheet,
    drawn: &[Drawn],
    exhibits: &[Exhibit],
) -> Result<(), ActionError> {
    if exhibits.len() != drawn.len() {
        let (expected, found) = (drawn.len(), exhibits.len());
        return Err(ActionError::evidence(format!("the audit asks for {expected} exhibits, found {found}")));
    }
    for (drawn, exhibit) in drawn.iter().zip(exhibits) {
        let entry = &sheet.scores[drawn.entry];
        belongs(genesis, sheet, entry, drawn.response, exhibit).map_err(|reason| {
            ActionError::evidence(format!("the exhibit for miner {} shows nothing: {reason}", entry.miner))
        })?;
    }
    Ok(())
}

fn belongs(
    genesis: &Hash32,
    sheet: &ScoreSheet,
    entry: &ScoreEntry,
    at: usize,
    exhibit: &Exhibit,
) -> Result<(), String> {
    let Exhibit { responses, request, response } = exhibit;
    let (ask, reply) = (&request.body, &response.body);
    if responses.len() != entry.responses as usize {
        return Err(format!("{} responses were counted, {} are listed", entry.responses, responses.len()));
    }
    if responses.windows(2).any(|pair| pair[0] >= pair[1]) {
        return Err("the responses do not ascend, each once".into());
    }
    if evidence(responses) != entry.evidence {
        return Err("the responses listed are not those that were committed to".into());
    }
    if responses[at] != response.id(genesis) {
        return Err(format!("response {at} was asked for, this is another"));
    }
    let of_this = (ask.requester, ask.miner, ask.subnet, ask.epoch);
    if of_this != (sheet.validator, entry.miner, sheet.subnet, sheet.epoch) {
        return Err("the request is not of this validator, miner, subnet and epoch".into());
    }
    if reply.miner != ask.miner
        || reply.model != ask.model
        || reply.request != request.id(genesis)
        || reply.input != ask.input.hash()
    {
        return Err("the response does not answer the request".into());
    }
    request.verify(genesis).map_err(|e| e.to_string())?;
    response.verify(genesis).map_err(|e| e.to_string())
}

/// What a validator keeps of an epoch to pass its audit: the exchanges behind a sheet, in any order.
pub fn exhibits(
    genesis: &Hash32,
    sheet: &ScoreSheet,
    drawn: &[Drawn],
    exchanges: &[(Signed<Request>, Signed<Response>)],
) -> Option<Vec<Exhibit>> {
    let of = |miner: &AccountId| {
        let mut found: Vec<_> = exchanges
            .iter()
            .filter(|(request, _)| request.body.miner == *miner && request.body.subnet == sheet.subnet)
            .map(|exchange| (exchange.1.id(genesis), exchange))
            .collect();
        found.sort_by_key(|(id, _)| *id);
        found
    };
    let exhibit = |drawn: &Drawn| {
        let found = of(&sheet.scores.get(drawn.entry)?.miner);
        let (_, (request, response)) = found.get(drawn.response)?;
        let responses = found.iter().map(|(id, _)| *id).collect();
        Some(Exhibit { responses, request: request.clone(), response: response.clone() })
    };
    drawn.iter().map(exhibit).collect()
}

/// The evidence of one miner's entry, from its exchanges in any order.
pub fn evidence_of<'a>(genesis: &Hash32, responses: impl IntoIterator<Item = &'a Signed<Response>>) -> Hash32 {
    let mut ids: Vec<Hash32> = responses.into_iter().map(|response| response.id(genesis)).collect();
    ids.sort_unstable();
    evidence(&ids)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
