//! Closed intervals of integers, and the intervals of a whole tensor.

use std::borrow::Cow;

/// All integers from `low` to `high`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) low: i64,
    pub(crate) high: i64,
}

impl Interval {
    pub(crate) const ZERO: Self = Self::point(0);

    pub(crate) const fn point(value: i64) -> Self {
        Self { low: value, high: value }
    }

    pub(crate) fn is_act(self) -> bool {
        i64::from(i16::MIN) <= self.low && self.high <= i64::from(i16::MAX)
    }

    pub(crate) fn contains(self, other: Self) -> bool {
        self.low <= other.low && other.high <= self.high
    }

    pub(crate) fn hull(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    /// Largest magnitude.
    pub(crate) fn reach(self) -> u64 {
        self.low.unsigned_abs().max(self.high.unsigned_abs())
    }

    /// Sum, of intervals of moderate magnitude.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { low: self.low.saturating_add(other.low), high: self.high.saturating_add(other.high) }
    }

    /// Products of acts.
    pub(crate) fn times(self, other: Self) -> Self {
        let corners = [self.low * other.low, self.low * other.high, self.high * other.low, self.high * other.high];
        Self { low: corners.into_iter().fold(i64::MAX, i64::min), high: corners.into_iter().fold(i64::MIN, i64::max) }
    }

    pub(crate) fn square(self) -> Self {
        let (low, high) = (self.low * self.low, self.high * self.high);
        let least = if self.low <= 0 && 0 <= self.high { 0 } else { low.min(high) };
        Self { low: least, high: low.max(high) }
    }
}

impl std::fmt::Display for Interval {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..={}", self.low, self.high)
    }
}

/// The intervals of a tensor's values.
#[derive(Debug, Clone)]
pub(crate) enum Span<'a> {
    /// The same for each.
    All(Interval),
    /// Known numbers.
    Points(Cow<'a, [i64]>),
    /// One for each value.
    Each(Vec<Interval>),
}

impl Span<'_> {
    pub(crate) fn get(&self, at: usize) -> Interval {
        match self {
            Self::All(interval) => *interval,
            Self::Points(values) => Interval::point(values[at]),
            Self::Each(intervals) => intervals[at],
        }
    }

    pub(crate) fn hull(&self) -> Interval {
        fn over(mut intervals: impl Iterator<Item = Interval>) -> Interval {
            let first = intervals.next().unwrap_or(Interval::ZERO);
            intervals.fold(first, Interval::hull)
        }
        match self {
            Self::All(interval) => *interval,
            Self::Points(values) => over(values.iter().map(|&value| Interval::point(value))),
            Self::Each(intervals) => over(intervals.iter().copied()),
        }
    }

    /// The shortest form of one interval each.
    pub(crate) fn of(intervals: Vec<Interval>) -> Self {
        match intervals.first() {
            Some(&first) if intervals.iter().all(|interval| *interval == first) => Self::All(first),
            _ => Self::Each(intervals),
        }
    }
}
