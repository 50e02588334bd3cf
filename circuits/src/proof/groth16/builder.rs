//! Constraints as they are built, and the gadgets: bits, any, greater, clamp.
//!
//! A builder may also only count: it then does everything but keep what it is given, so that what is said of a circuit before any work
//! is what the work comes to.

use super::{
    public::bits_of,
    r1cs::{ONE, Sum, System, Variable},
};
use crate::relation::ColumnId;

/// More constraints than this are refused: a prover would need over ten minutes and 8 GiB.
pub(super) const MOST_CONSTRAINTS: usize = 1 << 21;

/// More entries than this in all rows are refused.
pub(super) const MOST_ENTRIES: usize = 1 << 28;

/// How a prover finds the next variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// Cells of a column of the trace.
    Cells {
        /// The column.
        column: ColumnId,
        /// How many.
        count: usize,
    },
    /// Bits `1..count` of the sum of one or two cells of the trace, less `base`.
    Bits {
        /// The cell.
        of: Source,
        /// Taken away.
        base: i64,
        /// Bits, the lowest counted, which gets no variable.
        count: u32,
    },
    /// The product of this row's factors.
    Product(usize),
    /// One over this row's right factor; 0 for 0.
    Inverse(usize),
}

/// One cell of the trace, or the sum of the same cell of two columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    /// The column.
    pub(super) column: ColumnId,
    /// The other column.
    pub(super) other: Option<ColumnId>,
    /// The cell.
    pub(super) cell: usize,
}

/// Why a circuit was not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Over [`MOST_CONSTRAINTS`].
    Constraints,
    /// Over [`MOST_ENTRIES`], or a coefficient past all bounds.
    Entries,
}

/// A value that may cost one more constraint: `product + plus`.
#[derive(Debug)]
pub(super) struct Affine {
    /// Two factors.
    pub(super) product: Option<(Sum, Sum)>,
    /// Added.
    pub(super) plus: Sum,
}

impl Affine {
    /// A value that costs nothing.
    pub(super) fn linear(plus: Sum) -> Self {
        Self { product: None, plus }
    }
}

/// A circuit under construction.
#[derive(Debug, Default)]
pub(super) struct Builder {
    /// What is built.
    pub(super) system: System,
    /// How the private variables are found, in order.
    pub(super) hints: Vec<Hint>,
    /// The node that is served.
    pub(super) node: u32,
    /// Only counts.
    pub(super) counting: bool,
    /// Constraints so far.
    pub(super) constraints: usize,
    /// Variables so far.
    pub(super) variables: usize,
    marked: (usize, usize),
}

impl Builder {
    /// A builder after the constant and the public variables.
    pub(super) fn new(public: usize, counting: bool) -> Self {
        let mut system = System::default();
        system.public = public;
        Self { system, counting, variables: public + 1, ..Self::default() }
    }

    fn hint(&mut self, hint: Hint, variables: usize) -> Result<Variable, Full> {
        let first = Variable::try_from(self.variables).map_err(|_| Full::Constraints)?;
        self.variables += variables;
        if !self.counting {
            self.hints.push(hint);
        }
        Ok(first)
    }

    /// Remembers the counts, for [`Self::repeat`].
    pub(super) fn mark(&mut self) {
        self.marked = (self.constraints, self.variables);
    }

    /// Counts what was built since the mark so many times more.
    pub(super) fn repeat(&mut self, times: usize) -> Result<(), Full> {
        self.constraints = self.constraints.saturating_add((self.constraints - self.marked.0).saturating_mul(times));
        self.variables = self.variables.saturating_add((self.variables - self.marked.1).saturating_mul(times));
        if self.constraints > MOST_CONSTRAINTS { Err(Full::Constraints) } else { Ok(()) }
    }

    /// Variables for cells of a column.
    pub(super) fn cells(&mut self, column: ColumnId, count: usize) -> Result<Variable, Full> {
        self.hint(Hint::Cells { column, count }, count)
    }

