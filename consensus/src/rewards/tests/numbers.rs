//! The numbers everything is computed in.

use super::super::arith::{Divisor, div_by_sum, exp, ln};
use super::float;
use fixed::types::I32F32;
use proptest::prelude::*;

fn any_size() -> impl Strategy<Value = i64> {
    (0u32..63, any::<i64>()).prop_map(|(shift, bits)| (bits & i64::MAX) >> shift)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    fn dividing_by_a_reciprocal_is_dividing(a in any_size(), b in any_size(), negative in any::<i64>()) {
        let part = I32F32::from_bits(a.min(b));
        let whole = i128::from(a.max(b));
        let divisor = Divisor::new(whole);
        prop_assert_eq!(divisor.divide(part), div_by_sum(part, whole));
        prop_assert_eq!(i64::try_from(divisor.share(part.to_bits() as u64)).unwrap(), div_by_sum(part, whole).to_bits());
        for x in [I32F32::from_bits(whole as i64), I32F32::from_bits(whole as i64 - 1), I32F32::from_bits(negative)] {
            prop_assert_eq!(divisor.divide(x), div_by_sum(x, whole));
        }
        for sum in [whole << 31, -whole, i128::from(negative)] {
            prop_assert_eq!(Divisor::new(sum).divide(part), div_by_sum(part, sum));
        }
    }

    #[test]
    fn a_logarithm_is_at_most_one_bit_too_low(bits in 1..=i64::MAX) {
        let x = I32F32::from_bits(bits);
        let low = 1.0 / (1u64 << 32) as f64;
        let error = float(x).ln() - float(ln(x));
        prop_assert!((-1e-14..low + 1e-14).contains(&error), "{x}: off by {error}");
    }
}

#[test]
fn the_exponential_is_right_to_its_last_bits() {
    for k in -2000..=2000 {
        let x = f64::from(k) / 100.0;
        let found = float(exp(I32F32::from_num(x)));
        // Input and output are rounded to 2^-32 each.
        let error = (found - float(I32F32::from_num(x)).exp()).abs();
        assert!(error <= found * 1e-14 + 2.4e-10, "{x}: {found}, off by {error}");
    }
}

#[test]
fn the_logarithm_of_one_is_zero_and_that_of_nothing_too() {
    for x in [I32F32::ONE, I32F32::ZERO, I32F32::NEG_ONE, I32F32::MIN] {
        assert_eq!(ln(x), I32F32::ZERO);
    }
    assert!(float(ln(I32F32::from_bits(1))) + 22.180_709 < 1e-6);
}
