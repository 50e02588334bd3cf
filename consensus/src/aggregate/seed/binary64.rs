//! Sums and quotients rounded as IEEE 754 binary64 rounds them, to 53 bits, ties to even, in integers.
//!
//! Exponents are not limited: numbers here are neither so large nor so small.

use super::super::wide::Wide;

/// Fractional bits of quotients: enough that one above `2^-64` keeps its 53 bits and one more.
const FRACTION: u32 = 118;

/// The first index at which the running sum of `weights[i] / sum(weights)` is at least a half, every step rounded; `None`
/// if the sum is zero. The weights' sum is below `2^127`.
pub(super) fn half_reached(weights: &[u128]) -> Option<usize> {
    let weights = weights.iter().map(|weight| round(*weight, false));
    let total = weights.clone().fold(0, |sum, weight| round(sum + weight, false));
    if total == 0 {
        return None;
    }
    let mut reached = 0;
    for (place, weight) in weights.clone().enumerate() {
        let (quotient, rest) = Wide::product(weight, 1 << FRACTION).div_rem(total);
        reached = round(reached + round(quotient, rest > 0), false);
        if reached >= 1 << (FRACTION - 1) {
            return Some(place);
        }
    }
    // Rounding never takes a sum of shares far from one.
    weights.len().checked_sub(1)
}

/// The nearest number of 53 bits, the even one of two. `more`: what is rounded is a little above `x`, by less than one.
fn round(x: u128, more: bool) -> u128 {
    let excess = 75u32.saturating_sub(x.leading_zeros());
    if excess == 0 {
        return x;
    }
    let (kept, rest, half) = (x >> excess, x & ((1 << excess) - 1), 1 << (excess - 1));
    let up = rest > half || (rest == half && (more || kept & 1 == 1));
    (kept + u128::from(up)) << excess
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same in the machine's own binary64.
    fn in_floats(weights: &[f64]) -> Option<usize> {
        let total = weights.iter().fold(0.0, |sum, weight| sum + weight);
        let mut reached = 0.0;
        weights.iter().position(|weight| {
            reached += weight / total;
            reached >= 0.5
        })
    }

    fn in_integers(weights: &[f64]) -> Option<usize> {
        let bits: Vec<_> = weights.iter().map(|w| (w * 2f64.powi(64)) as u128).collect();
        half_reached(&bits)
    }

    #[test]
    fn half_in_decimals_need_not_be_half_in_binary() {
        assert_eq!(in_integers(&[0.1, 0.2, 0.3]), in_floats(&[0.1, 0.2, 0.3]));
        // Six equal weights: three are half of them, or not.
        let places: Vec<_> = [0.9, 0.49].map(|w| in_integers(&[w; 6])).to_vec();
        assert_eq!(places, [Some(2), Some(3)]);
        assert_eq!(places, [0.9, 0.49].map(|w| in_floats(&[w; 6])));
        assert_eq!(half_reached(&[0, 0]), None);
        assert_eq!(half_reached(&[]), None);
        assert_eq!(half_reached(&[1 << 94; 3]), Some(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn steps_round_as_the_machines_floats_do(hundredths in prop::collection::vec(0u32..=100, 1..24), other in any::<f64>()) {
            let weights: Vec<_> = hundredths.iter().map(|w| f64::from(*w) / 100.0).collect();
            prop_assert_eq!(in_integers(&weights), if hundredths.iter().all(|w| *w == 0) { None } else { in_floats(&weights) });
            // One of any size among them, as far as 64 fractional bits hold it.
            let mut weights = weights;
            weights.push(other.abs().clamp(0.001, 1e6));
            prop_assert_eq!(in_integers(&weights), in_floats(&weights));
        }

        #[test]
        fn rounding_is_the_conversion_to_floats(x: u128, more: bool) {
            let x = x >> 2;
            if !more {
                prop_assert_eq!(round(x, false), x as f64 as u128);
            }
            // A bit more is what a sticky bit below stands for.
            prop_assert_eq!(round(x, true), round((x << 1) | 1, false) >> 1);
        }
    }
}
