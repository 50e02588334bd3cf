//! An epoch over dense columns: fastest where most entries are there.
//!
//! ```text
//! rows     uids that have stake in the epoch, weights or bonds    (validators)
//! columns  uids that any of these weigh or hold bonds to          (miners)
//! matrix   one column after another, each with one entry per row, absent ones as zeros
//! ```
//!
//! But for the sums of rows every stage of the formulas is one column's own matter, so that two passes over columns do,
//! each column in the nearest cache: the first up to ranks, whose sum makes incentive, the second bonds and dividends.
//!
//! Numbers are raw bits, `2^-32` each. Everything here lies in `0..=1` but bonds, which are 65535ths: weights are
//! shares of a row, stakes are shares, and the sums of products of the two are at most one. So no sum saturates, in
//! whatever order it is taken, and the result is that of [`sparse`](super::sparse) to the last bit.

use super::arith::{Divisor, div, from_u16, normalize, sum, to_u16};
use super::bonds::{Alpha, fixed_alpha};
use super::{Bonding, Input, Layout, Params, Weighed};
use fixed::types::I32F32;

/// One in raw bits.
const ONE: u64 = 1 << 32;

/// From this share of present entries on the dense layout is faster, in percent; measured, see `docs/benchmarks.md`.
const DENSE_FROM_PERCENT: usize = 30;

/// Which uids the matrices have rows and columns for, each ascending.
struct Frame {
    rows: Vec<u16>,
    columns: Vec<u16>,
    /// How many weights and bonds there are, counted as the larger of the two.
    entries: usize,
}

impl Frame {
    fn new(input: &Input) -> Self {
        let mut rows = Vec::new();
        let mut named = vec![false; input.stake.len()];
        let (mut weights, mut bonds) = (0, 0);
        for (i, (given, held)) in (0..=u16::MAX).zip(input.weights.iter().zip(&input.bonds)) {
            let permitted = input.permit[usize::from(i)];
            if permitted || !held.is_empty() {
                rows.push(i);
            }
            if permitted {
                weights += given.len();
                given.iter().for_each(|(j, _)| named[usize::from(*j)] = true);
            }
            bonds += held.len();
            held.iter().for_each(|(j, _)| named[usize::from(*j)] = true);
        }
        let columns = (0..=u16::MAX).zip(&named).filter(|(_, named)| **named).map(|(j, _)| j).collect();
        Self { rows, columns, entries: weights.max(bonds) }
    }
}

/// The layout that takes less time.
pub(super) fn faster_layout(input: &Input) -> Layout {
    let Frame { rows, columns, entries } = Frame::new(input);
    let cells = rows.len() * columns.len();
    if entries * 100 >= cells * DENSE_FROM_PERCENT { Layout::Dense } else { Layout::Sparse }
}

/// Consensus, incentive, bonds and dividends of a checked input.
pub(super) fn weigh(params: &Params, input: &Input, stake: &[I32F32]) -> Weighed {
    let n = stake.len();
    let frame = Frame::new(input);
    let matrices = Matrices::new(input, &frame);
    let stakes = Stakes::new(&frame, stake, from_u16(params.kappa));
    let mut weighed = Weighed {
        consensus: vec![I32F32::ZERO; n],
        ranks: vec![I32F32::ZERO; n],
        trust: vec![I32F32::ZERO; n],
        incentive: vec![],
        validator_trust: vec![I32F32::ZERO; n],
        dividends: vec![I32F32::ZERO; n],
        bonds: vec![vec![]; n],
    };

    let mut upheld_by_row = vec![0u64; frame.rows.len()];
    let mut order = Vec::with_capacity(frame.rows.len());
    for (k, uid) in frame.columns.iter().map(|j| usize::from(*j)).enumerate() {
        let column = matrices.column(k);
        let consensus = stakes.median(column.weights, &mut order);
        let (mut ranks, mut given, mut upheld) = (0u64, 0u64, 0u64);
        for (r, (weight, stake)) in column.weights.iter().zip(&stakes.active).enumerate() {
            let clipped = (*weight).min(consensus);
            let rank = product(*stake, clipped);
            ranks += rank;
            if column.counts(r) {
                given += product(*stake, *weight);
                upheld += rank;
                upheld_by_row[r] += clipped;
            }
        }
        weighed.consensus[uid] = number(consensus);
        weighed.ranks[uid] = number(ranks);
        weighed.trust[uid] = div(number(upheld), number(given));
    }
    weighed.incentive.clone_from(&weighed.ranks);
    normalize(&mut weighed.incentive);

    let bonding = Bonds::new(params, &weighed.consensus);
    let mut earned_by_row = vec![0u64; frame.rows.len()];
    let mut stored = vec![Vec::new(); frame.rows.len()];
    let mut scratch = vec![0u64; frame.rows.len()];
    for (k, uid) in frame.columns.iter().enumerate() {
        let j = usize::from(*uid);
        let (consensus, incentive) = (bits(weighed.consensus[j]), bits(weighed.incentive[j]));
        bonding.settle(&matrices.column(k), consensus, &stakes.active, &mut scratch);
        // Classic bonds of a column are shares of it already.
        let total = divisor(if bonding.by_stake { scratch.iter().sum() } else { ONE });
        for (earned, bond) in earned_by_row.iter_mut().zip(&scratch) {
            *earned += product(incentive, total.share(*bond));
        }
        bonding.scale(&mut scratch);
        for (row, bond) in stored.iter_mut().zip(&scratch) {
            let bond = to_u16(number(*bond));
            if bond > 0 {
                row.push((*uid, bond));
            }
        }
    }
    for (r, bonds) in stored.into_iter().enumerate() {
        let i = usize::from(frame.rows[r]);
        weighed.validator_trust[i] = number(upheld_by_row[r]);
        let share = if bonding.by_stake { product(earned_by_row[r], stakes.active[r]) } else { earned_by_row[r] };
        weighed.dividends[i] = number(share);
        weighed.bonds[i] = bonds;
    }
    normalize(&mut weighed.dividends);
    weighed
}

