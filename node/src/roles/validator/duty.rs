//! Whether a validator does what its seat asks of it, for whoever watches the node.
//!
//! | standing | when |
//! |---|---|
//! | idle | it is not registered, jailed, convicted, or has no seat in this epoch: nothing is asked of it |
//! | neglected | a sheet on disk is not on the chain in time, or another is; or epochs were settled without its scores, and none are on their way |
//! | done | otherwise |

use std::time::Instant;

use assay_ledger::{
    StateRead, StoreError, query,
    records::{Chain, ValidatorRecord},
    tx::ScoreSheet,
};
use assay_primitives::Hash32;

use super::round::Clock;

/// What is to be done where transactions of a validator do not get into blocks.
const ADVICE: &str = "its log says why; see that its account can pay fees and that it has peers";

/// What a validator told after a block.
#[derive(Clone, Debug)]
pub struct Duty {
    /// The block; 0 before the first.
    pub height: u64,
    /// When.
    pub at: Instant,
    /// Where it stands.
    pub standing: Standing,
}

impl Default for Duty {
    fn default() -> Self {
        Self { height: 0, at: Instant::now(), standing: Standing::Done }
    }
}

/// Where a validator stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does all that is asked of it.
    Done,
    /// Nothing is asked of it; why, and what to do about it.
    Idle(String),
    /// It does not do what is asked of it; what, and what to do.
    Neglected(String),
}

