//! The prover's rounds of `sum(a(x) b(x))` and `sum(a(x) b(x) c(x))`.

use p3_field::PrimeCharacteristicRing;
use rayon::prelude::*;

use super::commitment::{Base, Ext};
use super::multilinear::{PARALLEL_FROM, fold, fold_base};
use super::rounds::Rounds;

/// Values over the base field until the first variable is bound.
pub(super) enum Values {
    Base(Vec<Base>),
    Ext(Vec<Ext>),
}

impl Values {
    pub(super) fn bind(&mut self, r: Ext) {
        match self {
            Self::Base(cells) => *self = Self::Ext(fold_base(cells, r)),
            Self::Ext(cells) => fold(cells, r),
        }
    }

    /// The one value left.
    pub(super) fn last(&self) -> Ext {
        match self {
            Self::Base(cells) => Ext::from(cells[0]),
            Self::Ext(cells) => cells[0],
        }
    }
}

/// A product of two, the first often small.
pub(super) struct PairProduct {
    pub(super) a: Values,
    pub(super) b: Vec<Ext>,
}

impl Rounds for PairProduct {
    fn message(&mut self) -> Vec<Ext> {
        let half = self.b.len() / 2;
        let (b0, b1) = self.b.split_at(half);
        let (zero, leading) = match &self.a {
            Values::Base(a) => {
                let (a0, a1) = a.split_at(half);
                sum_pairs(half, |i| (b0[i] * a0[i], (b1[i] - b0[i]) * (a1[i] - a0[i])))
            }
            Values::Ext(a) => {
                let (a0, a1) = a.split_at(half);
                sum_pairs(half, |i| (b0[i] * a0[i], (b1[i] - b0[i]) * (a1[i] - a0[i])))
            }
        };
        vec![zero, leading]
    }

    fn bind(&mut self, r: Ext) {
        self.a.bind(r);
        fold(&mut self.b, r);
    }
}

/// A product of three.
pub(super) struct TripleProduct(pub(super) [Vec<Ext>; 3]);

impl Rounds for TripleProduct {
    fn message(&mut self) -> Vec<Ext> {
        let half = self.0[0].len() / 2;
        let mut sums = [Ext::ZERO; 3];
        for i in 0..half {
            let low = self.0.each_ref().map(|v| v[i]);
            let step = self.0.each_ref().map(|v| v[half + i] - v[i]);
            let two: [Ext; 3] = std::array::from_fn(|k| low[k] + step[k].double());
            sums[0] += low[0] * low[1] * low[2];
            sums[1] += two[0] * two[1] * two[2];
            sums[2] += step[0] * step[1] * step[2];
        }
        sums.to_vec()
    }

    fn bind(&mut self, r: Ext) {
        self.0.iter_mut().for_each(|v| fold(v, r));
    }
}

/// Sums of pairs over `0 .. n`, on all threads where it pays.
pub(super) fn sum_pairs(n: usize, term: impl Fn(usize) -> (Ext, Ext) + Sync) -> (Ext, Ext) {
    let add = |a: (Ext, Ext), b: (Ext, Ext)| (a.0 + b.0, a.1 + b.1);
    let piece = |range: std::ops::Range<usize>| range.fold((Ext::ZERO, Ext::ZERO), |sum, i| add(sum, term(i)));
    if n < PARALLEL_FROM {
        return piece(0..n);
    }
    let size = PARALLEL_FROM / 2;
    (0..n.div_ceil(size))
        .into_par_iter()
        .map(|at| piece(at * size..n.min((at + 1) * size)))
        .reduce(|| (Ext::ZERO, Ext::ZERO), add)
}
