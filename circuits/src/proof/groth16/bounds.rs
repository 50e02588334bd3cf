//! Between which integers an honest trace's cells lie, cell by cell: what lets a range check spend few bits.
//!
//! Nothing here is trusted for soundness. A check with fewer bits than its table asks for is a stronger demand; bounds only tell that
//! honest provers can still meet it. With the weights at hand a dot product's bounds are its own, not its layer's.

use crate::relation::{ColumnId, Definition, Relations, Table};

/// Smallest and largest value.
pub(super) type Interval = (i64, i64);

/// Bounds of a column's cells.
#[derive(Debug, Clone)]
pub(super) enum Cells {
    /// The same for all.
    All(Interval),
    /// One for each.
    Each(Vec<Interval>),
}

impl Cells {
    /// Of one cell.
    pub(super) fn get(&self, cell: usize) -> Interval {
        match self {
            Self::All(interval) => *interval,
            Self::Each(intervals) => intervals[cell],
        }
    }

    /// Of all cells together.
    pub(super) fn all(&self) -> Interval {
        match self {
            Self::All(interval) => *interval,
            Self::Each(intervals) => {
                let low = intervals.iter().map(|i| i.0).min();
                let high = intervals.iter().map(|i| i.1).max();
                (low.unwrap_or(0), high.unwrap_or(0))
            }
        }
    }
}

/// `constant + sum(coefficient * known columns * column)` lies within bounds.
struct Demand {
    terms: Vec<(i64, Vec<ColumnId>, ColumnId)>,
    constant: i64,
    within: Interval,
}

/// The bounds of every column. `values` gives the columns whose cells are known.
///
/// `wires` has the entries of each column that is a wire. With `each` the bounds are cell by cell.
pub(super) fn bounds(
    relations: &Relations,
    values: &[Option<Vec<i64>>],
    wires: &[Option<Vec<u32>>],
    each: bool,
) -> Vec<Cells> {
    let demands = demands(relations, values);
    let mut by_last: Vec<Vec<usize>> = vec![Vec::new(); relations.columns.len()];
    for (at, demand) in demands.iter().enumerate() {
        for (_, _, column) in &demand.terms {
            if relations.columns[*column].definition == Definition::Witness {
                by_last[*column].push(at);
            }
        }
    }
    let mut pairs: Vec<Option<(usize, ColumnId)>> = vec![None; relations.columns.len()];
    for lookup in &relations.lookups {
        if let Some(y) = lookup.y {
            pairs[y] = Some((lookup.table, lookup.x));
        }
    }
    let mut known: Vec<Option<Cells>> = vec![None; relations.columns.len()];
    for column in 0..relations.columns.len() {
        let hull = hull(relations, column);
        let cells = relations.columns[column].shape.iter().product();
        if let Some(values) = &values[column] {
            known[column] =
                Some(if each { Cells::Each(values.iter().map(|v| (*v, *v)).collect()) } else { Cells::All(hull) });
            continue;
        }
        let get = |of: ColumnId, cell: usize| match &known[of] {
            Some(bounds) => bounds.get(cell),
            None => self::hull(relations, of),
        };
        let one = |cell: usize| -> Interval {
            let mut interval = derived(relations, column, cell, &wires[column], &get).map_or(hull, |i| meet(hull, i));
            if let Some((table, x)) = pairs[column].filter(|(_, x)| *x < column) {
                interval = meet(interval, image(&relations.tables[table], get(x, cell)));
            }
            for demand in &by_last[column] {
                interval = meet(
                    interval,
                    implied(&demands[*demand], column, |of| get(of, cell), |of| value(values, of, cell)),
                );
            }
            interval
        };
        known[column] = Some(if each {
            Cells::Each((0..cells).map(one).collect())
        } else {
            Cells::All(uniform(relations, column, one))
        });
    }
    known.into_iter().flatten().collect()
}

/// Without cells of their own the first cell speaks for all; wires and products fall back on the declared hull.
fn uniform(relations: &Relations, column: ColumnId, one: impl Fn(usize) -> Interval) -> Interval {
    match relations.columns[column].definition {
        Definition::Wire { .. } | Definition::MatMul { .. } => hull(relations, column),
        _ => one(0),
    }
}

/// What the column says of itself.
fn hull(relations: &Relations, column: ColumnId) -> Interval {
    (relations.columns[column].low, relations.columns[column].high)
}

fn meet(one: Interval, other: Interval) -> Interval {
    let met = (one.0.max(other.0), one.1.min(other.1));
    // Bounds that contradict one another help nobody: the declared ones stand.
    if met.0 <= met.1 { met } else { one }
}

fn clamped(value: i128) -> i64 {
    i64::try_from(value.clamp(i128::from(i64::MIN), i128::from(i64::MAX))).expect("clamped")
}

fn scaled(interval: Interval, coefficient: i64) -> (i128, i128) {
    let (low, high) =
        (i128::from(interval.0) * i128::from(coefficient), i128::from(interval.1) * i128::from(coefficient));
    (low.min(high), low.max(high))
}

