//! Wires: checked once, then read entry by entry.

use std::borrow::Cow;

use super::{Index, MAX_ENTRIES, VOID, Wire};

/// Most loops of a strided index.
const MAX_LOOPS: usize = 32;

impl Wire {
    /// All values in order: a change of shape.
    pub fn identity() -> Self {
        Self { fan_in: 1, index: Index::Identity }
    }

    /// Position by position.
    pub fn gather(entries: Vec<u32>) -> Self {
        Self { fan_in: 1, index: Index::Explicit(entries) }
    }

    /// Nested loops in their shortest form: loops of one step dropped, loops that continue one another joined.
    pub fn strided(fan_in: u32, offset: i64, loops: &[(u32, i64)]) -> Self {
        let mut short: Vec<(u32, i64)> = Vec::with_capacity(loops.len());
        for &(size, stride) in loops.iter().filter(|(size, _)| *size != 1) {
            let joined = short.last().and_then(|&(outer, outer_stride)| {
                let continues = i64::from(size).checked_mul(stride) == Some(outer_stride);
                outer.checked_mul(size).filter(|_| continues)
            });
            match (joined, short.last_mut()) {
                (Some(size), Some(last)) => *last = (size, stride),
                _ => short.push((size, stride)),
            }
        }
        Self { fan_in, index: Index::Strided { offset, loops: short } }
    }

    /// Axis `i` of the result is axis `axes[i]` of a tensor of this shape.
    pub fn transpose(shape: &[u32], axes: &[usize]) -> Self {
        let strides = strides(shape);
        let loops: Vec<_> = axes.iter().map(|&axis| (shape[axis], strides[axis])).collect();
        Self::strided(1, 0, &loops)
    }

    /// Repeats a tensor along the axes that it lacks or has once, aligned at the last axis; `to` has at least as many axes.
    pub fn broadcast(from: &[u32], to: &[u32]) -> Self {
        let missing = to.len().saturating_sub(from.len());
        let strides = strides(from);
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(own) if from[own] != 1 => strides[own],
            _ => 0,
        };
        let loops: Vec<_> = to.iter().enumerate().map(|(axis, &size)| (size, stride(axis))).collect();
        Self::strided(1, 0, &loops)
    }

    /// Adds up along some axes of a tensor of this shape; the others stay, in order.
    pub fn sum(shape: &[u32], axes: &[usize]) -> Self {
        let strides = strides(shape);
        let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
        let summed = (0..shape.len()).filter(|axis| axes.contains(axis));
        let fan_in = summed.clone().map(|axis| shape[axis]).product();
        let loops: Vec<_> = kept.chain(summed).map(|axis| (shape[axis], strides[axis])).collect();
        Self::strided(fan_in, 0, &loops)
    }

    /// Whether it takes from `sources_len` values and gives `out_len`: sizes agree, every position exists, nothing
    /// overflows and the limits hold.
    ///
    /// # Errors
    /// Expected and found.
    pub fn check(&self, sources_len: usize, out_len: usize) -> Result<(), String> {
        if self.fan_in == 0 {
            return Err("fan-in 0; expected at least 1".into());
        }
        if sources_len > MAX_ENTRIES {
            return Err(format!("wire over {sources_len} values; expected at most {MAX_ENTRIES}"));
        }
        let entries = match (self.fan_in as usize).checked_mul(out_len) {
            Some(entries) if entries <= MAX_ENTRIES => entries,
            _ => return Err(format!("fan-in {} for {out_len} outputs; at most {MAX_ENTRIES} entries", self.fan_in)),
        };
        let expect = |what: &str, found: usize| {
            if found == entries { Ok(()) } else { Err(format!("{what} {found} entries; expected {entries}")) }
        };
        match &self.index {
            Index::Identity => expect("identity over", sources_len),
            Index::Explicit(list) => {
                expect("index of", list.len())?;
                match list.iter().position(|&at| at != VOID && at as usize >= sources_len) {
                    Some(entry) => Err(format!("entry {entry} takes value {} of {sources_len}", list[entry])),
                    None => Ok(()),
                }
            }
            Index::Strided { offset, loops } => {
                if loops.len() > MAX_LOOPS {
                    return Err(format!("{} loops; expected at most {MAX_LOOPS}", loops.len()));
                }
                let (mut size, mut low, mut high) = (1u64, i128::from(*offset), i128::from(*offset));
                for &(steps, stride) in loops {
                    if steps == 0 {
                        return Err("a loop of no steps".into());
                    }
                    size = size.saturating_mul(u64::from(steps));
                    let reach = i128::from(stride) * i128::from(steps - 1);
                    low += reach.min(0);
                    high += reach.max(0);
                }
                expect("loops of", usize::try_from(size).unwrap_or(usize::MAX))?;
                if low < 0 || high >= sources_len as i128 {
                    return Err(format!("loops take values {low} to {high} of {sources_len}"));
                }
                Ok(())
            }
        }
    }

    /// Every entry as a position among the operands' values, or [`VOID`].
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn resolve(&self, sources_len: usize, out_len: usize) -> Result<Cow<'_, [u32]>, String> {
        self.check(sources_len, out_len)?;
        Ok(match &self.index {
            Index::Explicit(list) => Cow::Borrowed(list),
            _ => Cow::Owned(self.entries(out_len).collect()),
        })
    }

    /// The entries, one after another, of a wire that [`Self::check`] has passed for `out_len` outputs.
    pub fn entries(&self, out_len: usize) -> Entries<'_> {
        let all = out_len * self.fan_in as usize;
        Entries(match &self.index {
            Index::Identity => Inner::Range { next: 0, end: all },
            Index::Explicit(list) => Inner::List(list.iter()),
            Index::Strided { offset, loops } => {
                Inner::Loops { loops, steps: vec![0; loops.len()], at: *offset, left: all }
            }
        })
    }

    /// What it gives from these operands, plainly; for a wire that [`Self::check`] has passed.
    pub fn apply(&self, sources: &[&[i64]], out_len: usize) -> Vec<i64> {
        let joined: Cow<'_, [i64]> = match sources {
            [one] => Cow::Borrowed(one),
            many => Cow::Owned(many.concat()),
        };
        let mut entries = self.entries(out_len).map(|at| if at == VOID { 0 } else { joined[at as usize] });
        (0..out_len).map(|_| entries.by_ref().take(self.fan_in as usize).sum()).collect()
    }
}

