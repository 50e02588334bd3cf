//! Scales and multipliers: which ones make the quotients exact.

/// Most shift that needs one range lookup for the remainder.
pub(super) const ONE_LOOKUP: u8 = 16;

const MAX_SHIFT: u8 = 40;

/// `2^exponent`, exactly.
pub(super) fn power_of_two(exponent: i32) -> f64 {
    let half = |exponent: i32| f64::from_bits(((1023 + exponent.clamp(-1022, 1023)) as u64) << 52);
    // In two steps, for exponents beyond those of one number.
    half(exponent / 2) * half(exponent - exponent / 2)
}

/// The exponent of the largest power of two that is at most `x`; `x` is positive and finite.
pub(super) fn exponent(x: f64) -> i32 {
    let bits = |x: f64| ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    // Subnormal numbers are brought up first.
    if x < f64::MIN_POSITIVE { bits(x * power_of_two(100)) - 100 } else { bits(x) }
}

/// The smallest power of two that is at least `x`, but for a 2^-12th part of it: ranges are never that exact.
pub(super) fn power_above(x: f64) -> f64 {
    let x = x * (1.0 - 1.0 / 4096.0);
    let below = power_of_two(exponent(x));
    if below < x { below * 2.0 } else { below }
}

/// `multiplier / 2^shift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ratio {
    pub(super) multiplier: u32,
    pub(super) shift: u8,
}

impl Ratio {
    /// One, as a rescale says it.
    pub(super) const ONE: Self = Self { multiplier: 2, shift: 1 };

    pub(super) fn value(self) -> f64 {
        f64::from(self.multiplier) * power_of_two(-i32::from(self.shift))
    }

    /// The nearest ratio to one that is given, with an error of at most `tolerance` of it and the smallest shift that
    /// gives it; where no shift does, the most precise one. `None` where it is out of reach.
    pub(super) fn near(ratio: f64, tolerance: f64) -> Option<Self> {
        let mut best = None;
        for shift in 1..=MAX_SHIFT {
            let exact = ratio * power_of_two(i32::from(shift));
            let rounded = exact.round();
            if rounded >= power_of_two(31) {
                break;
            }
            if rounded < 1.0 {
                continue;
            }
            let found = Self { multiplier: rounded as u32, shift };
            if (rounded - exact).abs() <= tolerance * exact {
                return Some(found);
            }
            best = Some(found);
        }
        // The last one is the most precise that there is.
        best.filter(|_| ratio >= power_of_two(-i32::from(MAX_SHIFT)))
    }

    /// A ratio of at most `most`, as near to it as a shift of one lookup allows, smaller shifts preferred where they
    /// lose no more than an eighth: for who may choose the output's scale. `None` where `most` is too small or large.
    pub(super) fn below(most: f64) -> Option<Self> {
        let at = |shift: u8| {
            let floor = (most * power_of_two(i32::from(shift))).floor();
            (floor >= 1.0 && floor < power_of_two(31)).then_some(Self { multiplier: floor as u32, shift })
        };
        let close = |ratio: &Self| ratio.value() * 1.125 >= most;
        let one_lookup = (1..=ONE_LOOKUP).filter_map(at).find(close).or_else(|| at(ONE_LOOKUP));
        one_lookup.or_else(|| (ONE_LOOKUP + 1..=MAX_SHIFT).filter_map(at).find(close))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_and_exponents_are_exact_at_the_ends() {
        for at in [-1074, -1023, -1022, -1, 0, 1, 52, 1023] {
            assert_eq!(power_of_two(at).log2(), f64::from(at));
            assert_eq!(exponent(power_of_two(at)), at);
        }
        assert_eq!(power_above(1.0), 1.0);
        assert_eq!(power_above(1.0001), 1.0);
        assert_eq!(power_above(1.01), 2.0);
        assert_eq!(power_above(3.0), 4.0);
    }

    proptest! {
        #[test]
        fn a_ratio_is_as_near_as_it_says(log in -30f64..20.0, tolerance in 1e-6f64..1e-2) {
            let ratio = log.exp2();
            let found = Ratio::near(ratio, tolerance).unwrap();
            let finest = power_of_two(-i32::from(MAX_SHIFT) - 1);
            prop_assert!((found.value() - ratio).abs() <= (tolerance * ratio).max(finest), "{found:?}");
            let below = Ratio::below(ratio).unwrap();
            prop_assert!(below.value() <= ratio && below.value() * 2.0 >= ratio, "{below:?}");
        }
    }
}