/// Weights, bonds and flags, one column after another.
struct Matrices {
    rows: usize,
    /// Admitted weights, rows normalised.
    weights: Vec<u64>,
    /// Standing bonds, in 65535ths.
    bonds: Vec<u16>,
    /// Which entries the aggregator rejected; empty if it rejected none.
    flagged: Vec<bool>,
}

/// One column of [`Matrices`].
struct Column<'a> {
    weights: &'a [u64],
    bonds: &'a [u16],
    flagged: &'a [bool],
}

impl Column<'_> {
    /// Whether the entry of row `r` counts for trust and bonds.
    fn counts(&self, r: usize) -> bool {
        !self.flagged.get(r).is_some_and(|flagged| *flagged)
    }
}

impl Matrices {
    fn new(input: &Input, frame: &Frame) -> Self {
        let rows = frame.rows.len();
        let cells = rows * frame.columns.len();
        // Where the column of a uid begins.
        let mut begins = vec![0usize; input.stake.len()];
        for (k, j) in frame.columns.iter().enumerate() {
            begins[usize::from(*j)] = k * rows;
        }
        let mut matrices = Self { rows, weights: vec![0; cells], bonds: vec![0; cells], flagged: vec![] };
        for (r, i) in frame.rows.iter().map(|i| usize::from(*i)).enumerate() {
            let admitted = || input.weights[i].iter().filter(|(j, _)| input.admits(i, *j));
            let total = Divisor::new(sum(admitted().map(|(_, weight)| *weight)));
            for (j, weight) in admitted() {
                matrices.weights[begins[usize::from(*j)] + r] = bits(total.divide(*weight));
            }
            for (j, bond) in input.bonds[i].iter().filter(|(j, _)| input.stands(*j)) {
                matrices.bonds[begins[usize::from(*j)] + r] = *bond;
            }
        }
        if !input.flagged.is_empty() {
            matrices.flagged = vec![false; cells];
            for (i, j) in &input.flagged {
                // A flag where no matrix has an entry says nothing.
                if let (Ok(r), Ok(k)) = (frame.rows.binary_search(i), frame.columns.binary_search(j)) {
                    matrices.flagged[k * rows + r] = true;
                }
            }
        }
        matrices
    }

    fn column(&self, k: usize) -> Column<'_> {
        let cells = k * self.rows..(k + 1) * self.rows;
        Column {
            weights: &self.weights[cells.clone()],
            bonds: &self.bonds[cells.clone()],
            flagged: self.flagged.get(cells).unwrap_or_default(),
        }
    }
}

/// Stake by row, and what consensus asks of it.
struct Stakes {
    /// Active stake, normalised.
    active: Vec<u64>,
    /// The same, normalised once more among those that have any, as medians count it.
    shares: Vec<u64>,
    /// All of it without the majority.
    minority: i128,
}

impl Stakes {
    fn new(frame: &Frame, stake: &[I32F32], majority: I32F32) -> Self {
        let active: Vec<I32F32> = frame.rows.iter().map(|i| stake[usize::from(*i)]).collect();
        let total = Divisor::new(sum(active.iter().copied()));
        let shares: Vec<u64> = active.iter().map(|s| bits(total.divide(*s))).collect();
        let minority = i128::from(shares.iter().sum::<u64>()) - i128::from(majority.to_bits());
        Self { active: active.into_iter().map(bits).collect(), shares, minority }
    }