    /// Demands `a * b = c`.
    pub(super) fn constrain(&mut self, a: Sum, b: Sum, c: Sum) -> Result<usize, Full> {
        let row = self.constraints;
        self.constraints += 1;
        if self.constraints > MOST_CONSTRAINTS {
            return Err(Full::Constraints);
        }
        if !self.counting {
            self.system.push(self.node, a, b, c).ok_or(Full::Entries)?;
            let System { a, b, c, .. } = &self.system;
            if a.entries() + b.entries() + c.entries() > MOST_ENTRIES {
                return Err(Full::Entries);
            }
        }
        Ok(row)
    }

    /// Demands that a sum is 0.
    pub(super) fn vanish(&mut self, sum: Sum) -> Result<(), Full> {
        self.constrain(sum, Sum::of(ONE), Sum::default()).map(|_| ())
    }

    /// Demands that `y` is the value.
    pub(super) fn equal(&mut self, value: Affine, mut y: Sum) -> Result<(), Full> {
        y.add_sum(&value.plus, -1);
        match value.product {
            Some((a, b)) => self.constrain(a, b, y).map(|_| ()),
            None => self.vanish(y),
        }
    }

    /// A new variable, the product of two sums.
    pub(super) fn product(&mut self, a: Sum, b: Sum) -> Result<Sum, Full> {
        let variable = self.hint(Hint::Product(self.constraints), 1)?;
        self.constrain(a, b, Sum::of(variable))?;
        Ok(Sum::of(variable))
    }

    /// Demands `0 <= x - base < 2^count` and gives its bits, the lowest first.
    ///
    /// The lowest bit is what the others leave of `x`, so the check costs `count` constraints and `count - 1` variables.
    pub(super) fn bits(&mut self, x: &Sum, of: Source, base: i64, count: u32) -> Result<Vec<Sum>, Full> {
        let mut lowest = x.clone().plus(-i128::from(base));
        if count == 0 {
            self.vanish(lowest)?;
            return Ok(Vec::new());
        }
        let first = self.hint(Hint::Bits { of, base, count }, count as usize - 1)?;
        let mut bits = Vec::with_capacity(count as usize);
        bits.push(Sum::default());
        for at in 1..count {
            let bit = first + at - 1;
            lowest.add(bit, -(1_i128 << at));
            bits.push(Sum::of(bit));
        }
        bits[0] = lowest;
        for bit in &bits {
            self.constrain(bit.clone(), bit.clone().plus(-1), Sum::default())?;
        }
        Ok(bits)
    }

    /// 1 if any of the bits is 1, else 0; none for no bits.
    fn any(&mut self, bits: &[Sum]) -> Result<Option<Sum>, Full> {
        if bits.len() > 3 {
            // inverse * sum = some, and sum * (1 - some) = 0: some is 1 exactly where the sum is not 0.
            let mut sum = Sum::default();
            for bit in bits {
                sum.add_sum(bit, 1);
            }
            let inverse = self.hint(Hint::Inverse(self.constraints), 1)?;
            let some = self.product_of(inverse, sum.clone())?;
            let mut rest = Sum::constant(1);
            rest.add_sum(&some, -1);
            self.constrain(sum, rest, Sum::default())?;
            return Ok(Some(some));
        }
        let mut any: Option<Sum> = None;
        for bit in bits {
            any = Some(match any {
                None => bit.clone(),
                Some(mut so_far) => {
                    let both = self.product(so_far.clone(), bit.clone())?;
                    so_far.add_sum(bit, 1);
                    so_far.add_sum(&both, -1);
                    so_far
                }
            });
        }
        Ok(any)
    }

    fn product_of(&mut self, left: Variable, right: Sum) -> Result<Sum, Full> {
        self.product(Sum::of(left), right)
    }

