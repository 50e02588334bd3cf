//! Sums of products that need more than 128 bits: weighted means are rounded once, at their end.

/// An unsigned integer of 256 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wide {
    // Compared before `low`.
    high: u128,
    low: u128,
}

impl Wide {
    /// `a b`, exactly.
    pub(super) fn product(a: u128, b: u128) -> Self {
        const MASK: u128 = u64::MAX as u128;
        let ((a1, a0), (b1, b0)) = ((a >> 64, a & MASK), (b >> 64, b & MASK));
        let (p00, p01, p10, p11) = (a0 * b0, a0 * b1, a1 * b0, a1 * b1);
        // Three numbers below 2^64.
        let middle = (p00 >> 64) + (p01 & MASK) + (p10 & MASK);
        Self { high: p11 + (p01 >> 64) + (p10 >> 64) + (middle >> 64), low: (middle << 64) | (p00 & MASK) }
    }

    /// The sum. Callers stay below `2^256`; beyond, the upper half would stay at its largest value.
    pub(super) fn plus(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        Self { high: self.high.saturating_add(other.high).saturating_add(u128::from(carry)), low }
    }

    /// Quotient, rounded down, and remainder; the largest quotient of 128 bits if that is too small for it, or if
    /// `divisor` is zero.
    pub(super) fn div_rem(self, divisor: u128) -> (u128, u128) {
        if self.high >= divisor {
            return (u128::MAX, 0);
        }
        if self.high == 0 {
            return (self.low / divisor, self.low % divisor);
        }
        let (mut quotient, mut rest) = (0, self.high);
        for bit in (0..128).rev() {
            let carried = rest >> 127 == 1;
            rest = (rest << 1) | ((self.low >> bit) & 1);
            if carried || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient |= 1 << bit;
            }
        }
        (quotient, rest)
    }
}

/// `sum(w x) / sum(w)` over pairs `(x, w)`, rounded down; `None` if there is no weight. The weights' sum is below `2^128`,
/// that of the products below `2^256`.
pub(super) fn mean(weighted: impl Iterator<Item = (u128, u128)>) -> Option<u128> {
    let (mut products, mut weights) = (Wide::default(), 0u128);
    for (x, weight) in weighted {
        products = products.plus(Wide::product(x, weight));
        weights += weight;
    }
    (weights > 0).then(|| products.div_rem(weights).0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_largest_factors_do_not_overflow() {
        let square = Wide::product(u128::MAX, u128::MAX);
        assert_eq!(square, Wide { high: u128::MAX - 1, low: 1 });
        assert_eq!(square.div_rem(u128::MAX), (u128::MAX, 0));
        assert_eq!(square.plus(square).high, u128::MAX);
        assert_eq!(Wide::product(5, 7).div_rem(0), (u128::MAX, 0));
        assert_eq!(mean([(u128::MAX, u128::MAX)].into_iter()), Some(u128::MAX));
        assert_eq!(mean([(7, 0)].into_iter()), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn a_division_undoes_a_product_and_leaves_what_was_added(a: u128, b: u128, rest: u128) {
            let (divisor, rest) = (b.max(1), rest % b.max(1));
            let sum = Wide::product(a, divisor).plus(Wide { high: 0, low: rest });
            prop_assert_eq!(sum.div_rem(divisor), (a, rest));
        }

        #[test]
        fn small_numbers_are_as_in_128_bits(a: u64, b: u64, c: u64, d in 1u64..) {
            let wide = Wide::product(u128::from(a), u128::from(b)).plus(Wide { high: 0, low: u128::from(c) });
            let narrow = u128::from(a) * u128::from(b) + u128::from(c);
            let d = u128::from(d);
            prop_assert_eq!(wide.div_rem(d), (narrow / d, narrow % d));
        }
    }
}
