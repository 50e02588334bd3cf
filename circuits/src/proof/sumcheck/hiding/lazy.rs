//! Sums of many products, reduced once at the end.

use p3_field::{BasedVectorSpace, PrimeCharacteristicRing, PrimeField64};

use crate::proof::sumcheck::commitment::{Base, Ext};

/// A sum of elements of the extension times cells: for each coordinate, the low and the high halves of its products added up
/// apart. There is room for 2^64 of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LazySum {
    low: [u128; 2],
    high: [u128; 2],
}

impl LazySum {
    pub(super) fn add(&mut self, coefficient: Ext, cell: Base) {
        let parts: &[Base] = coefficient.as_basis_coefficients_slice();
        let cell = u128::from(cell.as_canonical_u64());
        for (at, part) in parts.iter().enumerate() {
            let product = u128::from(part.as_canonical_u64()) * cell;
            self.low[at] += product & u128::from(u64::MAX);
            self.high[at] += product >> 64;
        }
    }

    pub(super) fn of(products: impl Iterator<Item = (Ext, Base)>) -> Self {
        let mut sum = Self::default();
        products.for_each(|(coefficient, cell)| sum.add(coefficient, cell));
        sum
    }

    pub(super) fn value(self) -> Ext {
        // 2^64 is 2^32 - 1 modulo 2^64 - 2^32 + 1.
        let shift = Base::from_u64((1 << 32) - 1);
        Ext::from_basis_coefficients_fn(|at| Base::from_u128(self.low[at]) + Base::from_u128(self.high[at]) * shift)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::code::{uniform, uniform_ext};
    use super::*;

    #[test]
    fn a_lazy_sum_is_the_sum() {
        let mut random = StdRng::seed_from_u64(1);
        let largest = (Ext::new([Base::NEG_ONE, Base::NEG_ONE]), Base::NEG_ONE);
        for count in [0, 1, 2, 1000] {
            let mut products: Vec<(Ext, Base)> =
                (0..count).map(|_| (uniform_ext(&mut random), uniform(&mut random))).collect();
            products.extend(std::iter::repeat_n(largest, count));
            let expected = products.iter().map(|(coefficient, cell)| *coefficient * *cell).sum::<Ext>();
            assert_eq!(LazySum::of(products.into_iter()).value(), expected);
        }
    }
}