fn derived(
    relations: &Relations,
    column: ColumnId,
    cell: usize,
    wire: &Option<Vec<u32>>,
    get: &impl Fn(ColumnId, usize) -> Interval,
) -> Option<Interval> {
    let mut low = 0_i128;
    let mut high = 0_i128;
    match &relations.columns[column].definition {
        Definition::Input(_) | Definition::Weight(_) | Definition::Witness => return None,
        Definition::Linear { terms, constant } => {
            low = i128::from(*constant);
            high = low;
            for (coefficient, of) in terms {
                let (a, b) = scaled(get(*of, cell), *coefficient);
                low += a;
                high += b;
            }
        }
        Definition::Wire { sources, wire: rule } => {
            let fan_in = rule.fan_in as usize;
            for entry in &wire.as_ref()?[cell * fan_in..(cell + 1) * fan_in] {
                if let Some((of, at)) = source(relations, sources, *entry) {
                    let (a, b) = get(of, at);
                    low += i128::from(a);
                    high += i128::from(b);
                }
            }
        }
        Definition::MatMul { left, right } => {
            let product = Product::new(relations, *left, *right);
            for step in 0..product.depth {
                let (a, b) = product.operands(cell, step);
                let (a, b) = (get(*left, a), get(*right, b));
                let corners = [a.0, a.1].map(|x| [b.0, b.1].map(|y| i128::from(x) * i128::from(y)));
                low += corners.iter().flatten().min().copied().unwrap_or(0);
                high += corners.iter().flatten().max().copied().unwrap_or(0);
            }
        }
    }
    Some((clamped(low), clamped(high)))
}

/// Which source column, and which of its cells, a wire's entry means; none for [`crate::graph::VOID`].
pub(super) fn source(relations: &Relations, sources: &[ColumnId], entry: u32) -> Option<(ColumnId, usize)> {
    if entry == crate::graph::VOID {
        return None;
    }
    let mut at = entry as usize;
    for source in sources {
        let cells: usize = relations.columns[*source].shape.iter().product();
        if at < cells {
            return Some((*source, at));
        }
        at -= cells;
    }
    None
}

/// The sizes of a matrix product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    rows: usize,
    columns: usize,
    /// Products added for each cell.
    pub(super) depth: usize,
}

impl Product {
    /// Of two columns `[b, m, k]` and `[b, k, n]`.
    pub(super) fn new(relations: &Relations, left: ColumnId, right: ColumnId) -> Self {
        let (left, right) = (&relations.columns[left].shape, &relations.columns[right].shape);
        Self { rows: left[1], depth: left[2], columns: right[2] }
    }

    /// The cells of both operands that a cell's product of this step takes.
    pub(super) fn operands(&self, cell: usize, step: usize) -> (usize, usize) {
        let (batch, within) = (cell / (self.rows * self.columns), cell % (self.rows * self.columns));
        let (row, column) = (within / self.columns, within % self.columns);
        ((batch * self.rows + row) * self.depth + step, (batch * self.depth + step) * self.columns + column)
    }
}

/// A known column's cell.
fn value(values: &[Option<Vec<i64>>], column: ColumnId, cell: usize) -> i64 {
    values[column].as_ref().map_or(0, |values| values[cell])
}

/// Every linear demand: ranges of linear columns, and demands to vanish that are linear once known columns are folded in.
fn demands(relations: &Relations, values: &[Option<Vec<i64>>]) -> Vec<Demand> {
    let mut out = Vec::new();
    for lookup in &relations.lookups {
        let within = match &relations.tables[lookup.table] {
            Table::Range { bits } => (0, (1 << bits) - 1),
            Table::Clamp { bits, .. } => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
            Table::Map { .. } => continue,
        };
        if let Definition::Linear { terms, constant } = &relations.columns[lookup.x].definition {
            let terms = terms.iter().map(|(c, column)| (*c, Vec::new(), *column)).collect();
            out.push(Demand { terms, constant: *constant, within });
        }
    }
    'zeros: for zero in &relations.zeros {
        let mut demand = Demand { terms: Vec::new(), constant: zero.constant, within: (0, 0) };
        for (coefficient, product) in &zero.terms {
            let (known, free): (Vec<_>, Vec<_>) = product.iter().copied().partition(|column| values[*column].is_some());
            match (&known[..], &free[..]) {
                ([], []) => demand.constant += coefficient,
                (_, [column]) => demand.terms.push((*coefficient, known, *column)),
                _ => continue 'zeros,
            }
        }
        out.push(demand);
    }
    out
}

/// What a demand leaves for a column, given the bounds of the others.
fn implied(
    demand: &Demand,
    column: ColumnId,
    get: impl Fn(ColumnId) -> Interval,
    known: impl Fn(ColumnId) -> i64,
) -> Interval {
    let mut own = 0_i128;
    let (mut low, mut high) = (i128::from(demand.constant), i128::from(demand.constant));
    for (coefficient, factors, of) in &demand.terms {
        let coefficient = factors.iter().fold(*coefficient, |c, factor| c.saturating_mul(known(*factor)));
        if *of == column {
            own += i128::from(coefficient);
        } else {
            let (a, b) = scaled(get(*of), coefficient);
            low += a;
            high += b;
        }
    }
    // own * x + [low, high] meets within, so own * x lies in [within.0 - high, within.1 - low].
    let (mut from, mut to) = (i128::from(demand.within.0) - high, i128::from(demand.within.1) - low);
    if own < 0 {
        (own, from, to) = (-own, -to, -from);
    }
    if own == 0 {
        return (i64::MIN, i64::MAX);
    }
    (clamped(-((-from).div_euclid(own))), clamped(to.div_euclid(own)))
}

/// The values of a table of pairs over an interval.
fn image(table: &Table, x: Interval) -> Interval {
    match table {
        Table::Range { .. } => x,
        Table::Clamp { low, high, .. } => {
            let keep = |v: i64| v.clamp(i64::from(*low), i64::from(*high));
            (keep(x.0), keep(x.1))
        }
        Table::Map { low, values } => {
            let at = |v: i64| usize::try_from(v - i64::from(*low)).unwrap_or(0).min(values.len().saturating_sub(1));
            let part = values.get(at(x.0)..=at(x.1)).unwrap_or(values);
            match (part.iter().min(), part.iter().max()) {
                (Some(low), Some(high)) => (i64::from(*low), i64::from(*high)),
                _ => (i64::MIN, i64::MAX),
            }
        }
    }
}