    /// The largest weight with at most the minority strictly below it, or the smallest one; 0 if nobody has stake.
    ///
    /// It is the smallest weight at or below which lies more than the minority, or the largest one if that much lies
    /// nowhere: found by selection, halving what is left, in time linear in the rows.
    fn median(&self, weights: &[u64], order: &mut Vec<u64>) -> u64 {
        order.clear();
        let mut below = 0u64;
        for ((r, weight), share) in (0..=u16::MAX).zip(weights).zip(&self.shares) {
            if *weight == 0 {
                below += share;
            } else if *share > 0 {
                // Weight and row in one number, which moves faster than a pair: 33 and 16 bits.
                order.push((*weight << 16) | u64::from(r));
            }
        }
        let exceeds = |stake: u64| i128::from(stake) > self.minority;
        if below > 0 && exceeds(below) {
            return 0;
        }
        let share = |entry: &u64| self.shares[(entry & 0xffff) as usize]; // fits: 16 bits
        let (mut rest, mut largest) = (order.as_mut_slice(), 0);
        while !rest.is_empty() {
            let (left, pivot, right) = rest.select_nth_unstable(rest.len() / 2);
            let with_left = below + left.iter().map(share).sum::<u64>();
            let with_pivot = with_left + share(pivot);
            if exceeds(with_left) && !left.is_empty() {
                rest = left;
            } else if exceeds(with_pivot) {
                return *pivot >> 16;
            } else {
                (below, largest, rest) = (with_pivot, *pivot >> 16, right);
            }
        }
        largest
    }
}

/// How bonds of a column move.
struct Bonds {
    penalty: u64,
    /// Weight of the new observation.
    alpha: u64,
    /// Weight of the new observation by distance from consensus, if it is liquid and there is any consensus.
    liquid: Option<Alpha>,
    /// Whether stake enters when bonds are paid, and not before.
    by_stake: bool,
}

impl Bonds {
    fn new(params: &Params, consensus: &[I32F32]) -> Self {
        let (by_stake, liquid) = match params.bonding {
            Bonding::Classic => (false, None),
            Bonding::Yuma3 { liquid_alpha } => (true, liquid_alpha),
        };
        let agreed = consensus.iter().any(|c| *c != I32F32::ZERO);
        Self {
            penalty: bits(from_u16(params.bonds_penalty)),
            alpha: bits(fixed_alpha(params)),
            liquid: liquid.filter(|_| agreed).map(Alpha::new),
            by_stake,
        }
    }

    /// New bonds of a column: classic normalised, Yuma3 as they are.
    fn settle(&self, column: &Column<'_>, consensus: u64, stake: &[u64], out: &mut [u64]) {
        for (r, (out, weight)) in out.iter_mut().zip(column.weights).enumerate() {
            *out = if column.counts(r) { self.penalised(*weight, (*weight).min(consensus)) } else { 0 };
        }
        if self.by_stake {
            for (out, bond) in out.iter_mut().zip(column.bonds) {
                *out = self.moved(*out, (u64::from(*bond) << 32) / u64::from(u16::MAX), consensus);
            }
            return;
        }
        for (out, stake) in out.iter_mut().zip(stake) {
            *out = product(*out, *stake);
        }
        let total = divisor(out.iter().sum());
        let held = divisor(column.bonds.iter().map(|bond| u64::from(*bond)).sum());
        for (out, bond) in out.iter_mut().zip(column.bonds) {
            *out = self.averaged(total.share(*out), held.share(u64::from(*bond)));
        }
        let total = divisor(out.iter().sum());
        for out in out {
            *out = total.share(*out);
        }
    }

    /// A column of [`settle`](Self::settle) as it is to be stored.
    fn scale(&self, bonds: &mut [u64]) {
        if self.by_stake {
            return;
        }
        let largest = divisor(bonds.iter().copied().max().unwrap_or(0));
        for bond in bonds {
            *bond = largest.share(*bond);
        }
    }

    /// `weight + penalty (clipped - weight)`, rounded down, which takes the product away rounded up.
    fn penalised(&self, weight: u64, clipped: u64) -> u64 {
        if self.penalty == ONE {
            return clipped;
        }
        let product = u128::from(self.penalty) * u128::from(weight - clipped);
        weight - ((product + u128::from(ONE - 1)) >> 32) as u64 // fits: at most the weight
    }

    fn averaged(&self, new: u64, old: u64) -> u64 {
        product(self.alpha, new) + product(ONE - self.alpha, old)
    }

    fn moved(&self, new: u64, old: u64, consensus: u64) -> u64 {
        match &self.liquid {
            _ if new == 0 && old == 0 => 0,
            Some(liquid) => {
                let alpha = bits(liquid.of(number(consensus), number(new), number(old)));
                (product(ONE - alpha, old) + product(alpha, new)).min(ONE)
            }
            None => self.averaged(new, old),
        }
    }
}

/// `a b`, rounded down, of two numbers in `0..=1`.
fn product(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 32) as u64 // fits: at most one
}

fn divisor(sum: u64) -> Divisor {
    Divisor::new(i128::from(sum))
}

/// Raw bits of a number that is at least 0.
fn bits(x: I32F32) -> u64 {
    x.to_bits().unsigned_abs()
}

/// The number of raw bits, of which there are at most 63.
fn number(bits: u64) -> I32F32 {
    I32F32::from_bits(i64::try_from(bits).unwrap_or(i64::MAX))
}