/// Where a registered validator stands after a block; `sheets` are those on its disk.
pub(super) fn standing<'a>(
    view: &dyn StateRead,
    genesis: &Hash32,
    me: &ValidatorRecord,
    chain: &Chain,
    sheets: impl Iterator<Item = &'a ScoreSheet>,
) -> Result<Standing, StoreError> {
    let operator = me.operator;
    if me.tombstoned {
        let words = "this validator signed two ways and never votes again; register another operator key";
        return Ok(Standing::Idle(words.into()));
    }
    if let Some(jail) = &me.jailed {
        let until = jail.until;
        return Ok(Standing::Idle(format!(
            "this validator is jailed for absence: run `assay validator unjail` from epoch {until} on"
        )));
    }
    let epoch = chain.epoch;
    if !query::permits(view, epoch)?.iter().any(|(permitted, _)| *permitted == operator) {
        return Ok(Standing::Idle(format!(
            "this validator has no seat in epoch {epoch}; with enough stake it has one from the next epoch on"
        )));
    }
    let clock = Clock::of(chain);
    for sheet in sheets {
        let (scored, subnet) = (sheet.epoch, sheet.subnet);
        let committed = query::commitment(view, scored, subnet, &operator)?;
        let of_last = scored.checked_add(1) == Some(epoch);
        let late = match committed {
            // With the block to come, there is none left for it.
            None if scored == epoch => clock.position.saturating_add(1) >= clock.length,
            None => of_last,
            Some(_) => false,
        };
        if late {
            return Ok(Standing::Neglected(format!(
                "this validator closed its scores of epoch {scored} in subnet {subnet} and could not commit them; {ADVICE}"
            )));
        }
        if committed.is_some_and(|commitment| commitment.hash != sheet.commitment(genesis)) {
            return Ok(Standing::Neglected(format!(
                "the chain holds another commitment of this validator for epoch {scored} in subnet {subnet} than its disk: run its \
                 key on one machine only"
            )));
        }
        if of_last
            && committed.is_some()
            && clock.position > clock.length / 2
            && query::reveal(view, scored, subnet, &operator)?.is_none()
        {
            return Ok(Standing::Neglected(format!(
                "this validator has not revealed its scores of epoch {scored} in subnet {subnet}, and half of the time for it is \
                 over; {ADVICE}"
            )));
        }
    }
    let missed = me.attendance.missed_in_row;
    if missed == 0 {
        return Ok(Standing::Done);
    }
    for subnet in query::subnets(view)? {
        for scored in [Some(epoch), epoch.checked_sub(1)].into_iter().flatten() {
            if query::commitment(view, scored, subnet.id, &operator)?.is_some() {
                return Ok(Standing::Done);
            }
        }
    }
    Ok(Standing::Neglected(format!(
        "this validator's scores were missing in the last {missed} settled epochs that counted, and none are on their way: it \
         earns nothing and will be jailed; its log says why, and `assay check` what its home lacks"
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_chain_spec::Params;
    use assay_ledger::{
        records::{Jail, JailReason},
        tx::Action,
    };

    use super::*;
    use crate::roles::{
        ChainView as _,
        tests::{SUBNET, TestChain, key},
    };

    struct Stand {
        chain: std::sync::Arc<TestChain>,
        me: ValidatorRecord,
        sheet: ScoreSheet,
    }

    impl Stand {
        fn new() -> Self {
            let chain = TestChain::new(Params::dev());
            let me = query::validator(&*chain.view(), &key(1).account()).unwrap().unwrap();
            let sheet =
                ScoreSheet { validator: me.operator, subnet: SUBNET, epoch: 0, salt: [3; 32], scores: Vec::new() };
            Self { chain, me, sheet }
        }

        fn standing(&self, sheets: &[ScoreSheet]) -> Standing {
            let view = self.chain.view();
            let chain = query::chain(&*view).unwrap();
            standing(&*view, &self.chain.genesis(), &self.me, &chain, sheets.iter()).unwrap()
        }

        fn until(&self, met: impl Fn(&Chain) -> bool) {
            while !met(&query::chain(&*self.chain.view()).unwrap()) {
                self.chain.block();
            }
        }
    }

    fn words(standing: Standing) -> String {
        match standing {
            Standing::Neglected(words) => words,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_has_no_seat_is_asked_for_nothing_and_says_why() {
        let mut stand = Stand::new();
        assert_eq!(stand.standing(&[]), Standing::Done);
        stand.me.jailed = Some(Jail { since: 1, until: 4, reason: JailReason::Absence });
        assert!(matches!(stand.standing(&[]), Standing::Idle(words) if words.contains("unjail` from epoch 4")));
        stand.me.tombstoned = true;
        assert!(matches!(stand.standing(&[]), Standing::Idle(words) if words.contains("never votes again")));
        (stand.me.jailed, stand.me.tombstoned, stand.me.operator) = (None, false, key(99).account());
        assert!(matches!(stand.standing(&[]), Standing::Idle(words) if words.contains("no seat in epoch 0")));
    }

    #[test]
    fn scores_that_are_not_committed_in_time_are_neglected() {
        let stand = Stand::new();
        let sheets = [stand.sheet.clone()];
        assert_eq!(stand.standing(&sheets), Standing::Done);
        stand.until(|chain| chain.height + 1 == chain.epoch_end);
        assert!(words(stand.standing(&sheets)).contains("epoch 0 in subnet"));
        stand.until(|chain| chain.epoch == 1);
        assert!(words(stand.standing(&sheets)).contains("could not commit"));
        stand.until(|chain| chain.epoch == 2);
        assert_eq!(stand.standing(&sheets), Standing::Done);
    }

    #[tokio::test]
    async fn scores_that_are_committed_are_to_be_revealed_by_the_middle_of_the_next_epoch() {
        let mut stand = Stand::new();
        stand.me.attendance.missed_in_row = 2;
        assert!(words(stand.standing(&[])).contains("last 2 settled epochs"));
        let commitment = stand.sheet.commitment(&stand.chain.genesis());
        let commit = Action::CommitScores { subnet: SUBNET, epoch: 0, commitment };
        stand.chain.submit(commit, &key(1)).await.unwrap();
        stand.chain.block();
        let sheets = [stand.sheet.clone()];
        // Scores are on their way again.
        assert_eq!(stand.standing(&sheets), Standing::Done);
        let other = ScoreSheet { salt: [4; 32], ..stand.sheet.clone() };
        assert!(words(stand.standing(&[other])).contains("one machine only"));
        stand.until(|chain| chain.epoch == 1);
        assert_eq!(stand.standing(&sheets), Standing::Done);
        stand.until(|chain| chain.height > chain.epoch_start + 3 * (chain.epoch_end - chain.epoch_start) / 4);
        assert!(words(stand.standing(&sheets)).contains("not revealed its scores of epoch 0"));
    }
}
