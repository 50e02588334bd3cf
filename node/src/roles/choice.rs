//! Which miner is asked, among those with a good score: the one whose answer costs least, where a second of waiting has a
//! price too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use assay_ledger::records::MinerRecord;
use assay_primitives::{AccountId, Amount};

/// What a miner that was never asked is taken to need to its first token.
const UNKNOWN: Duration = Duration::from_millis(250);
/// How long a miner that failed is asked only if there is no other.
const AVOIDED: Duration = Duration::from_secs(30);
/// Miners below this share of the best one's score are asked only if there is no other.
const GOOD: f64 = 0.5;

/// What this gateway has seen of the miners.
#[derive(Debug, Default)]
pub(crate) struct Book(BTreeMap<AccountId, Seen>);

#[derive(Debug)]
struct Seen {
    /// Answers that it is giving us.
    answering: u32,
    /// To the first token, or the whole of what comes at once, as a moving average.
    first: Duration,
    /// Between frames, as a moving average.
    gap: Duration,
    failed: Option<Instant>,
}

impl Default for Seen {
    fn default() -> Self {
        Self { answering: 0, first: UNKNOWN, gap: Duration::ZERO, failed: None }
    }
}

/// A moving average over about eight.
fn average(old: Duration, new: Duration) -> Duration {
    (old * 7 + new) / 8
}

impl Book {
    fn seen(&mut self, miner: &AccountId) -> &mut Seen {
        self.0.entry(*miner).or_default()
    }

    /// The best of these to ask now, of which none was tried, each with what its answer would cost; `None` if there is none
    /// left. `second` is what a second of waiting is worth.
    pub(crate) fn choose<'a>(
        &mut self,
        miners: &'a [(MinerRecord, Amount)],
        tried: &BTreeSet<AccountId>,
        second: Amount,
    ) -> Option<&'a MinerRecord> {
        let best = miners.iter().map(|(m, _)| m.score).max()?.to_f64();
        let mut rank = |miner: &MinerRecord, price: Amount| {
            let seen = self.seen(&miner.operator);
            let avoided = seen.failed.is_some_and(|at| at.elapsed() < AVOIDED);
            let poor = miner.score.to_f64() < best * GOOD;
            // What one more would wait, roughly: for its own first token, and for those before it.
            let wait = seen.first.as_secs_f64() * f64::from(seen.answering + 1);
            let cost = price.0 as f64 + wait * second.0.max(1) as f64;
            (avoided, poor, cost / miner.score.to_f64().max(0.01))
        };
        let left = miners.iter().filter(|(m, _)| !tried.contains(&m.operator));
        let ranked = left.map(|(m, price)| (rank(m, *price), m));
        ranked.min_by(|(a, _), (b, _)| (a.0, a.1).cmp(&(b.0, b.1)).then(a.2.total_cmp(&b.2))).map(|(_, m)| m)
    }

    /// A miner was asked.
    pub(crate) fn asked(&mut self, miner: &AccountId) {
        self.seen(miner).answering += 1;
    }

    /// It has ended, well or not, or is listened to no longer.
    pub(crate) fn ended(&mut self, miner: &AccountId) {
        let seen = self.seen(miner);
        seen.answering = seen.answering.saturating_sub(1);
    }

    /// Its first token came after so long, or all of an answer that comes at once.
    pub(crate) fn first(&mut self, miner: &AccountId, took: Duration) {
        let seen = self.seen(miner);
        (seen.first, seen.failed) = (average(seen.first, took), None);
    }

    /// A further frame came after so long.
    pub(crate) fn gap(&mut self, miner: &AccountId, took: Duration) {
        let seen = self.seen(miner);
        seen.gap = average(seen.gap, took);
    }

    /// What it told was wrong, or it told nothing.
    pub(crate) fn failed(&mut self, miner: &AccountId) {
        self.seen(miner).failed = Some(Instant::now());
    }

    /// How long its silence is nothing to worry about: `least`, or several times what is usual for it.
    pub(crate) fn patience(&mut self, miner: &AccountId, begun: bool, least: Duration) -> Duration {
        let seen = self.seen(miner);
        least.max(if begun { seen.gap * 8 } else { seen.first * 4 })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use assay_primitives::Score;

    use super::*;

    fn miner(n: u8, score: u64) -> MinerRecord {
        MinerRecord {
            operator: AccountId([n; 32]),
            owner: AccountId([n; 32]),
            subnet: 2,
            bond: Amount::asy(1),
            endpoint: Default::default(),
            registered: 0,
            retired: None,
            slashed: None,
            score: Score::ratio(score, 100),
            scored: None,
            emission: Amount::ZERO,
            immune_until: 0,
        }
    }

    #[test]
    fn load_is_spread_over_good_miners_and_failures_and_poor_scores_come_last() {
        let miners = [miner(1, 90), miner(2, 90), miner(3, 20)].map(|m| (m, Amount::ZERO));
        let mut book = Book::default();
        let mut tried = BTreeSet::new();
        let first = book.choose(&miners, &tried, Amount(1000)).unwrap().operator;
        book.asked(&first);
        let second = book.choose(&miners, &tried, Amount(1000)).unwrap().operator;
        assert_ne!(first, second);
        assert_ne!(second, miners[2].0.operator);
        book.failed(&second);
        assert_eq!(book.choose(&miners, &tried, Amount(1000)).unwrap().operator, first);
        tried.insert(first);
        assert_eq!(book.choose(&miners, &tried, Amount(1000)).unwrap().operator, miners[2].0.operator);
        tried.insert(miners[2].0.operator);
        assert_eq!(book.choose(&miners, &tried, Amount(1000)).unwrap().operator, second);
        tried.insert(second);
        assert!(book.choose(&miners, &tried, Amount(1000)).is_none());
        assert!(book.choose(&[], &BTreeSet::new(), Amount(1000)).is_none());
    }

    #[test]
    fn a_slow_miner_is_asked_less_and_given_more_time() {
        let miners = [miner(1, 90), miner(2, 90)].map(|m| (m, Amount::ZERO));
        let mut book = Book::default();
        (0..20).for_each(|_| book.first(&miners[0].0.operator, Duration::from_secs(2)));
        assert_eq!(book.choose(&miners, &BTreeSet::new(), Amount(1000)).unwrap().operator, miners[1].0.operator);
        let least = Duration::from_secs(1);
        assert!(book.patience(&miners[0].0.operator, false, least) > least);
        assert_eq!(book.patience(&miners[1].0.operator, false, least), least);
        assert_eq!(book.patience(&miners[0].0.operator, true, least), least);
    }

    #[test]
    fn the_cheaper_is_asked_unless_the_dearer_is_sooner_by_more_than_it_costs() {
        let (a, b) = (miner(1, 90), miner(2, 90));
        let (cheap, dear) = (a.operator, b.operator);
        let priced = [(a, Amount(1000)), (b, Amount(3000))];
        let mut book = Book::default();
        let chosen = |book: &mut Book, second| book.choose(&priced, &BTreeSet::new(), Amount(second)).unwrap().operator;
        assert_eq!(chosen(&mut book, 1000), cheap);
        // Eight more are before us with the cheap one: two seconds.
        (0..9).for_each(|_| book.asked(&cheap));
        assert_eq!(chosen(&mut book, 500), cheap);
        assert_eq!(chosen(&mut book, 2000), dear);
    }
}
