//! A tensor's values in the narrowest of three types that its declared bounds allow.

use crate::graph::Tensor;

/// How a tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// Acts.
    Short,
    /// What fits 32 bits.
    Word,
    /// The rest.
    Long,
}

impl Width {
    pub(super) fn of(tensor: &Tensor) -> Self {
        let fits = |low: i64, high: i64| low <= tensor.low && tensor.high <= high;
        match () {
            () if fits(i64::from(i16::MIN), i64::from(i16::MAX)) => Self::Short,
            () if fits(i64::from(i32::MIN), i64::from(i32::MAX)) => Self::Word,
            () => Self::Long,
        }
    }
}

/// A stored integer. The graph's checks have proved that what is stored fits.
pub(super) trait Cell: Copy + Default + Send + Sync + 'static {
    fn wide(self) -> i64;
    fn narrow(value: i64) -> Self;
}

impl Cell for i16 {
    #[inline(always)]
    fn wide(self) -> i64 {
        i64::from(self)
    }

    #[inline(always)]
    fn narrow(value: i64) -> Self {
        value as Self
    }
}

impl Cell for i32 {
    #[inline(always)]
    fn wide(self) -> i64 {
        i64::from(self)
    }

    #[inline(always)]
    fn narrow(value: i64) -> Self {
        value as Self
    }
}

impl Cell for i64 {
    #[inline(always)]
    fn wide(self) -> i64 {
        self
    }

    #[inline(always)]
    fn narrow(value: i64) -> Self {
        value
    }
}

/// A tensor's values.
#[derive(Debug, Clone)]
pub(super) enum Buffer {
    Short(Vec<i16>),
    Word(Vec<i32>),
    Long(Vec<i64>),
}

/// Runs the same code on the values of whatever type a buffer has.
macro_rules! typed {
    ($buffer:expr, $values:ident => $code:expr) => {
        match $buffer {
            $crate::exec::buffer::Buffer::Short($values) => $code,
            $crate::exec::buffer::Buffer::Word($values) => $code,
            $crate::exec::buffer::Buffer::Long($values) => $code,
        }
    };
}
pub(super) use typed;

impl Buffer {
    pub(super) fn zeros(width: Width, len: usize) -> Self {
        match width {
            Width::Short => Self::Short(vec![0; len]),
            Width::Word => Self::Word(vec![0; len]),
            Width::Long => Self::Long(vec![0; len]),
        }
    }

    pub(super) fn of(width: Width, values: &[i64]) -> Self {
        fn all<T: Cell>(values: &[i64]) -> Vec<T> {
            values.iter().map(|&value| T::narrow(value)).collect()
        }
        match width {
            Width::Short => Self::Short(all(values)),
            Width::Word => Self::Word(all(values)),
            Width::Long => Self::Long(values.to_vec()),
        }
    }

    pub(super) fn width(&self) -> Width {
        match self {
            Self::Short(_) => Width::Short,
            Self::Word(_) => Width::Word,
            Self::Long(_) => Width::Long,
        }
    }

    pub(super) fn len(&self) -> usize {
        typed!(self, values => values.len())
    }

    pub(super) fn values(&self) -> Vec<i64> {
        typed!(self, values => values.iter().map(|value| value.wide()).collect())
    }

    /// The values of an act.
    pub(super) fn acts(&self) -> &[i16] {
        match self {
            Self::Short(values) => values,
            _ => unreachable!("the graph's checks let only acts come here, and acts are stored short"),
        }
    }

    /// Copies values from `start` on.
    #[inline(always)]
    pub(super) fn load(&self, start: usize, into: &mut [i64]) {
        typed!(self, values => {
            for (to, from) in into.iter_mut().zip(&values[start..]) {
                *to = from.wide();
            }
        });
    }
}
