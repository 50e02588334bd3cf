//! The entries of a [`Wire`]: which value of the sources each takes.

use std::ops::Range;

use crate::graph::{Index, VOID, Wire};

/// How many values the wire's index names, if it is well-formed over `total` source values: every one in range.
pub(super) fn entries(wire: &Wire, total: usize) -> Result<usize, String> {
    match &wire.index {
        Index::Identity => Ok(total),
        Index::Strided { offset, loops } => {
            let mut count = 1_usize;
            let (mut low, mut high) = (i128::from(*offset), i128::from(*offset));
            for &(size, stride) in loops {
                let size = usize::try_from(size).map_err(|_| "a loop's size does not fit")?;
                count = count.checked_mul(size).filter(|&n| n > 0).ok_or("a loop of size 0, or too many entries")?;
                let reach = i128::from(stride) * (size as i128 - 1);
                low += reach.min(0);
                high += reach.max(0);
            }
            if low < 0 || high >= total as i128 {
                return Err(format!("takes values {low} to {high} of {total}"));
            }
            Ok(count)
        }
        Index::Explicit(taken) => {
            match taken.iter().find(|&&at| at != VOID && usize::try_from(at).is_ok_and(|at| at >= total)) {
                Some(at) => Err(format!("takes value {at} of {total}")),
                None => Ok(taken.len()),
            }
        }
    }
}

/// Calls `f(entry, source value)` for each entry of the range that takes something, in order.
pub(super) fn for_each(wire: &Wire, range: Range<usize>, mut f: impl FnMut(usize, usize)) {
    match &wire.index {
        Index::Identity => range.for_each(|e| f(e, e)),
        Index::Explicit(taken) => {
            for (e, &at) in range.clone().zip(&taken[range]) {
                if at != VOID {
                    f(e, at as usize);
                }
            }
        }
        Index::Strided { offset, loops } => {
            let Some((&(inner, stride), outer)) = loops.split_last() else {
                if !range.is_empty() {
                    f(range.start, *offset as usize);
                }
                return;
            };
            let inner = inner as usize;
            let mut e = range.start;
            while e < range.end {
                let (mut row, step) = (e / inner, e % inner);
                let mut at = *offset;
                for &(size, stride) in outer.iter().rev() {
                    at += (row % size as usize) as i64 * stride;
                    row /= size as usize;
                }
                let count = (inner - step).min(range.end - e);
                for i in 0..count {
                    f(e + i, (at + (step + i) as i64 * stride) as usize);
                }
                e += count;
            }
        }
    }
}

/// Whether the wire over these sources gives one source as it is: a change of shape.
pub(super) const fn is_reshape(wire: &Wire, sources: usize) -> bool {
    sources == 1 && wire.fan_in == 1 && matches!(wire.index, Index::Identity)
}
