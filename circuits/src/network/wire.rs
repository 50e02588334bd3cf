//! Wires on numbers.

use std::borrow::Cow;

use super::Operand;
use crate::graph::{Index, VOID, Wire};

/// Each output the sum of `fan_in` values of the operands, which count as one flat list.
pub(super) fn wire(wire: &Wire, operands: &[Operand<'_>], size: usize) -> Result<Vec<f64>, String> {
    let source = match operands {
        [one] => Cow::Borrowed(one.data),
        many => Cow::Owned(many.iter().flat_map(|o| o.data).copied().collect::<Vec<f64>>()),
    };
    let fan_in = wire.fan_in as usize;
    let entries = size.checked_mul(fan_in).ok_or("more values than can be counted")?;
    let wrong = |found: usize| Err(format!("a wire of {found} entries; expected {entries}"));
    match &wire.index {
        Index::Identity if source.len() != entries => wrong(source.len()),
        Index::Identity if fan_in == 1 => Ok(source.into_owned()),
        Index::Identity => Ok(source.chunks_exact(fan_in.max(1)).map(|c| c.iter().sum()).collect()),
        Index::Explicit(index) if index.len() != entries => wrong(index.len()),
        Index::Explicit(index) => {
            let take = |&i: &u32| match source.get(i as usize) {
                Some(&v) => Ok(v),
                None if i == VOID => Ok(0.0),
                None => Err(format!("a wire takes value {i} of {}", source.len())),
            };
            if fan_in == 1 {
                return index.iter().map(take).collect();
            }
            index.chunks_exact(fan_in.max(1)).map(|c| c.iter().map(take).sum()).collect()
        }
        Index::Strided { offset, loops } => strided(&source, *offset, loops, fan_in, entries),
    }
}

fn strided(
    source: &[f64],
    offset: i64,
    loops: &[(u32, i64)],
    fan_in: usize,
    entries: usize,
) -> Result<Vec<f64>, String> {
    let (mut low, mut high, mut count) = (i128::from(offset), i128::from(offset), 1usize);
    for &(size, stride) in loops {
        let reach = i128::from(stride) * i128::from(size.saturating_sub(1));
        low += reach.min(0);
        high += reach.max(0);
        count = count.checked_mul(size as usize).ok_or("more values than can be counted")?;
    }
    if count != entries {
        return Err(format!("a wire of {count} entries; expected {entries}"));
    }
    if entries == 0 {
        return Ok(Vec::new());
    }
    if low < 0 || high >= source.len() as i128 {
        return Err(format!("a wire takes values {low} to {high} of {}", source.len()));
    }
    let (outer, (run, stride)) = match loops.split_last() {
        Some((&last, outer)) => (outer, last),
        None => (&[][..], (1, 0)),
    };
    let mut taken = Vec::with_capacity(entries / fan_in.max(1));
    let mut steps = vec![0u32; outer.len()];
    let mut base = offset;
    let (mut sum, mut within) = (0.0, 0);
    loop {
        let mut at = base;
        for _ in 0..run {
            // In range: `low` and `high` are the extremes over all steps.
            let value = source[at as usize];
            at += stride;
            if fan_in == 1 {
                taken.push(value);
                continue;
            }
            sum += value;
            within += 1;
            if within == fan_in {
                taken.push(sum);
                (sum, within) = (0.0, 0);
            }
        }
        // The odometer: the innermost loop that is not at its end steps on, those within start over.
        let stepped = (0..outer.len()).rev().any(|i| {
            let (size, stride) = outer[i];
            steps[i] += 1;
            if steps[i] < size {
                base += stride;
                return true;
            }
            base -= stride * i64::from(size - 1);
            steps[i] = 0;
            false
        });
        if !stepped {
            return Ok(taken);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn run(index: Index, fan_in: u32, data: &[f64], size: usize) -> Result<Vec<f64>, String> {
        wire(&Wire { fan_in, index }, &[Operand { shape: &[data.len()], data }], size)
    }

    #[test]
    fn wires_move_add_up_and_leave_out() {
        let data: Vec<f64> = (0..6).map(f64::from).collect();
        let transposed = Index::Strided { offset: 0, loops: vec![(3, 1), (2, 3)] };
        assert_eq!(run(transposed.clone(), 1, &data, 6).unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(run(transposed.clone(), 2, &data, 3).unwrap(), [3.0, 5.0, 7.0]);
        assert_eq!(run(transposed, 3, &data, 2).unwrap(), [4.0, 11.0]);
        let reversed = Index::Strided { offset: 5, loops: vec![(6, -1)] };
        assert_eq!(run(reversed, 1, &data, 6).unwrap(), [5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
        assert_eq!(run(Index::Identity, 3, &data, 2).unwrap(), [3.0, 12.0]);
        assert_eq!(run(Index::Explicit(vec![1, VOID, VOID, 5]), 2, &data, 2).unwrap(), [1.0, 5.0]);
        assert_eq!(run(Index::Strided { offset: 4, loops: vec![] }, 1, &data, 1).unwrap(), [4.0]);
    }

    #[test]
    fn a_wire_that_reaches_outside_is_refused() {
        let data = [0.0; 4];
        for index in [
            Index::Explicit(vec![4]),
            Index::Explicit(vec![0, 1]),
            Index::Identity,
            Index::Strided { offset: -1, loops: vec![] },
            Index::Strided { offset: 4, loops: vec![] },
            Index::Strided { offset: i64::MAX, loops: vec![(1, i64::MAX)] },
        ] {
            assert!(run(index, 1, &data, 1).is_err());
        }
        assert!(run(Index::Strided { offset: 0, loops: vec![(u32::MAX, 0); 4] }, 1, &data, 4).is_err());
    }
}
