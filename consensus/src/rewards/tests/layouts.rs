//! Both layouts on subnets larger than those drawn at random.

use super::super::{Bonding, Input, Layout, LiquidAlpha, Params, epoch_in};
use fixed::types::I32F32;

/// Many keys, of which a third validate and all may be weighed, at a density in percent.
fn large(density: u64) -> Input {
    let mut state = density;
    // A linear congruence of D. Knuth's; its upper bits.
    let mut draw = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let n = 240;
    let mut input = Input { last_epoch: 2, emission: 1_000_000_000_000, ..Input::default() };
    for i in 0..n {
        let validates = i % 3 == 0;
        input.stake.push(if validates { draw(1 << 31) << 20 } else { draw(2) });
        input.active.push(draw(10) > 0);
        input.permit.push(validates);
        input.new_permit.push(if draw(20) > 0 { validates } else { !validates });
        input.last_update.push(2 + draw(3));
        input.registered.push(draw(4));
        let mut row = |present: bool| -> Vec<u16> { (0..n).filter(|_| present && draw(100) < density).collect() };
        let (weighed, bonded) = (row(validates), row(validates));
        input.weights.push(weighed.into_iter().map(|j| (j, I32F32::from_bits(draw(1 << 31) as i64))).collect());
        input.bonds.push(bonded.into_iter().map(|j| (j, draw(1 << 16) as u16)).collect());
        if validates {
            input.flagged.extend((0..n).filter(|_| draw(20) == 0).map(|j| (i, j)));
        }
    }
    input
}

#[test]
fn both_layouts_give_a_large_subnet_the_same_epoch_after_epoch() {
    for density in [2, 60, 100] {
        for bonding in [
            Bonding::Classic,
            Bonding::Yuma3 { liquid_alpha: None },
            Bonding::Yuma3 { liquid_alpha: Some(LiquidAlpha::default()) },
        ] {
            for bonds_penalty in [0, 40_000, u16::MAX] {
                let params = Params { bonding, bonds_penalty, ..Params::default() };
                let mut input = large(density);
                for _ in 0..3 {
                    let sparse = epoch_in(Layout::Sparse, &params, &input).unwrap();
                    assert_eq!(sparse, epoch_in(Layout::Dense, &params, &input).unwrap(), "{density} % {bonding:?}");
                    // Where few weigh a miner there is no majority, and no dividends.
                    assert_eq!(sparse.dividends.iter().any(|d| *d > I32F32::ZERO), density > 50);
                    input.bonds = sparse.bonds;
                }
            }
        }
    }
}
