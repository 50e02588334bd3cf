//! Blocks one after another in one polynomial, and all claims on them reduced to its value at one point.

use p3_field::PrimeCharacteristicRing;

use super::context::HiddenClaim;
use crate::proof::sumcheck::commitment::{Base, Ext};
use crate::proof::sumcheck::context::{Context, Failure};
use crate::proof::sumcheck::multilinear::{eq, eq_table};
use crate::proof::sumcheck::product::{PairProduct, Values};
use crate::proof::sumcheck::rounds::{Rounds, sumcheck};

/// Where blocks of `2^size` cells lie: largest first, so that each starts at a multiple of its length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    sizes: Vec<usize>,
    offsets: Vec<usize>,
    pub(super) variables: usize,
}

impl Layout {
    pub(super) fn new(sizes: &[usize]) -> Self {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&block| std::cmp::Reverse(sizes[block]));
        let (mut offsets, mut end) = (vec![0; sizes.len()], 0);
        for block in order {
            offsets[block] = end;
            end += 1usize << sizes[block];
        }
        Self { sizes: sizes.to_vec(), offsets, variables: end.next_power_of_two().trailing_zeros() as usize }
    }

    /// The polynomial's cells.
    pub(super) fn place<'a>(&self, blocks: impl IntoIterator<Item = &'a [Base]>) -> Vec<Base> {
        let mut cells = vec![Base::ZERO; 1 << self.variables];
        for (block, offset) in blocks.into_iter().zip(&self.offsets) {
            cells[*offset..*offset + block.len()].copy_from_slice(block);
        }
        cells
    }

    /// What the polynomial's cell at `r` weighs in the value of a block at `point`.
    fn weight(&self, block: usize, point: &[Ext], r: &[Ext]) -> Ext {
        let (high, low) = r.split_at(self.variables - self.sizes[block]);
        let position = self.offsets[block] >> self.sizes[block];
        let bits = high.len();
        let selected =
            high.iter().enumerate().map(|(at, &x)| if position >> (bits - 1 - at) & 1 == 1 { x } else { Ext::ONE - x });
        selected.product::<Ext>() * eq(point, low)
    }

    /// Reduces claims to one: gives a point and the polynomial's value there. The prover has the cells.
    pub(super) fn reduce<C: Context>(
        &self,
        c: &mut C,
        claims: Vec<HiddenClaim<C::Value>>,
        cells: Option<&[Base]>,
    ) -> Result<(Vec<Ext>, C::Value), Failure> {
        let random = c.challenge();
        let mut value = C::Value::from(Ext::ZERO);
        for (claim, coefficient) in claims.iter().zip(random.powers()) {
            value = value + claim.value.clone() * coefficient;
        }
        let mut prover = cells.map(|cells| {
            let mut weights = vec![Ext::ZERO; 1 << self.variables];
            for (claim, coefficient) in claims.iter().zip(random.powers()) {
                let offset = self.offsets[claim.block];
                for (sum, weight) in weights[offset..].iter_mut().zip(eq_table(&claim.point)) {
                    *sum += weight * coefficient;
                }
            }
            PairProduct { a: Values::Base(cells.to_vec()), b: weights }
        });
        let rounds = prover.as_mut().map(|p| p as &mut dyn Rounds);
        let (last, point) = sumcheck(c, value, self.variables, 2, rounds)?;
        let value = c.message(prover.map(|p| p.a.last()))?;
        let weights = claims.iter().zip(random.powers());
        let weight = weights.map(|(claim, x)| x * self.weight(claim.block, &claim.point, &point)).sum::<Ext>();
        c.assert_zero(last - value.clone() * weight, "the end of a merge of openings")?;
        Ok((point, value))
    }
}

/// What each cell of rows of `2^data` weighs in the value at a point: coefficients of the rows, and of a row's cells.
pub(super) fn split(point: &[Ext], data: usize) -> (Vec<Ext>, Vec<Ext>) {
    let (high, low) = point.split_at(point.len().saturating_sub(data));
    let mut cells = eq_table(low);
    cells.resize(1 << data, Ext::ZERO);
    (eq_table(high), cells)
}

/// Cells as rows of `2^data`, the last one padded with zeros.
pub(super) fn rows(cells: &[Base], data: usize) -> Vec<Vec<Base>> {
    let mut rows: Vec<Vec<Base>> = cells.chunks(1 << data).map(<[Base]>::to_vec).collect();
    rows.iter_mut().for_each(|row| row.resize(1 << data, Base::ZERO));
    rows
}