    /// 1 if the number of these bits is greater than the constant, else 0; none if it never is.
    pub(super) fn greater(&mut self, bits: &[Sum], constant: i64) -> Result<Option<Sum>, Full> {
        if constant < 0 {
            return Ok(Some(Sum::constant(1)));
        }
        if bits_of(i128::from(constant)) as usize > bits.len() {
            return Ok(None);
        }
        let mut greater: Option<Sum> = None;
        let mut at = 0;
        while at < bits.len() {
            let one = constant >> at & 1 == 1;
            let run = (at..bits.len()).take_while(|i| (constant >> i & 1 == 1) == one).count();
            let part = &bits[at..at + run];
            at += run;
            greater = match (one, greater) {
                (true, None) => None,
                (true, Some(so_far)) => {
                    let negated: Vec<Sum> = part.iter().chain([&so_far]).map(not).collect();
                    self.any(&negated)?.as_ref().map(not)
                }
                (false, so_far) => {
                    let list: Vec<Sum> = part.iter().cloned().chain(so_far).collect();
                    self.any(&list)?
                }
            };
        }
        Ok(greater)
    }

    /// `clamp(x, low, high)`, with `x` held to `domain`, for an `x` that honest provers keep within `within`.
    pub(super) fn clamp(
        &mut self,
        x: &Sum,
        of: Source,
        within: (i64, i64),
        domain: (i64, i64),
        (low, high): (i64, i64),
    ) -> Result<Affine, Full> {
        let (from, to) = (within.0.max(domain.0), within.1.min(domain.1).max(within.0.max(domain.0)));
        let width = |from: i64, to: i64| bits_of(i128::from(to) - i128::from(from));
        let fits = |base: i64, count: u32| base >= domain.0 && base + (1 << count) - 1 <= domain.1;
        // A window aligned so that its top bit says `x >= low`; one that starts at `low`; else the tightest.
        let above = width(low, to.max(low)).max(width(from, low - 1));
        let aligned = from < low && fits(low - (1 << above), above + 1);
        let (base, count) = if aligned {
            (low - (1 << above), above + 1)
        } else if from >= low && fits(low, width(low, to)) && to > high {
            (low, width(low, to))
        } else {
            // Where honest values need no clamp, the window keeps off its bounds if it can.
            let inner = if from >= low && to <= high { (low.max(domain.0), high.min(domain.1)) } else { domain };
            let count = width(from, to);
            (from.min(inner.1 + 1 - (1 << count)).max(inner.0), count)
        };
        let bits = self.window(x, of, base, count, domain)?;
        let end = base + (1 << count) - 1;
        if end < low || base > high {
            return Ok(Affine::linear(Sum::constant(i128::from(if end < low { low } else { high }))));
        }
        let offset = x.clone().plus(-i128::from(low));
        let reached = if base >= low { None } else { self.greater(&bits, low - base - 1)? };
        let past = if end <= high {
            None
        } else if aligned {
            self.greater(&bits[..bits.len() - 1], high - low)?
        } else {
            self.greater(&bits, high - base)?
        };
        let missing = |offset: &Sum| {
            let mut rest = Sum::constant(i128::from(high) - i128::from(low));
            rest.add_sum(offset, -1);
            rest
        };
        Ok(match (reached, past) {
            (None, None) => Affine::linear(x.clone()),
            (None, Some(past)) => Affine { product: Some((missing(&offset), past)), plus: x.clone() },
            (Some(reached), None) => Affine { product: Some((offset, reached)), plus: Sum::constant(i128::from(low)) },
            (Some(reached), Some(past)) => {
                let mut inner = self.product(missing(&offset), past)?;
                inner.add_sum(&offset, 1);
                Affine { product: Some((inner, reached)), plus: Sum::constant(i128::from(low)) }
            }
        })
    }

    /// The bits of `x - base`, held to the window and, where that is larger, to the domain that starts with it.
    pub(super) fn window(
        &mut self,
        x: &Sum,
        of: Source,
        base: i64,
        count: u32,
        domain: (i64, i64),
    ) -> Result<Vec<Sum>, Full> {
        let bits = self.bits(x, of, base, count)?;
        if base + (1 << count) - 1 > domain.1
            && let Some(outside) = self.greater(&bits, domain.1 - base)?
        {
            self.vanish(outside)?;
        }
        Ok(bits)
    }
}

fn not(bit: &Sum) -> Sum {
    let mut not = Sum::constant(1);
    not.add_sum(bit, -1);
    not
}