/// Row-major strides of a shape.
pub(crate) fn strides(shape: &[u32]) -> Vec<i64> {
    let mut strides = vec![1i64; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].saturating_mul(i64::from(shape[axis]));
    }
    strides
}

/// The entries of a wire; see [`Wire::entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a>(Inner<'a>);

#[derive(Debug, Clone)]
enum Inner<'a> {
    Range { next: usize, end: usize },
    List(std::slice::Iter<'a, u32>),
    Loops { loops: &'a [(u32, i64)], steps: Vec<u32>, at: i64, left: usize },
}

impl Iterator for Entries<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match &mut self.0 {
            Inner::Range { next, end } => {
                let at = *next;
                *next += 1;
                // Checked to be under MAX_ENTRIES.
                (at < *end).then_some(at as u32)
            }
            Inner::List(list) => list.next().copied(),
            Inner::Loops { loops, steps, at, left } => {
                *left = left.checked_sub(1)?;
                let here = *at as u32;
                for (step, &(size, stride)) in steps.iter_mut().zip(loops.iter()).rev() {
                    *step += 1;
                    if *step < size {
                        *at += stride;
                        break;
                    }
                    *at -= stride * i64::from(size - 1);
                    *step = 0;
                }
                Some(here)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Inner::Range { next, end } => end.saturating_sub(*next),
            Inner::List(list) => list.len(),
            Inner::Loops { left, .. } => *left,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Entries<'_> {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn loops_give_the_positions_of_their_nested_steps() {
        let wire = Wire::strided(1, 1, &[(2, 4), (3, 1)]);
        assert_eq!(wire.resolve(9, 6).unwrap().as_ref(), [1, 2, 3, 5, 6, 7]);
        let back = Wire::strided(1, 5, &[(3, -2)]);
        assert_eq!(back.resolve(6, 3).unwrap().as_ref(), [5, 3, 1]);
        assert_eq!(Wire::strided(1, 3, &[(1, 9)]).resolve(4, 1).unwrap().as_ref(), [3]);
    }

    #[test]
    fn transposes_broadcasts_and_sums_mean_what_they_say() {
        let x: Vec<i64> = (0..6).collect();
        assert_eq!(Wire::transpose(&[2, 3], &[1, 0]).apply(&[&x], 6), [0, 3, 1, 4, 2, 5]);
        assert_eq!(Wire::broadcast(&[3, 1], &[2, 3, 2]).apply(&[&[7, 8, 9]], 12), [7, 7, 8, 8, 9, 9, 7, 7, 8, 8, 9, 9]);
        assert_eq!(Wire::sum(&[2, 3], &[1]).apply(&[&x], 2), [3, 12]);
        assert_eq!(Wire::sum(&[2, 3], &[0]).apply(&[&x], 3), [3, 5, 7]);
        assert_eq!(Wire::sum(&[2, 3], &[0, 1]).apply(&[&x], 1), [15]);
        let flat = Index::Strided { offset: 0, loops: vec![(6, 1)] };
        assert_eq!(Wire::transpose(&[2, 3], &[0, 1]).index, flat);
    }

    #[test]
    fn void_entries_count_as_nothing() {
        let wire = Wire { fan_in: 2, index: Index::Explicit(vec![0, VOID, 2, 1, VOID, VOID]) };
        assert_eq!(wire.apply(&[&[1, 2], &[40]], 3), [1, 42, 0]);
    }

    #[test]
    fn wires_beyond_their_operands_or_of_another_size_are_refused() {
        let refused = |wire: Wire, sources: usize, out: usize| wire.resolve(sources, out).unwrap_err();
        assert!(refused(Wire::identity(), 5, 6).contains("expected 6"));
        assert!(refused(Wire::gather(vec![0, 5]), 5, 2).contains("entry 1 takes value 5 of 5"));
        assert!(refused(Wire::gather(vec![0, 5]), 5, 3).contains("expected 3"));
        assert!(refused(Wire::strided(1, 0, &[(3, 2)]), 4, 3).contains("0 to 4 of 4"));
        assert!(refused(Wire::strided(1, -1, &[(3, 1)]), 4, 3).contains("-1 to 1"));
        assert!(refused(Wire::strided(1, i64::MAX, &[(3, i64::MAX)]), 4, 3).contains("of 4"));
        assert!(refused(Wire { fan_in: 0, index: Index::Identity }, 1, 1).contains("fan-in 0"));
        assert!(refused(Wire { fan_in: u32::MAX, index: Index::Identity }, 1, usize::MAX).contains("at most"));
        assert!(
            refused(Wire { fan_in: 1, index: Index::Strided { offset: 0, loops: vec![(0, 1)] } }, 4, 1)
                .contains("no steps")
        );
        let huge = vec![(u32::MAX, 0); 5];
        assert!(
            refused(Wire { fan_in: 1, index: Index::Strided { offset: 0, loops: huge } }, 4, 1).contains("expected 1")
        );
    }
}
