//! The commitment to a model's weights.

use p3_field::PrimeCharacteristicRing;

use super::{Base, Committed, Stack, Unfit};

/// The stack of weights of these lengths: block `b` is weight `b`, padded with zeros to a power of two.
///
/// # Errors
/// [`Unfit`] where there are too many cells.
pub fn weight_stack(lengths: &[usize]) -> Result<Stack, Unfit> {
    // A model without weights still has a commitment: to one zero.
    let sizes: Vec<usize> = lengths.iter().map(|n| n.next_power_of_two().trailing_zeros() as usize).collect();
    Stack::new(if sizes.is_empty() { &[0] } else { &sizes })
}

/// Commits to weights: one row-major vector each.
///
/// # Errors
/// [`Unfit`] where there are too many.
pub fn commit_weights(weights: &[Vec<i64>]) -> Result<(Stack, Committed), Unfit> {
    let lengths: Vec<usize> = weights.iter().map(Vec::len).collect();
    let stack = weight_stack(&lengths)?;
    let blocks = stack.sizes().iter().enumerate().map(|(b, size)| {
        let cells = weights.get(b).map_or(&[][..], Vec::as_slice);
        let mut cells: Vec<Base> = cells.iter().map(|cell| Base::from_i64(*cell)).collect();
        cells.resize(1 << size, Base::ZERO);
        cells
    });
    let committed = stack.commit(blocks.collect())?;
    Ok((stack, committed))
}

/// The root that stands for the weights in a model's id.
///
/// # Errors
/// [`Unfit`] where there are too many.
pub fn weight_commitment(weights: &[Vec<i64>]) -> Result<[u8; 32], Unfit> {
    commit_weights(weights).map(|(_, committed)| committed.commitment().0)
}
